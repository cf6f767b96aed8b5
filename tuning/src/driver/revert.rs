//! Puts back what `apply` changed, as far as nobody else has changed it since.

use super::{Failure, Root, read, state, write};
use crate::engine::{Fate, FileRecord, LiveRecord, Reading, Record};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverted {
    /// Values and files that were put back.
    pub restored_count: usize,
    /// Files among them.
    pub files: Vec<String>,
    /// What was changed by somebody else and left alone.
    pub foreign: Vec<String>,
    /// What is not there any more, and need not be put back.
    pub gone: Vec<String>,
    /// Interrupts of an earlier start of the machine, whose numbers may be those of others by now.
    pub other_boots: Vec<String>,
    /// What could not be put back, and why.
    pub failures: Vec<Failure>,
}

/// Puts back what was there before the first `apply`. What somebody changed since is left alone
/// and reported, unless this is forced; it stays remembered, as does what cannot be written.
///
/// # Errors
///
/// Nothing was applied here, or what was cannot be read.
pub fn revert(root: &Root, is_forced: bool) -> Result<Reverted, Failure> {
    let Some(mut record) = state::load(root)? else {
        return Err(Failure("nothing was applied here, so nothing is reverted".to_owned()));
    };
    let other_boots = record.forget_other_boots(read::boot_id(root).as_deref());
    let mut done = Reverted { other_boots, ..Reverted::default() };
    // Files first: what would come back with the next start is gone before anything else.
    for path in record.files.iter().map(|file| file.path.as_str()).chain([state::STATE]) {
        write::tidy(root, path);
    }
    record.files.retain(|file| done.keeps_file(root, file, is_forced));
    for setting in record.settings.iter_mut().rev() {
        setting.live.retain(|live| done.keeps_value(root, live, is_forced));
    }
    record.forget_what_is_undone();
    end(root, record, &mut done);
    Ok(done)
}

/// Forgets what was put back, and removes directories that nobody uses.
fn end(root: &Root, mut record: Record, done: &mut Reverted) {
    let kept = if record.is_empty() {
        state::remove(root)
    } else {
        record.directories.retain(|path| root.at(path).is_dir());
        state::store(root, &mut record)
    };
    done.failures.extend(kept.err());
    for directory in record.directories.iter().rev() {
        // One that has something in it belongs to others by now.
        write::remove_directory(root, directory);
    }
}

impl Reverted {
    /// Is everything as it was?
    pub fn is_complete(&self) -> bool {
        self.foreign.is_empty() && self.failures.is_empty()
    }

    fn keeps_value(&mut self, root: &Root, live: &LiveRecord, is_forced: bool) -> bool {
        let now = read::reading(root, &live.path);
        match live.fate(&now, is_forced) {
            Fate::Done => false,
            Fate::Gone => {
                self.gone.push(live.path.clone());
                false
            }
            Fate::Foreign => {
                self.foreign.push(match now {
                    Reading::Text(text) => format!(
                        "{} says {}, which `apply` did not write ({}; {} before)",
                        live.path,
                        live.format.normal(&text),
                        live.applied,
                        live.format.normal(&live.before)
                    ),
                    Reading::Absent => format!("{} is gone", live.path),
                    Reading::Unreadable(why) => why,
                });
                true
            }
            Fate::Restore => {
                let before = live.format.written(&live.before);
                let written = write::value(root, &live.path, live.format, before);
                self.count(written)
            }
        }
    }

    fn keeps_file(&mut self, root: &Root, file: &FileRecord, is_forced: bool) -> bool {
        let now = match std::fs::read(root.at(&file.path)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.failures.push(Failure(format!("{} cannot be read: {error}", file.path)));
                return true;
            }
        };
        match file.fate(now.as_deref(), is_forced) {
            Fate::Done | Fate::Gone => false,
            Fate::Foreign => {
                let what = if now.is_some() { "was changed" } else { "was removed" };
                self.foreign.push(format!("{} {what} since it was applied", file.path));
                true
            }
            Fate::Restore => {
                let written = match &file.before {
                    Some(before) => {
                        let bytes = before.contents.bytes();
                        write::replace(root, &file.path, bytes, before.mode)
                    }
                    None => write::remove(root, &file.path),
                };
                let is_kept = self.count(written);
                if !is_kept {
                    self.files.push(file.path.clone());
                }
                is_kept
            }
        }
    }

    /// Counts what was put back; true if it was not, and has to be remembered.
    fn count(&mut self, written: Result<(), Failure>) -> bool {
        match written {
            Ok(()) => self.restored_count += 1,
            Err(failure) => {
                self.failures.push(failure);
                return true;
            }
        }
        false
    }
}
