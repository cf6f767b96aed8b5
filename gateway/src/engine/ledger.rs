//! Where the bytes of a shard's clients are.
//!
//! Owns: the names under which memory is counted.
//! Never: counts by walking through connections. What tables take is computed from their sizes;
//! what lies beside them is added and subtracted where it is taken and given back.
//!
//! Bytes are those that were asked for. What an allocator rounds up and keeps beside is not among
//! them, nor is room of a table that was never touched. A table keeps the places that were once
//! used, so that its bytes do not fall when clients leave.

use crate::limits::SUBSCRIPTION_BYTES;

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Places in the tables of connections, readers and slots, taken or not, and addresses.
    Slot,
    /// Sessions, with user ids, client ids and info, and the records of users at home here.
    Identity,
    /// Channels that are listened to, their names, and who listens.
    Subscriptions,
    /// Places in the table of TLS, keys, unfinished and unsent records. Of a handshake, and of a
    /// connection that rustls keeps, [`TLS_RUSTLS_BYTES`](crate::limits::TLS_RUSTLS_BYTES) are
    /// assumed.
    Tls,
    /// What waits for clients, and buffers for use again. A frame that many wait for is counted
    /// for each of them.
    Outbox,
    /// The timer wheel.
    Timers,
    /// Heads, messages and bodies of which a part has come or that are being answered, and what
    /// waits behind them.
    Requests,
    /// Receive buffers that were ever used.
    ReceiveBuffers,
}

impl MemoryKind {
    /// Every kind, in the order of [`MemoryBytes`].
    pub const ALL: [Self; 8] = [
        Self::Slot,
        Self::Identity,
        Self::Subscriptions,
        Self::Tls,
        Self::Outbox,
        Self::Timers,
        Self::Requests,
        Self::ReceiveBuffers,
    ];

    /// As a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Identity => "identity",
            Self::Subscriptions => "subscriptions",
            Self::Tls => "tls",
            Self::Outbox => "outbox",
            Self::Timers => "timers",
            Self::Requests => "requests",
            Self::ReceiveBuffers => "receive_buffers",
        }
    }
}

/// Bytes of memory by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBytes {
    bytes: [u64; MemoryKind::ALL.len()],
}

impl MemoryBytes {
    pub(crate) fn add(&mut self, kind: MemoryKind, bytes_count: u64) {
        self.bytes[kind as usize] += bytes_count;
    }

    /// Bytes of one kind.
    pub fn of(&self, kind: MemoryKind) -> u64 {
        self.bytes[kind as usize]
    }
}

/// What a session is charged for memory, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged<T = u32> {
    pub(crate) identity: T,
    /// Its list of subscriptions.
    pub(crate) subscriptions: T,
    /// What waits for an answer of home, router or keys.
    pub(crate) waiting: T,
    /// How many subscriptions there are.
    pub(crate) subscriptions_count: T,
}

impl Charged {
    /// What counts against the budget of a connection, in bytes.
    pub(crate) fn budget(&self) -> u32 {
        let subscriptions = self.subscriptions_count.saturating_mul(SUBSCRIPTION_BYTES as u32);
        self.waiting.saturating_add(subscriptions)
    }
}

impl Charged<u64> {
    pub(crate) fn change(&mut self, before: Charged, after: Charged) {
        let changed = |sum: &mut u64, before: u32, after: u32| {
            *sum = *sum + u64::from(after) - u64::from(before);
        };
        changed(&mut self.identity, before.identity, after.identity);
        changed(&mut self.subscriptions, before.subscriptions, after.subscriptions);
        changed(&mut self.waiting, before.waiting, after.waiting);
        let (before, after) = (before.subscriptions_count, after.subscriptions_count);
        changed(&mut self.subscriptions_count, before, after);
    }
}

/// Bytes of a counted text or payload, with its two counters.
pub(crate) fn counted_bytes(length: usize) -> usize {
    2 * size_of::<usize>() + length
}
