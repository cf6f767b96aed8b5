//! Descriptors: of the machine, of one process, and of the service.

use super::super::host::Host;
use super::About;
use crate::engine::{Change, Effect, Lasting, Pain, Setting, State};
use crate::limits::{FILES_BESIDE, FILES_OF_OTHERS, RINGS_PER_SHARD_MAX};

const OPEN: About = About {
    name: "fs.nr_open",
    reason: "no process may be given a larger limit of files than this, and the service would not \
             start with it",
    effect: Effect {
        text: "a limit above it is refused by setrlimit(2)",
        source: "proc_sys_fs(5); not measured",
    },
    pain: Pain::Loses,
};

const MACHINE: About = About {
    name: "fs.file-max",
    reason: "each connection is an open file of the machine, also where io_uring keeps its \
             descriptor; beyond it nobody gets another file",
    effect: Effect {
        text: "beyond it accept and open fail with ENFILE for everybody without CAP_SYS_ADMIN",
        source: "proc_sys_fs(5); not measured",
    },
    pain: Pain::Loses,
};

const SERVICE: About = About {
    name: "LimitNOFILE",
    reason: "it bounds a ring's table of sockets, so that below it a shard drives several rings, \
             each with receive buffers of its own; on the portable driver it bounds all clients",
    effect: Effect {
        text: "a table of 20,000 registers where the limit is 20,000, and one of 20,001 does not; \
               100,000 clients were held with that limit, on several rings",
        source: "measured, Linux 6.18 (docs/SPECIFICATION.md: one process)",
    },
    pain: Pain::Costs,
};

pub(super) fn settings(host: &Host, connections: u64) -> Vec<Setting> {
    let files = connections + FILES_BESIDE;
    vec![
        service(host, connections),
        OPEN.at_least(host, &[files]),
        MACHINE.at_least(host, &[connections + FILES_OF_OTHERS]),
    ]
}

fn service(host: &Host, connections: u64) -> Setting {
    let wanted = connections + FILES_BESIDE;
    let Some(current) = limit(host, "LimitNOFILE", "Max open files") else {
        let why = "neither ringway.service nor /proc/self/limits says it".to_owned();
        return SERVICE.setting(None, Some(format!("{wanted} or more")), State::Unknown(why));
    };
    let tables = host.cores_count() * RINGS_PER_SHARD_MAX;
    let is_enough_for_rings = current.soft >= connections.div_ceil(tables) + FILES_BESIDE;
    let pain = if is_enough_for_rings { Pain::Costs } else { Pain::Loses };
    directive(&SERVICE, current, wanted, pain)
}

/// A limit that a drop-in of the service raises.
pub(super) fn directive(about: &About, current: Limit, wanted: u64, pain: Pain) -> Setting {
    let shown = Some(format!("{wanted} or more"));
    let said = Some(format!("{} {}", words(current.soft), current.from));
    if current.soft >= wanted {
        return about.setting(said, shown, State::Ok);
    }
    let setting = about.setting(said, shown, State::Hurts(pain));
    let line = Lasting::Service(about.name.to_owned(), wanted.to_string());
    Setting { change: Some(Change { live: Vec::new(), lasting: vec![line] }), ..setting }
}

/// A limit of a process, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) soft: u64,
    from: &'static str,
}

/// The limit that the service has by its unit, or else that this process has.
pub(super) fn limit(host: &Host, directive: &str, name: &str) -> Option<Limit> {
    let lines = host.unit_texts.iter().flat_map(|text| text.lines());
    let mut said = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == directive).then(|| resource(value.trim()))?
    });
    if let Some(soft) = said.next_back() {
        return Some(Limit { soft, from: "(ringway.service)" });
    }
    let line = host.text("/proc/self/limits")?.lines().find_map(|line| line.strip_prefix(name))?;
    let soft = resource(line.split_whitespace().next()?)?;
    Some(Limit { soft, from: "(this process; ringway.service does not say)" })
}

/// A value of systemd.exec(5), the soft one of two, or of /proc/self/limits.
fn resource(text: &str) -> Option<u64> {
    let soft = text.split(':').next()?.trim();
    if soft == "infinity" || soft == "unlimited" {
        return Some(u64::MAX);
    }
    let digits = soft.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &soft[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn words(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_systemd_writes_them() {
        assert_eq!(resource("1024:524288"), Some(1024));
        assert_eq!(resource("infinity"), Some(u64::MAX));
        assert_eq!(resource("8M"), Some(8 << 20));
        assert_eq!(resource("many"), None);
    }

    #[test]
    fn the_last_drop_in_wins_over_the_unit_and_this_process() {
        let mut host = Host::default();
        assert_eq!(limit(&host, "LimitNOFILE", "Max open files"), None);
        let text = "Limit  Soft\nMax open files            20000   20000    files\n";
        let reading = crate::engine::Reading::Text(text.to_owned());
        host.texts.insert("/proc/self/limits".to_owned(), reading);
        let found = limit(&host, "LimitNOFILE", "Max open files").unwrap();
        assert_eq!(found.soft, 20_000);
        host.unit_texts =
            vec!["[Service]\nLimitNOFILE=1\n".to_owned(), "LimitNOFILE = 7:9\n".to_owned()];
        let found = limit(&host, "LimitNOFILE", "Max open files").unwrap();
        assert_eq!((found.soft, found.from), (7, "(ringway.service)"));
    }
}
