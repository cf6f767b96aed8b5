//! The persistence tier: what was acknowledged is on disk, and stays.
//!
//! Owns: the data directory, the journal that every durable change enters first, the store that
//! follows it, and what both forget.
//! Never: decides what is published, to whom it goes, or when a client is told.
//!
//! ```text
//! shard ──► Appender ──► journal thread: batch, write, sync ──► Board: synced ──► bells
//!                                            │
//!                                      segment files
//!                                            │
//! shard ◄── StoreReader ◄── store thread: follower, SQLite ──► Board: stored ──► bells
//! ```

#![forbid(unsafe_code)]

mod driver;
pub mod engine;
pub mod files;
pub mod limits;
pub mod store;

pub use driver::appender::{Appender, Full};
pub use driver::backup::{BackupError, BackupReport, backup, restore};
pub use driver::board::{Bell, Board};
pub use driver::counters::{Counter, Counters, Histogram};
pub use driver::directory::{Directory, DirectoryError, Format};
pub use driver::journal::{Journal, Turn};
pub use driver::open::{
    JournalIo, OpenError, Opened, Persistence, PersistenceOptions, Recovered, open,
};
pub use driver::reader::{AskedStore, OnAnswer, StoreReader};
pub use driver::replaying::{ReadError, ReadJournal, TornTail, read_journal};
pub use driver::shared::{Clock, wall_clock};
pub use driver::simulating::{
    JournalOptions, JournalParts, OpenJournalError, OpenedJournal, SteppedFollower,
    SteppedQuestions, open_journal,
};
