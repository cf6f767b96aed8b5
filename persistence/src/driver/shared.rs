//! What the threads of this tier share.
//!
//! | state | written by | read by |
//! |---|---|---|
//! | queue | shards | journal |
//! | spans | journal | follower |
//! | checkpoint | follower | journal, which deletes what is behind it |
//! | unstored bytes | shards add, follower and journal subtract | shards |

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use super::board::Board;
use super::counters::Counters;
use crate::engine::replay::SegmentSpan;

/// An entry on its way to the journal.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) term: u64,
    pub(crate) partition: u16,
    pub(crate) sequence: u64,
    pub(crate) awaits_store: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) body_crc: u32,
}

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The wall clock.
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// State that more than one thread touches.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Arc<Board>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) queue: ArrayQueue<Append>,
    pub(crate) journal_wake: Notify,
    pub(crate) follower_wake: Notify,
    /// Rings when the follower should not wait for more.
    pub(crate) follower_hurry: Notify,
    spans: Mutex<VecDeque<SegmentSpan>>,
    checkpoint: AtomicU64,
    unstored_bytes: AtomicU64,
    pub(crate) unstored_bytes_max: u64,
    is_closed: AtomicBool,
    is_journal_done: AtomicBool,
    pub(crate) synced_entries: AtomicU64,
    pub(crate) stored_entries: AtomicU64,
}

impl Shared {
    pub(crate) fn new(board: Board, appends_waiting_max: usize, unstored_bytes_max: u64) -> Self {
        Self {
            board: Arc::new(board),
            counters: Arc::default(),
            queue: ArrayQueue::new(appends_waiting_max),
            journal_wake: Notify::new(),
            follower_wake: Notify::new(),
            follower_hurry: Notify::new(),
            spans: Mutex::default(),
            checkpoint: AtomicU64::new(0),
            unstored_bytes: AtomicU64::new(0),
            unstored_bytes_max,
            is_closed: AtomicBool::new(false),
            is_journal_done: AtomicBool::new(false),
            synced_entries: AtomicU64::new(0),
            stored_entries: AtomicU64::new(0),
        }
    }

    /// Segments with synced batches, oldest first; the last one grows. Held for a few words only.
    pub(crate) fn spans(&self) -> MutexGuard<'_, VecDeque<SegmentSpan>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch up to which everything is in the store.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    pub(crate) fn set_checkpoint(&self, batch: u64) {
        self.checkpoint.store(batch, Ordering::Release);
    }

    /// Counts an entry before it is appended. `false`: there is no room for it.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let before = self.unstored_bytes.fetch_add(bytes, Ordering::AcqRel);
        let has_room = before == 0 || before.saturating_add(bytes) <= self.unstored_bytes_max;
        if !has_room {
            self.unstored_bytes.fetch_sub(bytes, Ordering::AcqRel);
        } else {
            self.counters.unstored_bytes.set(before + bytes);
        }
        has_room
    }

    /// Entries of so many bytes are stored, or void.
    pub(crate) fn release(&self, bytes: u64) {
        let before = self.unstored_bytes.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "bytes are released once");
        self.counters.unstored_bytes.set(before - bytes);
    }

    /// Entries that a replay found are in the journal and not in the store.
    pub(crate) fn recover(&self, bytes: u64) {
        let before = self.unstored_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.counters.unstored_bytes.set(before + bytes);
    }

    pub(crate) fn unstored_bytes(&self) -> u64 {
        self.unstored_bytes.load(Ordering::Acquire)
    }

    /// From now on nothing is appended.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.journal_wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The journal has ended: nothing more will be synced.
    pub(crate) fn journal_done(&self) {
        self.is_journal_done.store(true, Ordering::Release);
        self.follower_wake.notify_one();
        self.follower_hurry.notify_one();
    }

    pub(crate) fn is_journal_done(&self) -> bool {
        self.is_journal_done.load(Ordering::Acquire)
    }
}
