//! How much configuration is read, and the widest range of what it may say.

use protocol::limits::MIB;

/// Largest configuration or key file, in bytes.
pub const FILE_BYTES_MAX: u64 = MIB as u64;
/// Deepest nesting of a configuration file.
pub const NESTING_MAX: u32 = 32;
/// Most keys and values of a configuration file, after its YAML aliases are expanded.
pub const NODES_MAX: usize = 65_536;
/// Most namespaces.
pub const NAMESPACES_MAX: usize = 4_096;
/// Longest namespace name, in bytes. A channel needs room for its own name behind it.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Most shards: a connection id has eight bits for them.
pub const SHARDS_MAX: i64 = 255;
/// Most router partitions: an id has sixteen bits, and each costs its tables.
pub const PARTITIONS_MAX: i64 = 4_096;
/// Longest piece of a wrong value that a message repeats, in characters.
pub const QUOTED_CHARACTERS_MAX: usize = 40;
/// Smallest limit of bytes that wait for one client: one full send.
pub const OUTBOX_BYTES_MIN: i64 = gateway::limits::SEND_BYTES_MAX as i64;
/// Largest limit of bytes that wait for one client.
pub const OUTBOX_BYTES_MAX: i64 = 1024 * MIB as i64;
/// Most publications that a window may keep.
pub const HISTORY_SIZE_MAX: i64 = 1_000_000;
/// Longest duration of any option: ten years.
pub const DURATION_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;
/// Random bytes of a generated secret.
pub const GENERATED_SECRET_BYTES: usize = 32;
/// Longest validity of a token that the command line mints: one year.
pub const TOKEN_TTL_SECONDS_MAX: u64 = 365 * 24 * 3600;

const _: () = assert!(NAMESPACE_BYTES_MAX < protocol::limits::CHANNEL_BYTES_MAX);
const _: () = assert!(PARTITIONS_MAX <= u16::MAX as i64);
const _: () = assert!(OUTBOX_BYTES_MAX <= u32::MAX as i64);
/// Names in one answer of the API to `channels`; a node with more that match answers 106.
pub const CHANNELS_ANSWER_MAX: usize = 1 << 20;
