//! What an idle connection takes by itself: for those who ask before there is one.

use shard::ring::SLOT_BYTES;
use shard::timers::TIMER_BYTES;

use super::tls;
use super::transport::Reader;
use crate::engine::{self, MemoryBytes, MemoryKind};

/// Bytes of an idle session whose user's name has so many bytes, of a shard's tables and beside
/// them, without subscriptions. A table that grows by doubling is taken as full.
pub fn idle_connection(name_bytes: usize, is_secure: bool) -> MemoryBytes {
    let mut memory = engine::idle_session(name_bytes);
    let tables = size_of::<Reader>() + SLOT_BYTES;
    memory.add(MemoryKind::Slot, tables as u64);
    memory.add(MemoryKind::Timers, TIMER_BYTES as u64);
    if is_secure {
        memory.add(MemoryKind::Tls, tls::IDLE_BYTES as u64);
    }
    memory
}
