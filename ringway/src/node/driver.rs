//! Which driver the shards' sockets run on: decided once, at start, and never silently.

use std::fmt;
use std::io;

use shard::limits::{
    CONNECTIONS_PER_RING_MAX, CONNECTIONS_PER_SHARD_MAX, DESCRIPTORS_RESERVED, RINGS_PER_SHARD_MAX,
};
use shard::probe::RingRefusal;
use shard::ring::RingCounters;

use crate::limits::FILES_RESERVED;
use crate::settings::IoChoice;

/// What drives sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// [`shard::Ring`].
    Ring,
    /// [`shard::Portable`].
    Portable,
}

/// What the portable driver costs, for whoever did not ask for it.
pub const PORTABLE_COSTS: &str =
    "more system calls for each message, and each connection is a file of this process";

impl Driver {
    /// The driver for this choice on a host where the probe of io_uring ended so.
    ///
    /// # Errors
    ///
    /// io_uring was insisted on and is not to be had.
    pub fn choose(choice: IoChoice, probed: Result<(), RingRefusal>) -> Result<Self, RingRefusal> {
        match (choice, probed) {
            (IoChoice::Portable, _) | (IoChoice::Auto, Err(_)) => Ok(Self::Portable),
            (IoChoice::Auto | IoChoice::Ring, Ok(())) => Ok(Self::Ring),
            (IoChoice::Ring, Err(refusal)) => Err(refusal),
        }
    }

    /// Probes this host and chooses, with a warning if it is not what a good host would get.
    ///
    /// # Errors
    ///
    /// As [`Driver::choose`], as a sentence.
    pub fn of_this_host(choice: IoChoice) -> Result<Self, String> {
        let probed = shard::probe::probe();
        if let (IoChoice::Auto, Err(refusal)) = (choice, &probed) {
            tracing::warn!("the portable driver is used: {refusal}. It costs {PORTABLE_COSTS}");
        }
        Self::choose(choice, probed).map_err(|refusal| refusal.to_string())
    }

    /// Places in each table, where a process may have `files` open. Each ring may have a table of
    /// that size, and direct descriptors do not count against the process; sockets on epoll do, for
    /// all shards together.
    pub fn connections_per_table(self, files: u32, shards_count: u8) -> u32 {
        let places = match self {
            Self::Ring => files.saturating_sub(DESCRIPTORS_RESERVED),
            Self::Portable => files.saturating_sub(FILES_RESERVED) / u32::from(shards_count),
        };
        places.clamp(1, CONNECTIONS_PER_RING_MAX)
    }

    /// Tables that a shard may have, where each has so many places.
    pub fn tables_per_shard(self, connections_per_table: u32) -> u8 {
        match self {
            Self::Ring => {
                let tables = CONNECTIONS_PER_SHARD_MAX / connections_per_table;
                tables.clamp(1, u32::from(RINGS_PER_SHARD_MAX)) as u8
            }
            Self::Portable => 1,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "io_uring",
            Self::Portable => "portable",
        })
    }
}

/// A driver that was made, or was not, and how its counters are read.
pub(super) struct Made<I> {
    pub(super) io: io::Result<I>,
    pub(super) counters: fn(&I) -> RingCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_on_each_host() {
        let refused = || Err(RingRefusal::NotBuilt);
        assert_eq!(Driver::choose(IoChoice::Auto, Ok(())), Ok(Driver::Ring));
        assert_eq!(Driver::choose(IoChoice::Auto, refused()), Ok(Driver::Portable));
        assert_eq!(Driver::choose(IoChoice::Ring, Ok(())), Ok(Driver::Ring));
        assert_eq!(Driver::choose(IoChoice::Ring, refused()), Err(RingRefusal::NotBuilt));
        assert_eq!(Driver::choose(IoChoice::Portable, Ok(())), Ok(Driver::Portable));
        assert_eq!(Driver::choose(IoChoice::Portable, refused()), Ok(Driver::Portable));
    }

    #[test]
    fn shards_share_the_files_of_the_process_only_without_rings() {
        assert_eq!(Driver::Ring.connections_per_table(1024, 4), 1014);
        assert_eq!(Driver::Portable.connections_per_table(1024, 4), (1024 - FILES_RESERVED) / 4);
        assert_eq!(Driver::Portable.connections_per_table(8, 4), 1);
        assert_eq!(Driver::Ring.connections_per_table(u32::MAX, 1), CONNECTIONS_PER_RING_MAX);
        assert_eq!(Driver::Ring.tables_per_shard(1014), RINGS_PER_SHARD_MAX);
        assert_eq!(Driver::Ring.tables_per_shard(CONNECTIONS_PER_RING_MAX), 4);
        assert_eq!(Driver::Portable.tables_per_shard(1014), 1);
    }
}
