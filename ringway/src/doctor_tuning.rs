//! What `ringway tune` knows of this host, for the doctor's list.

use std::path::Path;

use tuning::driver::{Root, read};
use tuning::engine::{self, Setting, State, judge};

use crate::doctor::{Finding, Pain};
use crate::limits::FILES_BESIDE;

/// The setting that the doctor judges itself, by the shards and the driver that there will be.
pub(crate) const LIMIT_OF_FILES: &str = "LimitNOFILE";
/// The setting that the refusal of a ring names.
pub(crate) const SWITCH_OF_RING: &str = "kernel.io_uring_disabled";

// What both compute with is the same.
const _: () = assert!(tuning::limits::LISTEN_BACKLOG == shard::limits::LISTEN_BACKLOG as u64);
const _: () = assert!(tuning::limits::FILES_BESIDE == FILES_BESIDE);
const _: () =
    assert!(tuning::limits::RINGS_PER_SHARD_MAX == shard::limits::RINGS_PER_SHARD_MAX as u64);
const _: () = assert!(tuning::limits::GATHER_BYTES_MAX == gateway::limits::GATHER_BYTES_MAX as u64);
const _: () = assert!(tuning::limits::CONNECTIONS_MAX == crate::limits::DOCTOR_CONNECTIONS_MAX);

/// Settings of this host that hurt, but for those whose names were `said` already.
pub(crate) fn examine(connections: u64, said: &[&str]) -> Vec<Finding> {
    let host = read(&Root::new(Path::new("/")));
    findings(judge(&host, connections), connections, said)
}

fn findings(settings: Vec<Setting>, connections: u64, said: &[&str]) -> Vec<Finding> {
    let is_new = |setting: &Setting| !said.contains(&setting.id.as_str());
    settings.into_iter().filter(is_new).filter_map(|it| finding(it, connections)).collect()
}

fn finding(setting: Setting, connections: u64) -> Option<Finding> {
    let State::Hurts(pain) = setting.state else { return None };
    Some(Finding {
        pain: match pain {
            // Where connections were lost, the doctor's own row has said so.
            engine::Pain::Loses if setting.id == LIMIT_OF_FILES => Pain::Costs,
            engine::Pain::Loses => Pain::Loses,
            engine::Pain::Costs => Pain::Costs,
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
        assert_eq!(pains, [Pain::Loses, Pain::Loses, Pain::Costs]);
        assert!(all[0].fix.contains("ringway tune apply --connections 100000"), "{all:?}");
        let rest = findings(judge(&host, 100_000), 100_000, &["net.core.somaxconn"]);
        assert_eq!(rest.len(), 2, "{rest:?}");
        assert_eq!(rest[0].what, "fs.nr_open is 1000, wanted is 101024 or more");
    }

    #[test]
    fn the_limit_of_files_is_the_doctors_own_to_judge() {
        let host = host(&[(
            "/proc/self/limits",
            "Max open files            1024                 1024                 files     \n",
        )]);
        let files: Vec<_> = judge(&host, 100_000)
            .into_iter()
            .filter(|setting| setting.id == LIMIT_OF_FILES)
            .collect();
        assert!(matches!(files[0].state, State::Hurts(engine::Pain::Loses)), "{files:?}");
        assert_eq!(findings(files, 100_000, &[])[0].pain, Pain::Costs);
    }
}
