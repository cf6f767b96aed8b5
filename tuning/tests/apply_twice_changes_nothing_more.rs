//! Goal: what was there first is what comes back, however often and for whatever number it was
//! applied; nothing that is larger already is ever made smaller.
//! Method: a folder that stands for a host.

mod support;

use support::{BAD, CONNECTIONS, FakeHost, UNIT, differences};
use tuning::driver::{applied, revert};
use tuning::engine::Form;

#[test]
fn a_second_time_finds_nothing_to_do() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply();
    let once = host.tree();
    assert_eq!(host.apply().written_count, 0);
    assert_eq!(differences(&once, &host.tree()), Vec::<String>::new());
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn more_connections_keep_the_first_before() {
    let host = FakeHost::bad();
    let before = host.tree();
    host.apply_for(20_000, Form::Files);
    assert_eq!(host.text("/proc/sys/net/netfilter/nf_conntrack_max"), "65536\n");
    host.apply_for(1_000_000, Form::Files);
    assert_eq!(host.text("/proc/sys/net/netfilter/nf_conntrack_max"), "2000000");
    let service = host.text("/etc/systemd/system/ringway.service.d/90-ringway.conf");
    assert!(service.contains("for 1000000 connections"), "{service}");
    assert!(service.contains("\nLimitNOFILE=1001024\n"), "{service}");
    let record = applied(&host.root()).unwrap().unwrap();
    let memory = record.settings.iter().find(|one| one.id == "net.ipv4.tcp_mem").unwrap();
    assert_eq!(memory.live[0].before, "190000\t600000\t700000\n");
    assert!(revert(&host.root(), false).unwrap().is_complete());
    assert_eq!(differences(&before, &host.tree()), Vec::<String>::new());
}

#[test]
fn fewer_connections_lower_nothing() {
    let host = FakeHost::bad();
    host.apply_for(1_000_000, Form::Files);
    let many = host.tree();
    assert_eq!(host.apply_for(1_000, Form::Files).written_count, 0);
    assert_eq!(differences(&many, &host.tree()), Vec::<String>::new());
}

#[test]
fn larger_values_are_left_alone() {
    let host = FakeHost::with(&[
        ("/proc/sys/net/core/somaxconn", "1000000\n"),
        ("/proc/sys/net/ipv4/tcp_rmem", "8192 262144 131072\n"),
        ("/proc/self/limits", "Max open files unlimited\nMax locked memory unlimited\n"),
    ]);
    assert_eq!(host.hurting(), ["net.ipv4.tcp_rmem"]);
    host.apply();
    assert_eq!(host.text("/proc/sys/net/core/somaxconn"), "1000000\n");
    assert_eq!(host.text("/proc/sys/net/ipv4/tcp_rmem"), "8192 262144 1048576");
    let sysctl = host.text("/etc/sysctl.d/90-ringway.conf");
    assert!(!sysctl.contains("somaxconn") && sysctl.contains("8192 262144 1048576"), "{sysctl}");
    assert!(!host.at(&format!("{UNIT}.d")).exists());
}

#[test]
fn the_units_own_limit_is_what_counts() {
    let (_, limits) = BAD[0];
    let host = FakeHost::with(limits);
    std::fs::remove_file(host.at(UNIT)).unwrap();
    host.put("/usr/lib/systemd/system/ringway.service", "[Service]\nLimitNOFILE=1M\n");
    assert!(host.is_ok("LimitNOFILE"), "{}", host.check());
    host.put("/etc/systemd/system/ringway.service.d/10-less.conf", "[Service]\nLimitNOFILE=9\n");
    assert_eq!(host.hurting(), ["LimitNOFILE"]);
    host.apply();
    assert!(host.is_ok("LimitNOFILE"), "{}", host.check());
    // One that is read later wins, and `apply` does not pretend otherwise.
    host.put("/etc/systemd/system/ringway.service.d/99-less.conf", "[Service]\nLimitNOFILE=9\n");
    assert_eq!(host.hurting(), ["LimitNOFILE"]);
}

#[test]
fn a_file_that_is_gone_is_written_again() {
    let host = FakeHost::bad();
    host.apply();
    let all = host.tree();
    std::fs::remove_file(host.at("/etc/sysctl.d/90-ringway.conf")).unwrap();
    assert_eq!(host.apply_for(CONNECTIONS, Form::Files).written_count, 1);
    assert_eq!(differences(&all, &host.tree()), Vec::<String>::new());
}
