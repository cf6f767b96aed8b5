//! The persistence tier of the world: the real journal, follower and board, turned by hand over a
//! simulated disk and a simulated store.
//!
//! ```text
//!  partitions ── PlantedLog ── NodeLog ── Appender ─► journal ─► SlowDisk ─► follower ─► SimStore
//!                    └── tap: what was appended ──► ledger: what is synced, what is stored
//! ```
//!
//! A node that ends takes everything with it but the disk and the rows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use persistence::files::simulated::{Faults as DiskFaults, SimulatedDisk};
use persistence::limits::{REOPEN_PAUSE, STORE_RETRY_PAUSE_MIN};
use persistence::store::StoreError;
use persistence::{
    AskedStore, Board, Journal, JournalOptions, SteppedFollower, SteppedQuestions, Turn,
    open_journal,
};
use protocol::ids::PartitionId;
use protocol::link::{LogEntry, LogLevel, StoreAnswer, StoreQuestion};
use protocol::time::Moment;
use ringway::node::log::{Full, LogEvent, LogSource, NodeLog, PartitionLog};

use crate::clock::SimClock;
use crate::ledger::Ledger;
use crate::plants::{Early, Plant};
use crate::random::Random;
use crate::sim_store::{SharedRows, SimStore};
use crate::slow_disk::{Gate, SlowDisk};

/// Something that goes on, a step at a time.
type Running<T> = Pin<Box<dyn Future<Output = T>>>;
type Follower = SteppedFollower<SimStore, SlowDisk>;

/// A machine that rests, or is in the middle of a turn.
enum Machine<M, T> {
    Resting(M),
    Turning(Running<(M, T)>),
    /// Only within a step.
    Moving,
}

impl<M: 'static, T: 'static> Machine<M, T> {
    /// Goes on with the turn, or begins one; the result if that ended it.
    fn step<F>(&mut self, begin: impl FnOnce(M) -> F) -> Option<T>
    where
        F: Future<Output = (M, T)> + 'static,
    {
        let mut turn: Running<(M, T)> = match std::mem::replace(self, Self::Moving) {
            Self::Resting(machine) => Box::pin(begin(machine)),
            Self::Turning(turn) => turn,
            Self::Moving => unreachable!("a step ends before the next one"),
        };
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                *self = Self::Turning(turn);
                None
            }
            Poll::Ready((machine, result)) => {
                *self = Self::Resting(machine);
                Some(result)
            }
        }
    }

    fn due(&self, gate: &Gate, rests_until: Option<Moment>) -> Option<Moment> {
        match self {
            Self::Turning(_) => Some(gate.due()),
            _ => rests_until,
        }
    }
}

/// What the partitions did to their log.
#[derive(Debug, Default)]
pub struct Tap {
    appended: RefCell<BTreeMap<(PartitionId, u64), LogEntry>>,
    has_news: Cell<bool>,
    refused: Cell<u64>,
}

/// The log of one shard's partitions, watched, with a fault if one is planted.
#[derive(Debug)]
pub struct PlantedLog {
    inner: NodeLog,
    tap: Rc<Tap>,
    early: Option<Early>,
}

impl PlantedLog {
    /// `inner`; what is `early` is told before it is synced.
    pub fn new(inner: NodeLog, tap: Rc<Tap>, early: Option<Early>) -> Self {
        Self { inner, tap, early }
    }
}

impl PartitionLog for PlantedLog {
    fn append(&mut self, entry: LogEntry, awaits: LogLevel) -> Result<(), Full> {
        self.tap.has_news.set(true);
        if let Some(early) = &self.early {
            early.appended(&entry);
        }
        let appended = self.inner.append(entry.clone(), awaits);
        match appended {
            Ok(()) => {
                let key = (entry.partition, entry.sequence);
                self.tap.appended.borrow_mut().insert(key, entry);
            }
            Err(_) => self.tap.refused.set(self.tap.refused.get() + 1),
        }
        appended
    }

    fn ask(
        &mut self,
        partition: PartitionId,
        read: u64,
        channel: Arc<str>,
        question: StoreQuestion,
    ) {
        self.tap.has_news.set(true);
        self.inner.ask(partition, read, channel, question);
    }

    fn next_event(&mut self) -> Option<LogEvent> {
        self.inner.next_event()
    }

    fn has_events(&self) -> bool {
        self.inner.has_events()
    }
}

/// A question on its way through the store.
struct Asked {
    asked: AskedStore,
    answered_at: Moment,
    /// What the store said when it was asked, if it looks then.
    answer: Option<Result<StoreAnswer, StoreError>>,
}

/// How bad disk and store are in one world.
#[derive(Clone, Copy, Debug)]
struct Weather {
    disk_delay_max: Duration,
    disk_faults: DiskFaults,
    store_delay_max: Duration,
    store_fails_percent: u64,
}

/// Sizes of the journal of one world.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    salt: u64,
    partitions_count: u16,
    segment_bytes: u64,
    appends_waiting_max: usize,
    unstored_bytes_max: u64,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The kernel keeps what was written.
    Kill,
    /// Only what was synced is kept, and some of the rest.
    PowerCut,
}

/// The persistence tier of one node, and what outlives it.
pub struct SimLog {
    /// For the partitions of the node.
    pub source: Arc<LogSource>,
    /// What they append.
    pub tap: Rc<Tap>,
    clock: SimClock,
    random: Random,
    sizes: Sizes,
    weather: Weather,
    is_ahead: bool,
    disk: SlowDisk,
    store_gate: Gate,
    rows: SharedRows,
    board: Arc<Board>,
    journal: Machine<Journal<SlowDisk>, Turn>,
    journal_rests_until: Option<Moment>,
    follower: Machine<Follower, Result<bool, String>>,
    follower_rests_until: Option<Moment>,
    questions: SteppedQuestions,
    asked: Vec<Asked>,
    /// What the ledger knows to be synced, by partition.
    synced: Vec<u64>,
    term: u64,
}

struct Node {
    source: Arc<LogSource>,
    board: Arc<Board>,
    journal: Journal<SlowDisk>,
    follower: Follower,
    questions: SteppedQuestions,
    entries: Vec<LogEntry>,
    is_torn: bool,
}

/// Opens what the disk has. It is not refused: nothing was damaged in what was synced.
fn open(disk: &SlowDisk, store: SimStore, rows: &SharedRows, sizes: Sizes) -> Result<Node, String> {
    let position = rows.lock().position.clone();
    let options = JournalOptions {
        salt: sizes.salt,
        partitions_count: sizes.partitions_count,
        segment_bytes: sizes.segment_bytes,
        appends_waiting_max: sizes.appends_waiting_max,
        unstored_bytes_max: sizes.unstored_bytes_max,
        checkpoint: position.batch,
        sequences: position.sequences.clone(),
    };
    let opening = std::pin::pin!(open_journal(disk, options));
    let Poll::Ready(opened) = opening.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("nothing waits at an open gate");
    };
    let opened = opened.map_err(|error| {
        let segments = persistence::files::SegmentSource::numbers(&disk.disk);
        let checkpoint = rows.lock().position.batch;
        format!("segments {segments:?} behind batch {checkpoint} are refused: {error:?}")
    })?;
    let parts = opened.with_store(store, position, disk.clone(), Arc::new(|| 0));
    let (entries, is_torn) = (parts.recovered.entries.clone(), parts.recovered.torn.is_some());
    let board = parts.board.clone();
    let source = LogSource::new(parts.appender, parts.board, parts.reader, parts.recovered);
    Ok(Node {
        source: Arc::new(source),
        board,
        journal: parts.journal,
        follower: parts.follower,
        questions: parts.questions,
        entries,
        is_torn,
    })
}

impl SimLog {
    /// An empty disk and an empty store.
    pub fn new(
        partitions_count: u16,
        plant: Option<Plant>,
        clock: SimClock,
        mut random: Random,
    ) -> Self {
        let sizes = Sizes {
            salt: random.bits(),
            partitions_count,
            segment_bytes: *random.pick(&[4 << 10, 16 << 10, 64 << 10]),
            appends_waiting_max: *random.pick(&[3, 12, 1000]),
            unstored_bytes_max: *random.pick(&[2 << 10, 30 << 10, 4 << 20]),
        };
        let is_bad = random.chance(1, 2);
        let disk_faults = DiskFaults {
            write_errors_per_mille: if is_bad { *random.pick(&[0, 10]) } else { 0 },
            short_writes_per_mille: if is_bad { *random.pick(&[0, 10]) } else { 0 },
            sync_errors_per_mille: if is_bad { *random.pick(&[2, 20]) } else { 0 },
            ..DiskFaults::default()
        };
        let weather = Weather {
            disk_delay_max: Duration::from_millis(*random.pick(&[0, 3, 20, 80])),
            disk_faults,
            store_delay_max: Duration::from_millis(*random.pick(&[1, 50, 700])),
            store_fails_percent: *random.pick(&[0, 5, 30]),
        };
        let disk = SimulatedDisk::new(random.bits(), DiskFaults::default());
        let disk = SlowDisk { disk, gate: Gate::new(random.fork()) };
        let (store_gate, rows) = (Gate::new(random.fork()), SharedRows::default());
        let is_ahead = plant == Some(Plant::CheckpointAhead);
        let store = SimStore::new(rows.clone(), store_gate.clone(), is_ahead);
        let node = open(&disk, store, &rows, sizes).expect("an empty disk is opened");
        let log = Self {
            source: node.source,
            tap: Rc::default(),
            clock,
            random,
            sizes,
            weather,
            is_ahead,
            disk,
            store_gate,
            rows,
            term: node.board.term(),
            board: node.board,
            journal: Machine::Resting(node.journal),
            journal_rests_until: None,
            follower: Machine::Resting(node.follower),
            follower_rests_until: None,
            questions: node.questions,
            asked: Vec::new(),
            synced: vec![0; usize::from(partitions_count)],
        };
        log.begin_weather();
        log
    }

    fn begin_weather(&self) {
        self.disk.disk.set_faults(self.weather.disk_faults);
        self.disk.gate.set_weather(self.weather.disk_delay_max, 0);
        let Weather { store_delay_max, store_fails_percent, .. } = self.weather;
        self.store_gate.set_weather(store_delay_max, store_fails_percent);
    }

    /// Nothing fails from now on, and nothing is late.
    pub fn calm_down(&mut self) {
        self.weather.disk_faults = DiskFaults::default();
        self.weather.disk_delay_max = Duration::ZERO;
        self.weather.store_delay_max = Duration::ZERO;
        self.weather.store_fails_percent = 0;
        self.begin_weather();
        self.disk.gate.open();
        self.store_gate.open();
        let now = self.clock.moment();
        self.asked.iter_mut().for_each(|asked| asked.answered_at = now);
    }

    /// The disk or the store is silent for a while, or the disk has no space. Says which.
    pub fn disturb(&mut self) -> &'static str {
        let now = self.clock.moment();
        let until = now + Duration::from_millis(self.random.within(100, 9000));
        match self.random.below(3) {
            0 => {
                self.disk.gate.hang(until);
                "disk silent"
            }
            1 => {
                self.store_gate.hang(until);
                "store silent"
            }
            _ => {
                let mut faults = self.weather.disk_faults;
                // The disk ends at some operation, until the next disturbance.
                faults.stops_at = match self.random.chance(1, 2) {
                    true => Some(self.disk.disk.operations() + self.random.within(1, 20)),
                    false => None,
                };
                faults.space_bytes = self.random.chance(1, 2).then_some(0);
                self.disk.disk.set_faults(faults);
                "disk stopped or full"
            }
        }
    }

    /// When it has something to do.
    pub fn due_at(&self) -> Option<Moment> {
        let wakes = self.tap.has_news.get().then(|| self.clock.moment());
        let journal = self.journal.due(&self.disk.gate, self.journal_rests_until);
        let follower = self.follower.due(&self.store_gate, self.follower_rests_until);
        let asked = self.asked.iter().map(|asked| asked.answered_at).min();
        [wakes, journal, follower, asked].into_iter().flatten().min()
    }

    /// Goes on with what is due.
    pub fn step(&mut self, ledger: &mut Ledger) {
        let now = self.clock.moment();
        self.disk.gate.set_now(now);
        self.store_gate.set_now(now);
        if self.tap.has_news.replace(false) {
            self.journal_rests_until.get_or_insert(now);
        }
        ledger.faults.add("log without room", self.tap.refused.replace(0));
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.journal.due(&self.disk.gate, self.journal_rests_until)) {
            self.step_journal(ledger);
        }
        if is_due(self.follower.due(&self.store_gate, self.follower_rests_until)) {
            self.step_follower(ledger);
        }
        self.answer(ledger);
    }

    fn step_journal(&mut self, ledger: &mut Ledger) {
        let now = self.clock.moment();
        self.journal_rests_until = None;
        let turned = self.journal.step(|mut journal| async {
            let turn = journal.turn().await;
            (journal, turn)
        });
        match turned {
            Some(Turn::Busy) => self.journal_rests_until = Some(now),
            Some(Turn::Unavailable) => self.journal_rests_until = Some(now + REOPEN_PAUSE),
            Some(Turn::Idle | Turn::Done) | None => {}
        }
        if self.board.term() != self.term {
            self.term = self.board.term();
            ledger.faults.note("write or sync of the journal failed");
        }
        self.tell_synced(ledger);
    }

    /// Tells the ledger what the board says, with what was appended.
    fn tell_synced(&mut self, ledger: &mut Ledger) {
        let now = self.clock.moment();
        for (partition, known) in self.synced.iter_mut().enumerate() {
            let partition = PartitionId(partition as u16);
            let synced = self.board.progress(partition).synced;
            for sequence in *known + 1..=synced {
                let entry = self.tap.appended.borrow_mut().remove(&(partition, sequence));
                let entry = entry.expect("what is synced was appended");
                ledger.logged(&entry);
                self.follower_rests_until.get_or_insert(now);
            }
            *known = synced;
        }
    }

    fn step_follower(&mut self, ledger: &mut Ledger) {
        let now = self.clock.moment();
        self.follower_rests_until = None;
        let turned = self.follower.step(|mut follower| async {
            let turn = follower.turn().await;
            (follower, turn)
        });
        for entry in self.rows.lock().take_news() {
            ledger.stored(&entry);
        }
        match turned {
            Some(Ok(true)) => {
                self.follower_rests_until = Some(now);
                // It may let go of a segment.
                self.journal_rests_until.get_or_insert(now);
            }
            Some(Err(_)) => {
                ledger.faults.note("store failed to commit");
                self.follower_rests_until = Some(now + STORE_RETRY_PAUSE_MIN);
            }
            Some(Ok(false)) | None => {}
        }
    }

    fn answer(&mut self, ledger: &mut Ledger) {
        let now = self.clock.moment();
        while let Some(asked) = self.questions.take() {
            // It looks when it is asked, or when it answers: both are right.
            let looks_now = self.random.chance(1, 2);
            let answer = looks_now.then(|| self.look(&asked));
            let is_late = self.weather.store_fails_percent > 0 && self.random.chance(1, 20);
            let extra = if is_late { Duration::from_secs(7) } else { Duration::ZERO };
            ledger.faults.add("store answered late", u64::from(is_late));
            let answered_at = self.store_gate.ready_at() + extra;
            self.asked.push(Asked { asked, answered_at, answer });
        }
        for index in (0..self.asked.len()).rev() {
            if self.asked[index].answered_at > now {
                continue;
            }
            let Asked { asked, answer, .. } = self.asked.swap_remove(index);
            let answer = answer.unwrap_or_else(|| self.look(&asked));
            let failed = u64::from(answer.is_err());
            ledger.faults.add("store failed to answer", failed);
            (asked.on_answer)(answer);
        }
    }

    fn look(&self, asked: &AskedStore) -> Result<StoreAnswer, StoreError> {
        if self.store_gate.fails() {
            return Err(StoreError::Busy);
        }
        Ok(self.rows.lock().answer(&asked.channel, &asked.question))
    }

    /// The node is gone, and the next one opens what is left.
    pub fn restart(&mut self, death: Death, ledger: &mut Ledger) {
        self.journal = Machine::Moving;
        self.follower = Machine::Moving;
        self.asked.clear();
        let rows = self.rows.lock().take_news();
        rows.iter().for_each(|entry| ledger.stored(entry));
        if death == Death::PowerCut {
            self.disk.disk = self.disk.disk.after_power_cut(self.random.bits());
        }
        self.disk.disk.set_faults(DiskFaults::default());
        self.disk.gate = Gate::new(self.random.fork());
        self.store_gate = Gate::new(self.random.fork());
        self.tap = Rc::default();
        let store = SimStore::new(self.rows.clone(), self.store_gate.clone(), self.is_ahead);
        let node = match open(&self.disk, store, &self.rows, self.sizes) {
            Ok(node) => node,
            Err(sentence) => {
                ledger.violated(|| sentence);
                // The world ends here; it needs some node to end with.
                self.disk.disk = SimulatedDisk::new(0, DiskFaults::default());
                self.rows = SharedRows::default();
                let store = SimStore::new(self.rows.clone(), self.store_gate.clone(), false);
                open(&self.disk, store, &self.rows, self.sizes).expect("an empty disk is opened")
            }
        };
        if node.is_torn {
            ledger.faults.note("torn tail cut");
        }
        if !node.entries.is_empty() {
            ledger.faults.note("entries replayed");
        }
        ledger.check_restart(&node.entries, &self.rows.lock());
        self.source = node.source;
        self.board = node.board;
        self.journal = Machine::Resting(node.journal);
        self.follower = Machine::Resting(node.follower);
        self.questions = node.questions;
        let now = self.clock.moment();
        self.journal_rests_until = Some(now);
        self.follower_rests_until = Some(now);
        self.term = self.board.term();
        for (partition, synced) in self.synced.iter_mut().enumerate() {
            *synced = self.board.progress(PartitionId(partition as u16)).synced;
        }
        self.begin_weather();
    }
}
