//! What was applied, on disk: written before anything is changed.

use super::{Failure, Root, write};
use crate::engine::{Reading, Record, parents};

/// Where it is.
pub const STATE: &str = "/var/lib/ringway/tune.json";

/// What was applied and not reverted.
pub(super) fn load(root: &Root) -> Result<Option<Record>, Failure> {
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
    let record = serde_json::from_str(&text).map_err(|error| {
        Failure(format!(
            "{STATE} is damaged ({error}); what was there before is in it, for reading: put it \
             back by hand, and remove the file"
        ))
    })?;
    Ok(Some(record))
}

/// Remembers, and makes the directories that it takes, which are remembered as well.
pub(super) fn store(root: &Root, record: &mut Record) -> Result<(), Failure> {
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
