//! Goal: each setting is found, put right and put back.
//! Method: a folder that stands for a host on which one thing hurts, then all of them.

mod support;

use std::process::Command;

use support::{BAD, BAD_QUEUES, BY_HAND, CONNECTIONS, FakeHost, UNIT, differences};
use tuning::driver::{STATE, revert};
use tuning::engine::{Form, Pain, State};

#[test]
fn nothing_hurts_on_a_good_host_and_nothing_is_written() {
    let host = FakeHost::good();
    assert_eq!(host.hurting(), Vec::<String>::new(), "{}", host.check());
    let before = host.tree();
    assert_eq!(host.apply().written_count, 0);
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    assert!(revert(&host.root(), false).unwrap_err().to_string().contains("nothing was applied"));
}

#[test]
fn each_setting_alone() {
    for (id, changes) in BAD.iter().chain(&BAD_QUEUES) {
        for form in [Form::Files, Form::Tuned] {
            let host = FakeHost::with(changes);
            let before = host.tree();
            assert_eq!(host.hurting(), [*id], "{}", host.check());
            assert!(host.apply_for(CONNECTIONS, form).written_count > 0, "{id}");
            assert!(host.is_ok(id), "{id}: {}", host.check());
            assert_eq!(host.hurting(), Vec::<String>::new(), "{id}: {}", host.check());
            assert_ne!(before, host.tree(), "{id}");
            let reverted = revert(&host.root(), false).unwrap();
            assert!(reverted.is_complete(), "{id}: {reverted:?}");
            assert_eq!(differences(&before, &host.tree()), Vec::<String>::new(), "{id}");
            assert_eq!(host.hurting(), [*id], "{}", host.check());
        }
    }
}

#[test]
fn all_settings_together() {
    for form in [Form::Files, Form::Tuned] {
        let host = FakeHost::bad();
        let before = host.tree();
        let hurting = host.hurting();
        // All but the queueing discipline, which matters only where slow start does not.
        assert_eq!(hurting.len(), BAD.len() + BAD_QUEUES.len() - 1, "{hurting:?}");
        host.apply_for(CONNECTIONS, form);
        assert_eq!(host.hurting(), Vec::<String>::new(), "{}", host.check());
        assert!(revert(&host.root(), false).unwrap().is_complete());
        assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
    }
}

#[test]
fn a_plan_writes_nothing() {
    let host = FakeHost::bad();
    let before = host.tree();
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    assert!(tuning::plan_text(&plan).contains("from 128 to 16384"), "{plan:?}");
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn what_is_written_can_be_read_by_an_operator() {
    let host = FakeHost::bad();
    host.apply();
    let sysctl = host.text("/etc/sysctl.d/90-ringway.conf");
    assert!(sysctl.starts_with("# Written by `ringway tune apply` for 100000 connections"));
    assert!(sysctl.contains("ringway tune revert"), "{sysctl}");
    assert!(sysctl.contains("\n# Before, /proc/sys/net/core/somaxconn: 128\n"), "{sysctl}");
    assert!(sysctl.contains("\n-net.core.somaxconn = 16384\n"), "{sysctl}");
    // The second number was larger than wanted, and stays.
    assert!(sysctl.contains("\n-net.ipv4.tcp_mem = 375000 600000 750000\n"), "{sysctl}");
    let boot = host.text("/etc/tmpfiles.d/90-ringway.conf");
    assert!(boot.contains("\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"));
    assert!(boot.contains("cpu*/cpufreq/scaling_governor - - - - performance\n"), "{boot}");
    let service = host.text("/etc/systemd/system/ringway.service.d/90-ringway.conf");
    for line in ["[Service]", "LimitNOFILE=524288", "ExecStartPre=-+/etc/ringway/queues.sh"] {
        assert!(service.lines().any(|one| one == line), "{line}: {service}");
    }
    assert!(host.at(STATE).is_file() && !host.at("/etc/tuned").exists());
    let script = host.at("/etc/ringway/queues.sh");
    let text = host.text("/etc/ringway/queues.sh");
    assert!(text.contains("\npin 'eth0-TxRx-1' 1\n"), "{text}");
    assert!(text.contains("\nput '/sys/class/net/eth0/queues/rx-1/rps_cpus' a\n"), "{text}");
    assert!(Command::new("sh").arg("-n").arg(&script).status().unwrap().success(), "{text}");
}

#[test]
fn the_script_finds_interrupts_by_name_after_a_start_with_other_numbers() {
    let host = FakeHost::bad();
    host.put("/proc/irq/41/smp_affinity_list", "0-3\n");
    host.apply();
    host.put(
        "/proc/interrupts",
        " 77: 1 2 PCI-MSI 1-edge eth0-TxRx-0\n 78: 3 PCI-MSI eth0-TxRx-1\n",
    );
    host.put("/proc/irq/77/smp_affinity_list", "0-3\n");
    host.put("/proc/irq/78/smp_affinity_list", "0-3\n");
    host.put("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n");
    // The same script, with the host's folder in front of its paths.
    let folder = host.folder().display().to_string();
    let script = host.text("/etc/ringway/queues.sh");
    let here = script.replace("/proc/", &format!("{folder}/proc/"));
    let here = here.replace("'/sys/", &format!("'{folder}/sys/"));
    assert!(Command::new("sh").arg("-c").arg(&here).status().unwrap().success(), "{here}");
    assert_eq!(host.text("/proc/irq/77/smp_affinity_list"), "0\n");
    assert_eq!(host.text("/proc/irq/78/smp_affinity_list"), "1\n");
    assert_eq!(host.text("/sys/class/net/eth0/queues/rx-1/rps_cpus"), "a\n");
}

#[test]
fn no_limit_of_the_service_is_lowered() {
    const DROP_IN: &str = "/etc/systemd/system/ringway.service.d/90-ringway.conf";
    for (unit, written) in [
        // The server raises the soft limit of files to the hard one itself.
        ("LimitNOFILE=1024:524288\n", &[][..]),
        ("LimitNOFILE=1024:4096\n", &["LimitNOFILE=101024"]),
        // systemd gives 524,288 to a service whose unit says nothing, whatever this process has.
        ("", &["LimitNOFILE=524288"]),
        ("LimitMEMLOCK=64K:16M\nLimitNOFILE=infinity\n", &["LimitMEMLOCK=8388608:16777216"]),
        ("LimitMEMLOCK=64K:infinity\nLimitNOFILE=1M\n", &["LimitMEMLOCK=8388608:infinity"]),
        ("LimitMEMLOCK=64K\nLimitNOFILE=1M\n", &["LimitMEMLOCK=8388608"]),
    ] {
        let limits = "Max open files 1024 4096 f\nMax locked memory unlimited unlimited b\n";
        let host = FakeHost::with(&[("/proc/self/limits", limits)]);
        host.put(UNIT, format!("[Service]\n{unit}"));
        host.apply();
        let text = std::fs::read_to_string(host.at(DROP_IN)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("Limit")).collect();
        assert_eq!(lines, written, "{unit}");
        assert_eq!(host.hurting(), Vec::<String>::new(), "{unit}");
    }
}

#[test]
fn without_a_unit_limits_are_by_hand() {
    for (id, changes) in BAD.iter().filter(|(id, _)| id.starts_with("Limit")) {
        let host = FakeHost::with(changes);
        std::fs::remove_file(host.at(UNIT)).unwrap();
        assert_eq!(host.hurting(), [*id]);
        let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
        assert!(plan.is_empty() && plan.by_hand[0].1.contains("no ringway.service"), "{plan:?}");
    }
}

#[test]
fn pain_is_as_much_as_it_is() {
    let pain = |changes: &[(&str, &str)], id: &str| FakeHost::with(changes).setting(id).state;
    let queue = |text| pain(&[("/proc/sys/net/core/somaxconn", text)], "net.core.somaxconn");
    assert_eq!(queue("4095\n"), State::Hurts(Pain::Loses));
    assert_eq!(queue("4096\n"), State::Hurts(Pain::Costs));
    assert_eq!(queue("16384\n"), State::Ok);
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let entries = |text| pain(&[(path, text)], "net.netfilter.nf_conntrack_max");
    assert_eq!(entries("99999\n"), State::Hurts(Pain::Loses));
    assert_eq!(entries("100000\n"), State::Hurts(Pain::Costs));
    assert_eq!(entries("200000\n"), State::Ok);
    let locked = |bytes: u64| {
        let text = format!("Max open files unlimited\nMax locked memory {bytes} {bytes} bytes\n");
        pain(&[("/proc/self/limits", &text)], "LimitMEMLOCK")
    };
    assert_eq!(locked((2 << 20) - 1), State::Hurts(Pain::Loses));
    assert_eq!(locked(2 << 20), State::Hurts(Pain::Costs));
    assert_eq!(locked(8 << 20), State::Ok);
    let files = |count: u64| {
        let text = format!("Max open files {count} {count} f\nMax locked memory unlimited\n");
        pain(&[("/proc/self/limits", &text)], "LimitNOFILE")
    };
    // 100,000 clients on four cores with 64 rings each: 391 places in a table.
    assert_eq!(files(1_024 + 390), State::Hurts(Pain::Loses));
    assert_eq!(files(1_024 + 391), State::Hurts(Pain::Costs));
    assert_eq!(files(101_024), State::Ok);
    let ring = |value, group| {
        let changes = [
            ("/proc/sys/kernel/io_uring_disabled", value),
            ("/proc/sys/kernel/io_uring_group", group),
        ];
        pain(&changes, "kernel.io_uring_disabled")
    };
    assert_eq!(ring("1\n", "-1\n"), State::Hurts(Pain::Costs));
    assert_eq!(ring("1\n", "998\n"), State::Ok);
    assert_eq!(ring("2\n", "998\n"), State::Hurts(Pain::Costs));
}

#[test]
fn what_is_not_there_or_cannot_be_read_as_a_number_is_said_so() {
    let host = FakeHost::with(&[("/proc/sys/net/core/somaxconn", "many\n")]);
    std::fs::remove_file(host.at("/proc/sys/fs/nr_open")).unwrap();
    std::fs::remove_file(host.at("/proc/sys/net/netfilter/nf_conntrack_max")).unwrap();
    assert_eq!(host.hurting(), Vec::<String>::new());
    let is_unknown = |id| matches!(host.setting(id).state, State::Unknown(_));
    assert!(is_unknown("net.core.somaxconn"));
    let why = |id| match host.setting(id).state {
        State::NotApplicable(why) => why,
        other => panic!("{id}: {other:?}"),
    };
    assert_eq!(why("fs.nr_open"), "this kernel does not have it");
    assert_eq!(why("net.netfilter.nf_conntrack_max"), "connections are not tracked here");
    let text = host.check().to_string();
    assert!(text.contains("not known:\n   net.core.somaxconn: "), "{text}");
}

#[test]
fn a_profile_of_tuned_takes_the_place_of_the_files() {
    let host = FakeHost::bad();
    host.apply_for(CONNECTIONS, Form::Tuned);
    let profile = host.text("/etc/tuned/ringway/tuned.conf");
    for line in ["[main]", "[sysctl]", "net.core.somaxconn=16384", "[vm]", "governor=performance"] {
        assert!(profile.lines().any(|one| one == line), "{line}: {profile}");
    }
    assert!(profile.contains("\n[vm]\ntransparent_hugepages=madvise\n"), "{profile}");
    assert!(!host.at("/etc/sysctl.d").exists() && !host.at("/etc/tmpfiles.d").exists());
    let refused = host.plan(CONNECTIONS, Form::Files).unwrap_err().to_string();
    assert!(refused.contains("run `ringway tune revert` first"), "{refused}");
}

#[test]
fn irqbalance_is_named_and_never_stopped() {
    let host = FakeHost::good();
    host.put("/run/irqbalance.pid", "1\n");
    assert_eq!(host.hurting(), ["irqbalance"]);
    let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
    assert!(plan.is_empty() && plan.by_hand[0].1.contains("systemctl disable --now irqbalance"));
}

#[test]
fn what_somebody_has_decided_is_named_and_never_changed() {
    for (id, path, text) in BY_HAND {
        let host = FakeHost::with(&[(path, text)]);
        assert_eq!(host.hurting(), [id]);
        let plan = host.plan(CONNECTIONS, Form::Files).unwrap();
        assert!(plan.is_empty() && plan.by_hand[0].0 == id, "{plan:?}");
        let host = FakeHost::bad();
        host.put(path, text);
        host.apply();
        assert_eq!((host.hurting(), host.text(path)), (vec![id.to_owned()], text.to_owned()));
    }
}

#[test]
fn queues_that_somebody_has_arranged_are_left_alone() {
    let host = FakeHost::with(&[
        ("/proc/irq/41/smp_affinity_list", "3\n"),
        ("/proc/irq/42/smp_affinity_list", "2\n"),
        ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "8\n"),
        ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "f\n"),
    ]);
    assert_eq!(host.hurting(), Vec::<String>::new(), "{}", host.check());
    // Two queues on one core were put there, as was one on some of the cores. What may be on every
    // core is moved, and of masks only the empty one is filled.
    for place in ["3\n", "2-3\n", "0-2\n"] {
        host.put("/proc/irq/42/smp_affinity_list", place);
        assert_eq!(host.hurting(), Vec::<String>::new(), "{place}");
    }
    host.put("/proc/irq/42/smp_affinity_list", "0-3\n");
    host.put("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n");
    assert_eq!(host.hurting(), ["irq eth0", "rps eth0"]);
    host.apply();
    assert_eq!(host.text("/proc/irq/41/smp_affinity_list"), "3\n");
    assert_eq!(host.text("/proc/irq/42/smp_affinity_list"), "1");
    assert_eq!(host.text("/sys/class/net/eth0/queues/rx-0/rps_cpus"), "8\n");
    assert_eq!(host.text("/sys/class/net/eth0/queues/rx-1/rps_cpus"), "a");
    let script = host.text("/etc/ringway/queues.sh");
    assert!(
        script.contains("pin 'eth0-TxRx-1' 1\n") && !script.contains("eth0-TxRx-0"),
        "{script}"
    );
    assert!(
        script.contains("rx-1/rps_cpus' a\n")
            && !script.contains("put '/sys/class/net/eth0/queues/rx-0")
    );
    // What is found later joins what is there.
    host.put("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n");
    host.apply();
    let script = host.text("/etc/ringway/queues.sh");
    assert!(
        script.contains("rx-1/rps_cpus' a\n") && script.contains("rx-0/rps_cpus' 5\n"),
        "{script}"
    );
}
