//! The settings, a file for each concern, worst first: why, what is wanted, and what is known.

mod backlog;
mod buffers;
mod files;
mod processor;
mod queues;
mod ring;
mod tracking;
mod traffic;
mod untouched;

use super::host::{Host, Reading, sysctl_path};
use super::{Change, Effect, Format, Lasting, Live, Pain, Setting, State};

const NOT_HERE: &str = "this kernel does not have it";
const NOT_MEASURED: &str = "not measured on any machine";

pub(super) fn all(host: &Host, connections: u64) -> Vec<Setting> {
    [
        files::settings(host, connections),
        ring::settings(host),
        backlog::settings(host, connections),
        tracking::settings(host, connections),
        buffers::settings(host, connections),
        traffic::settings(host),
        queues::settings(host),
        processor::settings(host),
        untouched::settings(host),
    ]
    .concat()
}

/// What is said of a setting whatever it is.
struct About {
    name: &'static str,
    reason: &'static str,
    effect: Effect,
    pain: Pain,
}

impl About {
    fn setting(&self, current: Option<String>, wanted: Option<String>, state: State) -> Setting {
        Setting {
            id: self.name.to_owned(),
            reason: self.reason,
            effect: self.effect,
            current,
            wanted,
            state,
            change: None,
            by_hand: None,
        }
    }

    /// A sysctl with one number or more, each of which should be at least as large as wanted. A
    /// zero wants nothing. What is larger already stays.
    fn at_least(&self, host: &Host, wanted: &[u64]) -> Setting {
        let path = sysctl_path(self.name);
        let shown = match wanted {
            [one] => format!("{one} or more"),
            more => {
                let words = more.iter().map(|n| match n {
                    0 => "any".to_owned(),
                    n => n.to_string(),
                });
                format!("{} or more", words.collect::<Vec<_>>().join(" "))
            }
        };
        let text = match host.reading(&path) {
            Reading::Text(text) => text,
            other => return self.unread(other, Some(shown)),
        };
        let numbers: Option<Vec<u64>> =
            text.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some(numbers) = numbers.filter(|numbers| numbers.len() == wanted.len()) else {
            let why = format!("{path} does not say {} numbers", wanted.len());
            return self.setting(
                Some(Format::Words.normal(text)),
                Some(shown),
                State::Unknown(why),
            );
        };
        let raised: Vec<u64> =
            numbers.iter().zip(wanted).map(|(has, wants)| *has.max(wants)).collect();
        let current = Some(Format::Words.normal(text));
        if raised == numbers {
            return self.setting(current, Some(shown), State::Ok);
        }
        let value = raised.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let setting = self.setting(current, Some(shown), State::Hurts(self.pain));
        Setting { change: Some(self.sysctl_change(&value)), ..setting }
    }

    /// A sysctl that should be exactly this.
    fn exactly(&self, host: &Host, wanted: &str) -> Setting {
        let path = sysctl_path(self.name);
        let text = match host.reading(&path) {
            Reading::Text(text) => Format::Words.normal(text),
            other => return self.unread(other, Some(wanted.to_owned())),
        };
        if text == wanted {
            return self.setting(Some(text), Some(wanted.to_owned()), State::Ok);
        }
        let state = State::Hurts(self.pain);
        let setting = self.setting(Some(text), Some(wanted.to_owned()), state);
        Setting { change: Some(self.sysctl_change(wanted)), ..setting }
    }

    /// A sysctl that is left alone, and why.
    fn left_alone(&self, host: &Host, why: &'static str) -> Setting {
        match host.reading(&sysctl_path(self.name)) {
            Reading::Text(text) => {
                let current = Some(Format::Words.normal(text));
                self.setting(current, None, State::NotApplicable(why))
            }
            other => self.unread(other, None),
        }
    }

    fn unread(&self, reading: &Reading, wanted: Option<String>) -> Setting {
        match reading {
            Reading::Unreadable(why) => self.setting(None, wanted, State::Unknown(why.clone())),
            Reading::Absent | Reading::Text(_) => {
                self.setting(None, wanted, State::NotApplicable(NOT_HERE))
            }
        }
    }

    fn sysctl_change(&self, value: &str) -> Change {
        Change {
            live: vec![Live {
                path: sysctl_path(self.name),
                format: Format::Words,
                value: value.to_owned(),
            }],
            lasting: vec![Lasting::Sysctl(self.name.to_owned(), value.to_owned())],
        }
    }
}
