//! What everybody may see of the journal and the store, without a lock.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use protocol::ids::PartitionId;
use protocol::link::LogProgress;

/// Called after a change of the board, by the thread that made it: it must only ring.
pub type Bell = Box<dyn Fn() + Send + Sync>;

#[derive(Debug, Default)]
struct Progress {
    synced: AtomicU64,
    stored: AtomicU64,
}

/// How far every partition is, and whether the journal takes entries.
///
/// Within one term, what was appended is synced in order or the term ends. When it ends, everything
/// that was not synced is void: partitions rebuild from `synced`, and append under the new term.
pub struct Board {
    partitions: Box<[Progress]>,
    term: AtomicU64,
    available: AtomicBool,
    generation: AtomicU64,
    bells: RwLock<Vec<Bell>>,
}

impl Board {
    pub(crate) fn new(partitions_count: u16) -> Self {
        Self {
            partitions: (0..partitions_count).map(|_| Progress::default()).collect(),
            term: AtomicU64::new(1),
            available: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            bells: RwLock::new(Vec::new()),
        }
    }

    /// How far a partition is. `stored` is read first, so that it is never above `synced`.
    pub fn progress(&self, partition: PartitionId) -> LogProgress {
        let Some(progress) = self.partitions.get(usize::from(partition.0)) else {
            return LogProgress::default();
        };
        let stored = progress.stored.load(Ordering::Acquire);
        LogProgress { synced: progress.synced.load(Ordering::Acquire), stored }
    }

    /// The term under which entries are taken. Read it before the progress it belongs to, and again
    /// behind: if it moved, so may the progress.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Does the journal take entries?
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// Moves with every change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Partitions on the board.
    pub fn partitions_count(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// Calls `bell` after every change from now on. A bell must not add another.
    pub fn add_bell(&self, bell: Bell) {
        self.bells.write().unwrap_or_else(PoisonError::into_inner).push(bell);
    }

    pub(crate) fn set_synced(&self, partition: u16, sequence: u64) {
        self.partitions[usize::from(partition)].synced.store(sequence, Ordering::Release);
    }

    pub(crate) fn set_stored(&self, partition: u16, sequence: u64) {
        self.partitions[usize::from(partition)].stored.store(sequence, Ordering::Release);
    }

    /// Ends the term and everything that was not synced in it.
    pub(crate) fn end_term(&self) {
        self.available.store(false, Ordering::Release);
        self.term.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Release);
    }

    /// Moves the generation: who looks sees that there is something new, and nobody is woken.
    pub(crate) fn move_on(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Moves the generation and rings. Once per batch of changes.
    pub(crate) fn announce(&self) {
        self.move_on();
        let bells = self.bells.read().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.iter() {
            bell();
        }
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("term", &self.term())
            .field("available", &self.is_available())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
