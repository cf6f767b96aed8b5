//! Where entries go when they leave the journal.
//!
//! The seam: what the follower needs of a store. One machine has SQLite.

mod namespaces;
pub mod read;
pub mod retain;
pub mod sqlite;
mod statements;

pub use namespaces::Changed;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use protocol::channels::Namespaces;
use protocol::link::LogEntry;

use crate::engine::generations::Generations;
use crate::limits::NAMESPACES_TIME_MAX;

/// Why the store did not do what it was asked to.
#[derive(Debug)]
pub enum StoreError {
    /// The database refused. Ask again: nothing of a transaction was kept.
    Database(sqlx::Error),
    /// A row is not what this version writes. Asking again does not help.
    Row(&'static str),
    /// The database was written by a later version.
    Newer {
        /// The version it names.
        version: i64,
    },
    /// The checkpoint is not where we left it: somebody else writes to the database.
    Checkpoint {
        /// Where we left it.
        expected: u64,
    },
    /// Too many questions wait.
    Busy,
    /// It was asked to change something and did not answer in time. What has changed nevertheless
    /// is taken back with what is written next.
    Overdue,
    /// The store is closed.
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => {
                write!(f, "store.sqlite: {error}")?;
                match remedy(error) {
                    Some(remedy) => write!(f, "; {remedy}"),
                    None => Ok(()),
                }
            }
            Self::Row(what) => write!(f, "the database holds {what} that this version cannot read"),
            Self::Newer { version } => write!(
                f,
                "store.sqlite has schema {version}, which a later version wrote; run that version"
            ),
            Self::Checkpoint { expected } => write!(
                f,
                "the checkpoint of store.sqlite is not {expected}: another program writes to it"
            ),
            Self::Busy => f.write_str("too many questions wait for the store"),
            Self::Overdue => write!(
                f,
                "store.sqlite was not written within {} s; is the disk overloaded or frozen?",
                NAMESPACES_TIME_MAX.as_secs()
            ),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

/// What helps, by the primary result codes of SQLite.
fn remedy(error: &sqlx::Error) -> Option<&'static str> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    match code & 0xff {
        8 => Some("make the data directory writable for the server's user"),
        10 | 13 | 14 => Some(
            "is the disk full, or the directory gone? Free space or repair it; nothing that was \
             acknowledged is lost",
        ),
        11 | 26 => Some("it is damaged: restore a backup"),
        _ => None,
    }
}

impl std::error::Error for StoreError {}

/// How far a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorePosition {
    /// The last batch of the journal in it.
    pub batch: u64,
    /// The last sequence of each partition in it.
    pub sequences: BTreeMap<u16, u64>,
}

/// What the follower needs of a store.
pub trait Store: Send {
    /// Writes entries, in the order of the log, and with them the batch up to which they reach: all
    /// in one transaction. Entries that are already there change nothing.
    fn apply(
        &mut self,
        entries: &[LogEntry],
        batch: u64,
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Forgets a little of what is too old, and returns how many rows.
    fn retain(
        &mut self,
        namespaces: &Namespaces,
        unix_ms: u64,
    ) -> impl Future<Output = Result<u64, StoreError>>;

    /// These namespaces are served from now on: writes down which of them are durable. If it fails,
    /// those before go on to be served.
    fn set_namespaces(
        &mut self,
        namespaces: &Namespaces,
    ) -> impl Future<Output = Result<Changed, StoreError>>;

    /// The last change was not taken up: what was served before it still is.
    fn undo_namespaces(&mut self, before: Generations);
}
