//! Goal: neither `revert` nor `apply` undoes what somebody else did; both say so.
//! Method: a folder that stands for a host, changed between the two.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use support::{CONNECTIONS, FakeHost, GOOD, differences};
use tuning::driver::{STATE, revert};
use tuning::engine::Form;

const SYSCTL: &str = "/etc/sysctl.d/90-ringway.conf";
const QUEUE: &str = "/proc/sys/net/core/somaxconn";

#[test]
fn a_changed_file_and_a_changed_value_stay_until_it_is_forced() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply();
    let mine = host.text(SYSCTL) + "-net.core.somaxconn = 30000\n";
    host.put(SYSCTL, &mine);
    host.put(QUEUE, "30000\n");
    let reverted = revert(&host.root(), false).unwrap();
    assert_eq!(reverted.foreign.len(), 2, "{reverted:?}");
    assert!(reverted.foreign[0].starts_with(&format!("{SYSCTL} was changed")), "{reverted:?}");
    let said = "says 30000, which `apply` did not write (16384; 128 before)";
    assert!(reverted.foreign[1].contains(said), "{reverted:?}");
    assert_eq!((host.text(SYSCTL), host.text(QUEUE)), (mine, "30000\n".to_owned()));
    // All else is as it was: what is left are these two and the record of them.
    let left = differences(&before, &host.tree());
    let names: Vec<&str> = left.iter().filter_map(|path| path.rsplit('/').next()).collect();
    for name in ["90-ringway.conf", "somaxconn", "tune.json"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with("tcp_") || *name == "queues.sh"));
    let reverted = revert(&host.root(), true).unwrap();
    assert!(reverted.is_complete() && reverted.restored_count == 2, "{reverted:?}");
    assert_eq!(reverted.files, [SYSCTL]);
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn a_removed_file_is_no_trouble() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply();
    fs::remove_file(host.at(SYSCTL)).unwrap();
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn files_that_were_there_come_back_with_bytes_and_mode() {
    let host = FakeHost::bad();
    host.put(SYSCTL, b"# mine \xff\n");
    fs::set_permissions(host.at(SYSCTL), Permissions::from_mode(0o640)).unwrap();
    host.put("/etc/tmpfiles.d/90-ringway.conf", "# mine too\n");
    let before = host.tree();
    host.apply();
    assert!(host.text(SYSCTL).contains("somaxconn"));
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    assert_eq!(fs::read(host.at(SYSCTL)).unwrap(), b"# mine \xff\n");
}

#[test]
fn apply_does_not_write_over_a_changed_file() {
    let host = FakeHost::bad();
    host.apply();
    host.put(SYSCTL, "# mine\n");
    // Nothing new is wanted of it: it stays as somebody has it.
    assert_eq!(host.apply().written_count, 0);
    host.put(QUEUE, "128\n");
    let all = host.tree();
    let refused = host.plan(1_000_000, Form::Files).unwrap_err().to_string();
    assert!(refused.contains("was changed since it was applied; nothing was"), "{refused}");
    assert_eq!(differences(&all, &host.tree()), Vec::<String>::new());
}

#[test]
fn what_was_put_back_is_not_written_again_because_one_file_was_not() {
    const SERVICE: &str = "/etc/systemd/system/ringway.service.d/90-ringway.conf";
    let host = FakeHost::bad();
    host.apply();
    host.put(SERVICE, host.text(SERVICE) + "# mine\n");
    assert_eq!(revert(&host.root(), false).unwrap().foreign.len(), 1);
    for (path, text) in GOOD {
        host.put(path, text);
    }
    assert_eq!(host.hurting(), Vec::<String>::new());
    assert_eq!(host.apply().written_count, 0);
    assert!(!host.at(SYSCTL).exists() && !host.at("/etc/ringway").exists());
    assert!(host.text(SERVICE).ends_with("# mine\n"));
}

#[test]
fn links_and_directories_in_the_way_are_refused() {
    let host = FakeHost::bad();
    fs::create_dir_all(host.at("/etc/sysctl.d")).unwrap();
    symlink("/dev/null", host.at(SYSCTL)).unwrap();
    let refused = host.plan(CONNECTIONS, Form::Files).unwrap_err().to_string();
    assert!(refused.contains("no plain file; nothing was changed"), "{refused}");
    fs::remove_file(host.at(SYSCTL)).unwrap();
    fs::create_dir(host.at(SYSCTL)).unwrap();
    assert!(host.plan(CONNECTIONS, Form::Files).is_err());
}

#[test]
fn a_directory_that_others_use_by_now_stays() {
    let host = FakeHost::bad();
    host.apply();
    host.put("/etc/sysctl.d/10-mine.conf", "# mine\n");
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert!(host.at("/etc/sysctl.d/10-mine.conf").is_file());
    assert!(!host.at(SYSCTL).exists() && !host.at("/etc/tmpfiles.d").exists());
}

#[test]
fn an_interface_that_is_gone_needs_nothing() {
    let host = FakeHost::bad();
    host.apply();
    fs::remove_dir_all(host.at("/sys/class/net/eth0")).unwrap();
    let reverted = revert(&host.root(), false).unwrap();
    assert!(reverted.is_complete(), "{reverted:?}");
    assert!(reverted.gone.iter().any(|path| path.ends_with("rps_cpus")), "{reverted:?}");
    assert!(!host.at(STATE).exists());
}

#[test]
fn interrupts_of_an_earlier_start_of_the_machine_are_not_touched() {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    const INTERRUPT: &str = "/proc/irq/42/smp_affinity_list";
    let host = FakeHost::bad();
    host.put(BOOT, "one\n");
    host.apply();
    assert_eq!(host.text(INTERRUPT), "1");
    host.put(BOOT, "two\n");
    let reverted = revert(&host.root(), true).unwrap();
    assert_eq!(reverted.other_boots, [INTERRUPT]);
    assert!(reverted.is_complete() && !host.at(STATE).exists(), "{reverted:?}");
    assert_eq!(host.text(INTERRUPT), "1");
    assert_eq!(host.text(QUEUE), "128\n");
    // Applied again after another start, the number has a first "before" of that start.
    host.put(INTERRUPT, "0-3\n");
    host.apply();
    host.put(BOOT, "three\n");
    host.put(INTERRUPT, "0-2,3\n");
    host.apply();
    let reverted = revert(&host.root(), false).unwrap();
    assert!(reverted.is_complete() && reverted.other_boots.is_empty(), "{reverted:?}");
    assert_eq!(host.text(INTERRUPT), "0-2,3\n");
}

#[test]
fn a_record_of_a_newer_version_or_a_damaged_one_is_left_alone() {
    let host = FakeHost::bad();
    host.put_state(r#"{"version": 3, "more": true}"#);
    let before = host.tree();
    let refused = host.plan(CONNECTIONS, Form::Files).unwrap_err().to_string();
    assert!(refused.contains("newer version of ringway"), "{refused}");
    assert!(revert(&host.root(), true).is_err());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    host.put_state("{");
    let refused = host.plan(CONNECTIONS, Form::Files).unwrap_err().to_string();
    assert!(refused.contains("is damaged"), "{refused}");
}
