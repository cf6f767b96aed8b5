//! What a journal says when it is read again.
//!
//! Owns: the decision between a torn tail, which is cut, and damage, which is refused.
//!
//! ```text
//! headers of all segments ──► plan: the chain of segments, and where each one ends
//! bytes of each segment   ──► Replay::segment: entries, or the first bad batch of the last one
//! bytes behind a bad batch ─► segment::find_proof: was it once good? then it is damage
//! ```
//!
//! A bad batch is a torn tail only if nothing proves that it was ever synced: no later batch that
//! says so, and no checkpoint of the store at or behind it. Entries that are valid but not proven
//! are kept, but *written again*: another process may have died with them in the page cache. The
//! header of the segment that repeats them makes their old place void, so it is written last.

use std::collections::BTreeMap;

use protocol::ids::PartitionId;
use protocol::link::LogEntry;

use super::record::{self, RecordViolation};
use super::segment::{
    BATCH_NUMBERS_SKIPPED, Batch, Place, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentViolation,
};
use super::writer::JournalEnd;

/// Why a journal is not replayed. Nothing is changed on disk and nothing is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayRefusal {
    /// Bytes that were synced are not what was written.
    Damaged {
        /// The segment.
        segment: u64,
        /// Where in it, in bytes.
        position: u64,
        /// What is wrong there.
        what: SegmentViolation,
    },
    /// A batch whose checksums are right holds something that is no entry.
    Entry {
        /// The segment.
        segment: u64,
        /// Where its batch begins, in bytes.
        position: u64,
        /// What is wrong.
        what: RecordViolation,
    },
    /// A segment is not there, though earlier or later ones are.
    Missing {
        /// Its number.
        segment: u64,
    },
    /// The store has more than the journal: the journal's end is lost.
    Behind {
        /// The last batch of the journal.
        batch: u64,
        /// The last batch in the store.
        checkpoint: u64,
    },
    /// Entries of a partition are missing.
    Hole {
        /// The partition.
        partition: PartitionId,
        /// The sequence that was due.
        due: u64,
        /// The one that is there.
        found: u64,
        /// In this segment.
        segment: u64,
    },
}

/// One segment as it is found: its number, and what its first bytes are.
pub type FoundSegment = (u64, Result<SegmentHeader, SegmentViolation>);

/// One segment to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    /// Its header.
    pub header: SegmentHeader,
    /// Where it ends, if a later segment says so.
    pub end: Option<u64>,
}

/// What to read, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Segments with entries.
    pub chain: Vec<PlannedSegment>,
    /// Segments behind them, whose headers are not valid.
    pub tail: Vec<u64>,
    /// The highest number in use.
    pub highest: u64,
}

/// Finds the segments that count, from the headers of all, in ascending order.
///
/// # Errors
///
/// A later format, a segment of another journal, or one that is missing.
pub fn plan(found: &[FoundSegment], checkpoint: u64) -> Result<Plan, ReplayRefusal> {
    for (number, header) in found {
        // A header whose checksum is right is no torn write, whatever else is wrong with it.
        if let Err(what @ (SegmentViolation::Version(_) | SegmentViolation::Foreign)) = *header {
            return Err(ReplayRefusal::Damaged { segment: *number, position: 0, what });
        }
    }
    for pair in found.windows(2) {
        if pair[1].0 != pair[0].0 + 1 {
            return Err(ReplayRefusal::Missing { segment: pair[0].0 + 1 });
        }
    }
    let mut plan = Plan { highest: found.last().map_or(0, |last| last.0), ..Plan::default() };
    let lowest = found.first().map_or(0, |first| first.0);
    let last_valid = found.iter().rposition(|(_, header)| header.is_ok());
    let tail = last_valid.map_or(0, |at| at + 1);
    plan.tail.extend(found[tail..].iter().map(|(number, _)| *number));
    let mut due = last_valid.map(|at| (found[at].0, None));
    while let Some((number, end)) = due {
        let at = (number - lowest) as usize;
        let header = match found[at].1 {
            Ok(header) => header,
            Err(what) => {
                return Err(ReplayRefusal::Damaged { segment: number, position: 0, what });
            }
        };
        plan.chain.push(PlannedSegment { header, end });
        let has_previous = header.previous >= lowest && header.previous < number;
        due = has_previous.then_some((header.previous, Some(header.previous_end)));
    }
    plan.chain.reverse();
    // What was trimmed is in the store: the first batch that is left must follow the checkpoint. A
    // first segment without a predecessor begins the journal, whatever its numbers are.
    if let Some(first) = plan.chain.first().map(|first| first.header)
        && first.previous != 0
        && end_before(&first).batch > checkpoint
    {
        return Err(ReplayRefusal::Missing { segment: first.previous });
    }
    if plan.chain.is_empty() && checkpoint > 0 {
        return Err(ReplayRefusal::Behind { batch: 0, checkpoint });
    }
    Ok(plan)
}

/// Where the journal ended when a segment was opened.
fn end_before(header: &SegmentHeader) -> JournalEnd {
    JournalEnd {
        segment: header.previous,
        end: header.previous_end,
        batch: header.first_batch.saturating_sub(1 + BATCH_NUMBERS_SKIPPED),
    }
}

/// Which batches a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// The segment.
    pub segment: u64,
    /// Its first batch.
    pub first_batch: u64,
    /// Its last synced batch; below `first_batch`: none.
    pub last_batch: u64,
    /// Where that ends, in bytes.
    pub end: u64,
}

/// The first batch that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBatch {
    /// The segment.
    pub segment: u64,
    /// Where it begins.
    pub position: u64,
    /// The number that was due.
    pub due: u64,
    /// What is wrong.
    pub what: SegmentViolation,
}

impl BadBatch {
    /// The refusal, once it is known that the batch was good.
    pub fn damaged(&self) -> ReplayRefusal {
        let Self { segment, position, what, .. } = *self;
        ReplayRefusal::Damaged { segment, position, what }
    }
}

struct Unproven {
    end: JournalEnd,
    entries: usize,
}

/// Reads segments in order.
pub struct Replay {
    salt: u64,
    checkpoint: u64,
    sequences: BTreeMap<u16, u64>,
    entries: Vec<LogEntry>,
    entry_bytes: u64,
    proven: JournalEnd,
    last: JournalEnd,
    unproven: Vec<Unproven>,
    spans: Vec<SegmentSpan>,
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The last sequence of each partition.
    pub sequences: BTreeMap<u16, u64>,
    /// Entries behind the checkpoint, in the order of the log.
    pub entries: Vec<LogEntry>,
    /// Their bytes in the journal.
    pub entry_bytes: u64,
    /// Where the part ends that is proven to be synced.
    pub end: JournalEnd,
    /// Where all of it ends.
    pub last: JournalEnd,
    /// How many of `entries`, at their end, stand behind `end` and must be written again.
    pub unproven: usize,
    /// Segments and what they hold, up to `end`.
    pub spans: Vec<SegmentSpan>,
}

impl Replay {
    /// A replay behind a checkpoint of the store, which has these sequences of the partitions.
    pub fn new(salt: u64, checkpoint: u64, sequences: BTreeMap<u16, u64>) -> Self {
        Self {
            salt,
            checkpoint,
            sequences,
            entries: Vec::new(),
            entry_bytes: 0,
            proven: JournalEnd::default(),
            last: JournalEnd::default(),
            unproven: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Reads one segment of the plan.
    ///
    /// Returns the first bad batch of a segment whose end nobody named; what is behind its position
    /// decides whether that is a torn tail.
    ///
    /// # Errors
    ///
    /// Damage before the end that is named, or at or before the checkpoint.
    pub fn segment(
        &mut self,
        planned: &PlannedSegment,
        bytes: &[u8],
    ) -> Result<Option<BadBatch>, ReplayRefusal> {
        let header = planned.header;
        let end = planned.end.unwrap_or(bytes.len() as u64);
        let mut position = SEGMENT_HEADER_BYTES as u64;
        let mut due = header.first_batch;
        if self.spans.is_empty() {
            self.proven = end_before(&header);
            self.last = self.proven;
        }
        self.prove(header.first_batch.saturating_sub(1));
        self.spans.push(SegmentSpan {
            segment: header.number,
            first_batch: due,
            last_batch: due.saturating_sub(1),
            end: position,
        });
        while position < end {
            let place = Place { salt: self.salt, segment: header.number, position };
            // A file that is shorter than its end gives no bytes, which is a batch that is short.
            let rest = bytes.get(position as usize..end.min(bytes.len() as u64) as usize);
            let batch = match Batch::read(rest.unwrap_or_default(), place, due) {
                Ok(batch) => batch,
                Err(what) => {
                    let bad = BadBatch { segment: header.number, position, due, what };
                    let is_known = planned.end.is_some() || due <= self.checkpoint;
                    return if is_known { Err(bad.damaged()) } else { Ok(Some(bad)) };
                }
            };
            self.batch(&batch, place)?;
            position += batch.header.total_bytes();
            due += 1;
        }
        if planned.end.is_some() {
            self.prove(due - 1);
        }
        Ok(None)
    }

    fn batch(&mut self, batch: &Batch<'_>, place: Place) -> Result<(), ReplayRefusal> {
        let number = batch.header.number;
        self.prove(batch.header.synced);
        let mut entries = 0;
        if number > self.checkpoint {
            for body in batch.entries() {
                self.entry(body, place)?;
                entries += 1;
            }
        }
        let end = place.position + batch.header.total_bytes();
        self.last = JournalEnd { segment: place.segment, end, batch: number };
        self.unproven.push(Unproven { end: self.last, entries });
        self.prove(self.checkpoint);
        Ok(())
    }

    fn entry(&mut self, body: &[u8], place: Place) -> Result<(), ReplayRefusal> {
        let entry = record::decode(body).map_err(|what| ReplayRefusal::Entry {
            segment: place.segment,
            position: place.position,
            what,
        })?;
        let last = self.sequences.entry(entry.partition.0).or_default();
        if entry.sequence != *last + 1 {
            return Err(ReplayRefusal::Hole {
                partition: entry.partition,
                due: *last + 1,
                found: entry.sequence,
                segment: place.segment,
            });
        }
        *last = entry.sequence;
        self.entry_bytes += body.len() as u64;
        self.entries.push(entry);
        Ok(())
    }

    /// Batches up to `batch` are known to be synced.
    fn prove(&mut self, batch: u64) {
        let count = self.unproven.iter().take_while(|one| one.end.batch <= batch).count();
        for one in self.unproven.drain(..count) {
            self.proven = one.end;
            let mut spans = self.spans.iter_mut().rev();
            if let Some(span) = spans.find(|span| span.segment == one.end.segment) {
                span.last_batch = one.end.batch;
                span.end = one.end.end;
            }
        }
    }

    /// Ends the replay.
    ///
    /// # Errors
    ///
    /// The store is ahead of the journal.
    pub fn finish(mut self) -> Result<Replayed, ReplayRefusal> {
        if self.last.batch < self.checkpoint {
            let batch = self.last.batch;
            return Err(ReplayRefusal::Behind { batch, checkpoint: self.checkpoint });
        }
        self.spans.retain(|span| span.last_batch >= span.first_batch);
        Ok(Replayed {
            sequences: self.sequences,
            entries: self.entries,
            entry_bytes: self.entry_bytes,
            end: self.proven,
            last: self.last,
            unproven: self.unproven.iter().map(|one| one.entries).sum(),
            spans: self.spans,
        })
    }
}
