//! Resources of one ring. Memory they add up to is printed at start.

/// Bytes in one receive buffer.
pub const RECEIVE_BUFFER_BYTES: u32 = 2048;
/// Receive buffers of one ring; a power of two, at most 2^15 (io_uring_register_buf_ring(3)).
pub const RECEIVE_BUFFERS_COUNT: u16 = 2048;
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
/// Largest table of direct descriptors, from the 24 bits of a slot.
pub const CONNECTIONS_PER_RING_MAX: u32 = 1 << 20;
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
const _: () = assert!(CONNECTIONS_PER_RING_MAX <= 1 << protocol::ids::SLOT_BITS);
const _: () = assert!(PEER_LOOKUPS_MAX <= 1 << 8);
