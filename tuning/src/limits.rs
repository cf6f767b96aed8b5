//! Figures that wanted values are computed from, and bounds of what is read.

/// Connections that Ringway asks the kernel to queue at each listener, listen(2): those of `shard`.
pub const LISTEN_BACKLOG: u64 = 16_384;
/// Shortest queue that is enough: what `ringway doctor` asks for.
pub const BACKLOG_MIN: u64 = 4_096;
/// Files of a server besides its connections: those of `ringway doctor`.
pub const FILES_BESIDE: u64 = 1_024;
/// Rings that a shard may have, each with a table of sockets: those of `shard`.
pub const RINGS_PER_SHARD_MAX: u64 = 64;
/// What waits for a client is gathered into sends of this size, in bytes: that of `gateway`.
pub const GATHER_BYTES_MAX: u64 = 16 * 1024;
/// Hard limit of files that systemd gives a service whose unit names none (DefaultLimitNOFILE of
/// systemd-system.conf(5)).
pub const SERVICE_FILES: u64 = 524_288;
/// Files that the rest of the machine has open.
pub const FILES_OF_OTHERS: u64 = 65_536;
/// Locked memory of one ring, in bytes. Two shards start with 1 MiB together, and not with 512 KiB
/// (measured, Linux 6.18).
pub const RING_LOCKED_BYTES: u64 = 512 << 10;
/// What Linux gives every user since 5.16, in bytes.
pub const LOCKED_BYTES_MIN: u64 = 8 << 20;
/// Longest buffer that one connection's own traffic should be able to grow to, in bytes.
pub const BUFFER_BYTES: u64 = 1 << 20;
/// Share of the machine's memory that socket buffers may take: one part of so many.
pub const BUFFER_MEMORY_PARTS: u64 = 4;
/// Packets that wait at a core, as the kernel has it without a setting.
pub const PACKETS_QUEUED_MIN: u64 = 1_000;
/// Most connections that a host is examined for.
pub const CONNECTIONS_MAX: u64 = 1 << 32;
/// Most cores that are looked at.
pub const CORES_MAX: usize = 4_096;
/// Most network interfaces that are looked at.
pub const INTERFACES_MAX: usize = 256;
/// Most queues of one interface that are looked at.
pub const QUEUES_MAX: usize = 1_024;
/// Most drop-ins of the unit that are read.
pub const DROP_INS_MAX: usize = 64;
/// Longest file that is read, in bytes. /proc/interrupts of large machines is the longest.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
