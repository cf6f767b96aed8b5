//! Descriptors: of the machine, of one process, and of the service.

use super::super::host::Host;
use super::About;
use crate::engine::{Change, Effect, Lasting, Pain, Setting, State};
use crate::limits::{FILES_BESIDE, FILES_OF_OTHERS, RINGS_PER_SHARD_MAX, SERVICE_FILES};

const OPEN: About = About {
    name: "fs.nr_open",
    reason: "no process may be given a larger limit of files than this, and systemd gives a service \
             the highest limit that is permitted in place of a larger one",
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
             each with receive buffers of its own; on the portable driver it bounds all clients. \
             The hard limit counts: the server raises the soft one to it",
    effect: Effect {
        text: "a table of 20,000 registers where the limit is 20,000, and one of 20,001 does not; \
               100,000 clients were held with that limit, on several rings",
        source: "measured, Linux 6.18 (docs/SPECIFICATION.md: one process)",
    },
    pain: Pain::Costs,
};

const NO_UNIT: &str = "raise it where the server is started: no ringway.service is here that a \
                       drop-in could add to (limits.conf(5), `ulimit`, `--ulimit` of a container)";

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
    let is_enough_for_rings = current.hard >= connections.div_ceil(tables) + FILES_BESIDE;
    let pain = if is_enough_for_rings { Pain::Costs } else { Pain::Loses };
    // Where the unit names none the service has systemd's, which must not become less.
    let least = if current.is_of_unit { wanted } else { wanted.max(SERVICE_FILES) };
    let line = current.hard.max(least).to_string();
    directive(&SERVICE, host, (current.hard, current.from), (wanted, line, pain))
}

/// A limit that a drop-in of the service raises: what it is, by whom, and what to write. Without a
/// unit there is nothing that a drop-in would add to.
pub(super) fn directive(
    about: &About,
    host: &Host,
    (current, from): (u64, &'static str),
    (wanted, line, pain): (u64, String, Pain),
) -> Setting {
    let shown = Some(format!("{wanted} or more"));
    let said = Some(format!("{} {from}", words(current)));
    if current >= wanted {
        return about.setting(said, shown, State::Ok);
    }
    let setting = about.setting(said, shown, State::Hurts(pain));
    if !host.has_unit {
        return Setting { by_hand: Some(NO_UNIT), ..setting };
    }
    let line = Lasting::Service(about.name.to_owned(), line);
    Setting { change: Some(Change { live: Vec::new(), lasting: vec![line] }), ..setting }
}

/// A limit of a process, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) soft: u64,
    pub(super) hard: u64,
    pub(super) from: &'static str,
    is_of_unit: bool,
}

/// The limit that the service has by its unit, or else that this process has.
pub(super) fn limit(host: &Host, directive: &str, name: &str) -> Option<Limit> {
    let lines = host.unit_texts.iter().flat_map(|text| text.lines());
    let mut said = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == directive).then(|| resources(value.trim()))?
    });
    if let Some((soft, hard)) = said.next_back() {
        return Some(Limit { soft, hard, from: "(ringway.service)", is_of_unit: true });
    }
    let line = host.text("/proc/self/limits")?.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    let soft = resource(words.next()?)?;
    let hard = words.next().and_then(resource).unwrap_or(soft);
    let from = "(this process; ringway.service does not say)";
    Some(Limit { soft, hard, from, is_of_unit: false })
}

/// Values of systemd.exec(5), soft and hard: one stands for both.
fn resources(text: &str) -> Option<(u64, u64)> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    Some((resource(soft.trim())?, resource(hard.trim())?))
}

/// One value of systemd.exec(5) or of /proc/self/limits.
fn resource(text: &str) -> Option<u64> {
    if text == "infinity" || text == "unlimited" {
        return Some(u64::MAX);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
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
        assert_eq!(resources("1024:524288"), Some((1024, 524_288)));
        assert_eq!(resources("infinity"), Some((u64::MAX, u64::MAX)));
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
        assert_eq!((found.soft, found.hard, found.from), (7, 9, "(ringway.service)"));
    }
}
