//! Reads a journal from its files, by the rules of [`crate::engine::replay`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::engine::replay::{BadBatch, Plan, Replay, ReplayRefusal, Replayed, plan};
use crate::engine::segment::{Place, SEGMENT_HEADER_BYTES, SegmentHeader, find_proof};
use crate::files::{SegmentSource, segment_name};

/// How long a replay is silent.
const SILENCE: Duration = Duration::from_secs(1);

/// What was cut from the end of a journal: written, but not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: u64,
    /// Where it was cut, in bytes.
    pub position: u64,
    /// Bytes that were cut, up to the last one that is not zero.
    pub bytes_cut: u64,
    /// Entries behind the checkpoint that were kept.
    pub entries_kept: u64,
}

/// A journal as it was read.
#[derive(Debug, Default)]
pub struct ReadJournal {
    /// What it says.
    pub replayed: Replayed,
    /// The lowest segment, and the highest that was ever written to; zero: none.
    pub segments: (u64, u64),
    /// Segments above it, which hold nothing but zeros, highest first.
    pub blank: Vec<u64>,
    /// What is not taken into account.
    pub torn: Option<TornTail>,
}

/// Why a journal was not read. Nothing was changed.
#[derive(Debug)]
pub enum ReadError {
    /// The system refused an operation on a file.
    Io {
        /// What was tried, on what.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The journal is damaged, or of a later version.
    Refused(ReplayRefusal),
}

impl From<ReplayRefusal> for ReadError {
    fn from(refusal: ReplayRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl fmt::Display for ReplayRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::engine::record::RecordViolation;
        use crate::engine::segment::SegmentViolation;
        const REST: &str =
            "nothing was changed; restore a backup, or start with an empty directory";
        match self {
            Self::Damaged { segment, what: SegmentViolation::Version(version), .. } => write!(
                f,
                "journal/{} has format {version}, which a later version wrote; run that version",
                segment_name(*segment)
            ),
            Self::Entry { segment, position, what: RecordViolation::Version(version) } => write!(
                f,
                "journal/{} holds entries of format {version} at byte {position}, which a later \
                 version wrote; run that version",
                segment_name(*segment)
            ),
            Self::Damaged { segment, position, what } => write!(
                f,
                "journal/{} is damaged at byte {position} ({what:?}) in a part that was synced; \
                 {REST}",
                segment_name(*segment)
            ),
            Self::Entry { segment, position, what } => write!(
                f,
                "journal/{} holds bytes that are no entry in the batch at {position} ({what:?}); \
                 {REST}",
                segment_name(*segment)
            ),
            Self::Missing { segment } => {
                write!(f, "journal/{} is missing; {REST}", segment_name(*segment))
            }
            Self::Behind { batch, checkpoint } => write!(
                f,
                "the journal ends at batch {batch}, but the store has batch {checkpoint}: the end \
                 of the journal is lost; {REST}"
            ),
            Self::Hole { partition, due, found, segment } => write!(
                f,
                "journal/{} goes on with entry {found} of partition {} where {due} is due; {REST}",
                segment_name(*segment),
                partition.0
            ),
        }
    }
}

/// Reads the journal behind a checkpoint of the store.
///
/// # Errors
///
/// A file cannot be read, or the journal is damaged.
pub fn read_journal(
    source: &impl SegmentSource,
    salt: u64,
    checkpoint: u64,
    sequences: BTreeMap<u16, u64>,
) -> Result<ReadJournal, ReadError> {
    let plan = read_plan(source, salt, checkpoint)?;
    let lowest = source.numbers().map_err(|error| failed("cannot list", 0, error))?;
    let segments = (lowest.first().copied().unwrap_or(0), plan.highest);
    let mut replay = Replay::new(salt, checkpoint, sequences);
    let mut bad = None;
    let mut said = Instant::now();
    for (done, planned) in plan.chain.iter().enumerate() {
        let number = planned.header.number;
        let bytes = read(source, number, planned.end.unwrap_or(u64::MAX))?;
        bad = replay.segment(planned, &bytes)?;
        if let Some(bad) = &bad {
            let behind = bytes.get(bad.position as usize..).unwrap_or_default();
            refuse_if_proven(bad, salt, number, bad.position, behind)?;
            bad_tail(source, salt, &plan, bad)?;
        }
        if said.elapsed() > SILENCE {
            said = Instant::now();
            tracing::info!(done = done + 1, of = plan.chain.len(), "segments replayed");
        }
    }
    if plan.chain.is_empty() {
        // Nothing was ever synced, unless a batch in a segment without a header says otherwise.
        let what = crate::engine::segment::SegmentViolation::Magic;
        let none = BadBatch { segment: segments.0, position: 0, due: 1, what };
        bad_tail(source, salt, &plan, &none)?;
    }
    let replayed = replay.finish()?;
    let torn = match bad {
        Some(bad) => torn_tail(source, &plan, &bad, replayed.entries.len() as u64)?,
        None => None,
    };
    let blank = blank_segments(source, &plan)?;
    let highest = blank.last().map_or(segments.1, |lowest| lowest - 1);
    Ok(ReadJournal { replayed, segments: (segments.0, highest), blank, torn })
}

/// Segments that were made ahead and never used, highest first.
fn blank_segments(source: &impl SegmentSource, plan: &Plan) -> Result<Vec<u64>, ReadError> {
    let mut blank = Vec::new();
    for number in plan.tail.iter().rev() {
        if read(source, *number, u64::MAX)?.iter().any(|byte| *byte != 0) {
            break;
        }
        blank.push(*number);
    }
    Ok(blank)
}

fn read_plan(source: &impl SegmentSource, salt: u64, checkpoint: u64) -> Result<Plan, ReadError> {
    let numbers = source.numbers().map_err(|error| failed("cannot list", 0, error))?;
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        let bytes = read(source, number, SEGMENT_HEADER_BYTES as u64)?;
        found.push((number, SegmentHeader::decode(&bytes, number, salt)));
    }
    Ok(plan(&found, checkpoint)?)
}

/// Refuses if a segment behind the chain proves that a batch was good.
fn bad_tail(
    source: &impl SegmentSource,
    salt: u64,
    plan: &Plan,
    bad: &BadBatch,
) -> Result<(), ReadError> {
    for number in &plan.tail {
        let bytes = read(source, *number, u64::MAX)?;
        refuse_if_proven(bad, salt, *number, 0, &bytes)?;
    }
    Ok(())
}

fn refuse_if_proven(
    bad: &BadBatch,
    salt: u64,
    segment: u64,
    position: u64,
    bytes: &[u8],
) -> Result<(), ReadError> {
    let place = Place { salt, segment, position };
    match find_proof(bytes, place, bad.due) {
        Some(proof) => {
            tracing::error!(segment, position = proof, due = bad.due, "a later batch is whole");
            Err(bad.damaged().into())
        }
        None => Ok(()),
    }
}

/// What is cut, if it is more than the zeros behind every journal.
fn torn_tail(
    source: &impl SegmentSource,
    plan: &Plan,
    bad: &BadBatch,
    entries_kept: u64,
) -> Result<Option<TornTail>, ReadError> {
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let number = bad.segment;
    let rest = source
        .read(number, bad.position, u64::MAX)
        .map_err(|error| failed("cannot read", number, error))?;
    let mut bytes_cut = used(&rest) as u64;
    for number in &plan.tail {
        bytes_cut += used(&read(source, *number, u64::MAX)?) as u64;
    }
    if bytes_cut == 0 {
        return Ok(None);
    }
    let torn = TornTail { segment: bad.segment, position: bad.position, bytes_cut, entries_kept };
    tracing::warn!(
        segment = torn.segment,
        position = torn.position,
        bytes_cut,
        entries_kept,
        "the journal ends in a write that was never synced; it is left out"
    );
    Ok(Some(torn))
}

fn read(source: &impl SegmentSource, number: u64, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    source.read(number, 0, bytes_max).map_err(|error| failed("cannot read", number, error))
}

fn failed(what: &str, number: u64, error: io::Error) -> ReadError {
    let name = if number == 0 { String::new() } else { segment_name(number) };
    ReadError::Io { what: format!("{what} journal/{name}"), error }
}
