//! What was applied, on disk: written before anything is changed. Root does what it says, so it is
//! trusted only where nobody else can write it.

use std::os::unix::fs::MetadataExt as _;

use super::{Failure, Root, write};
use crate::engine::{Reading, Record, parents, place_of_others};

/// Where it is. Not in /var/lib/ringway, which systemd gives to the service's user.
pub const STATE: &str = "/var/lib/ringway-tune/tune.json";
const DIRECTORY: &str = "/var/lib/ringway-tune";
/// Permission bits of those who are not the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What was applied and not reverted.
pub(super) fn load(root: &Root) -> Result<Option<Record>, Failure> {
    trusted(root)?;
    let text = match super::read::reading(root, STATE) {
        Reading::Text(text) => text,
        Reading::Absent => return Ok(None),
        Reading::Unreadable(why) => {
            return Err(Failure(format!(
                "what was applied cannot be read: {why}; run this as root"
            )));
        }
    };
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|value| value.get("version")?.as_u64());
    let known = u64::from(Record::VERSION);
    if version.is_some_and(|version| version > known) {
        return Err(Failure(format!(
            "{STATE} was written by a newer version of ringway; use that one"
        )));
    }
    let record = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    match place_of_others(&record, STATE) {
        None => Ok(Some(record)),
        Some(path) => Err(damaged(&format!("it names {path:?}, which `apply` never writes"))),
    }
}

fn damaged(why: &str) -> Failure {
    Failure(format!(
        "{STATE} is damaged ({why}); what was there before is in it, for reading: put it back by \
         hand, and remove the file"
    ))
}

/// Can nobody but who runs this write what is remembered, or put something in its place?
fn trusted(root: &Root) -> Result<(), Failure> {
    use std::io::ErrorKind;
    let user = rustix::process::geteuid().as_raw();
    for path in [DIRECTORY, STATE] {
        let metadata = match root.at(path).symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                continue;
            }
            Err(error) => {
                return Err(Failure(format!(
                    "{path} cannot be looked at: {error}; run this as root"
                )));
            }
        };
        let is_of_its_kind = if path == STATE { metadata.is_file() } else { metadata.is_dir() };
        let owner = metadata.uid();
        let why = if !is_of_its_kind {
            "is a link or something else that `apply` does not make".to_owned()
        } else if owner != user {
            format!("belongs to user {owner} and not to user {user}, who runs this")
        } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            "can be written by others than its owner".to_owned()
        } else {
            continue;
        };
        return Err(Failure(format!(
            "{path} {why}, and what is in it decides what is written here: run this as root, and \
             if you do, move {path} away, or look through it and then `chown root:` and \
             `chmod go-w` it"
        )));
    }
    Ok(())
}

/// Remembers, and makes the directories that it takes, which are remembered as well.
pub(super) fn store(root: &Root, record: &mut Record) -> Result<(), Failure> {
    trusted(root)?;
    let missing: Vec<String> = parents(STATE).filter(|one| !root.at(one).is_dir()).collect();
    let new = missing.iter().filter(|one| !record.directories.contains(one)).cloned();
    let new: Vec<String> = new.collect();
    record.directories.extend(new);
    let text = serde_json::to_string_pretty(record)
        .map_err(|error| Failure(format!("{STATE} cannot be written: {error}")))?;
    for directory in &missing {
        write::make_directory(root, directory)?;
    }
    write::replace(root, STATE, text.as_bytes(), 0o600)
}

/// Forgets: nothing is left to revert.
pub(super) fn remove(root: &Root) -> Result<(), Failure> {
    write::remove(root, STATE)
}
