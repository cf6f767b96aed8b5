//! Memory in huge pages, and how fast cores run.

use super::{About, NOT_HERE, NOT_MEASURED};
use crate::engine::host::{Host, Reading, governor_path, governors_path};
use crate::engine::{Change, Effect, Format, Lasting, Live, Pain, Setting, State};

const PAGES: About = About {
    name: "transparent_hugepage",
    reason: "always on, tables that are half empty take memory in steps of 2 MiB",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

const GOVERNOR: About = About {
    name: "cpufreq.governor",
    reason: "a core that sleeps between two turns is clocked down, and the next turn begins slowly",
    effect: Effect { text: "unknown", source: NOT_MEASURED },
    pain: Pain::Costs,
};

const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const EVERY_GOVERNOR: &str = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";

pub(super) fn settings(host: &Host) -> Vec<Setting> {
    vec![pages(host), governor(host)]
}

fn pages(host: &Host) -> Setting {
    let wanted = || Some("madvise or never".to_owned());
    let text = match host.reading(ENABLED) {
        Reading::Text(text) => Format::Chosen.normal(text),
        other => return PAGES.unread(other, wanted()),
    };
    if text != "always" {
        return PAGES.setting(Some(text), wanted(), State::Ok);
    }
    let setting = PAGES.setting(Some(text), wanted(), State::Hurts(PAGES.pain));
    let value = "madvise".to_owned();
    let live = Live { path: ENABLED.to_owned(), format: Format::Chosen, value: value.clone() };
    let lasting = Lasting::Boot(ENABLED.to_owned(), value);
    Setting { change: Some(Change { live: vec![live], lasting: vec![lasting] }), ..setting }
}

fn governor(host: &Host) -> Setting {
    let wanted = || Some("performance".to_owned());
    let offers = |core: &usize| {
        let offered = host.text(&governors_path(*core)).unwrap_or_default();
        offered.split_whitespace().any(|word| word == "performance")
    };
    let chosen: Vec<(usize, &str)> = host
        .cores
        .iter()
        .filter_map(|core| Some((*core, host.text(&governor_path(*core))?.trim())))
        .collect();
    if chosen.is_empty() {
        return GOVERNOR.setting(None, wanted(), State::NotApplicable(NOT_HERE));
    }
    let mut words: Vec<&str> = chosen.iter().map(|(_, governor)| *governor).collect();
    words.sort_unstable();
    words.dedup();
    let current = Some(words.join(", "));
    if words == ["performance"] {
        return GOVERNOR.setting(current, wanted(), State::Ok);
    }
    let slow: Vec<usize> =
        chosen.iter().filter(|(_, governor)| *governor != "performance").map(|one| one.0).collect();
    if !slow.iter().all(offers) {
        let state = State::NotApplicable("its driver has no governor of that name");
        return GOVERNOR.setting(current, wanted(), state);
    }
    let live = slow.iter().map(|core| Live {
        path: governor_path(*core),
        format: Format::Words,
        value: "performance".to_owned(),
    });
    let lasting = Lasting::Boot(EVERY_GOVERNOR.to_owned(), "performance".to_owned());
    let change = Change { live: live.collect(), lasting: vec![lasting] };
    let setting = GOVERNOR.setting(current, wanted(), State::Hurts(GOVERNOR.pain));
    Setting { change: Some(change), ..setting }
}
