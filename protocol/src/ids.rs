//! Names of things that have an owner: shards, rings, slots, connections, partitions.

use core::fmt;
use core::num::NonZeroU64;

/// Index of a shard (one thread, one core) in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// Index of a router partition. A channel belongs to exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

/// Place of a connection in its ring's table of direct descriptors: 0 to 2^24 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One accepted connection, for ever: slots are used again, generations are not.
///
/// ```text
///  63      56 55      48 47              24 23               0
/// ┌──────────┬──────────┬──────────────────┬──────────────────┐
/// │  shard   │   ring   │       slot       │    generation    │
/// └──────────┴──────────┴──────────────────┴──────────────────┘
/// ```
///
/// Routing a message to a connection needs no table, and a late answer to a connection that is gone
/// finds another generation in the slot. A generation repeats after 2^24 uses of one slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(
    /// One more than the bits above, so that `Option<ConnectionId>`, of which tables have one in
    /// each place, takes no more.
    NonZeroU64,
);

/// Slots and generations have this many bits.
pub const SLOT_BITS: u32 = 24;
const FIELD_MASK: u64 = (1 << SLOT_BITS) - 1;

impl ConnectionId {
    /// Names the connection `generation` of `slot` on `ring` of `shard`.
    ///
    /// # Panics
    ///
    /// If all of them are the largest there are. A process has at most 255 shards, so none has that
    /// number.
    pub const fn new(shard: ShardId, ring: u8, slot: Slot, generation: u32) -> Self {
        debug_assert!(slot.0 as u64 <= FIELD_MASK);
        debug_assert!(generation as u64 <= FIELD_MASK);
        Self::from_u64(
            (shard.0 as u64) << 56
                | (ring as u64) << 48
                | (slot.0 as u64 & FIELD_MASK) << SLOT_BITS
                | generation as u64 & FIELD_MASK,
        )
    }

    /// The shard that owns the connection.
    pub const fn shard(self) -> ShardId {
        ShardId((self.as_u64() >> 56) as u8)
    }

    /// The ring of the shard that holds the socket.
    pub const fn ring(self) -> u8 {
        (self.as_u64() >> 48) as u8
    }

    /// The place in the ring's table.
    pub const fn slot(self) -> Slot {
        Slot((self.as_u64() >> SLOT_BITS & FIELD_MASK) as u32)
    }

    /// Which use of the slot this is.
    pub const fn generation(self) -> u32 {
        (self.as_u64() & FIELD_MASK) as u32
    }

    /// All of it as one number, for tables and logs.
    pub const fn as_u64(self) -> u64 {
        self.0.get() - 1
    }

    /// The inverse of [`ConnectionId::as_u64`].
    ///
    /// # Panics
    ///
    /// If all bits are set, which no connection has.
    pub const fn from_u64(bits: u64) -> Self {
        Self(NonZeroU64::new(bits.wrapping_add(1)).expect("there is no shard 255"))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, ring) = (self.shard().0, self.ring());
        write!(f, "{shard}.{ring}.{}.{}", self.slot().0, self.generation())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The generation after `generation`, within its bits.
pub const fn next_generation(generation: u32) -> u32 {
    (generation + 1) & FIELD_MASK as u32
}

/// The stable hash that places channels in partitions and users on shards (FNV-1a, 64 bits,
/// finished with the mixer of SplitMix64 so that low bits are usable).
///
/// Placement must be the same on every node and after every restart, so this is fixed for ever and
/// is no defence against chosen keys: tables inside a shard hash with a random seed instead.
pub fn placement_hash(key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in key {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The partition that owns `channel`, of `partitions_count` (at least one).
pub fn partition_of(channel: &str, partitions_count: u16) -> PartitionId {
    debug_assert!(partitions_count > 0);
    PartitionId((placement_hash(channel.as_bytes()) % u64::from(partitions_count)) as u16)
}

/// The home shard of `user`, of `shards_count` (at least one).
pub fn home_of(user: &str, shards_count: u8) -> ShardId {
    debug_assert!(shards_count > 0);
    ShardId((placement_hash(user.as_bytes()) % u64::from(shards_count)) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_id_keeps_its_parts() {
        let id = ConnectionId::new(ShardId(7), 3, Slot(0xab_cdef), 0x12_3456);
        assert_eq!(id.shard(), ShardId(7));
        assert_eq!(id.ring(), 3);
        assert_eq!(id.slot(), Slot(0xab_cdef));
        assert_eq!(id.generation(), 0x12_3456);
        assert_eq!(ConnectionId::from_u64(id.as_u64()), id);
        assert_eq!(id.to_string(), "7.3.11259375.1193046");
        assert!(ConnectionId::from_u64(0) < id, "the order is that of the bits");
        assert_eq!(ConnectionId::from_u64(0).as_u64(), 0);
    }

    #[test]
    fn a_place_for_a_connection_id_takes_no_more_than_the_id() {
        assert_eq!(size_of::<Option<ConnectionId>>(), size_of::<ConnectionId>());
        let last = ConnectionId::new(ShardId(254), 255, Slot(0xff_ffff), 0xff_ffff);
        assert_eq!((last.shard(), last.generation()), (ShardId(254), 0xff_ffff));
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        assert_eq!(next_generation(0), 1);
        assert_eq!(next_generation(0xff_ffff), 0);
    }

    #[test]
    fn placement_never_changes() {
        // These values are on disk and on other nodes: a change here is a change of format.
        assert_eq!(partition_of("chat:lobby", 64), partition_of("chat:lobby", 64));
        let spread: std::collections::BTreeSet<_> =
            (0..1000).map(|n| partition_of(&format!("channel{n}"), 64)).collect();
        assert_eq!(spread.len(), 64);
    }
}
