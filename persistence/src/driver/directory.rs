//! The data directory: who may use it, and which format it has.
//!
//! ```text
//! data/                              0700
//! ├── LOCK                           locked while a server uses the directory
//! ├── FORMAT                         version, partitions, and the salt of the checksums
//! ├── journal/                       0700
//! │   ├── 00000000000000000001.log   one segment (engine/segment.rs)
//! │   └── …
//! ├── store.sqlite                   what has left the journal (store/sqlite.rs)
//! └── store.sqlite-wal, -shm         SQLite's own
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::files::{segment_name, segment_number};

/// The format this build writes, and the only one it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The folder of the segments.
pub(crate) const JOURNAL_FOLDER: &str = "journal";
/// The database.
pub(crate) const STORE_FILE: &str = "store.sqlite";
/// What FORMAT is called.
pub(crate) const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
const FORMAT_BYTES_MAX: u64 = 4096;

/// Why a data directory cannot be used. Each is one sentence with the fix.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another process has it.
    Locked(PathBuf),
    /// Something else is where a file or folder of ours belongs.
    InTheWay(PathBuf),
    /// A later version wrote it.
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// The version it names.
        version: u32,
    },
    /// FORMAT is not as we write it.
    Damaged(PathBuf),
    /// Another number of partitions than the one it was made with.
    Partitions {
        /// The directory's.
        written: u16,
        /// The configured one.
        configured: u16,
    },
    /// It belongs to another user.
    Foreign {
        /// What belongs to somebody else.
        path: PathBuf,
        /// To whom.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// The system refused.
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => write!(
                f,
                "{} is in use by another process; stop that one, or give this one a directory of \
                 its own",
                path.display()
            ),
            Self::InTheWay(path) => write!(
                f,
                "{} is not what belongs there; move it away, or choose another data directory",
                path.display()
            ),
            Self::Newer { path, version } => write!(
                f,
                "{} has format {version}, and this version knows {FORMAT_VERSION}; run the version \
                 that wrote it",
                path.display()
            ),
            Self::Damaged(path) => write!(
                f,
                "{} is damaged; copy it from a backup of the same directory, its content never \
                 changes",
                path.display()
            ),
            Self::Partitions { written, configured } => write!(
                f,
                "the data directory was made with {written} partitions, which cannot change; \
                 configure {written} instead of {configured}"
            ),
            Self::Foreign { path, owner, us } => write!(
                f,
                "{} belongs to user {owner}, and this process runs as user {us}; run it as \
                 {owner}, or chown -R {us} {}",
                path.display(),
                path.display()
            ),
            Self::Io { what, path, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "cannot {what} {}: permission denied; give this user write access, or choose \
                     another data directory",
                    path.display()
                )
            }
            Self::Io { what, path, error } if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                write!(
                    f,
                    "cannot {what} {}: the file system is read-only; remount it, or choose another \
                     data directory",
                    path.display()
                )
            }
            Self::Io { what, path, error } => {
                write!(f, "cannot {what} {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for DirectoryError {}

/// What FORMAT says. It never changes while the directory lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// How many partitions the channels are spread over.
    pub partitions_count: u16,
    /// Part of every checksum in the journal.
    pub salt: u64,
}

impl Format {
    fn to_text(self) -> String {
        let facts = format!(
            "ringway-data {FORMAT_VERSION}\npartitions {}\nsalt {:016x}\n",
            self.partitions_count, self.salt
        );
        let crc = crc32c::crc32c(facts.as_bytes());
        format!("{facts}crc {crc:08x}\n")
    }

    fn from_text(text: &str, path: &Path) -> Result<Self, DirectoryError> {
        let damaged = || DirectoryError::Damaged(path.to_owned());
        let version = text.lines().next().and_then(|line| line.strip_prefix("ringway-data "));
        let version: u32 = version.and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
        if version > FORMAT_VERSION {
            return Err(DirectoryError::Newer { path: path.to_owned(), version });
        }
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let partitions_count =
            value("partitions ").and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
        let salt = value("salt ").and_then(|text| u64::from_str_radix(text, 16).ok());
        let format = Self { partitions_count, salt: salt.ok_or_else(damaged)? };
        if format.to_text() == text { Ok(format) } else { Err(damaged()) }
    }
}

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    format: Format,
    _lock: File,
}

impl Directory {
    /// Takes a directory, and makes what is missing in it.
    ///
    /// # Errors
    ///
    /// It cannot be used; nothing of what was there is changed.
    pub fn open(path: &Path, partitions_count: u16) -> Result<Self, DirectoryError> {
        make_folder(path)?;
        let lock = lock(&path.join(LOCK_FILE))?;
        let format_path = path.join(FORMAT_FILE);
        let format = match read_format(&format_path)? {
            Some(format) => format,
            None => {
                refuse_orphans(path)?;
                let format = Format { partitions_count, salt: random_number() };
                write_new(&format_path, format.to_text().as_bytes())?;
                format
            }
        };
        if format.partitions_count != partitions_count {
            let written = format.partitions_count;
            return Err(DirectoryError::Partitions { written, configured: partitions_count });
        }
        make_folder(&path.join(JOURNAL_FOLDER))?;
        check_journal(&path.join(JOURNAL_FOLDER))?;
        let store = path.join(STORE_FILE);
        if store.exists() && !store.is_file() {
            return Err(DirectoryError::InTheWay(store));
        }
        // SQLite gives the files beside it the rights of this one.
        let mut private = OpenOptions::new();
        let made = private.append(true).create(true).mode(0o600).open(&store);
        made.map_err(|error| failed("write", &store, error))?;
        sync_folder(path)?;
        Ok(Self { path: path.to_owned(), format, _lock: lock })
    }

    /// What FORMAT says.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The folder of the segments.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL_FOLDER)
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_FILE)
    }
}

/// Reads FORMAT; `None`: it is not there.
pub(super) fn read_format(path: &Path) -> Result<Option<Format>, DirectoryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    let mut text = String::new();
    let read = file.take(FORMAT_BYTES_MAX).read_to_string(&mut text);
    match read {
        Ok(_) => Format::from_text(&text, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(DirectoryError::Damaged(path.to_owned()))
        }
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Without FORMAT there must be no data either: its salt would be lost.
fn refuse_orphans(path: &Path) -> Result<(), DirectoryError> {
    let has_segments = path.join(JOURNAL_FOLDER).join(segment_name(1)).exists();
    if path.join(STORE_FILE).exists() || has_segments {
        return Err(DirectoryError::Damaged(path.join(FORMAT_FILE)));
    }
    Ok(())
}

fn check_journal(path: &Path) -> Result<(), DirectoryError> {
    let entries = fs::read_dir(path).map_err(|error| failed("read", path, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", path, error))?;
        let is_segment = entry.file_name().to_str().is_some_and(|name| {
            segment_number(name).is_some() && entry.file_type().is_ok_and(|kind| kind.is_file())
        });
        if !is_segment {
            return Err(DirectoryError::InTheWay(entry.path()));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    if path.exists() && !path.is_file() {
        return Err(DirectoryError::InTheWay(path.to_owned()));
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed("write", path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(DirectoryError::Locked(path.parent().unwrap_or(path).to_owned()))
        }
        Err(error) => Err(failed("lock", path, error.into())),
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(DirectoryError::InTheWay(path.to_owned())),
        Ok(found) => {
            let us = rustix::process::geteuid().as_raw();
            if found.uid() != us && us != 0 {
                let owner = found.uid();
                return Err(DirectoryError::Foreign { path: path.to_owned(), owner, us });
            }
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", path, error)),
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|error| failed("make", path, error))?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Writes a file that is either whole or not there, and returns how many bytes it has.
pub(super) fn write_new(path: &Path, mut content: impl Read) -> Result<u64, DirectoryError> {
    let draft = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            let bytes = io::copy(&mut content, &mut file)?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            Ok(bytes)
        });
    let bytes = written.map_err(|error| failed("write", path, error))?;
    sync_folder(path.parent().unwrap_or(path))?;
    Ok(bytes)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), DirectoryError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("sync", path, error))
}

pub(super) fn failed(what: &'static str, path: &Path, error: io::Error) -> DirectoryError {
    DirectoryError::Io { what, path: path.to_owned(), error }
}

/// A number nobody can guess: the keys of the standard library's tables come from the system.
fn random_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_as_it_was_written() {
        let format = Format { partitions_count: 64, salt: 0x0123_4567_89ab_cdef };
        let text = format.to_text();
        let path = Path::new("FORMAT");
        assert_eq!(Format::from_text(&text, path).unwrap(), format);
        let newer = text.replace("ringway-data 1", "ringway-data 2");
        let refused = Format::from_text(&newer, path);
        assert!(matches!(refused, Err(DirectoryError::Newer { version: 2, .. })));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(Format::from_text(&flipped, path).is_err(), "byte {at}");
        }
    }
}
