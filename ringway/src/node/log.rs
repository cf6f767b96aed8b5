//! How the partitions of one shard reach their log and the store behind it.
//!
//! [`PartitionLog`] is the seam: the persistence tier stands behind it in a node, a simulated disk
//! in the simulation. Nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use crossbeam_queue::SegQueue;
use persistence::store::StoreError;
use persistence::{Appender, Board, Recovered, StoreReader};
use protocol::ids::PartitionId;
use protocol::link::{LogEntry, LogLevel, LogProgress, StoreAnswer, StoreQuestion};
use protocol::time::Now;
use router::engine::{Partition, StoreUnavailable};
use shard::lanes::Bell;

/// The log had no room. Nothing behind the entry may be appended before its partition knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What the log or the store says to a partition.
#[derive(Debug)]
pub enum LogEvent {
    /// It is further than before.
    Progress(PartitionId, LogProgress),
    /// Everything that was not synced is gone.
    Failed {
        /// For which partition.
        partition: PartitionId,
        /// Does it take entries already?
        is_available: bool,
    },
    /// It takes entries again.
    Available(PartitionId),
    /// The store answered.
    Answered {
        /// Which partition asked.
        partition: PartitionId,
        /// The number of the question.
        read: u64,
        /// What it says.
        answer: Result<StoreAnswer, StoreUnavailable>,
    },
}

/// The log of the partitions that one shard hosts. Whatever it has to say is announced by the
/// shard's bell.
pub trait PartitionLog: fmt::Debug {
    /// Hands over an entry. It is synced in the order of its sequence, or fails with everything
    /// behind it. Where nobody awaits the store, it may take its time.
    ///
    /// # Errors
    ///
    /// There is no room.
    fn append(&mut self, entry: LogEntry, awaits: LogLevel) -> Result<(), Full>;

    /// Asks the store; the answer comes as an event, once.
    fn ask(
        &mut self,
        partition: PartitionId,
        read: u64,
        channel: Arc<str>,
        question: StoreQuestion,
    );

    /// What happened, until `None`.
    fn next_event(&mut self) -> Option<LogEvent>;

    /// Is there something that [`PartitionLog::next_event`] would say?
    fn has_events(&self) -> bool;
}

/// What the partitions of a node need of the persistence tier, for [`NodeLog::new`].
#[derive(Debug)]
pub struct LogSource {
    appender: Appender,
    board: Arc<Board>,
    reader: StoreReader,
    /// Of every partition, by its number: where its log was when it was opened.
    progress: Vec<LogProgress>,
    /// Entries that the store does not have, until their partition takes them.
    entries: Mutex<HashMap<PartitionId, Vec<LogEntry>>>,
}

impl LogSource {
    /// Takes what was opened, but for what keeps it open.
    pub fn new(
        appender: Appender,
        board: Arc<Board>,
        reader: StoreReader,
        recovered: Recovered,
    ) -> Self {
        let mut entries: HashMap<PartitionId, Vec<LogEntry>> = HashMap::new();
        for entry in recovered.entries {
            entries.entry(entry.partition).or_default().push(entry);
        }
        let progress = recovered.sequences.iter().enumerate().map(|(id, &synced)| {
            let unstored = entries.get(&PartitionId(id as u16)).map_or(0, Vec::len);
            LogProgress { synced, stored: synced - unstored as u64 }
        });
        let progress = progress.collect();
        Self { appender, board, reader, progress, entries: Mutex::new(entries) }
    }

    /// Where the log of a partition was when it was opened.
    pub fn progress(&self, partition: PartitionId) -> LogProgress {
        self.progress.get(usize::from(partition.0)).copied().unwrap_or_default()
    }

    /// A partition with what its log has and the store does not; once.
    pub fn replayed(&self, mut partition: Partition, now: Now) -> Partition {
        let id = partition.id();
        self.take_entries(id).into_iter().for_each(|entry| partition.replay(entry, now));
        partition.log_progress(self.progress(id), now);
        partition
    }

    fn take_entries(&self, partition: PartitionId) -> Vec<LogEntry> {
        let mut entries = self.entries.lock().expect("no holder panics");
        entries.remove(&partition).unwrap_or_default()
    }
}

/// One shard's side of the persistence tier.
pub struct NodeLog {
    source: Arc<LogSource>,
    bell: Bell,
    /// Partitions that are hosted here, and what they were told last.
    told: Vec<(PartitionId, LogProgress)>,
    /// The term under which entries are appended.
    term: u64,
    was_available: bool,
    generation: u64,
    events: VecDeque<LogEvent>,
    /// Bounded by the questions that the store lets wait.
    answers: Arc<SegQueue<LogEvent>>,
}

impl NodeLog {
    /// The log of the partitions that are hosted on the shard with this bell.
    pub fn new(
        source: Arc<LogSource>,
        partitions: impl Iterator<Item = PartitionId>,
        bell: Bell,
    ) -> Self {
        let told = partitions.map(|id| (id, source.progress(id))).collect();
        let board = &source.board;
        let rung = bell.clone();
        board.add_bell(Box::new(move || rung.ring()));
        let (term, was_available) = (board.term(), board.is_available());
        Self {
            bell,
            told,
            term,
            was_available,
            // Not the board's, so that the first look compares everything.
            generation: u64::MAX,
            events: VecDeque::new(),
            answers: Arc::default(),
            source,
        }
    }

    /// Looks at the board. A term that ends within the look is seen by the next one.
    fn look(&mut self) {
        let board = &self.source.board;
        self.generation = board.generation();
        let term = board.term();
        let is_available = board.is_available();
        for (partition, told) in &mut self.told {
            let progress = board.progress(*partition);
            if progress != *told {
                *told = progress;
                self.events.push_back(LogEvent::Progress(*partition, progress));
            }
        }
        let partitions = self.told.iter().map(|(partition, _)| *partition);
        if term != self.term {
            // Nothing was appended by us under the new term, so that the progress above is what
            // became of the old one.
            self.term = term;
            let failed = partitions.map(|partition| LogEvent::Failed { partition, is_available });
            self.events.extend(failed);
        } else if is_available && !self.was_available {
            self.events.extend(partitions.map(LogEvent::Available));
        }
        self.was_available = is_available;
    }
}

impl PartitionLog for NodeLog {
    fn append(&mut self, entry: LogEntry, awaits: LogLevel) -> Result<(), Full> {
        let appender = &self.source.appender;
        let appended = match awaits {
            LogLevel::Log => appender.append(self.term, &entry),
            LogLevel::Store => appender.append_awaiting_store(self.term, &entry),
        };
        appended.map_err(|persistence::Full| Full)
    }

    fn ask(
        &mut self,
        partition: PartitionId,
        read: u64,
        channel: Arc<str>,
        question: StoreQuestion,
    ) {
        let (answers, bell) = (self.answers.clone(), self.bell.clone());
        let on_answer = move |answer: Result<StoreAnswer, StoreError>| {
            let answer = answer.map_err(|_| StoreUnavailable);
            answers.push(LogEvent::Answered { partition, read, answer });
            bell.ring();
        };
        self.source.reader.ask(channel, question, Box::new(on_answer));
    }

    fn next_event(&mut self) -> Option<LogEvent> {
        if self.events.is_empty() && self.source.board.generation() != self.generation {
            self.look();
        }
        self.events.pop_front().or_else(|| self.answers.pop())
    }

    fn has_events(&self) -> bool {
        !self.events.is_empty()
            || !self.answers.is_empty()
            || self.source.board.generation() != self.generation
    }
}

impl fmt::Debug for NodeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLog").field("term", &self.term).finish_non_exhaustive()
    }
}
