//! Resources of the persistence tier, and the largest of everything it writes.

use core::time::Duration;

/// Most bytes of one encoded entry: the largest message, the largest API body, and their frame.
pub const ENTRY_BYTES_MAX: usize = 80 << 20;
/// Bytes at which a batch is closed. One entry is always within it, whatever its size.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Entries at which a batch is closed.
pub const BATCH_ENTRIES_MAX: usize = 16_384;
/// Entries in one batch that a reader accepts: no writer comes near it.
pub const BATCH_ENTRIES_READ_MAX: u32 = 1 << 20;
/// Bytes at which a segment is closed, unless configured. It is preallocated, so this is also the
/// least that an idle journal takes on disk (twice while the next one is prepared).
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest segment that may be configured, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 4096;
/// Entries that wait for the journal's thread. Further ones are refused.
pub const APPENDS_WAITING_MAX: usize = 65_536;
/// Bytes of entries that were appended and are not in the store, unless configured. Beyond it
/// appends are refused, so this bounds the journal on disk and the time a restart takes.
pub const UNSTORED_BYTES_DEFAULT: u64 = 256 << 20;
/// Bytes that are written, and synced, at once when a segment is made beside the commits.
pub const ZEROS_BYTES: usize = 256 << 10;
/// Longest pause between two such pieces; otherwise it is twice the time of the last one.
pub const ZEROS_PAUSE_MAX: Duration = Duration::from_millis(20);
/// Partitions that one journal serves.
pub const PARTITIONS_MAX: u16 = 4096;

/// Entries that the follower commits at once.
pub const COMMIT_ENTRIES_MAX: usize = 32_768;
/// Bytes of entries that the follower commits at once.
pub const COMMIT_BYTES_MAX: usize = 16 << 20;
/// Bytes of entries that wait for the store at which the follower commits at once.
pub const COMMIT_BYTES_SOON: u64 = 512 << 10;
/// Pause between two commits of the follower while nobody awaits the store and little waits for it.
/// A commit syncs the disk that the journal writes to: one per batch of the journal made a durable
/// publication wait 5 to 20 times as long.
pub const COMMIT_PAUSE: Duration = Duration::from_secs(1);
/// Channels whose row number and position the store remembers.
pub const CHANNELS_REMEMBERED_MAX: usize = 131_072;
/// Questions that wait for the store. Further ones are refused.
pub const QUESTIONS_WAITING_MAX: usize = 4096;
/// How long an idempotency key is answered, by the time of its entry.
pub const KEY_TTL: Duration = Duration::from_secs(15 * 60);
/// Channels that one slice of retention looks at.
pub const RETENTION_CHANNELS_PER_SLICE: u32 = 64;
/// Rows that one slice of retention deletes of one channel, and of all keys.
pub const RETENTION_ROWS_PER_SLICE: u32 = 2000;
/// Pause between two slices while nothing is stored.
pub const RETENTION_IDLE_PAUSE: Duration = Duration::from_millis(250);
/// Niceness of the store's threads, above that of the process.
pub const STORE_NICE: i32 = 5;
/// Memory of the store's write connection for pages, in KiB.
pub const STORE_CACHE_KIB: u32 = 65_536;
/// Pages of the store's write-ahead log before they are copied into the database.
pub const STORE_WAL_PAGES: u32 = 16_384;

/// Turns of the journal before it tries again to make a segment ahead.
pub const SPARE_RETRY_TURNS: u32 = 256;
/// A question that has waited so long is not put to the store: nobody waits for its answer.
pub const QUESTION_AGE_MAX: Duration = Duration::from_secs(5);
/// How long a change of namespaces may take until it is refused; a log that is silent is answered
/// for as soon.
pub const NAMESPACES_TIME_MAX: Duration = Duration::from_secs(5);
/// Changes of namespaces that wait for the store, with those that nobody waits for any more.
pub const NAMESPACES_WAITING_MAX: usize = 8;
/// Pause between two attempts to open a new segment after a failure.
pub const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// First pause after a failed commit of the store; it doubles.
pub const STORE_RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause after a failed commit of the store.
pub const STORE_RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a shutdown tries to store what is in the journal, unless configured. What is left is
/// stored after the next start.
pub const SHUTDOWN_STORE_TIME_DEFAULT: Duration = Duration::from_secs(10);

const _: () = assert!(protocol::limits::MESSAGE_BYTES_MAX as usize <= ENTRY_BYTES_MAX);
const _: () = assert!(protocol::limits::HTTP_BODY_BYTES_MAX <= ENTRY_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX + BATCH_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(BATCH_ENTRIES_MAX <= BATCH_ENTRIES_READ_MAX as usize);
const _: () = assert!(BATCH_ENTRIES_MAX <= COMMIT_ENTRIES_MAX);
