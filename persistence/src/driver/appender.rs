//! The way from a shard into the journal.

use std::sync::Arc;

use protocol::link::LogEntry;

use super::shared::{Append, Shared};
use crate::engine::record;
use crate::limits::ENTRY_BYTES_MAX;

/// The journal takes no entry now: it is not available, too much waits for it or for the store, or
/// the process ends. The entry is not in the log and nothing behind it may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Appends entries. A clone per shard.
#[derive(Clone, Debug)]
pub struct Appender {
    shared: Arc<Shared>,
}

impl Appender {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sends an entry to the journal; never waits. The entry is encoded here, on the caller's core.
    ///
    /// Each partition is appended by one thread, in the order of its sequences. An entry of a term
    /// that has ended is dropped: its partition learns of the new term from the board.
    ///
    /// # Errors
    ///
    /// There is no room, or the entry is larger than [`ENTRY_BYTES_MAX`], which no door lets in.
    pub fn append(&self, term: u64, entry: &LogEntry) -> Result<(), Full> {
        self.append_for(term, entry, false)
    }

    /// [`Appender::append`], for an entry that counts only when the store has it: the follower does
    /// not wait for more.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn append_awaiting_store(&self, term: u64, entry: &LogEntry) -> Result<(), Full> {
        self.append_for(term, entry, true)
    }

    fn append_for(&self, term: u64, entry: &LogEntry, awaits_store: bool) -> Result<(), Full> {
        let shared = &*self.shared;
        let board = &shared.board;
        if term != board.term() {
            return Ok(());
        }
        let is_open = board.is_available() && !shared.is_closed();
        let is_known = entry.partition.0 < board.partitions_count();
        if !is_open || !is_known || shared.queue.is_full() {
            return self.refuse();
        }
        let mut body = Vec::with_capacity(encoded_bytes_guess(entry));
        record::encode(entry, &mut body);
        let bytes = body.len() as u64;
        if body.len() > ENTRY_BYTES_MAX || !shared.reserve(bytes) {
            return self.refuse();
        }
        let append = Append {
            term,
            partition: entry.partition.0,
            sequence: entry.sequence,
            awaits_store,
            body_crc: crc32c::crc32c(&body),
            body,
        };
        if shared.queue.push(append).is_err() {
            shared.release(bytes);
            return self.refuse();
        }
        shared.journal_wake.notify_one();
        Ok(())
    }

    fn refuse(&self) -> Result<(), Full> {
        self.shared.counters.appends_refused.add(1);
        Err(Full)
    }
}

/// Enough for most entries, so that encoding allocates once.
fn encoded_bytes_guess(entry: &LogEntry) -> usize {
    use protocol::link::LogChange;
    let payload = match &entry.change {
        LogChange::Published { publication, .. } => publication.content.bytes.len(),
        LogChange::HistoryRemoved { .. } => 0,
    };
    128 + entry.channel.len() + entry.epoch.len() + payload
}
