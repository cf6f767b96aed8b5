//! What `ringway tune` knows of this host, for the doctor's list.

use std::path::Path;

use tuning::driver::{Root, read};
use tuning::engine::{self, Setting, State, judge};

use crate::doctor::{Finding, Pain};
use crate::limits::{BACKLOG_MIN, FILES_BESIDE};

/// Settings that the doctor has rows of its own for, and how these begin. Where one of them was
/// written the other would say it again.
const SAID_ALREADY: [(&str, &str); 5] = [
    ("LimitNOFILE", "this process may have"),
    ("net.core.somaxconn", "net.core.somaxconn is"),
    ("net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_max is"),
    ("kernel.io_uring_disabled", "io_uring is switched off"),
    ("transparent_hugepage", "transparent huge pages"),
];

// What both compute with is the same.
const _: () = assert!(tuning::limits::LISTEN_BACKLOG == shard::limits::LISTEN_BACKLOG as u64);
const _: () = assert!(tuning::limits::BACKLOG_MIN == BACKLOG_MIN);
const _: () = assert!(tuning::limits::FILES_BESIDE == FILES_BESIDE);
const _: () =
    assert!(tuning::limits::RINGS_PER_SHARD_MAX == shard::limits::RINGS_PER_SHARD_MAX as u64);
const _: () = assert!(tuning::limits::GATHER_BYTES_MAX == gateway::limits::GATHER_BYTES_MAX as u64);
const _: () = assert!(tuning::limits::CONNECTIONS_MAX == crate::limits::DOCTOR_CONNECTIONS_MAX);

/// Settings of this host that hurt and that no other finding has said.
pub(crate) fn examine(connections: u64, said: &[Finding]) -> Vec<Finding> {
    let host = read(&Root::new(Path::new("/")));
    findings(judge(&host, connections), connections, said)
}

fn findings(settings: Vec<Setting>, connections: u64, said: &[Finding]) -> Vec<Finding> {
    let is_new = |setting: &Setting| {
        let own = SAID_ALREADY.iter().find(|(id, _)| *id == setting.id);
        own.is_none_or(|(_, begins)| !said.iter().any(|one| one.what.starts_with(begins)))
    };
    settings.into_iter().filter(is_new).filter_map(|it| finding(it, connections)).collect()
}

fn finding(setting: Setting, connections: u64) -> Option<Finding> {
    let State::Hurts(pain) = setting.state else { return None };
    let is_judged_here = SAID_ALREADY.iter().any(|(id, _)| *id == setting.id);
    Some(Finding {
        pain: match pain {
            // The doctor's own row says so, by the shards and the driver that there will be.
            engine::Pain::Loses if !is_judged_here => Pain::Loses,
            engine::Pain::Loses | engine::Pain::Costs => Pain::Costs,
        },
        what: format!(
            "{} is {}, wanted is {}",
            setting.id,
            setting.current.as_deref().unwrap_or("not set"),
            setting.wanted.as_deref().unwrap_or("nothing else")
        ),
        why: setting.reason,
        fix: match setting.by_hand {
            Some(by_hand) => by_hand.to_owned(),
            None => format!("run `ringway tune apply --connections {connections}`"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tuning::engine::{Host, Reading};

    fn host(values: &[(&str, &str)]) -> Host {
        let text =
            |(path, text): &(&str, &str)| ((*path).to_owned(), Reading::Text((*text).to_owned()));
        Host { cores: vec![0, 1], texts: values.iter().map(text).collect(), ..Host::default() }
    }

    #[test]
    fn what_the_doctor_said_is_not_said_again() {
        let host = host(&[
            ("/proc/sys/net/core/somaxconn", "128"),
            ("/proc/sys/fs/nr_open", "1000"),
            ("/proc/sys/net/core/busy_poll", "50"),
        ]);
        let all = findings(judge(&host, 100_000), 100_000, &[]);
        assert_eq!(all.len(), 3, "{all:?}");
        let pains: Vec<Pain> = all.iter().map(|finding| finding.pain).collect();
        assert_eq!(pains, [Pain::Loses, Pain::Costs, Pain::Costs]);
        assert_eq!(all[0].what, "fs.nr_open is 1000, wanted is 101024 or more");
        assert!(all[0].fix.contains("ringway tune apply --connections 100000"), "{all:?}");
        let said = Finding {
            pain: Pain::Loses,
            what: "net.core.somaxconn is 128".to_owned(),
            why: "",
            fix: String::new(),
        };
        let rest = findings(judge(&host, 100_000), 100_000, &[said]);
        assert_eq!(rest.len(), 2, "{rest:?}");
        assert!(rest.iter().all(|finding| !finding.what.contains("somaxconn")), "{rest:?}");
    }
}
