//! A journal, and a follower of any store, without threads and turned by hand: for tests and the
//! simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::appender::Appender;
use super::board::Board;
use super::follower::{Follower, FollowerParts};
use super::journal::Journal;
use super::open::{Prepare, Recovered, prepare, sequences_of};
use super::reader::{AskedStore, Questions, StoreReader};
use super::replaying::{ReadError, ReadJournal, read_journal};
use super::shared::{Clock, Shared};
use crate::files::{Files, SegmentSource};
use crate::limits::{NAMESPACES_WAITING_MAX, SHUTDOWN_STORE_TIME_DEFAULT};
use crate::store::{Store, StorePosition};

/// A journal that is turned by hand.
pub struct OpenedJournal<F: Files> {
    /// Its writing side; [`Journal::turn`] does what there is to do.
    pub journal: Journal<F>,
    /// The way into it.
    pub appender: Appender,
    /// How far it is.
    pub board: Arc<Board>,
    /// What was found.
    pub found: ReadJournal,
    shared: Arc<Shared>,
    salt: u64,
}

/// A journal with a store behind it, in the parts that are turned by hand.
pub struct JournalParts<F: Files, S: Store, R: SegmentSource> {
    /// Its writing side; [`Journal::turn`] does what there is to do.
    pub journal: Journal<F>,
    /// The way into it.
    pub appender: Appender,
    /// How far it is.
    pub board: Arc<Board>,
    /// What was found, for those who replay it.
    pub recovered: Recovered,
    /// Follows it into the store.
    pub follower: SteppedFollower<S, R>,
    /// Asks the store.
    pub reader: StoreReader,
    /// What the store was asked.
    pub questions: SteppedQuestions,
}

/// Follows the journal into a store, one step at a time.
pub struct SteppedFollower<S: Store, R: SegmentSource>(Follower<S, R>);

impl<S: Store, R: SegmentSource> SteppedFollower<S, R> {
    /// Puts the next entries into the store. `false`: nothing waits.
    ///
    /// # Errors
    ///
    /// What the store or the disk says; the next turn tries again.
    pub async fn turn(&mut self) -> Result<bool, String> {
        self.0.attempt().await
    }
}

/// What a store was asked, taken one by one.
pub struct SteppedQuestions(Questions);

impl SteppedQuestions {
    /// The next question, if one waits.
    pub fn take(&mut self) -> Option<AskedStore> {
        self.0.next()
    }
}

/// What a journal is opened with.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Part of every checksum.
    pub salt: u64,
    /// Partitions of the router.
    pub partitions_count: u16,
    /// Size of one segment, in bytes.
    pub segment_bytes: u64,
    /// Entries that may wait for a turn.
    pub appends_waiting_max: usize,
    /// Bytes of entries that may wait for the store.
    pub unstored_bytes_max: u64,
    /// The last batch in the store.
    pub checkpoint: u64,
    /// The last sequence of each partition in the store.
    pub sequences: BTreeMap<u16, u64>,
}

/// Why a journal was not opened.
#[derive(Debug)]
pub enum OpenJournalError {
    /// It cannot be read.
    Read(ReadError),
    /// It cannot be written.
    Write(io::Error),
}

/// Replays a journal and opens it for appends.
///
/// # Errors
///
/// It cannot be read or written.
pub async fn open_journal<F: Files + SegmentSource + Clone>(
    files: &F,
    options: JournalOptions,
) -> Result<OpenedJournal<F>, OpenJournalError> {
    let stored = options.sequences.clone();
    let read = read_journal(files, options.salt, options.checkpoint, options.sequences);
    let found = read.map_err(OpenJournalError::Read)?;
    let shared = Arc::new(Shared::new(
        Board::new(options.partitions_count),
        options.appends_waiting_max,
        options.unstored_bytes_max,
    ));
    let (start, unproven) = prepare(
        &shared,
        &found,
        &Prepare {
            salt: options.salt,
            partitions_count: options.partitions_count,
            segment_bytes: options.segment_bytes,
            checkpoint: options.checkpoint,
            stored: &stored,
        },
    );
    let mut journal = Journal::new(files.clone(), shared.clone(), start, unproven);
    journal.begin().await.map_err(OpenJournalError::Write)?;
    shared.board.set_available(true);
    Ok(OpenedJournal {
        journal,
        appender: Appender::new(shared.clone()),
        board: shared.board.clone(),
        found,
        shared,
        salt: options.salt,
    })
}

impl<F: Files> OpenedJournal<F> {
    /// Goes on with a store behind it, which is at `position`.
    pub fn with_store<S: Store, R: SegmentSource>(
        self,
        store: S,
        position: StorePosition,
        source: R,
        clock: Clock,
    ) -> JournalParts<F, S, R> {
        let (_, changes) = mpsc::channel(NAMESPACES_WAITING_MAX);
        let follower = Follower::new(FollowerParts {
            store,
            position,
            source,
            shared: self.shared.clone(),
            namespaces: Arc::default(),
            changes,
            clock,
            salt: self.salt,
            shutdown_time: SHUTDOWN_STORE_TIME_DEFAULT,
        });
        let (reader, questions) = StoreReader::new(self.shared.counters.clone());
        let replayed = self.found.replayed;
        let sequences = sequences_of(&replayed.sequences, self.board.partitions_count());
        JournalParts {
            journal: self.journal,
            appender: self.appender,
            board: self.board,
            recovered: Recovered { sequences, entries: replayed.entries, torn: self.found.torn },
            follower: SteppedFollower(follower),
            reader,
            questions: SteppedQuestions(questions),
        }
    }

    /// Everything up to a batch is in the store, which took so many bytes of entries.
    pub fn stored(&self, batch: u64, bytes: u64) {
        self.shared.set_checkpoint(batch);
        self.shared.release(bytes);
    }

    /// From now on nothing is appended; turns go on until [`Turn::Done`](super::journal::Turn).
    pub fn close(&self) {
        self.shared.close();
    }

    /// Bytes of entries that were appended and are not in the store.
    pub fn unstored_bytes(&self) -> u64 {
        self.shared.unstored_bytes()
    }

    /// The last synced batch of each segment that is there.
    pub fn last_batches(&self) -> Vec<(u64, u64)> {
        self.shared.spans().iter().map(|span| (span.segment, span.last_batch)).collect()
    }
}
