//! How much configuration is read, the widest range of what it may say, and what the service for
//! HTTP may hold.

use core::time::Duration;

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
/// Smallest budget of memory for one connection: one full send and the handshake before it.
pub const MEMORY_BYTES_MIN: i64 = 2 * OUTBOX_BYTES_MIN;
/// Largest budget of memory for one connection.
pub const MEMORY_BYTES_MAX: i64 = 2 * OUTBOX_BYTES_MAX;
/// Most publications that a window may keep.
pub const HISTORY_SIZE_MAX: i64 = 1_000_000;
/// Longest duration of any option: ten years.
pub const DURATION_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;
/// Random bytes of a generated secret.
pub const GENERATED_SECRET_BYTES: usize = 32;
/// Longest validity of a token that the command line mints: one year.
pub const TOKEN_TTL_SECONDS_MAX: u64 = 365 * 24 * 3600;
/// Validity of the token that development mode prints.
pub const DEVELOPMENT_TOKEN_TTL_SECONDS: u64 = 24 * 3600;

/// How long the certificate of `--dev-tls` is valid: browsers take one by its hash only if it is
/// valid for 14 days at most.
pub const DEVELOPMENT_CERTIFICATE_DAYS: u32 = 14;
/// A certificate that is valid for fewer days is remarked upon.
pub const CERTIFICATE_DAYS_LEFT_MIN: u64 = 7;

/// Requests of one shard that wait to be taken up.
pub const CALLS_QUEUED_MAX: usize = 256;
/// Requests of one shard that are answered at the same time.
pub const CALLS_MAX: usize = 64;
/// A request must be answered within this time.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest response, in bytes: a presence of ten thousand members fits.
pub const RESPONSE_BYTES_MAX: usize = 8 * MIB as usize;
/// A shard must answer within this time, or the caller is told to try again. Longer than a
/// partition waits for its log or store, whose refusal says more.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// What finds an inbox full waits this long before it tries again: an inbox empties within a turn.
pub const INBOX_RETRY: Duration = Duration::from_millis(1);
/// Ids of unknown keys that wait to be looked at.
pub const KEYS_ASKED_MAX: usize = 64;
/// Places in a shard's table that clients may not fill, so that one too many is still told 503.
pub const PLACES_TO_REFUSE: u32 = 16;

/// Time between two measurements of the process's memory …
pub const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// … and above half of the lowest level. A flood that takes 500 MiB a second takes 10 MiB
/// meanwhile.
pub const MEMORY_INTERVAL_NEAR: Duration = Duration::from_millis(20);
/// Time between two looks at who limits memory: an operator may raise a limit, or move the process.
pub const MEMORY_BOUNDS_INTERVAL: Duration = Duration::from_secs(5);
/// A level of memory is left this many percent of the limit below where it is entered.
pub const MEMORY_HYSTERESIS_PERCENT: u8 = 5;
/// Most times what is too much that is asked back at once: twice as much each
/// [`MEMORY_INTERVAL`] in which memory has become no less.
pub const MEMORY_URGENCY_MAX: u64 = 16;
/// Longest file of the kernel that says how memory is used. What stands behind it is not read.
pub const MEMORY_FILE_BYTES_MAX: usize = 16 * 1024;
/// Smallest `memory.limit`: below it the receive buffers of a few shards alone would be too much.
pub const MEMORY_LIMIT_BYTES_MIN: i64 = 64 * MIB as i64;
/// Largest `memory.limit`.
pub const MEMORY_LIMIT_BYTES_MAX: i64 = 1 << 50;
/// Range of the levels of memory, in percent of the limit, where they are not zero.
pub const MEMORY_LEVEL_PERCENT_MIN: i64 = 20;

/// Connections that the doctor examines a host for if nobody says how many there will be.
pub const CONNECTIONS_EXPECTED: u64 = 100_000;
/// Most connections that a host is examined for: as many as ids can name.
pub const DOCTOR_CONNECTIONS_MAX: u64 = 1 << 32;
/// Files besides connections: logs, listeners, rings, wake-ups.
pub const FILES_BESIDE: u64 = 1_024;
/// Files that the portable driver leaves to listeners, wake-ups, logs and outgoing requests.
pub const FILES_RESERVED: u32 = 128;
/// Bytes of a user's name where nobody says how long names are: those of a UUID.
pub const IDLE_NAME_BYTES: usize = 36;
/// Memory of a server before anybody connects, with rings and receive buffers; 16 MiB measured.
pub const SERVER_BYTES: u64 = 32 * MIB as u64;

const _: () = assert!(NAMESPACE_BYTES_MAX < protocol::limits::CHANNEL_BYTES_MAX);
const _: () = assert!(PARTITIONS_MAX <= u16::MAX as i64);
const _: () = assert!(OUTBOX_BYTES_MAX <= u32::MAX as i64);
const _: () = assert!(MEMORY_BYTES_MAX <= u32::MAX as i64);
/// Names in one answer of the API to `channels`; a node with more that match answers 106.
pub const CHANNELS_ANSWER_MAX: usize = 1 << 20;
/// Range of `persistence.segment_size`.
pub const SEGMENT_BYTES_MIN: i64 = MIB as i64;
/// Largest value of `persistence.segment_size`.
pub const SEGMENT_BYTES_MAX: i64 = 1024 * MIB as i64;
/// Range of `persistence.backlog_max_size`.
pub const BACKLOG_BYTES_MIN: i64 = MIB as i64;
/// Largest value of `persistence.backlog_max_size`.
pub const BACKLOG_BYTES_MAX: i64 = 64 * 1024 * MIB as i64;
/// How long a start waits for its port, which a predecessor that was killed may still hold.
pub const PORT_PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks at the port.
pub const PORT_RETRY: Duration = Duration::from_millis(20);
/// Room on the data directory's disk below which the doctor warns.
pub const DISK_FREE_BYTES_MIN: u64 = 1 << 30;
/// Segments of the journal that there should be room for: the one in use, the next, two to trim.
pub const DISK_SEGMENTS_MIN: u64 = 4;

/// Calls of the admin API that are served at the same time; further ones are told to come back.
pub const ADMIN_CALLS_MAX: usize = 4;
/// Largest body of a call of the admin API, in bytes.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// The body of a call must be complete within this time.
pub const ADMIN_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// A shard must answer an operator within this time, or is named as one that did not.
pub const ADMIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Wrong keys are warned of no more often than this; the count goes on.
pub const ADMIN_WRONG_KEY_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Rows of one answer, unless the question says how many …
pub const ADMIN_ROWS_DEFAULT: u64 = 100;
/// … and at most.
pub const ADMIN_ROWS_MAX: u64 = gateway::limits::LISTED_MAX as u64;
/// Connections that one call closes, unless it says how many …
pub const ADMIN_CLOSES_DEFAULT: u64 = 1_000;
/// … and at most. Their clients come back together.
pub const ADMIN_CLOSES_MAX: u64 = 10_000;
/// A command waits so long for a whole answer: a close asks one shard behind the other.
pub const ADMIN_CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that a command reads: rows with the longest names, and more.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 8 * MIB as usize;

/// Most hosts of a certificate that is fetched: Let's Encrypt takes as many.
pub const ACME_HOSTS_MAX: usize = 100;
/// Longest name of a host, in bytes (RFC 1035, 2.3.4, without the root), and of a part of it.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest part of a host's name between dots, in bytes.
pub const HOST_LABEL_BYTES_MAX: usize = 63;
/// A certificate is renewed when one part in so many of its lifetime is left …
pub const ACME_RENEWAL_PARTS: u64 = 3;
/// … and earlier by up to one part in so many, by chance: nodes that began together do not stay so.
pub const ACME_JITTER_PARTS: u64 = 20;
/// After a certificate came, none is asked for within one part in so many of its lifetime: a clock
/// that is wrong must not use up what an authority issues, five a week for the same hosts.
pub const ACME_ISSUED_PARTS: u64 = 6;
/// First wait, in seconds, after an authority refused or could not verify a host. Let's Encrypt
/// takes five failures for a host in an hour, and the wait only grows from here.
pub const ACME_REFUSED_SECONDS_MIN: u64 = 15 * 60;
/// Longest wait after refusals. Let's Encrypt's shortest certificates are valid for six days, of
/// which two are left when renewal begins.
pub const ACME_REFUSED_SECONDS_MAX: u64 = 12 * 3600;
/// First wait, in seconds, after an authority could not be reached.
pub const ACME_UNREACHABLE_SECONDS_MIN: u64 = 10;
/// Longest wait while an authority cannot be reached.
pub const ACME_UNREACHABLE_SECONDS_MAX: u64 = 3600;
/// Waits are longer by up to one part in so many, by chance.
pub const ACME_WAIT_JITTER_PARTS: u64 = 4;
/// Longest wait that an authority may ask for: Let's Encrypt's longest limit is a week.
pub const ACME_RETRY_AFTER_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Time between two looks at the clock, which may be set, while a certificate is not due.
pub const ACME_LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// An authority must answer one request within this time.
pub const ACME_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of an authority, in bytes: chains and directories have some KiB.
pub const ACME_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Time that an authority may take to verify hosts, and again to issue the certificate.
pub const ACME_ORDER_TIMEOUT: Duration = Duration::from_secs(90);
/// Time of a whole attempt, with all its requests.
pub const ACME_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Longest text of an authority that a log repeats, in characters.
pub const ACME_DETAIL_CHARACTERS_MAX: usize = 600;
