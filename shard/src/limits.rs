//! Resources of one ring. Memory they add up to is printed at start.

/// Bytes in one receive buffer.
pub const RECEIVE_BUFFER_BYTES: u32 = 2048;
/// Most receive buffers of one ring; a power of two, at most 2^15 (io_uring_register_buf_ring(3)).
pub const RECEIVE_BUFFERS_COUNT: u16 = 2048;
/// Receive buffers that a ring begins with; there are twice as many whenever a receive found none.
pub const RECEIVE_BUFFERS_FIRST: u16 = 256;
/// Entries of the submission queue.
pub const SUBMISSIONS_MAX: u32 = 2048;
/// Entries of the completion queue; beyond it the kernel keeps completions in a list of its own.
pub const COMPLETIONS_MAX: u32 = 8192;
/// Peer addresses that are looked up at once.
pub const PEER_LOOKUPS_MAX: usize = 128;
/// Events that the portable driver takes from epoll at once.
pub const READY_EVENTS_MAX: u32 = 1024;
/// Buffers that the portable driver fills for one connection in one turn.
pub const RECEIVES_PER_TURN: usize = 8;
/// Clients that the portable driver accepts in one turn.
pub const ACCEPTS_PER_TURN: usize = 256;
/// Direct descriptors kept free for the process itself when a table is sized from RLIMIT_NOFILE.
pub const DESCRIPTORS_RESERVED: u32 = 10;
/// Rings of one shard. One is made when the tables of those before it are full.
pub const RINGS_PER_SHARD_MAX: u8 = 64;
/// Most receive buffers of each ring but a shard's first; a power of two.
pub const FURTHER_RECEIVE_BUFFERS_COUNT: u16 = 512;
/// Free places in a table at which clients are no longer accepted by one operation that goes on
/// until it is stopped: the kernel drops the client that finds no place. So many completions fit
/// in one turn.
pub const ACCEPT_SINGLY_BELOW: u32 = COMPLETIONS_MAX;
/// How far behind as many places as there are connections the kernel may put the next one.
pub const PLACES_STRAYED: u32 = 64;
/// Clients that are then waited for at once.
pub const ACCEPTS_SINGLE_MAX: u32 = 16;
/// Largest table of direct descriptors.
pub const CONNECTIONS_PER_RING_MAX: u32 = 1 << 20;
/// Connections of one shard, in all its rings: the 24 bits of a slot name each.
pub const CONNECTIONS_PER_SHARD_MAX: u32 = 1 << 22;
/// Connections that may wait to be accepted (`net.core.somaxconn` may lower it).
pub const LISTEN_BACKLOG: i32 = 16_384;
/// Messages in one lane.
pub const LANE_MESSAGES_MAX: usize = 8192;
/// Places in a lane that only final messages may take, so that recoverable ones cannot push them
/// out.
pub const LANE_RESERVED_FOR_FINAL: usize = 2048;
/// Messages in an inbox, which threads outside the cores fill.
pub const INBOX_MESSAGES_MAX: usize = 4096;

const _: () = assert!(RECEIVE_BUFFERS_COUNT.is_power_of_two());
const _: () = assert!(LANE_RESERVED_FOR_FINAL < LANE_MESSAGES_MAX);
const _: () = assert!(CONNECTIONS_PER_RING_MAX <= CONNECTIONS_PER_SHARD_MAX);
const _: () = assert!(CONNECTIONS_PER_SHARD_MAX <= 1 << protocol::ids::SLOT_BITS);
const _: () = assert!(FURTHER_RECEIVE_BUFFERS_COUNT.is_power_of_two());
const _: () = assert!(PEER_LOOKUPS_MAX <= 1 << 8);
