//! The follower's thread: reads what is synced, behind the checkpoint, and puts it into the store.
//!
//! It reads the segment files, whose pages are still in memory: entries need no second queue, and
//! after a restart it goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::channels::Namespaces;
use protocol::link::LogEntry;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::shared::{Clock, Shared};
use crate::engine::record;
use crate::engine::replay::SegmentSpan;
use crate::engine::segment::{Batch, BatchHeader, Place, SEGMENT_HEADER_BYTES, SegmentViolation};
use crate::files::SegmentSource;
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_BYTES_SOON, COMMIT_ENTRIES_MAX, COMMIT_PAUSE, RETENTION_IDLE_PAUSE,
    STORE_RETRY_PAUSE_MAX, STORE_RETRY_PAUSE_MIN,
};
use crate::store::{Store, StoreError, StorePosition};

/// Where the next batch is read.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: u64,
    position: u64,
    due: u64,
}

/// Entries of one commit.
#[derive(Debug, Default)]
struct Chunk {
    entries: Vec<LogEntry>,
    bytes: u64,
    /// The last batch in it.
    batch: u64,
}

/// Other namespaces are served, once that is written down.
pub(crate) struct NamespacesChange {
    pub(crate) namespaces: Arc<Namespaces>,
    /// Takes the namespaces with their generations. Who is gone serves those from before.
    pub(crate) done: oneshot::Sender<Result<Arc<Namespaces>, StoreError>>,
}

/// Reads the journal into the store.
pub(crate) struct Follower<S: Store, R: SegmentSource> {
    store: S,
    source: R,
    shared: Arc<Shared>,
    /// What retention goes by.
    namespaces: Arc<Namespaces>,
    changes: mpsc::Receiver<NamespacesChange>,
    clock: Clock,
    salt: u64,
    shutdown_time: Duration,
    cursor: Option<Cursor>,
    /// The batch up to which the store has everything.
    stored_batch: u64,
    /// The last batch that was read; what lies between holds no entries.
    seen_batch: u64,
    sequences: BTreeMap<u16, u64>,
    is_failing: bool,
    /// When the store took entries last.
    committed_at: Option<Instant>,
    retention_at: Instant,
}

/// What a follower is made of.
pub(crate) struct FollowerParts<S, R> {
    pub(crate) store: S,
    pub(crate) position: StorePosition,
    pub(crate) source: R,
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) changes: mpsc::Receiver<NamespacesChange>,
    pub(crate) clock: Clock,
    pub(crate) salt: u64,
    pub(crate) shutdown_time: Duration,
}

impl<S: Store, R: SegmentSource> Follower<S, R> {
    pub(crate) fn new(parts: FollowerParts<S, R>) -> Self {
        Self {
            store: parts.store,
            source: parts.source,
            shared: parts.shared,
            namespaces: parts.namespaces,
            changes: parts.changes,
            clock: parts.clock,
            salt: parts.salt,
            shutdown_time: parts.shutdown_time,
            cursor: None,
            stored_batch: parts.position.batch,
            seen_batch: parts.position.batch,
            sequences: parts.position.sequences,
            is_failing: false,
            committed_at: None,
            retention_at: Instant::now(),
        }
    }

    /// Follows until the journal has ended and everything in it is stored, or time is up. Returns
    /// the store.
    pub(crate) async fn run(mut self) -> S {
        let mut deadline = None;
        loop {
            let is_last = self.shared.is_journal_done();
            if is_last && deadline.is_none() {
                deadline = Some(Instant::now() + self.shutdown_time);
            }
            if !is_last {
                self.pause().await;
                self.change_namespaces().await;
            }
            let stored = self.store_next(deadline).await;
            match stored {
                Stored::Some if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    self.say_behind();
                    break;
                }
                Stored::Some | Stored::Again => {}
                Stored::Nothing if is_last => break,
                Stored::Nothing => {
                    let until = Instant::now() + RETENTION_IDLE_PAUSE;
                    let _ = timeout_at(until, self.shared.follower_wake.notified()).await;
                }
                Stored::OutOfTime => {
                    self.say_behind();
                    break;
                }
            }
            if !is_last {
                self.retain().await;
            }
        }
        self.store
    }

    /// Lets entries gather behind a commit, unless somebody waits for the store.
    async fn pause(&mut self) {
        let Some(committed_at) = self.committed_at else { return };
        let until = committed_at + COMMIT_PAUSE;
        loop {
            let slice = until.min(self.retention_at);
            // What is awaited may lie several commits behind.
            if self.shared.unstored_bytes() > COMMIT_BYTES_SOON {
                return;
            }
            let hurried = timeout_at(slice, self.shared.follower_hurry.notified()).await;
            if hurried.is_ok() || Instant::now() >= until {
                return;
            }
            self.change_namespaces().await;
            self.retain().await;
        }
    }

    async fn store_next(&mut self, deadline: Option<Instant>) -> Stored {
        let mut pause = STORE_RETRY_PAUSE_MIN;
        loop {
            match self.attempt().await {
                Ok(false) => return Stored::Nothing,
                Ok(true) => return Stored::Some,
                Err(error) => self.report(&error),
            }
            if deadline.is_none() && self.shared.is_journal_done() {
                return Stored::Again;
            }
            if deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
                return Stored::OutOfTime;
            }
            self.wait(pause, deadline.is_some()).await;
            pause = (pause * 2).min(STORE_RETRY_PAUSE_MAX);
        }
    }

    /// Puts the next entries into the store, once. `false`: nothing waits.
    pub(super) async fn attempt(&mut self) -> Result<bool, String> {
        let Some((chunk, cursor)) = self.read_chunk()? else { return Ok(false) };
        self.report_lag(&chunk);
        let applied = self.store.apply(&chunk.entries, chunk.batch).await;
        applied.map_err(|error| error.to_string())?;
        self.cursor = Some(cursor);
        self.stored(&chunk);
        self.committed_at = Some(Instant::now());
        Ok(true)
    }

    /// Waits, but not through the end of the journal, which gives a deadline.
    async fn wait(&mut self, pause: Duration, is_last: bool) {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            let woken = timeout_at(until, self.shared.follower_wake.notified()).await;
            if is_last {
                continue;
            }
            if woken.is_ok() && self.shared.is_journal_done() {
                return;
            }
            self.change_namespaces().await;
        }
    }

    /// Serves other namespaces, if it was asked to.
    async fn change_namespaces(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            if change.done.is_closed() {
                continue;
            }
            let (answer, before) = match self.store.set_namespaces(&change.namespaces).await {
                Ok(changed) => (Ok(changed.namespaces), Some(changed.before)),
                Err(error) => (Err(error), None),
            };
            let is_changed = answer.is_ok();
            if change.done.send(answer).is_ok() {
                if is_changed {
                    self.namespaces = change.namespaces;
                }
            } else if let Some(before) = before {
                self.store.undo_namespaces(before);
            }
        }
    }

    /// The next entries that are synced, and where it goes on behind them.
    fn read_chunk(&mut self) -> Result<Option<(Chunk, Cursor)>, String> {
        let spans: Vec<SegmentSpan> = self.shared.spans().iter().copied().collect();
        let mut cursor = match self.cursor {
            Some(cursor) => cursor,
            None => match spans.iter().find(|span| span.last_batch > self.stored_batch) {
                Some(span) => start_of(span),
                None => return Ok(None),
            },
        };
        let mut chunk = Chunk { batch: self.seen_batch, ..Chunk::default() };
        for span in &spans {
            if span.segment < cursor.segment {
                continue;
            }
            if span.segment > cursor.segment {
                cursor = start_of(span);
            }
            self.read_span(span, &mut cursor, &mut chunk)?;
            if chunk.is_full() || cursor.position < span.end {
                break;
            }
        }
        // Seals alone are worth a commit only if it lets a segment go.
        let closes = spans
            .iter()
            .rev()
            .skip(1)
            .any(|span| span.last_batch > self.stored_batch && span.last_batch <= chunk.batch);
        if chunk.entries.is_empty() && !closes {
            self.cursor = Some(cursor);
            self.seen_batch = chunk.batch;
            return Ok(None);
        }
        Ok(Some((chunk, cursor)))
    }

    fn read_span(
        &self,
        span: &SegmentSpan,
        cursor: &mut Cursor,
        chunk: &mut Chunk,
    ) -> Result<(), String> {
        let bytes_max = (span.end - cursor.position).min(COMMIT_BYTES_MAX as u64);
        if bytes_max == 0 || chunk.is_full() {
            return Ok(());
        }
        let read = |count| {
            let read = self.source.read(span.segment, cursor.position, count);
            read.map_err(|error| format!("segment {}: {error}", span.segment))
        };
        let mut bytes = read(bytes_max)?;
        let place = Place { salt: self.salt, segment: span.segment, position: cursor.position };
        if let Ok(header) = BatchHeader::decode(&bytes, place)
            && header.total_bytes() > bytes.len() as u64
        {
            bytes = read(header.total_bytes().min(span.end - cursor.position))?;
        }
        let start = cursor.position;
        while cursor.position < span.end && !chunk.is_full() {
            let rest = &bytes[(cursor.position - start) as usize..];
            let place = place.at(cursor.position);
            let is_cut = match BatchHeader::decode(rest, place) {
                Ok(header) => header.total_bytes() > rest.len() as u64,
                Err(what) => what == SegmentViolation::Short,
            };
            if is_cut && cursor.position > start {
                break;
            }
            let batch = Batch::read(rest, place, cursor.due).map_err(|what| {
                format!("segment {} at byte {}: {what:?}", span.segment, cursor.position)
            })?;
            chunk.add(&batch, self.stored_batch)?;
            cursor.position += batch.header.total_bytes();
            cursor.due += 1;
        }
        Ok(())
    }

    /// The store has a chunk.
    fn stored(&mut self, chunk: &Chunk) {
        if self.is_failing {
            self.is_failing = false;
            tracing::info!("the store takes entries again");
        }
        let shared = &self.shared;
        self.stored_batch = chunk.batch;
        self.seen_batch = chunk.batch;
        for entry in &chunk.entries {
            self.sequences.insert(entry.partition.0, entry.sequence);
        }
        for (partition, sequence) in &self.sequences {
            shared.board.set_stored(*partition, *sequence);
        }
        let count = chunk.entries.len() as u64;
        shared.stored_entries.fetch_add(count, Ordering::Relaxed);
        shared.counters.store_commits.add(1);
        shared.counters.stored_entries.add(count);
        shared.counters.store_lag_entries.set(self.lag_entries());
        if self.lag_entries() == 0 {
            shared.counters.store_lag_ms.set(0);
        }
        shared.release(chunk.bytes);
        shared.set_checkpoint(chunk.batch);
        if shared.spans().front().is_some_and(|span| span.last_batch <= chunk.batch) {
            shared.journal_wake.notify_one();
        }
        shared.board.announce();
    }

    fn say_behind(&self) {
        let lag = self.lag_entries();
        if lag > 0 {
            tracing::warn!(lag, "the store is behind; the journal keeps what is missing");
        }
    }

    fn lag_entries(&self) -> u64 {
        let stored = self.shared.stored_entries.load(Ordering::Relaxed);
        self.shared.synced_entries.load(Ordering::Relaxed).saturating_sub(stored)
    }

    fn report_lag(&self, chunk: &Chunk) {
        let counters = &self.shared.counters;
        counters.store_lag_entries.set(self.lag_entries());
        let oldest = chunk.entries.first().map(LogEntry::time_ms);
        let age = oldest.map_or(0, |time_ms| (self.clock)().saturating_sub(time_ms));
        counters.store_lag_ms.set(age);
    }

    /// Logs a failure, once until the store takes entries again.
    fn report(&mut self, error: &str) {
        self.shared.counters.store_failures.add(1);
        if !self.is_failing {
            tracing::error!(error, "the store does not take entries; the journal keeps them");
        }
        self.is_failing = true;
    }

    async fn retain(&mut self) {
        if Instant::now() < self.retention_at {
            return;
        }
        let namespaces = self.namespaces.clone();
        match self.store.retain(&namespaces, (self.clock)()).await {
            Ok(deleted) => self.shared.counters.retention_deletes.add(deleted),
            Err(error) => self.report(&error.to_string()),
        }
        self.retention_at = Instant::now() + RETENTION_IDLE_PAUSE / 4;
    }
}

enum Stored {
    Some,
    /// The store fails, and the journal has ended meanwhile: time is short now.
    Again,
    Nothing,
    OutOfTime,
}

fn start_of(span: &SegmentSpan) -> Cursor {
    let position = SEGMENT_HEADER_BYTES as u64;
    Cursor { segment: span.segment, position, due: span.first_batch }
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.entries.len() >= COMMIT_ENTRIES_MAX || self.bytes >= COMMIT_BYTES_MAX as u64
    }

    fn add(&mut self, batch: &Batch<'_>, stored_batch: u64) -> Result<(), String> {
        let number = batch.header.number;
        if number <= stored_batch {
            return Ok(());
        }
        for body in batch.entries() {
            let entry = record::decode(body)
                .map_err(|what| format!("batch {number} holds no entry: {what:?}"))?;
            self.bytes += body.len() as u64;
            self.entries.push(entry);
        }
        self.batch = number;
        Ok(())
    }
}
