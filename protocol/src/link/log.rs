//! What a partition, its log and the store behind it say to each other.
//!
//! A durable change is an entry first: the log keeps entries of one partition in the order of their
//! sequences, the store follows and is asked for what has left the partition's memory.

use std::sync::Arc;

use super::{Position, Publication};
use crate::ids::PartitionId;

/// One durable change of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The partition that owns the channel.
    pub partition: PartitionId,
    /// Its place in the log of that partition: from 1, without holes.
    pub sequence: u64,
    /// The channel.
    pub channel: Arc<str>,
    /// The channel's epoch.
    pub epoch: Arc<str>,
    /// What changed.
    pub change: LogChange,
}

/// What must have an entry before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// The partition log.
    Log,
    /// The store behind it.
    Store,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange {
    /// A publication got its offset.
    Published {
        /// With the offset, above zero.
        publication: Arc<Publication>,
        /// Under which key, so that a repeat is answered with the same position.
        idempotency_key: Option<Arc<str>>,
    },
    /// Publications up to an offset are forgotten; the position stays.
    HistoryRemoved {
        /// The last one that is forgotten.
        offset: u64,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
}

impl LogEntry {
    /// When the change was ordered, in Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        match &self.change {
            LogChange::Published { publication, .. } => publication.time_ms,
            LogChange::HistoryRemoved { time_ms, .. } => *time_ms,
        }
    }
}

/// How far the log and the store of one partition are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogProgress {
    /// Entries up to this sequence survive a power cut.
    pub synced: u64,
    /// Entries up to this sequence are in the store. At most `synced`.
    pub stored: u64,
}

/// A question to the store, about one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreQuestion {
    /// Where is the channel, and what are its newest publications?
    Newest {
        /// Most publications in the answer.
        publications_max: u32,
        /// Most bytes of payload in the answer; one publication is always within it.
        bytes_max: u32,
    },
    /// Publications between two offsets, neither included.
    Page {
        /// In this epoch.
        epoch: Arc<str>,
        /// Only above this offset.
        above: u64,
        /// Only below this offset.
        below: u64,
        /// Most publications in the answer.
        publications_max: u32,
        /// Most bytes of payload in the answer; one publication is always within it.
        bytes_max: u32,
        /// From the highest offset downwards, instead of from the lowest upwards.
        reverse: bool,
    },
    /// What was published under this key in the last 15 minutes?
    Key {
        /// The key.
        key: Arc<str>,
    },
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// To `Newest`.
    Newest {
        /// The channel's position; `None`: it was never stored.
        position: Option<Position>,
        /// In ascending order, without holes, up to the position unless history was removed.
        publications: Vec<Arc<Publication>>,
    },
    /// To `Page`: in the order that was asked for, and possibly with holes where retention deleted.
    Page(Vec<Arc<Publication>>),
    /// To `Key`: where it was put.
    Key(Option<Position>),
}
