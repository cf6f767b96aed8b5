//! Resources of one partition.

use core::time::Duration;

/// Channels that one partition keeps state for. Further ones are refused with 106.
pub const CHANNELS_PER_PARTITION_MAX: usize = 1 << 20;
/// Bytes of payload in the window of one channel; the oldest leave first, whatever `history_size`
/// says.
pub const WINDOW_BYTES_MAX: usize = 64 << 20;
/// Publications of one durable channel that stay in memory once the store has them; older ones are
/// read from there.
pub const DURABLE_WINDOW_PUBLICATIONS_MAX: usize = 256;
/// Bytes of payload in one answer of the store.
pub const LOAD_BYTES_MAX: u32 = 4 << 20;
/// How long a durable channel that nobody uses stays in memory.
pub const DURABLE_IDLE: Duration = Duration::from_secs(60);
/// Requests that may wait for one channel to be loaded. Further ones are answered 111.
pub const HELD_PER_CHANNEL_MAX: usize = 16_384;
/// Repeats of one publication that may wait for it. Further ones are answered 111.
pub const REPEATS_WAITING_MAX: usize = 64;
/// A durable publication that is not confirmed, or a recovery or page of history that the store
/// does not answer, within this time is answered with a temporary error.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Times the store is asked for one recovery, because the window moved on meanwhile.
pub const RECOVERY_ATTEMPTS_MAX: u32 = 3;
/// How long a partition remembers idempotency keys.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(15 * 60);
/// Idempotency keys that one partition remembers; the oldest are forgotten first.
pub const IDEMPOTENCY_KEYS_MAX: usize = 65_536;
/// Time in which a partition looks at each of its channels once, to forget what is too old: so much
/// longer than `history_ttl` may something stay in memory. Nobody is told of it.
pub const SWEEP_TIME: Duration = Duration::from_secs(5);
/// Most channels that one tick looks at for that; a partition with more takes longer.
pub const SWEEP_CHANNELS_PER_TICK: usize = 128;
/// Time between two ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// Bytes of the members in one answer to `presence`: what fits the budget of a client by default.
pub const PRESENCE_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Channels that one answer to `channels` looks at, so that a large partition does not hold up its
/// shard.
pub const CHANNELS_SCANNED_MAX: usize = 4096;
/// Members in one answer to `presence`; a channel with more answers 106, and `presence_stats`
/// counts.
pub const PRESENCE_ANSWER_MAX: usize = 4096;
/// What a channel's rates are weighted over: what is so old counts for a third of what is new.
pub const TRAFFIC_TIME: Duration = Duration::from_secs(5);
/// Channels in one answer about traffic.
pub const BUSIEST_MAX: usize = 256;
