//! The journal's thread: gathers entries, writes them as one batch, syncs, and says so.
//!
//! ```text
//! queue ──► gather ──► write ──► sync ──► board: synced ──► gather …
//!                        │         │                └─ nothing waits: announce, seal, sleep
//!                        └────┬────┘
//!                       failure: the term ends, everything unsynced is void ──► new segment
//! ```
//!
//! What is synced is announced when the batch behind it is on its way to the disk: whoever is woken
//! may take the core, and the disk has work meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::shared::{Append, Shared};
use super::spare::Spare;
use crate::engine::replay::SegmentSpan;
use crate::engine::writer::{JournalEnd, Writer};
use crate::files::{Files, Pace, SegmentFile};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, COMMIT_BYTES_SOON, REOPEN_PAUSE, SPARE_RETRY_TURNS,
};

/// What a turn of the journal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A batch was synced, or became void; there may be more.
    Busy,
    /// Nothing waits.
    Idle,
    /// No segment can be opened. Try again after [`REOPEN_PAUSE`].
    Unavailable,
    /// Everything is synced and nothing more comes.
    Done,
}

/// Where a journal goes on.
#[derive(Debug, Default)]
pub(crate) struct JournalStart {
    /// The secret number of the data directory.
    pub salt: u64,
    /// Where the journal ends.
    pub end: JournalEnd,
    /// The lowest and the highest segment that are there; zero: none.
    pub segments: (u64, u64),
    /// Segments above those that hold nothing, highest first.
    pub blank: Vec<u64>,
    /// The last sequence that is synced, by partition.
    pub sequences: Vec<u64>,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
}

/// Entries that are synced, and that nobody was woken for.
#[derive(Clone, Copy, Debug)]
struct Unannounced {
    /// One of them counts only when the store has it.
    awaits_store: bool,
}

/// The writing side of the journal.
pub struct Journal<F: Files> {
    files: F,
    shared: Arc<Shared>,
    writer: Writer,
    file: Option<F::File>,
    spare: Spare<F>,
    segment_bytes: u64,
    next_segment: u64,
    /// Segments of the run before that were never used, highest first.
    blank: Vec<u64>,
    lowest_segment: u64,
    /// The last sequence that was written, by partition.
    sequences: Vec<u64>,
    /// Entries of the batch that is built, and the one that did not fit.
    gathered: Vec<Append>,
    held: Option<Append>,
    buffer: Vec<u8>,
    is_sealed: bool,
    /// Entries are synced, and nobody was woken for them.
    unannounced: Option<Unannounced>,
    is_failing: bool,
    is_spare_failing: bool,
    /// Turns until a segment is made ahead again, after one could not be.
    spare_turns_left: u32,
}

impl<F: Files> Journal<F> {
    /// A journal that goes on behind what a replay found, once [`Journal::turn`] has opened a
    /// segment. `unproven` entries are written again, first of all.
    pub(crate) fn new(
        files: F,
        shared: Arc<Shared>,
        start: JournalStart,
        unproven: Vec<Append>,
    ) -> Self {
        let mut sequences = start.sequences;
        sequences.resize(usize::from(shared.board.partitions_count()), 0);
        Self {
            spare: Spare::new(files.clone()),
            files,
            shared,
            writer: Writer::new(start.salt, start.end),
            file: None,
            segment_bytes: start.segment_bytes,
            next_segment: start.segments.1.max(start.end.segment) + 1,
            blank: start.blank,
            lowest_segment: start.segments.0.max(1),
            sequences,
            gathered: unproven,
            held: None,
            buffer: Vec::new(),
            is_sealed: true,
            unannounced: None,
            is_failing: false,
            is_spare_failing: false,
            spare_turns_left: 0,
        }
    }

    /// Opens the first segment and writes again what was not proven to be synced.
    ///
    /// # Errors
    ///
    /// What the system says. The journal is of no use then.
    pub async fn begin(&mut self) -> std::io::Result<()> {
        // Highest first: a power cut in between leaves no hole. Their space may be needed.
        for number in std::mem::take(&mut self.blank) {
            self.files.delete(number).await?;
        }
        let entries = std::mem::take(&mut self.gathered);
        let bytes = entries.iter().map(|entry| Writer::record_bytes(entry.body.len())).sum();
        self.open_segment(bytes).await?;
        let header = self.writer.defer_header();
        self.write_batch(&entries).await?;
        let file = self.file.as_ref().expect("the segment was just opened");
        file.write_at(header.bytes, header.position).await.0?;
        file.sync_data().await?;
        self.settle(&entries);
        self.announce();
        Ok(())
    }

    /// From now on entries are taken.
    pub(crate) fn open_for_appends(&self) {
        self.shared.board.set_available(true);
    }

    /// Does what there is to do, at most one batch.
    pub async fn turn(&mut self) -> Turn {
        self.trim().await;
        self.prepare_segment();
        self.gather();
        if self.file.is_none() {
            return self.reopen().await;
        }
        if !self.gathered.is_empty() {
            self.commit().await;
            return Turn::Busy;
        }
        self.announce();
        if !self.is_sealed {
            self.seal().await;
            return Turn::Busy;
        }
        if self.shared.is_closed() && self.shared.queue.is_empty() {
            return self.finish().await;
        }
        Turn::Idle
    }

    /// Turns until the journal is closed.
    pub(crate) async fn run(mut self) {
        loop {
            match self.turn().await {
                Turn::Busy => {}
                Turn::Idle => self.shared.journal_wake.notified().await,
                Turn::Unavailable if self.shared.is_closed() => break,
                Turn::Unavailable => self.files.pause(REOPEN_PAUSE).await,
                Turn::Done => break,
            }
        }
        self.shared.board.set_available(false);
        self.shared.journal_done();
        self.shared.board.announce();
    }

    /// Takes entries that wait, within the bounds of a batch, and drops those of earlier terms.
    fn gather(&mut self) {
        let term = self.shared.board.term();
        let mut bytes = 0;
        while self.gathered.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(append) = self.held.take().or_else(|| self.shared.queue.pop()) else { break };
            if append.term != term {
                self.void(&append);
                continue;
            }
            let size = Writer::record_bytes(append.body.len());
            if bytes + size > BATCH_BYTES_MAX && !self.gathered.is_empty() {
                self.held = Some(append);
                break;
            }
            let partition = usize::from(append.partition);
            if append.sequence != self.sequences[partition] + 1 {
                let due = self.sequences[partition] + 1;
                tracing::error!(partition, due, found = append.sequence, "entries out of order");
                self.void(&append);
                self.end_term();
                return;
            }
            self.sequences[partition] = append.sequence;
            bytes += size;
            self.gathered.push(append);
        }
    }

    async fn commit(&mut self) {
        let entries = std::mem::take(&mut self.gathered);
        let started = Instant::now();
        match self.roll_and_write(&entries).await {
            Ok(written) => {
                self.settle(&entries);
                self.shared.counters.committed(entries.len(), written, started.elapsed());
                self.gathered = entries;
                self.gathered.clear();
            }
            Err(error) => {
                self.report("the journal cannot be written", &error);
                self.gathered = entries;
                self.fail();
            }
        }
    }

    async fn roll_and_write(&mut self, entries: &[Append]) -> std::io::Result<usize> {
        let bytes = entries.iter().map(|entry| Writer::record_bytes(entry.body.len())).sum();
        if !self.writer.fits(bytes) {
            self.open_segment(bytes).await?;
        }
        self.write_batch(entries).await
    }

    /// Writes a batch and syncs it. Without entries it is a seal, and the first of its segment.
    async fn write_batch(&mut self, entries: &[Append]) -> std::io::Result<usize> {
        self.writer.begin(std::mem::take(&mut self.buffer));
        for entry in entries {
            self.writer.push(&entry.body, entry.body_crc);
        }
        let write = self.writer.finish();
        let (position, bytes) = (write.position, write.bytes.len());
        let file = self.file.as_ref().expect("a segment is open while batches are written");
        let (written, buffer) = file.write_at(write.bytes, position).await;
        if self.unannounced.is_some() {
            file.start_writing(position, bytes as u64);
        }
        self.buffer = buffer;
        self.announce();
        let file = self.file.as_ref().expect("still the same");
        if self.buffer.capacity() > 2 * BATCH_BYTES_MAX {
            self.buffer = Vec::new();
        }
        written?;
        file.sync_data().await?;
        self.writer.all_synced();
        self.is_sealed = false;
        Ok(bytes)
    }

    /// A batch is synced: whoever looks sees it. [`Journal::announce`] wakes those that sleep.
    fn settle(&mut self, entries: &[Append]) {
        // Before the follower may read them: nothing is stored that does not show as synced.
        for entry in entries {
            self.shared.board.set_synced(entry.partition, entry.sequence);
        }
        let end = self.writer.synced();
        {
            let mut spans = self.shared.spans();
            match spans.back_mut() {
                Some(span) if span.segment == end.segment => {
                    span.last_batch = end.batch;
                    span.end = end.end;
                }
                _ => spans.push_back(SegmentSpan {
                    segment: end.segment,
                    first_batch: end.batch,
                    last_batch: end.batch,
                    end: end.end,
                }),
            }
        }
        self.shared.synced_entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
        if !entries.is_empty() {
            self.shared.board.move_on();
            let awaits_store = entries.iter().any(|entry| entry.awaits_store);
            self.unannounced = Some(Unannounced { awaits_store });
        }
    }

    /// Wakes everybody who waits for what is synced. Before anything that may take long.
    fn announce(&mut self) {
        let Some(Unannounced { awaits_store }) = self.unannounced.take() else { return };
        self.shared.board.announce();
        self.shared.follower_wake.notify_one();
        if awaits_store || self.shared.unstored_bytes() > COMMIT_BYTES_SOON {
            self.shared.follower_hurry.notify_one();
        }
    }

    /// Writes an empty batch, which the next sync covers.
    async fn seal(&mut self) {
        self.is_sealed = true;
        self.writer.begin(std::mem::take(&mut self.buffer));
        let write = self.writer.finish();
        let Some(file) = &self.file else { return };
        let (written, buffer) = file.write_at(write.bytes, write.position).await;
        self.buffer = buffer;
        if let Err(error) = written {
            self.report("the journal cannot be sealed", &error);
            self.fail();
        }
    }

    /// Nothing more comes: syncs the seal.
    async fn finish(&mut self) -> Turn {
        if let Some(file) = &self.file
            && !self.writer.is_synced()
        {
            match file.sync_data().await {
                Ok(()) => self.writer.all_synced(),
                // Everything that counts was synced before.
                Err(error) => tracing::warn!(%error, "the seal of the journal was not synced"),
            }
        }
        let _ = self.spare.finish().await;
        if let Some((number, file)) = self.spare.take() {
            drop(file);
            let _ = self.files.delete(number).await;
        }
        Turn::Done
    }

    /// Everything that was not synced is void, and the segment is left as it is.
    fn fail(&mut self) {
        self.shared.counters.journal_failures.add(1);
        self.file = None;
        self.is_sealed = true;
        self.end_term();
    }

    fn end_term(&mut self) {
        self.shared.board.end_term();
        for append in std::mem::take(&mut self.gathered) {
            self.void(&append);
        }
        if let Some(append) = self.held.take() {
            self.void(&append);
        }
        for (partition, sequence) in self.sequences.iter_mut().enumerate() {
            let partition = protocol::ids::PartitionId(partition as u16);
            *sequence = self.shared.board.progress(partition).synced;
        }
        if self.file.is_some() {
            self.shared.board.set_available(true);
        }
        self.shared.board.announce();
    }

    fn void(&self, append: &Append) {
        self.shared.release(append.body.len() as u64);
        self.shared.counters.entries_dropped.add(1);
    }

    /// Tries to go on in a new segment after a failure.
    async fn reopen(&mut self) -> Turn {
        let opened = match self.open_segment(0).await {
            Ok(()) => self.write_batch(&[]).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(_) => {
                self.is_failing = false;
                self.settle(&[]);
                tracing::info!(segment = self.writer.segment(), "the journal is available again");
                self.shared.board.set_available(true);
                self.shared.board.announce();
                Turn::Busy
            }
            Err(error) => {
                self.report("no segment of the journal can be opened", &error);
                self.shared.counters.journal_failures.add(1);
                self.file = None;
                self.is_sealed = true;
                self.delete_void().await;
                Turn::Unavailable
            }
        }
    }

    /// Removes a segment that was opened in vain, so that attempts do not fill the disk.
    async fn delete_void(&mut self) {
        let number = self.writer.segment();
        let is_last = number + 1 == self.next_segment && self.spare.is_missing();
        if number == self.writer.synced().segment || !is_last {
            return;
        }
        if self.files.delete(number).await.is_ok() {
            self.next_segment = number;
            let _ = self.files.sync_directory().await;
        }
    }

    /// Goes on in the next segment, which has room for a batch with so many bytes of records.
    async fn open_segment(&mut self, records_bytes: usize) -> std::io::Result<()> {
        self.announce();
        self.file = None;
        let bytes = self.segment_bytes.max(Writer::segment_bytes_for(records_bytes));
        let finished = self.spare.finish().await;
        self.report_spare(finished);
        if bytes > self.segment_bytes
            && let Some((number, file)) = self.spare.take()
        {
            drop(file);
            self.files.delete(number).await?;
            self.next_segment = number;
        }
        if !self.spare.is_made() {
            self.spare.begin(self.next_segment, bytes, Pace::AtOnce);
            self.spare.finish().await?;
            self.next_segment += 1;
        }
        let (number, file) = self.spare.take().expect("a segment was made");
        self.writer.open(number, bytes);
        self.file = Some(file);
        self.count_segments();
        Ok(())
    }

    /// Makes the next segment beside the commits, from the middle of the open one on.
    fn prepare_segment(&mut self) {
        let is_wanted = self.file.is_some() && self.writer.position() > self.segment_bytes / 2;
        self.spare_turns_left = self.spare_turns_left.saturating_sub(1);
        if is_wanted && self.spare.is_missing() && self.spare_turns_left == 0 {
            self.spare.begin(self.next_segment, self.segment_bytes, self.spare.beside());
        }
        // When it is made its name is synced right here, on this thread.
        if !self.spare.is_missing() && !self.spare.is_made() {
            self.announce();
        }
        let advanced = self.spare.advance();
        self.report_spare(advanced);
    }

    /// Counts a segment that was made ahead, or says why there is none.
    fn report_spare(&mut self, made: std::io::Result<bool>) {
        match made {
            Ok(true) => {
                self.next_segment += 1;
                self.is_spare_failing = false;
            }
            Ok(false) => {}
            Err(error) => {
                self.spare_turns_left = SPARE_RETRY_TURNS;
                if !std::mem::replace(&mut self.is_spare_failing, true) {
                    tracing::error!(%error, "the next segment of the journal cannot be made ahead");
                }
            }
        }
    }

    /// Deletes the oldest segment if everything in it is in the store.
    async fn trim(&mut self) {
        let needed = {
            let mut spans = self.shared.spans();
            let checkpoint = self.shared.checkpoint();
            while spans.len() > 1
                && spans[0].last_batch <= checkpoint
                && spans[0].segment != self.writer.segment()
            {
                spans.pop_front();
            }
            // Without a span, the next header still names the end in the last synced segment.
            let last = self.writer.synced().segment.max(1);
            spans.front().map_or(last, |span| span.segment).min(last)
        };
        if self.lowest_segment >= needed {
            return;
        }
        self.announce();
        // One name at a time: after a power cut no hole is left between the segments.
        let number = self.lowest_segment;
        let deleted = match self.files.delete(number).await {
            Ok(()) => self.files.sync_directory().await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => {
                self.lowest_segment += 1;
                self.count_segments();
                self.shared.journal_wake.notify_one();
            }
            Err(error) => {
                tracing::warn!(%error, number, "a segment of the journal cannot be deleted");
            }
        }
    }

    fn count_segments(&self) {
        let count = (self.writer.segment() + 1).saturating_sub(self.lowest_segment);
        self.shared.counters.segments.set(count);
    }

    /// Logs a failure, once until the journal is available again.
    fn report(&mut self, what: &str, error: &std::io::Error) {
        if !self.is_failing {
            tracing::error!(%error, "{what}");
        }
        self.is_failing = true;
    }
}
