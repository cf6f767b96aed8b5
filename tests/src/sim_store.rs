//! The store of the world: rows and a checkpoint that change together, late, or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use persistence::engine::generations::Generations;
use persistence::store::{Changed, Store, StoreError, StorePosition};
use protocol::channels::Namespaces;
use protocol::link::{LogChange, LogEntry, Position, Publication, StoreAnswer, StoreQuestion};

use crate::slow_disk::Gate;

#[derive(Debug)]
struct ChannelRows {
    position: Position,
    publications: BTreeMap<u64, Arc<Publication>>,
    keys: BTreeMap<Arc<str>, Position>,
}

/// What is committed.
#[derive(Debug, Default)]
pub struct Rows {
    /// The checkpoint.
    pub position: StorePosition,
    channels: BTreeMap<Arc<str>, ChannelRows>,
    generations: Generations,
    /// Committed, and not yet told to the ledger.
    news: Vec<LogEntry>,
}

/// The rows, which outlive every node. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SharedRows(Arc<Mutex<Rows>>);

impl SharedRows {
    /// The rows.
    pub fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn insert(&mut self, entry: &LogEntry) {
        self.news.push(entry.clone());
        let epoch = entry.epoch.clone();
        let channel = self.channels.entry(entry.channel.clone()).or_insert_with(|| ChannelRows {
            position: Position { offset: 0, epoch: epoch.clone() },
            publications: BTreeMap::new(),
            keys: BTreeMap::new(),
        });
        if channel.position.epoch != epoch {
            channel.publications.clear();
            channel.position = Position { offset: 0, epoch };
        }
        match &entry.change {
            LogChange::Published { publication, idempotency_key } => {
                channel.position.offset = publication.offset;
                channel.publications.insert(publication.offset, publication.clone());
                if let Some(key) = idempotency_key {
                    channel.keys.insert(key.clone(), channel.position.clone());
                }
            }
            LogChange::HistoryRemoved { offset, .. } => {
                channel.publications.retain(|at, _| at > offset);
                channel.position.offset = channel.position.offset.max(*offset);
            }
        }
    }

    /// What was committed since the last call.
    pub fn take_news(&mut self) -> Vec<LogEntry> {
        std::mem::take(&mut self.news)
    }

    /// The publication at a place, if it is there.
    pub fn find(&self, channel: &str, epoch: &str, offset: u64) -> Option<&Arc<Publication>> {
        let rows = self.channels.get(channel).filter(|rows| *rows.position.epoch == *epoch)?;
        rows.publications.get(&offset)
    }

    /// Answers as of now.
    pub fn answer(&self, channel: &str, question: &StoreQuestion) -> StoreAnswer {
        let rows = self.channels.get(channel);
        match question {
            StoreQuestion::Newest { publications_max, .. } => {
                let Some(rows) = rows else {
                    return StoreAnswer::Newest { position: None, publications: Vec::new() };
                };
                let newest = rows.publications.values().rev().take(*publications_max as usize);
                let mut publications: Vec<_> = newest.cloned().collect();
                publications.reverse();
                StoreAnswer::Newest { position: Some(rows.position.clone()), publications }
            }
            StoreQuestion::Page { epoch, above, below, publications_max, reverse, .. } => {
                let Some(rows) = rows.filter(|rows| rows.position.epoch == *epoch) else {
                    return StoreAnswer::Page(Vec::new());
                };
                let all = rows.publications.values();
                let range = |one: &&Arc<Publication>| one.offset > *above && one.offset < *below;
                let mut page: Vec<_> = all.filter(range).cloned().collect();
                if *reverse {
                    page.reverse();
                }
                page.truncate(*publications_max as usize);
                StoreAnswer::Page(page)
            }
            StoreQuestion::Key { key } => {
                StoreAnswer::Key(rows.and_then(|rows| rows.keys.get(key).cloned()))
            }
        }
    }
}

/// The writing side of one node.
#[derive(Debug)]
pub struct SimStore {
    rows: SharedRows,
    gate: Gate,
    /// Planted: the checkpoint is committed before the rows.
    is_ahead: bool,
    behind: Vec<LogEntry>,
}

impl SimStore {
    /// Writes `rows`; `is_ahead` plants a checkpoint that is ahead of them.
    pub fn new(rows: SharedRows, gate: Gate, is_ahead: bool) -> Self {
        Self { rows, gate, is_ahead, behind: Vec::new() }
    }
}

impl Store for SimStore {
    async fn apply(&mut self, entries: &[LogEntry], batch: u64) -> Result<(), StoreError> {
        self.gate.pass().await;
        if self.gate.fails() {
            return Err(StoreError::Busy);
        }
        {
            let mut rows = self.rows.lock();
            for entry in std::mem::take(&mut self.behind) {
                rows.insert(&entry);
            }
            for entry in entries {
                let last = rows.position.sequences.entry(entry.partition.0).or_default();
                // A commit that was in doubt is written again, and changes nothing.
                if entry.sequence <= *last {
                    continue;
                }
                assert!(entry.sequence == *last + 1, "the store is given every entry, in order");
                *last = entry.sequence;
                match self.is_ahead {
                    true => self.behind.push(entry.clone()),
                    false => rows.insert(entry),
                }
            }
            rows.position.batch = batch;
        }
        // Committed, and nobody knows yet.
        self.gate.pass().await;
        if self.gate.fails() { Err(StoreError::Busy) } else { Ok(()) }
    }

    async fn retain(&mut self, _: &Namespaces, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn set_namespaces(&mut self, namespaces: &Namespaces) -> Result<Changed, StoreError> {
        let mut rows = self.rows.lock();
        let after = rows.generations.followed_by(namespaces);
        let namespaces = after.stamped(namespaces);
        let before = std::mem::replace(&mut rows.generations, after.clone());
        Ok(Changed { namespaces, before, after })
    }

    fn undo_namespaces(&mut self, before: Generations) {
        self.rows.lock().generations = before;
    }
}
