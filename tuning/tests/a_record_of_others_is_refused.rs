//! Goal: root writes nothing because somebody else has written a record, or put a link in the way.
//! Method: a folder that stands for a host, with a record that is not to be trusted.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use support::{CONNECTIONS, FakeHost, differences};
use tuning::driver::{STATE, apply, revert};
use tuning::engine::Form;

const DIRECTORY: &str = "/var/lib/ringway-tune";

/// Neither command changes anything, and both say why.
fn is_refused(host: &FakeHost, why: &str) {
    let before = host.tree();
    for refused in [
        host.plan(CONNECTIONS, Form::Files).unwrap_err(),
        revert(&host.root(), false).unwrap_err(),
        revert(&host.root(), true).unwrap_err(),
    ] {
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn what_others_may_write_is_refused() {
    for (path, mode, usual) in [
        (STATE, 0o620, 0o600),
        (STATE, 0o602, 0o600),
        (DIRECTORY, 0o775, 0o755),
        (DIRECTORY, 0o757, 0o755),
    ] {
        let host = FakeHost::bad();
        let before = host.tree();
        host.apply();
        host.permit(path, mode);
        is_refused(&host, &format!("{path} can be written by others than its owner"));
        host.permit(path, usual);
        assert!(revert(&host.root(), false).unwrap().is_complete());
        assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    }
}

#[test]
fn what_belongs_to_others_is_refused() {
    for path in [STATE, DIRECTORY] {
        let host = FakeHost::bad();
        host.apply();
        // Only root can give a file away; any other user cannot be shown one that is not theirs.
        if chown(host.at(path), Some(65_534), None).is_ok() {
            is_refused(&host, &format!("{path} belongs to user 65534 and not to user"));
        }
    }
}

#[test]
fn links_are_refused() {
    let host = FakeHost::bad();
    host.apply();
    fs::rename(host.at(STATE), host.at("/etc/elsewhere")).unwrap();
    symlink(host.at("/etc/elsewhere"), host.at(STATE)).unwrap();
    is_refused(&host, &format!("{STATE} is a link"));
    fs::remove_dir_all(host.at(DIRECTORY)).unwrap();
    symlink(host.at("/etc"), host.at(DIRECTORY)).unwrap();
    is_refused(&host, &format!("{DIRECTORY} is a link"));
}

#[test]
fn a_directory_that_is_given_away_between_plan_and_apply_is_not_written_to() {
    let host = FakeHost::bad();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    fs::create_dir_all(host.at(DIRECTORY)).unwrap();
    host.permit(DIRECTORY, 0o777);
    let before = host.tree();
    let said = apply(&host.root(), &plan).unwrap_err().to_string();
    assert!(said.contains("can be written by others") && said.contains("nothing was"), "{said}");
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn places_that_are_never_written_are_refused() {
    let host = FakeHost::bad();
    host.apply();
    let record = host.text(STATE);
    for (known, planted) in [
        ("\"/etc/sysctl.d/90-ringway.conf\"", "\"/etc/shadow\""),
        ("\"/etc/sysctl.d/90-ringway.conf\"", "\"/etc/sysctl.d/../shadow\""),
        ("\"/proc/sys/net/core/somaxconn\"", "\"/proc/sys/kernel/core_pattern\""),
        ("\"/proc/sys/net/core/somaxconn\"", "\"/proc/sys/net/../kernel/modprobe\""),
        ("\"/proc/irq/42/smp_affinity_list\"", "\"/proc/irq/../../etc/smp_affinity_list\""),
        ("\"/etc/sysctl.d\"", "\"/home\""),
    ] {
        let text = record.replace(known, planted);
        assert_ne!(text, record, "{known}");
        host.put_state(&text);
        is_refused(&host, &format!("is damaged (it names {planted}, which"));
    }
}

#[test]
fn no_link_is_written_through() {
    let host = FakeHost::bad();
    host.put("/etc/victim", "mine\n");
    fs::create_dir_all(host.at(DIRECTORY)).unwrap();
    host.permit(DIRECTORY, 0o755);
    fs::create_dir_all(host.at("/etc/sysctl.d")).unwrap();
    let new = "ringway-new";
    for path in [STATE, "/etc/sysctl.d/90-ringway.conf"] {
        symlink(host.at("/etc/victim"), host.at(&format!("{path}.{new}"))).unwrap();
    }
    host.apply();
    assert_eq!(host.text("/etc/victim"), "mine\n");
    let state = fs::symlink_metadata(host.at(STATE)).unwrap();
    assert!(state.is_file() && state.uid() == rustix::process::geteuid().as_raw());
    assert_eq!(state.permissions().mode() & 0o7777, 0o600);
}
