//! What makes a restored directory another one than the directory it was copied from.
//!
//! The server that was lost may have gone on behind the backup, and clients may hold positions from
//! there. Were offsets given out again in the same epochs, such a client would be told that it
//! missed nothing. So every channel begins a new epoch; its history stays.

use std::path::Path;

use sqlx::{ConnectOptions, Connection};

use super::backup::{BackupError, begin_anew};
use super::directory::{JOURNAL_FOLDER, STORE_FILE};
use super::replaying::read_journal;
use crate::files::{SegmentSource, StdFiles};
use crate::limits::COMMIT_ENTRIES_MAX;
use crate::store::Store as _;
use crate::store::sqlite::{SqliteStore, options};

/// Moves what is in the journal of a copy into its database, and gives every channel a new epoch.
pub(super) async fn begin_new_epochs(directory: &Path, salt: u64) -> Result<(), BackupError> {
    let path = directory.join(STORE_FILE);
    let mut store = SqliteStore::open(&path).await?;
    let position = store.position().clone();
    let source = StdFiles::new(directory.join(JOURNAL_FOLDER));
    let read = read_journal(&source, salt, position.batch, position.sequences)
        .map_err(BackupError::Journal)?;
    let entries = &read.replayed.entries;
    let chunks = entries.chunks(COMMIT_ENTRIES_MAX);
    let last = chunks.len();
    for (number, chunk) in chunks.enumerate() {
        // Only with the last of them everything up to the end is there.
        let is_last = number + 1 == last;
        let batch = if is_last { read.replayed.end.batch } else { position.batch };
        store.apply(chunk, batch).await?;
    }
    store.close().await?;
    let mut connection = options(&path).connect().await?;
    let mut transaction = connection.begin().await?;
    for sql in [
        "UPDATE keys SET epoch = '' \
         WHERE epoch = (SELECT epoch FROM channels WHERE id = channel_id)",
        // With its generation, behind the dot: without it the epoch would be over.
        "UPDATE channels SET epoch = lower(hex(randomblob(5))) || \
         CASE instr(epoch, '.') WHEN 0 THEN '' ELSE substr(epoch, instr(epoch, '.')) END",
        "UPDATE keys SET epoch = (SELECT epoch FROM channels WHERE id = channel_id) \
         WHERE epoch = ''",
    ] {
        sqlx::query(sql).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    let numbers =
        source.numbers().map_err(|error| super::directory::failed("read", &path, error))?;
    begin_anew(directory, salt, numbers.last().copied().unwrap_or(0) + 1).await
}
