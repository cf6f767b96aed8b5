//! A copy of a data directory that is good by itself, taken while a server writes to it.
//!
//! 1. The segments, newest first: what a segment says about the end of the one before it was true
//!    when it was read, and that one is read later.
//! 2. Then the database, in one transaction: everything that left the journal meanwhile is in it.
//! 3. The copy is replayed, and every file of it gets its checksum into `BACKUP`.
//!
//! So the copy holds everything that was synced when it began, and ends between two entries. An
//! entry whose sync fails while it is copied may be in it: nobody was told what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::directory::{
    DirectoryError, FORMAT_FILE, JOURNAL_FOLDER, STORE_FILE, failed, make_folder, read_format,
    sync_folder, write_new,
};
use super::replaying::{ReadError, read_journal};
use super::restoring::begin_new_epochs;
use crate::engine::replay::ReplayRefusal;
use crate::engine::segment::{
    BATCH_NUMBERS_SKIPPED, Batch, Place, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentViolation,
    find_proof,
};
use crate::files::{SegmentSource, StdFiles, segment_name};
use crate::store::StoreError;
use crate::store::sqlite::{SCHEMA_VERSION, options, read_position, schema_version};

const MANIFEST_FILE: &str = "BACKUP";
const MANIFEST_TITLE: &str = "ringway-backup 1";
/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Entries in its journal that are not in its database.
    pub journal_entries: u64,
    /// The last sequence of each partition in it.
    pub sequences: BTreeMap<u16, u64>,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Why a backup was not made, or not restored.
#[derive(Debug)]
pub enum BackupError {
    /// A folder or file cannot be used.
    Directory(DirectoryError),
    /// The place to write to is not empty.
    NotEmpty(PathBuf),
    /// There is no data directory, or no backup.
    Nothing(PathBuf),
    /// A file of the backup is not what was written.
    Damaged(PathBuf),
    /// The journal is damaged.
    Journal(ReadError),
    /// The database is damaged or cannot be read.
    Store(StoreError),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "{error}"),
            Self::NotEmpty(path) => {
                write!(f, "{} is not empty; choose a directory that is", path.display())
            }
            Self::Nothing(path) => {
                write!(f, "{} is not there; name the directory that holds it", path.display())
            }
            Self::Damaged(path) => {
                write!(f, "{} is damaged; take another backup", path.display())
            }
            Self::Journal(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<DirectoryError> for BackupError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Copies a data directory, in use or not, to `target`, which is made and must be empty. It takes
/// no lock. Blocks; call it outside of any runtime.
///
/// # Errors
///
/// What is in the way. A target that was begun has no `BACKUP` file and is never restored.
pub fn backup(directory: &Path, target: &Path) -> Result<BackupReport, BackupError> {
    let format_path = directory.join(FORMAT_FILE);
    let format =
        read_format(&format_path)?.ok_or_else(|| BackupError::Nothing(format_path.clone()))?;
    make_empty(target)?;
    let journal = target.join(JOURNAL_FOLDER);
    make_folder(&journal)?;
    let source = StdFiles::new(directory.join(JOURNAL_FOLDER));
    let highest = copy_segments(&source, &journal, format.salt)?;
    let runtime = runtime(target)?;
    let store = target.join(STORE_FILE);
    runtime.block_on(copy_store(&directory.join(STORE_FILE), &store))?;
    copy_file(&format_path, &target.join(FORMAT_FILE))?;
    let behind = |error: &BackupError| {
        matches!(error, BackupError::Journal(ReadError::Refused(ReplayRefusal::Behind { .. })))
    };
    let mut report = match runtime.block_on(verify(target)) {
        Err(error) if behind(&error) => {
            // All that was copied has reached the database meanwhile: the journal begins anew.
            runtime.block_on(begin_anew(target, format.salt, highest + 1))?;
            runtime.block_on(verify(target))?
        }
        verified => verified?,
    };
    report.bytes = write_manifest(target)?;
    Ok(report)
}

/// Makes a data directory from a backup. `directory` is made and must be empty. Every checksum of
/// the backup is verified first. Every channel begins a new epoch, so that clients who saw more
/// than the backup holds are told. Blocks; call it outside of any runtime.
///
/// # Errors
///
/// The backup is damaged, or what is in the way.
pub fn restore(backup: &Path, directory: &Path) -> Result<BackupReport, BackupError> {
    let names = verify_manifest(backup)?;
    let runtime = runtime(backup)?;
    let mut report = runtime.block_on(verify(backup))?;
    make_empty(directory)?;
    make_folder(&directory.join(JOURNAL_FOLDER))?;
    // FORMAT comes last: a directory without it is refused.
    let (format, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name == FORMAT_FILE);
    let copy = |name: &String| copy_file(&backup.join(name), &directory.join(name));
    for name in &others {
        report.bytes += copy(name)?;
    }
    let format_path = backup.join(FORMAT_FILE);
    let salt = read_format(&format_path)?.ok_or(BackupError::Nothing(format_path))?.salt;
    runtime.block_on(begin_new_epochs(directory, salt))?;
    for name in &format {
        report.bytes += copy(name)?;
    }
    sync_folder(&directory.join(JOURNAL_FOLDER))?;
    sync_folder(directory)?;
    Ok(report)
}

/// Copies what is valid of every segment, newest first, and returns the highest number.
fn copy_segments(source: &StdFiles, target: &Path, salt: u64) -> Result<u64, BackupError> {
    let numbers = source.numbers().map_err(|error| failed("read", target, error))?;
    let mut has_copied = false;
    for number in numbers.iter().rev() {
        match read_segment(source, *number, salt)? {
            Some(bytes) => {
                write_new(&target.join(segment_name(*number)), &bytes[..])?;
                has_copied |= !bytes.is_empty();
            }
            // A segment that was made ahead comes and goes at the end.
            None if !has_copied => {}
            // It was deleted just now, and so were all before it: they are in the database.
            None => break,
        }
    }
    sync_folder(target)?;
    Ok(numbers.last().copied().unwrap_or(0))
}

/// The valid beginning of a segment that may be growing; `None`: it is not there any more.
fn read_segment(source: &StdFiles, number: u64, salt: u64) -> Result<Option<Vec<u8>>, BackupError> {
    let read = |position| match source.read(number, position, u64::MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let what = format!("cannot read journal/{}", segment_name(number));
            Err(BackupError::Journal(ReadError::Io { what, error }))
        }
    };
    let Some(mut bytes) = read(0)? else { return Ok(None) };
    let mut suspected = None;
    loop {
        let (end, due, what) = valid_end(&bytes, number, salt);
        let place = Place { salt, segment: number, position: end as u64 };
        if end > 0 && find_proof(&bytes[end..], place, due).is_some() {
            // Either the batch was written while we read over it, or it is damaged. What was behind
            // it a moment ago proves that it is complete by now.
            if suspected == Some(end) {
                let position = end as u64;
                let refusal = ReplayRefusal::Damaged { segment: number, position, what };
                return Err(BackupError::Journal(refusal.into()));
            }
            suspected = Some(end);
            let Some(again) = read(end as u64)? else { return Ok(None) };
            bytes.truncate(end);
            bytes.extend_from_slice(&again);
            continue;
        }
        bytes.truncate(end);
        return Ok(Some(bytes));
    }
}

/// Where the valid batches end, which number is due there, and what is wrong.
fn valid_end(bytes: &[u8], number: u64, salt: u64) -> (usize, u64, SegmentViolation) {
    let header = match SegmentHeader::decode(bytes, number, salt) {
        Ok(header) => header,
        Err(what) => return (0, 0, what),
    };
    let mut end = SEGMENT_HEADER_BYTES;
    let mut due = header.first_batch;
    loop {
        let place = Place { salt, segment: number, position: end as u64 };
        match Batch::read(&bytes[end..], place, due) {
            Ok(batch) => {
                end += batch.header.total_bytes() as usize;
                due += 1;
            }
            Err(what) => return (end, due, what),
        }
    }
}

async fn copy_store(from: &Path, to: &Path) -> Result<(), BackupError> {
    if !from.is_file() {
        return Err(BackupError::Nothing(from.to_owned()));
    }
    let mut connection = options(from).connect().await?;
    let target = to.to_str().ok_or_else(|| BackupError::Nothing(to.to_owned()))?;
    sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await?;
    connection.close().await?;
    let synced = fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| failed("sync", to, error))?;
    use std::os::unix::fs::PermissionsExt;
    let private = fs::set_permissions(to, fs::Permissions::from_mode(0o600));
    private.map_err(|error| failed("write", to, error))?;
    Ok(())
}

/// Replays the journal behind the database, and asks the database whether it is whole.
async fn verify(folder: &Path) -> Result<BackupReport, BackupError> {
    let format_path = folder.join(FORMAT_FILE);
    let format = read_format(&format_path)?.ok_or(BackupError::Nothing(format_path))?;
    let store = folder.join(STORE_FILE);
    match schema_version(&store).await? {
        None => return Err(BackupError::Nothing(store)),
        Some(version) if version > SCHEMA_VERSION => {
            return Err(StoreError::Newer { version }.into());
        }
        Some(_) => {}
    }
    let mut connection = open_copy(&store).await?;
    let check = sqlx::query("PRAGMA quick_check").fetch_one(&mut connection).await;
    let is_whole = check.is_ok_and(|row| row.try_get::<String, _>(0).is_ok_and(|it| it == "ok"));
    if !is_whole {
        return Err(BackupError::Damaged(store));
    }
    let position = read_position(&mut connection).await?;
    connection.close().await?;
    let source = StdFiles::new(folder.join(JOURNAL_FOLDER));
    let read = read_journal(&source, format.salt, position.batch, position.sequences);
    let replayed = read.map_err(BackupError::Journal)?.replayed;
    let journal_entries = replayed.entries.len() as u64;
    Ok(BackupReport { journal_entries, sequences: replayed.sequences, bytes: 0 })
}

/// Opens a database that nobody writes to, and leaves no file beside it.
async fn open_copy(path: &Path) -> Result<SqliteConnection, BackupError> {
    Ok(options(path).read_only(true).immutable(true).connect().await?)
}

/// Replaces the journal of a copy by an empty one that begins behind its database.
pub(super) async fn begin_anew(target: &Path, salt: u64, number: u64) -> Result<(), BackupError> {
    let mut connection = open_copy(&target.join(STORE_FILE)).await?;
    let position = read_position(&mut connection).await?;
    connection.close().await?;
    let journal = target.join(JOURNAL_FOLDER);
    let source = StdFiles::new(&journal);
    for number in source.numbers().map_err(|error| failed("read", &journal, error))? {
        let path = journal.join(segment_name(number));
        fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
    }
    let header = SegmentHeader {
        number,
        first_batch: position.batch + 1 + BATCH_NUMBERS_SKIPPED,
        previous: 0,
        previous_end: 0,
    };
    let mut bytes = Vec::new();
    header.encode(salt, &mut bytes);
    write_new(&journal.join(segment_name(number)), &bytes[..])?;
    Ok(())
}

fn runtime(path: &Path) -> Result<tokio::runtime::Runtime, BackupError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_time().build();
    Ok(built.map_err(|error| failed("start a runtime for", path, error))?)
}

fn make_empty(path: &Path) -> Result<(), BackupError> {
    make_folder(path)?;
    let mut entries = fs::read_dir(path).map_err(|error| failed("read", path, error))?;
    if entries.next().is_some() {
        return Err(BackupError::NotEmpty(path.to_owned()));
    }
    Ok(())
}

/// Copies a file piece by piece: a database may be larger than memory.
fn copy_file(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let source = fs::File::open(from).map_err(|error| failed("read", from, error))?;
    Ok(write_new(to, source)?)
}

/// Every file of the copy, by its name below the folder.
fn files_of(folder: &Path) -> Result<Vec<String>, BackupError> {
    let journal = folder.join(JOURNAL_FOLDER);
    let numbers = StdFiles::new(&journal).numbers();
    let numbers = numbers.map_err(|error| failed("read", &journal, error))?;
    let segments = numbers.iter().map(|n| format!("{JOURNAL_FOLDER}/{}", segment_name(*n)));
    Ok([FORMAT_FILE.to_owned(), STORE_FILE.to_owned()].into_iter().chain(segments).collect())
}

/// `crc bytes name` of one file.
fn manifest_line(folder: &Path, name: &str) -> Result<(String, u64), BackupError> {
    let path = folder.join(name);
    let unreadable = |error| failed("read", &path, error);
    let mut file = fs::File::open(&path).map_err(unreadable)?;
    let mut piece = vec![0; PIECE_BYTES];
    let (mut crc, mut total) = (0, 0);
    loop {
        let count = file.read(&mut piece).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &piece[..count]);
        total += count as u64;
    }
    Ok((format!("{crc:08x} {total} {name}\n"), total))
}

fn write_manifest(folder: &Path) -> Result<u64, BackupError> {
    let mut text = format!("{MANIFEST_TITLE}\n");
    let mut total = 0;
    for name in files_of(folder)? {
        let (line, bytes) = manifest_line(folder, &name)?;
        text.push_str(&line);
        total += bytes;
    }
    write_new(&folder.join(MANIFEST_FILE), text.as_bytes())?;
    Ok(total)
}

/// Checks all files against the manifest and returns their names.
fn verify_manifest(folder: &Path) -> Result<Vec<String>, BackupError> {
    let path = folder.join(MANIFEST_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::Nothing(path));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(BackupError::Damaged(path));
        }
        Err(error) => return Err(failed("read", &path, error).into()),
    };
    let names = files_of(folder)?;
    let mut expected = format!("{MANIFEST_TITLE}\n");
    for name in &names {
        let (line, _) = manifest_line(folder, name)?;
        if !text.contains(&format!("\n{line}")) {
            return Err(BackupError::Damaged(folder.join(name)));
        }
        expected.push_str(&line);
    }
    // What is listed and not there, or was added to the list.
    if text == expected { Ok(names) } else { Err(BackupError::Damaged(path)) }
}
