//! The seam to everything beyond this shard: router partitions and the gateway's other shards.
//!
//! In one process it is lanes, and partitions that live on this very thread; in a fleet it will be
//! streams. The pump does not know which.

use protocol::ids::ShardId;
use protocol::link::{FromRouter, ToRouter};
use protocol::time::{Moment, Now};

use crate::engine::ToPeer;

/// What arrives for a gateway shard.
#[derive(Debug)]
pub enum Incoming {
    /// From a partition.
    FromRouter(FromRouter),
    /// A message that its way to the router had no room for.
    Refused(ToRouter),
    /// From another shard of the gateway.
    FromPeer(ToPeer),
}

/// The ways out of a shard, and in.
pub trait Uplink {
    /// Sends a message to the partition of its channel. It never blocks; what finds no room comes
    /// back as [`Incoming::Refused`] if it is recoverable, and is kept if it is final.
    fn to_router(&mut self, message: ToRouter, now: Now);

    /// Sends a message to another shard. It is kept until there is room; a charge may be lost.
    fn to_peer(&mut self, shard: ShardId, message: ToPeer);

    /// Does what is to be done in a turn, such as taking messages out of lanes, within its quota.
    fn turn(&mut self, now: Now);

    /// The next thing that arrived, until `None`.
    fn receive(&mut self) -> Option<Incoming>;

    /// Wakes those who were sent something.
    fn flush(&mut self);

    /// True if [`Uplink::turn`] has something to do without waiting.
    fn has_work(&self) -> bool;

    /// Messages that wait in lanes to this shard.
    fn lane_depth(&self) -> usize;

    /// When [`Uplink::turn`] is due at the latest.
    fn next_deadline(&self) -> Option<Moment>;
}
