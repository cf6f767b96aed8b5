//! What `apply` would do: values and files, each with what was there before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::record::{Contents, Fate, FileBefore, FileRecord, LiveRecord, Record, SettingRecord};
use super::texts;
use super::{Format, Host, Reading, Setting};

/// How what lasts is written. One of them, never both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// sysctl.d and tmpfiles.d, which systemd reads at every start.
    #[default]
    Files,
    /// A profile of tuned.
    Tuned,
}

/// What is in a place where a file may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// What is on the disk where `apply` may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// Files by path; an error for what is there and is no file that can be replaced.
    pub files: BTreeMap<String, Result<Found, String>>,
    /// Directories that exist.
    pub directories: BTreeSet<String>,
}

/// What `apply` would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Values to write now.
    pub live: Vec<LiveChange>,
    /// Files to write.
    pub files: Vec<FileChange>,
    /// Directories to make, parents first.
    pub directories: Vec<String>,
    /// What only an operator can do: the setting and what to do.
    pub by_hand: Vec<(String, String)>,
    /// What to remember before anything is changed.
    pub record: Record,
}

/// One value of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveChange {
    /// The setting it belongs to.
    pub id: String,
    /// Below the root.
    pub path: String,
    /// How it is written.
    pub format: Format,
    /// What it says.
    pub before: String,
    /// What it is to say.
    pub value: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Below the root.
    pub path: String,
    /// All of it.
    pub contents: String,
    /// Its permission bits.
    pub mode: u32,
    /// Is there a file already?
    pub replaces: bool,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other form was applied, and both would contradict each other.
    OtherForm(Form),
    /// A file that somebody else changed is in the way.
    Foreign(String),
    /// A place that no file can be written to, and why.
    Place(String, String),
}

/// Every path that `apply` may write a file to.
pub const FILES: [&str; 5] =
    [texts::SYSCTL, texts::BOOT, texts::TUNED, texts::SERVICE, texts::QUEUES];

/// What to do about everything that hurts, and was not done already.
///
/// # Errors
///
/// The form is not the one that was applied, or a file is in the way.
pub fn plan(
    host: &Host,
    judged: (&[Setting], u64),
    record: Option<&Record>,
    ground: (&Ground, Form),
) -> Result<Plan, Refusal> {
    let ((settings, connections), (ground, form)) = (judged, ground);
    let mut next = record.cloned().unwrap_or_else(|| Record::empty(form, connections));
    if next.form != form {
        return Err(Refusal::OtherForm(next.form));
    }
    next.forget_other_boots(host.boot_id.as_deref());
    next.boot_id.clone_from(&host.boot_id);
    next.version = Record::VERSION;
    let hurting = || settings.iter().filter(|setting| setting.hurts());
    let mut live = Vec::new();
    for setting in hurting() {
        live.extend(take_up(&mut next, host, setting));
    }
    let is_needed = hurting().any(|setting| setting.change.is_some());
    if is_needed {
        next.connections = connections;
    }
    let files = files(&mut next, ground, is_needed)?;
    let directories = missing_directories(&files, ground);
    let made: Vec<String> =
        directories.iter().filter(|made| !next.directories.contains(made)).cloned().collect();
    next.directories.extend(made);
    let by_hand = hurting().filter_map(|one| Some((one.id.clone(), one.by_hand?.to_owned())));
    let by_hand = by_hand.collect();
    Ok(Plan { live, files, directories, by_hand, record: next })
}

impl Plan {
    /// Is there nothing to write?
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.files.is_empty()
    }
}

/// Remembers a setting that is to be changed, with the first "before" of each of its values.
fn take_up(record: &mut Record, host: &Host, setting: &Setting) -> Vec<LiveChange> {
    let Some(change) = &setting.change else { return Vec::new() };
    let known = record.settings.iter_mut().position(|known| known.id == setting.id);
    let place = known.unwrap_or_else(|| {
        record.settings.push(SettingRecord {
            id: setting.id.clone(),
            reason: setting.reason.to_owned(),
            lasting: Vec::new(),
            live: Vec::new(),
        });
        record.settings.len() - 1
    });
    let remembered = &mut record.settings[place];
    for lasting in &change.lasting {
        match remembered.lasting.iter_mut().find(|known| known.key() == lasting.key()) {
            Some(known) => known.clone_from(lasting),
            None => remembered.lasting.push(lasting.clone()),
        }
    }
    let mut changes = Vec::new();
    for live in &change.live {
        let Reading::Text(before) = host.reading(&live.path) else { continue };
        match remembered.live.iter_mut().find(|known| known.path == live.path) {
            Some(known) => known.applied.clone_from(&live.value),
            None => remembered.live.push(LiveRecord {
                path: live.path.clone(),
                format: live.format,
                before: before.clone(),
                applied: live.value.clone(),
            }),
        }
        changes.push(LiveChange {
            id: setting.id.clone(),
            path: live.path.clone(),
            format: live.format,
            before: live.format.normal(before),
            value: live.value.clone(),
        });
    }
    changes
}

/// Files that do not say what they should, and what was there before the first time. One that
/// somebody has changed is in the way only where anything new is needed.
fn files(
    record: &mut Record,
    ground: &Ground,
    is_needed: bool,
) -> Result<Vec<FileChange>, Refusal> {
    let mut changes = Vec::new();
    for (path, contents, mode) in texts::render(record) {
        let found = match ground.files.get(path) {
            None => None,
            Some(Ok(found)) => Some(found),
            Some(Err(why)) => return Err(Refusal::Place(path.to_owned(), why.clone())),
        };
        let is_as_wanted = found.is_some_and(|found| found.bytes == contents.as_bytes());
        let known = record.files.iter_mut().find(|file| file.path == path);
        if is_as_wanted {
            continue;
        }
        match known {
            Some(known) => {
                let is_ours = found
                    .is_none_or(|found| known.fate(Some(&found.bytes), false) != Fate::Foreign);
                if !is_ours && (known.applied == contents || !is_needed) {
                    // Somebody has changed it to their liking, and nothing new is wanted of it.
                    continue;
                }
                if !is_ours {
                    return Err(Refusal::Foreign(path.to_owned()));
                }
                known.applied.clone_from(&contents);
            }
            None => record.files.push(FileRecord {
                path: path.to_owned(),
                before: found.map(|found| FileBefore {
                    contents: Contents::of(&found.bytes),
                    mode: found.mode,
                }),
                applied: contents.clone(),
            }),
        }
        let replaces = found.is_some();
        changes.push(FileChange { path: path.to_owned(), contents, mode, replaces });
    }
    Ok(changes)
}

/// Directories that these files need and that are not there, parents first.
fn missing_directories(files: &[FileChange], ground: &Ground) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for file in files {
        missing.extend(parents(&file.path).filter(|one| !ground.directories.contains(one)));
    }
    missing.into_iter().collect()
}

/// Every directory above a path but the root.
pub fn parents(path: &str) -> impl Iterator<Item = String> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
    ends.map(|at| path[..at].to_owned()).collect::<Vec<_>>().into_iter()
}
