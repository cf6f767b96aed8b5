//! Judges what was read of a host, and plans what to write. No I/O.

pub mod format;
pub mod host;
mod places;
mod plan;
mod record;
mod settings;
mod texts;

use serde::{Deserialize, Serialize};

pub use format::Format;
pub use host::{Host, Interface, Reading};
pub use places::place_of_others;
pub use plan::{FILES, FileChange, Form, Found, Ground, LiveChange, Plan, Refusal, parents, plan};
pub use record::{Contents, Fate, FileBefore, FileRecord, LiveRecord, Record, SettingRecord};
pub use texts::{SERVICE, TUNED};

/// One setting of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, with the field's own word where there is one.
    pub id: String,
    /// Why it matters to a server of many connections.
    pub reason: &'static str,
    /// What it is known to do, and from where that is known.
    pub effect: Effect,
    /// What it is, if it can be read.
    pub current: Option<String>,
    /// What it should be, if there is anything to want.
    pub wanted: Option<String>,
    /// How it stands.
    pub state: State,
    /// What `apply` would do. None where there is nothing to do, or only by hand.
    pub change: Option<Change>,
    /// What an operator has to do, where `apply` does not.
    pub by_hand: Option<&'static str>,
}

/// What a setting does, honestly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// A sentence, with numbers only where they were measured.
    pub text: &'static str,
    /// Where it is from.
    pub source: &'static str,
}

/// How a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As good as wanted, or better.
    Ok,
    /// It should be changed.
    Hurts(Pain),
    /// It cannot be judged, and why.
    Unknown(String),
    /// It does not matter here, or this kernel does not have it.
    NotApplicable(&'static str),
}

/// How much something hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pain {
    /// Connections are refused or lost.
    Loses,
    /// It works, at a price.
    Costs,
}

/// How a setting is changed: now, and after the next start of the machine or the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Values to write now.
    pub live: Vec<Live>,
    /// What stays.
    pub lasting: Vec<Lasting>,
}

/// A value of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Below the root.
    pub path: String,
    /// How it is written.
    pub format: Format,
    /// What to write.
    pub value: String,
}

/// A line of a file that outlives the machine's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasting {
    /// A line of sysctl.d.
    Sysctl(String, String),
    /// A path of sysfs, which may be a pattern, and its value: tmpfiles.d.
    Boot(String, String),
    /// A directive of the service's drop-in.
    Service(String, String),
    /// A command of the script that sets queues before the service starts.
    Queue(String),
}

/// Judges every setting, in the order of what hurts most.
pub fn judge(host: &Host, connections: u64) -> Vec<Setting> {
    let mut all = settings::all(host, connections);
    all.sort_by_key(|setting| match setting.state {
        State::Hurts(pain) => (0, Some(pain)),
        State::Unknown(_) => (1, None),
        State::Ok => (2, None),
        State::NotApplicable(_) => (3, None),
    });
    all
}

impl Lasting {
    /// What it sets: of two lines with one key the later one counts.
    fn key(&self) -> (u8, &str) {
        match self {
            Self::Sysctl(name, _) => (0, name),
            Self::Boot(path, _) => (1, path),
            Self::Service(name, _) => (2, name),
            Self::Queue(line) => (3, line.rsplit_once(' ').map_or(line, |(key, _)| key)),
        }
    }
}

impl Setting {
    /// Does it hurt?
    pub fn hurts(&self) -> bool {
        matches!(self.state, State::Hurts(_))
    }
}

impl Pain {
    /// In words, as `ringway doctor` has them.
    pub fn words(self) -> &'static str {
        match self {
            Self::Loses => "loses connections or data",
            Self::Costs => "costs something",
        }
    }
}
