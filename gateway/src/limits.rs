//! Resources of one gateway shard and of each connection.

use core::time::Duration;

use protocol::limits::{HTTP_BODY_BYTES_MAX, KIB, MESSAGE_BYTES_DEFAULT, MIB};

/// Bytes that may wait for one client by default (`client.queue_max_size`).
pub const OUTBOX_BYTES_DEFAULT: u32 = 1024 * KIB;
/// Bytes of memory that one connection may take by default (`client.memory_limit`): what waits for
/// it, what has come of its messages and bodies, its subscriptions. Twice what all other limits
/// allow together by default, which is a body and an answer of the HTTP API: 8 MiB each, since
/// buffers grow by doubling.
pub const CONNECTION_MEMORY_BYTES_DEFAULT: u32 = 32 * MIB;
/// What a subscription counts for in that: more than one to a channel of its own takes whose name
/// has 255 bytes.
pub const SUBSCRIPTION_BYTES: usize = 512;
/// Largest place of a connection in its shard's table, in bytes. Every idle client takes this.
pub const CONNECTION_PLACE_BYTES_MAX: usize = 136;
/// Largest place of a connection's reader, in bytes.
pub const READER_BYTES_MAX: usize = 32;
/// Largest session, in bytes, without what it owns elsewhere. The allocator's next size is 192.
pub const SESSION_BYTES_MAX: usize = 160;
/// What rustls keeps of a connection that is in its handshake, or that it goes on with (measured:
/// 3.5 to 4 KiB, and some 8 KiB at the height of a handshake).
pub const TLS_RUSTLS_BYTES: usize = 4 * KIB as usize;
/// Waiting buffers up to this size are copied together into one send.
pub const GATHER_BYTES_MAX: usize = 16 * KIB as usize;
/// Largest single send. A client that takes less than this in [`STALL_TIMEOUT`] is slow.
pub const SEND_BYTES_MAX: u32 = 64 * KIB;
/// Send buffers that a shard keeps for use again.
pub const SPARE_BUFFERS_MAX: usize = 1024;
/// A buffer that grew beyond this is freed instead.
pub const SPARE_BUFFER_BYTES_MAX: usize = 4 * KIB as usize;

/// A request head must be complete within this time of the accept.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client must send `connect` within this time by default (`client.stale_close_delay`).
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A begun message must be complete within this time.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A send that makes no progress for this long closes the connection as slow, so that who takes
/// nothing is gone within 10 s.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(9);
/// After a close frame or the last response, the peer has this long to close its side.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// The body of a request must be complete within this time of its head.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A client must read its last answer at this rate, and has [`LINGER_TIMEOUT`] beside.
pub const RESPONSE_BYTES_PER_SECOND_MIN: u32 = 256 * KIB;
/// How long a connection that only speaks HTTP may be idle between requests, and how long the
/// service may take for one.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends in one turn: at about 5 µs each, a turn takes little more than a millisecond.
pub const SENDS_PER_TURN: usize = 256;
/// Subscribers that one channel is served before the next one has its turn.
pub const FANOUT_SUBSCRIBERS_PER_STEP: usize = 128;
/// Bytes of frames in one burst of a channel.
pub const BURST_BYTES_MAX: usize = 64 * KIB as usize;
/// Publications of one channel that may wait for their fan-out. Further ones are not queued: the
/// channel fetches them afterwards, or they count as dropped if they have no offset.
pub const BURST_QUEUE_MAX: usize = 4096;
/// Messages of router and peers that one turn takes: all that a turn's receive buffers can cause.
pub const LANE_MESSAGES_PER_TURN: usize = 1 << 16;
/// Messages from threads outside the cores that one turn takes.
pub const INBOX_MESSAGES_PER_TURN: usize = 256;
/// Longest sleep of a shard that has nothing to do.
pub const SLEEP_MAX: Duration = Duration::from_secs(1);
/// After accepting stopped for want of descriptors, it is tried again after this time.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// Bytes that request bodies of one shard may take, from their first byte until they are answered.
/// Sixteen of the largest.
pub const BODIES_BYTES_MAX: usize = 64 * MIB as usize;
/// When a client has sent this much behind a request that is not answered yet, no more is read
/// until it is. What the kernel has handed over by then is kept: at most the shard's receive
/// buffers.
pub const PIPELINED_BYTES_MAX: usize = 16 * KIB as usize;
/// Handshakes of TLS that may be under way on one shard by default
/// (`http_server.tls.handshake_limit`). Each takes some 8 KiB, and at most
/// [`TLS_HANDSHAKE_BYTES_MAX`] beside it.
pub const TLS_HANDSHAKES_DEFAULT: u32 = 4096;
/// Bytes of one client before its handshake ends: ten times a hello with post-quantum keys.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 16 * KIB as usize;
/// Steps of handshakes that one turn takes, two for each: some 30 µs each with a key of P-256, and
/// 0.3 ms with one of RSA-2048. Further ones wait for the next turn.
pub const TLS_HANDSHAKE_STEPS_PER_TURN: u32 = 32;
/// Bytes of an unfinished record that are kept: the largest one of TLS 1.2 (RFC 5246, 6.2.3).
pub const TLS_KEPT_BYTES_MAX: usize = 16 * KIB as usize + 2048 + 5;
/// Key updates that a client may ask for without sending data.
pub const TLS_KEY_UPDATES_MAX: u8 = 32;
/// Records without content that a client may send one behind the other.
pub const TLS_EMPTY_RECORDS_MAX: u8 = 32;
/// Alerts of a client that are passed over.
pub const TLS_WARNINGS_MAX: u8 = 4;
/// Addresses that the process counts for `client.address_connection_limit` and `_rate`, 24 bytes
/// each: twice as many as it may have connections, but no fewer than this …
pub const ADDRESSES_MIN: u32 = 1 << 14;
/// … and no more than this. Of an address that finds no place the connections are not counted.
pub const ADDRESSES_MAX: u32 = 1 << 20;
/// Whom a limit of connections refuses is asked to come back after so many seconds …
pub const RETRY_AFTER_SECONDS: u64 = 5;
/// … and at random up to twice as many, but up to these many more at least.
pub const RETRY_JITTER_SECONDS_MIN: u64 = 5;
/// Who was refused for want of room has this long to close its side: its answer fits into the
/// kernel's buffer, and its place is wanted.
pub const SHED_LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// Clients that one turn takes in behind all else. Each goes on to cost some 45 to 60 µs.
pub const ACCEPTS_PER_TURN: usize = 32;
/// Clients that one turn lets go because they send nothing more, behind all else.
pub const ENDS_PER_TURN: usize = 64;
/// Connections that one turn looks at in search of those who hold most, while the process is short
/// of memory …
pub const SHED_SLOTS_PER_TURN: u32 = 4096;
/// … of whom so many are remembered …
pub const SHED_CANDIDATES_MAX: usize = 1024;
/// … and so many closed by one turn.
pub const SHED_CLOSES_PER_TURN: usize = 32;
/// Who holds less than one gathered send is not slow, and is kept.
pub const SHED_BYTES_MIN: u64 = GATHER_BYTES_MAX as u64;
/// A message that is not complete after this time counts as the largest there may be: how much of
/// it has come, only its reader knows.
pub const SHED_UNFINISHED_AGE: Duration = Duration::from_secs(1);
/// Questions of operators about connections that may wait on one shard; further ones are refused.
pub const LISTINGS_MAX: usize = 8;
/// What one turn does for such questions, in looks at a slot: some 0.1 µs each in a development
/// build with 50,000 connections (measured) …
pub const LISTING_UNITS_PER_TURN: u32 = 1024;
/// … as much as so many subscriptions of one connection take that are searched for a channel …
pub const LISTED_SUBSCRIPTIONS_PER_UNIT: usize = 16;
/// … and one connection that is closed counts for so many, and one more for each subscription that
/// ends with it: a turn closes 16 at most.
pub const LISTED_CLOSE_UNITS: u32 = 63;
/// Connections in one answer.
pub const LISTED_MAX: usize = 1000;
/// Names of channels with one connection.
pub const LISTED_CHANNELS_MAX: usize = 1000;
/// Timers that one turn fires.
pub const TIMERS_PER_TURN: usize = 512;

/// Commands of one connection that may wait for the router.
pub const COMMANDS_IN_FLIGHT_MAX: u16 = 512;
/// Bytes of commands that may wait behind a `connect` that is not answered yet.
pub const HELD_BYTES_MAX: usize = 64 * KIB as usize;
/// What a held command costs beside its bytes.
pub const HELD_OVERHEAD_BYTES: usize = 64;
/// How long a connection pauses after its user's home shard said that the rate is used up.
pub const THROTTLE_TIME: Duration = Duration::from_secs(1);
/// Connections of one user that are found by looking through them; more are found by hash.
pub const USER_CONNECTIONS_SCANNED_MAX: usize = 32;
/// Subscriptions of one connection up to which their list grows one at a time.
pub const SUBSCRIPTIONS_GROWN_SINGLY: usize = 8;
/// Subscriptions of the API that may wait for a `connect` to be answered.
pub const SUBSCRIBES_HELD_MAX: usize = 128;
/// An encoding buffer that grew beyond this by one large message is freed behind it.
pub const SCRATCH_BYTES_MAX: usize = 64 * KIB as usize;
/// Tokens of connects that one turn checks: at 50 µs each, as a signature of ES256 takes, little
/// less than a millisecond. Further ones wait for the next turns.
pub const CONNECTS_PER_TURN: usize = 16;
/// Connects of one shard that may wait for keys; further ones are refused.
pub const AWAITING_KEYS_MAX: usize = 4096;
/// Channels of one connection by default (`client.channel_limit`).
pub const CHANNELS_DEFAULT: u32 = 128;
/// Pieces that a client may send between two pings, its pong aside, before it is received from by
/// an operation that stays armed. That one spares the kernel some work with each piece, and costs
/// it some 600 bytes meanwhile.
pub const HOT_ARRIVALS: u8 = 16;
/// Who sent no more than so many is watched again.
pub const COOL_ARRIVALS: u8 = 4;
/// Control frames of one client: so many at once …
pub const CONTROL_FRAMES_BURST: u32 = 128;
/// … and so many per second.
pub const CONTROL_FRAMES_PER_SECOND: u32 = 16;
/// Commands that failed, of one connection, before it is closed with 3509; error 100, the
/// server's own fault, does not count.
pub const ERRORS_MAX: u16 = 1024;

/// What one turn does at most, so that everybody has their turn soon.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Sends.
    pub sends: usize,
    /// Clients that are taken in.
    pub accepts: usize,
    /// Clients that are let go because they send nothing more.
    pub ends: usize,
    /// Tokens of connects that are checked, at least one.
    pub connects: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            sends: SENDS_PER_TURN,
            accepts: ACCEPTS_PER_TURN,
            ends: ENDS_PER_TURN,
            connects: CONNECTS_PER_TURN,
        }
    }
}

const _: () = assert!(COOL_ARRIVALS < HOT_ARRIVALS);
const _: () = assert!(GATHER_BYTES_MAX as u32 <= SEND_BYTES_MAX);
const _: () = assert!(SEND_BYTES_MAX <= OUTBOX_BYTES_DEFAULT);
const _: () = assert!(ADDRESSES_MIN <= ADDRESSES_MAX);
const _: () = assert!(HTTP_BODY_BYTES_MAX <= BODIES_BYTES_MAX);
const _: () = assert!(HELD_BYTES_MAX <= OUTBOX_BYTES_DEFAULT as usize);
const _: () = assert!(4 * HTTP_BODY_BYTES_MAX <= CONNECTION_MEMORY_BYTES_DEFAULT as usize);
const _: () = assert!(
    2 * (OUTBOX_BYTES_DEFAULT as usize
        + 2 * MESSAGE_BYTES_DEFAULT as usize
        + HELD_BYTES_MAX
        + CHANNELS_DEFAULT as usize * SUBSCRIPTION_BYTES)
        <= CONNECTION_MEMORY_BYTES_DEFAULT as usize
);
