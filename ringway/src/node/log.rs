//! How the partitions of one shard reach their log and the store behind it.
//!
//! [`PartitionLog`] is the seam: the persistence tier stands behind it in a node, a simulated disk
//! in the simulation. Nothing here waits.

use std::fmt;
use std::sync::Arc;

use protocol::ids::PartitionId;
use protocol::link::{LogEntry, LogProgress, StoreAnswer, StoreQuestion};
use router::engine::StoreUnavailable;

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
    /// behind it.
    ///
    /// # Errors
    ///
    /// There is no room.
    fn append(&mut self, entry: LogEntry) -> Result<(), Full>;

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
