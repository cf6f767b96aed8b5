//! What `apply` changed, and what was there before: the state that `revert` goes by.

use serde::{Deserialize, Serialize};

use super::plan::Form;
use super::{Format, Lasting, Reading};

/// Everything that was applied and not reverted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this format: [`Record::VERSION`].
    pub version: u32,
    /// The start of the machine in which it was applied last: interrupts have other numbers in the
    /// next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// How what lasts was written.
    pub form: Form,
    /// Connections that it was last written for.
    pub connections: u64,
    /// Settings, in the order in which they were applied first.
    pub settings: Vec<SettingRecord>,
    /// Files that were written.
    pub files: Vec<FileRecord>,
    /// Directories that were made for them, parents first.
    pub directories: Vec<String>,
}

/// One setting that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingRecord {
    /// Its name.
    pub id: String,
    /// Why, for the files that name it.
    pub reason: String,
    /// Its lines in files.
    pub lasting: Vec<Lasting>,
    /// Its values in the running kernel.
    pub live: Vec<LiveRecord>,
}

/// One value of the running kernel that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRecord {
    /// Below the root.
    pub path: String,
    /// How it is written.
    pub format: Format,
    /// What it said before the first `apply`.
    pub before: String,
    /// What was written last.
    pub applied: String,
}

/// One file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Below the root.
    pub path: String,
    /// What was there before the first `apply`; nothing, if there was no file.
    pub before: Option<FileBefore>,
    /// What was written last.
    pub applied: String,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBefore {
    /// What was in it.
    pub contents: Contents,
    /// Its permission bits.
    pub mode: u32,
}

/// Bytes, as text where they are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Contents {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// What `revert` does with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was.
    Done,
    /// It is what `apply` wrote, and is put back.
    Restore,
    /// Somebody has changed it since.
    Foreign,
    /// It is not there any more, and cannot be put back.
    Gone,
}

impl Record {
    /// The format that is written, and the newest that is read.
    pub const VERSION: u32 = 2;

    /// Nothing was applied.
    pub fn empty(form: Form, connections: u64) -> Self {
        let (settings, files, directories) = (Vec::new(), Vec::new(), Vec::new());
        let (version, boot_id) = (Self::VERSION, None);
        Self { version, boot_id, form, connections, settings, files, directories }
    }

    /// Is there nothing to revert?
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.settings.iter().all(|setting| setting.live.is_empty())
    }

    /// Forgets values of interrupts if they are of another start of the machine: their numbers are
    /// those of others by now. Paths of what was forgotten.
    pub fn forget_other_boots(&mut self, boot_id: Option<&str>) -> Vec<String> {
        let mut forgotten = Vec::new();
        if self.boot_id.as_deref() == boot_id {
            return forgotten;
        }
        for setting in &mut self.settings {
            let of_others = |live: &mut LiveRecord| live.path.starts_with("/proc/irq/");
            let gone = setting.live.extract_if(.., of_others);
            forgotten.extend(gone.map(|live| live.path));
        }
        forgotten
    }

    /// Forgets lines of files that were put back, and settings of which nothing is left.
    pub fn forget_what_is_undone(&mut self) {
        let (files, form) = (&self.files, self.form);
        let is_kept = |path| files.iter().any(|file| file.path == path);
        for setting in &mut self.settings {
            setting.lasting.retain(|lasting| is_kept(super::texts::file_of(lasting, form)));
        }
        self.settings.retain(|setting| !setting.live.is_empty() || !setting.lasting.is_empty());
    }

    /// The file of this path, if `apply` wrote it.
    pub fn file(&self, path: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl SettingRecord {
    /// The value of this path, if `apply` wrote it.
    pub fn value(&self, path: &str) -> Option<&LiveRecord> {
        self.live.iter().find(|live| live.path == path)
    }
}

impl LiveRecord {
    /// What `revert` does, where the file says this now.
    pub fn fate(&self, now: &Reading, is_forced: bool) -> Fate {
        match now {
            Reading::Absent => Fate::Gone,
            Reading::Text(text) if self.format.is_same(text, &self.before) => Fate::Done,
            Reading::Text(text) if is_forced || self.format.is_same(text, &self.applied) => {
                Fate::Restore
            }
            Reading::Text(_) | Reading::Unreadable(_) => Fate::Foreign,
        }
    }
}

impl FileRecord {
    /// What `revert` does, where this is in the file now.
    pub fn fate(&self, now: Option<&[u8]>, is_forced: bool) -> Fate {
        let before = self.before.as_ref().map(|before| before.contents.bytes());
        match now {
            _ if now == before => Fate::Done,
            Some(bytes) if bytes == self.applied.as_bytes() => Fate::Restore,
            _ if is_forced => Fate::Restore,
            _ => Fate::Foreign,
        }
    }
}

impl Contents {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}
