//! Goal: what `check` says of this machine is what /proc and /sys say.
//! Method: reads the machine that runs the test, by the crate and without it. Writes nothing.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use tuning::Report;
use tuning::driver::{Root, read};
use tuning::engine::State;

const CONNECTIONS: u64 = 100_000;

fn words(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_value_is_the_one_of_the_kernel() {
    let host = read(&Root::new(Path::new("/")));
    let report = Report::of(&host, CONNECTIONS);
    let mut seen = 0;
    for setting in &report.settings {
        let path = format!("/proc/sys/{}", setting.id.replace('.', "/"));
        if !["fs.", "net.", "kernel.", "vm."].iter().any(|start| setting.id.starts_with(start)) {
            continue;
        }
        seen += 1;
        assert_eq!(setting.current, words(&path), "{path}");
        let absent = setting.current.is_none();
        assert_eq!(absent, !Path::new(&path).exists(), "{path}");
        assert!(!absent || matches!(setting.state, State::NotApplicable(_)), "{setting:?}");
    }
    assert!(seen > 15, "{seen}");
    assert_eq!(Some(host.kernel), words("/proc/sys/kernel/osrelease"));
}

#[test]
fn what_hurts_does_so_by_the_numbers() {
    let report = Report::of(&read(&Root::new(Path::new("/"))), CONNECTIONS);
    let least = [
        ("fs.nr_open", CONNECTIONS + 1_024),
        ("fs.file-max", CONNECTIONS + 65_536),
        ("net.netfilter.nf_conntrack_max", 2 * CONNECTIONS),
    ];
    for (id, least) in least {
        let setting = report.settings.iter().find(|one| one.id == id).unwrap();
        let Some(current) = &setting.current else { continue };
        let current: u64 = current.parse().unwrap();
        assert_eq!(setting.hurts(), current < least, "{setting:?}");
    }
    let pages = report.settings.iter().find(|one| one.id == "transparent_hugepage").unwrap();
    let chosen = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let is_always = chosen.is_ok_and(|text| text.contains("[always]"));
    assert_eq!(pages.hurts(), is_always, "{pages:?}");
}

#[test]
fn limits_are_those_of_this_process_where_no_unit_says_otherwise() {
    let mut host = read(&Root::new(Path::new("/")));
    // A unit counts before this process does, which other tests show.
    host.unit_texts.clear();
    let report = Report::of(&host, CONNECTIONS);
    let setting = report.settings.iter().find(|one| one.id == "LimitNOFILE").unwrap();
    let limit = getrlimit(Resource::Nofile).maximum;
    let shown = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let current = setting.current.as_deref().unwrap();
    assert_eq!(current.split(' ').next(), Some(shown.as_str()));
    assert_eq!(setting.hurts(), limit.is_some_and(|limit| limit < CONNECTIONS + 1_024));
}
