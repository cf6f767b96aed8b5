//! What a shard does when the process comes near its limit of memory: nobody new is let in, and
//! then those who hold most are sent away.
//!
//! Owns: how near the process is, as this shard was last told, and who is looked at next.
//! Never: measures memory; that is done outside the shards (docs/decisions/0012).
//! Invariant: a turn looks at no more than [`limits::SHED_SLOTS_PER_TURN`] connections, and closes
//! no more than [`limits::SHED_CLOSES_PER_TURN`].
//!
//! ```text
//!  told what is owed ──► searching, some slots a turn ──► closing the largest ──► idle
//!                          ▲ told again, in either: only what is owed changes ▲
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use protocol::time::{Moment, Now};

use super::connection::Connection;
use super::session::Subscription;
use super::shard::GatewayShard;
use crate::limits;

/// How near its limit of memory the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryLevel {
    /// Far enough.
    #[default]
    Normal,
    /// Nobody new is let in.
    Refusing,
    /// And connections that hold most are closed.
    Shedding,
}

/// What one connection holds, as far as the engine knows: slowest first, then largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    /// Bytes that wait for the client.
    queued: u64,
    /// Bytes of everything else.
    others: u64,
    id: ConnectionId,
}

impl Holding {
    /// What `connection` holds. A message of the client that is not complete for
    /// [`limits::SHED_UNFINISHED_AGE`] counts as the largest there may be.
    fn of(id: ConnectionId, connection: &Connection, message_bytes_max: u32, now: Now) -> Self {
        let since = connection.unfinished_since;
        let is_unfinished =
            since > Moment::ZERO && now.moment.since(since) >= limits::SHED_UNFINISHED_AGE;
        let mut others = if is_unfinished { u64::from(message_bytes_max) } else { 0 };
        if let Some(session) = &connection.session {
            others += (session.subscriptions.capacity() * size_of::<Subscription>()) as u64;
            others += session.pending.as_ref().map_or(0, |pending| pending.held_bytes as u64);
        }
        Self { queued: u64::from(connection.bytes()), others, id }
    }

    fn bytes(&self) -> u64 {
        self.queued + self.others
    }

    /// Who holds less gives back too little for what its return costs.
    fn is_worth_it(&self) -> bool {
        self.bytes() >= limits::SHED_BYTES_MIN
    }
}

/// How a shard sheds.
#[derive(Debug, Default)]
pub(crate) struct Shedding {
    level: MemoryLevel,
    /// Bytes that connections of this shard have to give back, by what they hold.
    owed_bytes: u64,
    /// Where the search goes on.
    next_slot: Option<u32>,
    /// The largest that the search has found, at most [`limits::SHED_CANDIDATES_MAX`].
    found: BinaryHeap<Reverse<Holding>>,
    /// The result of the last search, the largest at the end.
    largest: Vec<Holding>,
}

impl Shedding {
    pub(crate) fn level(&self) -> MemoryLevel {
        self.level
    }

    /// Is there something to do without waiting for anything?
    pub(crate) fn has_work(&self) -> bool {
        self.next_slot.is_some() || !self.largest.is_empty()
    }

    fn end(&mut self) {
        *self = Self { level: self.level, ..Self::default() };
    }

    fn consider(&mut self, holding: Holding) {
        if !holding.is_worth_it() {
            return;
        }
        self.found.push(Reverse(holding));
        if self.found.len() > limits::SHED_CANDIDATES_MAX {
            self.found.pop();
        }
    }
}

impl GatewayShard {
    /// The process was measured.
    pub(super) fn on_memory(&mut self, level: MemoryLevel, owed_bytes: u64) {
        self.shedding.level = level;
        self.shedding.owed_bytes = owed_bytes;
        if level < MemoryLevel::Shedding || owed_bytes == 0 {
            self.shedding.end();
        } else if !self.shedding.has_work() {
            self.shedding.next_slot = Some(0);
        }
    }

    /// This turn's part of shedding.
    pub(super) fn shed_largest(&mut self, now: Now) {
        if self.shedding.next_slot.is_some() {
            self.search_largest(now);
        } else if !self.shedding.largest.is_empty() {
            self.close_largest(now);
        }
    }

    fn search_largest(&mut self, now: Now) {
        let Some(first) = self.shedding.next_slot else { return };
        let slots_count = self.connections.slots_count();
        let last = slots_count.min(first.saturating_add(limits::SHED_SLOTS_PER_TURN));
        for slot in first..last {
            let Some(id) = self.connections.id_at(slot) else { continue };
            let connection = self.connections.at(slot);
            if connection.phase.listens() {
                let holding = Holding::of(id, connection, self.config.message_bytes_max, now);
                self.shedding.consider(holding);
            }
        }
        if last < slots_count {
            self.shedding.next_slot = Some(last);
            return;
        }
        self.shedding.next_slot = None;
        let found = std::mem::take(&mut self.shedding.found).into_sorted_vec();
        // Sorted by the reverse, the largest comes first.
        self.shedding.largest = found.into_iter().rev().map(|Reverse(holding)| holding).collect();
    }

    fn close_largest(&mut self, now: Now) {
        for _ in 0..limits::SHED_CLOSES_PER_TURN {
            if self.shedding.owed_bytes == 0 {
                break;
            }
            let Some(Holding { id, .. }) = self.shedding.largest.pop() else { break };
            let message_bytes_max = self.config.message_bytes_max;
            let Some(connection) = self.connections.find(id) else { continue };
            // What it held when it was found may have been sent since.
            let holding = Holding::of(id, connection, message_bytes_max, now);
            if !connection.phase.listens() || !holding.is_worth_it() {
                continue;
            }
            self.hurry(id);
            self.close(id, CloseReason::Overloaded, now);
            self.shedding.owed_bytes = self.shedding.owed_bytes.saturating_sub(holding.bytes());
        }
        if self.shedding.owed_bytes == 0 {
            self.shedding.end();
        }
    }
}
