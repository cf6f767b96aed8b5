//! Start and end: lock, replay, threads; drain, seal, sync.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as blocking;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use protocol::channels::Namespaces;
use protocol::ids::PartitionId;
use protocol::link::LogEntry;
use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::{mpsc, oneshot};

use super::appender::Appender;
use super::board::Board;
use super::counters::Counters;
use super::directory::{Directory, DirectoryError};
use super::follower::{Follower, FollowerParts, NamespacesChange};
use super::journal::{Journal, JournalStart};
use super::reader::{Questions, StoreReader};
use super::replaying::{ReadError, ReadJournal, TornTail, read_journal};
use super::shared::{Append, Clock, Shared, wall_clock};
use crate::engine::generations::Turn;
use crate::engine::record;
use crate::files::{Files, StartWriting, StdFiles, UringFiles};
use crate::limits::{
    APPENDS_WAITING_MAX, NAMESPACES_TIME_MAX, NAMESPACES_WAITING_MAX, PARTITIONS_MAX,
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN, SHUTDOWN_STORE_TIME_DEFAULT, STORE_NICE,
    UNSTORED_BYTES_DEFAULT,
};
use crate::store::sqlite::SqliteStore;
use crate::store::{Changed, Store as _, StoreError, StorePosition};

/// What the journal writes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalIo {
    /// `std::fs` from the journal's own thread: a commit is two calls and no wake.
    #[default]
    Standard,
    /// io_uring if the kernel lets us, `std::fs` otherwise; the log says which.
    Auto,
    /// io_uring, or no start.
    Uring,
}

/// How to open a data directory.
#[derive(Clone)]
pub struct PersistenceOptions {
    /// The data directory. It is made if it is not there.
    pub directory: PathBuf,
    /// Partitions of the router; fixed for the life of the directory.
    pub partitions_count: u16,
    /// Options of channels, for retention, and for which of them are durable.
    pub namespaces: Arc<Namespaces>,
    /// What the journal writes through.
    pub journal_io: JournalIo,
    /// Size of one segment of the journal, in bytes; so much is preallocated, twice under load.
    pub segment_bytes: u64,
    /// Bytes of entries that may wait for the store. Beyond it appends are refused; so much memory
    /// a restart takes at most, and a little more on disk.
    pub unstored_bytes_max: u64,
    /// How long a shutdown tries to store what is in the journal. What is left is stored after the
    /// next start.
    pub shutdown_store_time: Duration,
    /// Milliseconds since the Unix epoch, for ages.
    pub clock: Clock,
    /// Called once by the journal's thread, before it writes: where a program says how that thread
    /// is scheduled. Everybody waits for it, and it runs for microseconds between two waits.
    pub journal_begins: fn(),
    /// Begins to bring bytes of the journal to the disk without waiting, where it writes through
    /// `std::fs`: a hint, so nothing is lost where it does nothing.
    pub start_writing: StartWriting,
}

impl PersistenceOptions {
    /// The defaults for a directory. There is none for the options of channels: retention deletes
    /// what they do not keep.
    pub fn new(
        directory: impl Into<PathBuf>,
        partitions_count: u16,
        namespaces: Arc<Namespaces>,
    ) -> Self {
        Self {
            directory: directory.into(),
            partitions_count,
            namespaces,
            journal_io: JournalIo::default(),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            unstored_bytes_max: UNSTORED_BYTES_DEFAULT,
            shutdown_store_time: SHUTDOWN_STORE_TIME_DEFAULT,
            clock: wall_clock(),
            journal_begins: || {},
            start_writing: |_, _, _| {},
        }
    }
}

impl fmt::Debug for PersistenceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistenceOptions")
            .field("directory", &self.directory)
            .field("partitions_count", &self.partitions_count)
            .field("journal_io", &self.journal_io)
            .finish_non_exhaustive()
    }
}

/// Why a data directory was not opened. Nothing in it was changed beyond what was missing, and, if
/// everything in it could be read, which namespaces are durable.
#[derive(Debug)]
pub enum OpenError {
    /// The options contradict a limit.
    Options(&'static str),
    /// The directory cannot be used.
    Directory(DirectoryError),
    /// The database cannot be used.
    Store(StoreError),
    /// The journal cannot be read.
    Journal(ReadError),
    /// The journal cannot be written.
    Write(io::Error),
    /// A thread or its runtime did not start.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(sentence) => f.write_str(sentence),
            Self::Directory(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::Journal(error) => write!(f, "{error}"),
            Self::Write(error) => write!(
                f,
                "the journal cannot be written: {error}; free space or repair the disk, nothing \
                 was lost"
            ),
            Self::Thread(error) => write!(f, "a thread of the journal did not start: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

/// What was found in a directory.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last sequence of every partition, by its number. All of it is synced.
    pub sequences: Vec<u64>,
    /// Entries that are not in the store yet, in the order of the log.
    pub entries: Vec<LogEntry>,
    /// What was cut, if the power went during a write.
    pub torn: Option<TornTail>,
}

/// An open data directory.
#[derive(Debug)]
pub struct Opened {
    /// Keeps it open.
    pub persistence: Persistence,
    /// The way into the journal.
    pub appender: Appender,
    /// How far it is.
    pub board: Arc<Board>,
    /// Questions to the store.
    pub reader: StoreReader,
    /// What was found.
    pub recovered: Recovered,
    /// The namespaces it was opened with, with the generations of those that are durable.
    pub namespaces: Arc<Namespaces>,
}

/// The threads and the lock. Dropping it is a shutdown too.
#[derive(Debug)]
pub struct Persistence {
    shared: Arc<Shared>,
    changes: mpsc::Sender<NamespacesChange>,
    is_uring: bool,
    threads: Vec<JoinHandle<()>>,
    _directory: Directory,
}

impl Persistence {
    /// Numbers for operators.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// Bytes of entries that were appended and are not in the store.
    pub fn unstored_bytes(&self) -> u64 {
        self.shared.unstored_bytes()
    }

    /// Does the journal write through io_uring?
    pub fn is_uring(&self) -> bool {
        self.is_uring
    }

    /// From now on, retention goes by these options, and the directory knows which of them are
    /// durable: in the result, their generations. Nothing that is configured so may be served
    /// before.
    ///
    /// # Errors
    ///
    /// The store did not write it down, within [`NAMESPACES_TIME_MAX`]: what was served before must
    /// go on to be. A change that was written nevertheless is taken back with the next transaction.
    pub async fn set_namespaces(
        &self,
        namespaces: Arc<Namespaces>,
    ) -> Result<Arc<Namespaces>, StoreError> {
        let (done, mut is_done) = oneshot::channel();
        let change = NamespacesChange { namespaces, done };
        self.changes.try_send(change).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        self.shared.follower_wake.notify_one();
        self.shared.follower_hurry.notify_one();
        let answer = tokio::time::timeout(NAMESPACES_TIME_MAX, &mut is_done).await;
        let answer = answer.unwrap_or_else(|_| {
            // Either it is done by now, or the follower finds nobody to tell and undoes it.
            is_done.close();
            is_done.try_recv().map_or_else(|_| Ok(Err(StoreError::Overdue)), Ok)
        });
        answer.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes what waits, seals and syncs the journal, stores what it can within
    /// [`PersistenceOptions::shutdown_store_time`], and gives the directory back.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked said so; what was acknowledged is on disk.
            let _ = thread.join();
        }
    }
}

impl Drop for Persistence {
    fn drop(&mut self) {
        self.end();
    }
}

/// Opens a data directory: locks it, replays its journal, and starts the two threads.
///
/// # Errors
///
/// One sentence that says what is wrong and how to mend it.
pub fn open(options: PersistenceOptions) -> Result<Opened, OpenError> {
    check(&options)?;
    let directory = Directory::open(&options.directory, options.partitions_count)?;
    let salt = directory.format().salt;
    let store = StoreThread::start(&directory)?;
    let source = StdFiles::new(directory.journal());
    let position = store.position.clone();
    let read = read_journal(&source, salt, position.batch, position.sequences.clone())
        .map_err(OpenError::Journal)?;
    // Before the follower, and anybody who might publish.
    let namespaces = store.set_namespaces(options.namespaces.clone())?;
    let shared = Shared::new(
        Board::new(options.partitions_count),
        APPENDS_WAITING_MAX,
        options.unstored_bytes_max,
    );
    let shared = Arc::new(shared);
    let prepared = Prepare {
        salt,
        partitions_count: options.partitions_count,
        segment_bytes: options.segment_bytes,
        checkpoint: position.batch,
        stored: &position.sequences,
    };
    let (start, unproven) = prepare(&shared, &read, &prepared);
    let (journal, is_uring) =
        start_journal(&options, source.clone(), shared.clone(), start, unproven)?;
    let (reader, questions) = StoreReader::new(shared.counters.clone());
    let (changes, changes_seen) = mpsc::channel(NAMESPACES_WAITING_MAX);
    let (followed, clock) = (shared.clone(), options.clock.clone());
    let kept = options.namespaces.clone();
    let parts = Box::new(move |store| FollowerParts {
        store,
        position,
        source,
        shared: followed,
        namespaces: kept,
        changes: changes_seen,
        clock,
        salt,
        shutdown_time: options.shutdown_store_time,
    });
    let store = store.follow(parts, options.clock.clone(), questions).inspect_err(|_| {
        shared.close();
    })?;
    shared.board.announce();
    let sequences = sequences_of(&read.replayed.sequences, options.partitions_count);
    let recovered = Recovered { sequences, entries: read.replayed.entries, torn: read.torn };
    tracing::info!(
        directory = %options.directory.display(),
        io_uring = is_uring,
        entries = recovered.entries.len(),
        "the journal is open"
    );
    Ok(Opened {
        appender: Appender::new(shared.clone()),
        board: shared.board.clone(),
        reader,
        recovered,
        namespaces,
        persistence: Persistence {
            shared,
            changes,
            is_uring,
            threads: vec![journal, store],
            _directory: directory,
        },
    })
}

fn check(options: &PersistenceOptions) -> Result<(), OpenError> {
    if options.partitions_count == 0 || options.partitions_count > PARTITIONS_MAX {
        return Err(OpenError::Options("a journal serves 1 to 4096 partitions"));
    }
    if options.segment_bytes < SEGMENT_BYTES_MIN {
        return Err(OpenError::Options("a segment of the journal has at least 4096 bytes"));
    }
    Ok(())
}

/// What a journal is prepared with.
pub(super) struct Prepare<'a> {
    pub(super) salt: u64,
    pub(super) partitions_count: u16,
    pub(super) segment_bytes: u64,
    pub(super) checkpoint: u64,
    pub(super) stored: &'a BTreeMap<u16, u64>,
}

/// Puts on the board, and into the counts, what the replay found.
pub(super) fn prepare(
    shared: &Shared,
    read: &ReadJournal,
    with: &Prepare<'_>,
) -> (JournalStart, Vec<Append>) {
    let replayed = &read.replayed;
    for (partition, sequence) in &replayed.sequences {
        shared.board.set_synced(*partition, *sequence);
    }
    for (partition, sequence) in with.stored {
        shared.board.set_stored(*partition, *sequence);
    }
    shared.recover(replayed.entry_bytes);
    shared.set_checkpoint(with.checkpoint);
    shared.spans().extend(replayed.spans.iter().copied());
    let proven = replayed.entries.len() - replayed.unproven;
    // The others are written, and counted, again.
    shared.synced_entries.store(proven as u64, Ordering::Relaxed);
    let unproven = replayed.entries[proven..].iter().map(|entry| {
        let mut body = Vec::new();
        record::encode(entry, &mut body);
        Append {
            term: shared.board.term(),
            partition: entry.partition.0,
            sequence: entry.sequence,
            awaits_store: false,
            body_crc: crc32c::crc32c(&body),
            body,
        }
    });
    let start = JournalStart {
        salt: with.salt,
        end: replayed.end,
        segments: read.segments,
        blank: read.blank.clone(),
        sequences: sequences_of(&replayed.sequences, with.partitions_count),
        segment_bytes: with.segment_bytes,
    };
    (start, unproven.collect())
}

pub(super) fn sequences_of(found: &BTreeMap<u16, u64>, partitions_count: u16) -> Vec<u64> {
    let last = |partition| found.get(&PartitionId(partition).0).copied().unwrap_or(0);
    (0..partitions_count).map(last).collect()
}

fn start_journal(
    options: &PersistenceOptions,
    files: StdFiles,
    shared: Arc<Shared>,
    start: JournalStart,
    unproven: Vec<Append>,
) -> Result<(JoinHandle<()>, bool), OpenError> {
    let (ready, is_ready) = blocking::channel();
    let PersistenceOptions { journal_io, journal_begins, start_writing, .. } = *options;
    let body = move || {
        journal_begins();
        let uring = match journal_io {
            JournalIo::Standard => None,
            JournalIo::Auto | JournalIo::Uring => {
                match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                    Ok(runtime) => Some(runtime),
                    Err(error) if journal_io == JournalIo::Uring => {
                        let _ = ready.send(Err(OpenError::Thread(error)));
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no io_uring; the journal writes through std::fs");
                        None
                    }
                }
            }
        };
        match uring {
            Some(runtime) => {
                let journal = Journal::new(UringFiles::new(files), shared, start, unproven);
                runtime.block_on(live(journal, ready, true));
            }
            None => {
                let files = files.started_by(start_writing);
                let journal = Journal::new(files, shared, start, unproven);
                match runtime() {
                    Ok(runtime) => runtime.block_on(live(journal, ready, false)),
                    Err(error) => drop(ready.send(Err(OpenError::Thread(error)))),
                }
            }
        }
    };
    let thread =
        Builder::new().name("journal".to_owned()).spawn(body).map_err(OpenError::Thread)?;
    match is_ready.recv() {
        Ok(Ok(is_uring)) => Ok((thread, is_uring)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(OpenError::Thread(io::Error::other("the journal's thread panicked"))),
    }
}

async fn live<F: Files>(
    mut journal: Journal<F>,
    ready: blocking::Sender<Result<bool, OpenError>>,
    is_uring: bool,
) {
    match journal.begin().await {
        Ok(()) => {
            // Before any turn of the journal, which may know better.
            journal.open_for_appends();
            // If nobody listens the start has failed elsewhere, and the journal is closed.
            let _ = ready.send(Ok(is_uring));
            journal.run().await;
        }
        Err(error) => {
            let _ = ready.send(Err(OpenError::Write(error)));
        }
    }
}

/// Lets shards and journal go first where they share a core with the store: this thread, and those
/// that it starts, get a quarter of a core that is full.
fn stand_back() {
    let lowered = getpriority_process(None)
        .and_then(|nice| setpriority_process(None, (nice + STORE_NICE).min(19)));
    if let Err(error) = lowered {
        tracing::warn!(%error, "the store's thread keeps the priority of the others");
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

type MakeParts = Box<dyn FnOnce(SqliteStore) -> FollowerParts<SqliteStore, StdFiles> + Send>;
type Start = (MakeParts, Clock, Questions);

/// What the store's thread is told.
enum Step {
    Namespaces(Arc<Namespaces>, blocking::Sender<Result<Changed, StoreError>>),
    Follow(Start),
}

/// The store's thread, which opens the database first and then waits to be told what to follow. If
/// it is not told, it closes the database again.
struct StoreThread {
    thread: Option<JoinHandle<()>>,
    position: StorePosition,
    steps: Option<blocking::Sender<Step>>,
}

impl StoreThread {
    fn start(directory: &Directory) -> Result<Self, OpenError> {
        let path = directory.store();
        let (opened, is_opened) = blocking::channel();
        let (steps, steps_seen) = blocking::channel::<Step>();
        let body = move || {
            stand_back();
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(OpenError::Thread(error)))),
            };
            let mut store = match runtime.block_on(SqliteStore::open(&path)) {
                Ok(store) => store,
                Err(error) => return drop(opened.send(Err(OpenError::Store(error)))),
            };
            let _ = opened.send(Ok(store.position().clone()));
            let start = loop {
                match steps_seen.recv() {
                    Ok(Step::Namespaces(namespaces, done)) => {
                        let changed = runtime.block_on(store.set_namespaces(&namespaces));
                        let _ = done.send(changed);
                    }
                    Ok(Step::Follow(start)) => break Some(start),
                    Err(_) => break None,
                }
            };
            runtime.block_on(async move {
                let store = match start {
                    Some(start) => follow(start, store, path).await,
                    None => store,
                };
                if let Err(error) = store.close().await {
                    tracing::warn!(%error, "the store was not closed in order");
                }
            });
        };
        let thread =
            Builder::new().name("store".to_owned()).spawn(body).map_err(OpenError::Thread)?;
        let position = is_opened.recv().map_err(|_| store_is_gone())??;
        Ok(Self { thread: Some(thread), position, steps: Some(steps) })
    }

    /// Writes down which of these namespaces are durable, and logs what that changes.
    fn set_namespaces(&self, namespaces: Arc<Namespaces>) -> Result<Arc<Namespaces>, OpenError> {
        let (done, is_done) = blocking::channel();
        let steps = self.steps.as_ref().ok_or_else(store_is_gone)?;
        steps.send(Step::Namespaces(namespaces, done)).map_err(|_| store_is_gone())?;
        let changed = is_done.recv().map_err(|_| store_is_gone())?.map_err(OpenError::Store)?;
        for turn in changed.before.turns(&changed.after) {
            match turn {
                Turn::Begins(namespace) => tracing::info!(
                    namespace,
                    "its channels are durable from now on; what was stored for them before is not \
                     served"
                ),
                Turn::Ends(namespace) => tracing::warn!(
                    namespace,
                    "its channels are not durable any more; what was stored for them will not be \
                     served again"
                ),
            }
        }
        Ok(changed.namespaces)
    }

    fn follow(
        mut self,
        parts: MakeParts,
        clock: Clock,
        questions: Questions,
    ) -> Result<JoinHandle<()>, OpenError> {
        let steps = self.steps.take().ok_or_else(store_is_gone)?;
        steps.send(Step::Follow((parts, clock, questions))).map_err(|_| store_is_gone())?;
        self.thread.take().ok_or_else(store_is_gone)
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Follows and answers until the journal has ended.
async fn follow(start: Start, store: SqliteStore, path: PathBuf) -> SqliteStore {
    let (parts, clock, questions) = start;
    let (closing, is_closing) = oneshot::channel();
    let serving = tokio::spawn(questions.serve(path, clock, is_closing));
    let store = Follower::new(parts(store)).run().await;
    drop(closing);
    let _ = serving.await;
    store
}

fn store_is_gone() -> OpenError {
    OpenError::Thread(io::Error::other("the store's thread panicked"))
}
