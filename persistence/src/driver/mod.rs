//! What does: threads, files, the store's connections, and what shards see of it all.

pub(crate) mod appender;
pub(crate) mod backup;
pub(crate) mod board;
pub(crate) mod counters;
pub(crate) mod directory;
pub(crate) mod follower;
pub(crate) mod journal;
pub(crate) mod open;
pub(crate) mod reader;
pub(crate) mod replaying;
mod restoring;
pub(crate) mod shared;
pub(crate) mod simulating;
mod spare;
