//! Which kinds of fault happened in a world, so that a test can show that it tested something.

use std::collections::BTreeMap;

/// Everything that a simulation must have met.
pub const KINDS: [&str; 43] = [
    "shard stalled",
    "lane refused a publication to a shard",
    "lane refused a command to a partition",
    "shard told to fetch what it missed",
    "client paused",
    "client closed as slow",
    "connection reset",
    "connection cut in the middle of a frame",
    "half close",
    "client closed by a close frame",
    "ping not answered",
    "send taken in part",
    "send blocked by its reader",
    "completion late",
    "receive buffers exhausted",
    "clients accepted in a burst",
    "table of connections full",
    "slot used again",
    "recovered",
    "recovery impossible",
    "subscription ended for lost state",
    "slow reader told of its gap",
    "message in fragments",
    "drained",
    "closed by the API",
    "unsubscribed by the API",
    "publication by the API",
    "command behind an unanswered connect",
    "node killed",
    "power cut",
    "torn tail cut",
    "entries replayed",
    "write or sync of the journal failed",
    "disk silent",
    "disk stopped or full",
    "log without room",
    "durable publication not confirmed",
    "store silent",
    "store failed to commit",
    "store failed to answer",
    "store answered late",
    "publication under a key, again",
    "durable channel not available",
];

/// What faults lead to only in a corner: here the overflow has to hit a channel with
/// `slow_consumer = drop` before any other. It must happen, if not in a tenth of the worlds.
pub const CORNERS: [&str; 1] = ["slow reader told of its gap"];

/// How often each kind happened.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    counts: BTreeMap<&'static str, u64>,
}

impl Faults {
    /// It happened.
    pub fn note(&mut self, kind: &'static str) {
        self.add(kind, 1);
    }

    /// It happened `count` times.
    pub fn add(&mut self, kind: &'static str, count: u64) {
        debug_assert!(KINDS.contains(&kind), "{kind} is listed");
        *self.counts.entry(kind).or_default() += count;
    }

    /// How often it happened.
    pub fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }
}
