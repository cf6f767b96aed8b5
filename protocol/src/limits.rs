//! Wire maxima: the largest of everything a peer may send. Resources are in each tier's
//! `limits.rs`.

/// 1024 bytes.
pub const KIB: u32 = 1024;
/// 1024 KiB.
pub const MIB: u32 = 1024 * KIB;

/// Longest HTTP request line, in bytes. Longer: 414.
pub const HTTP_REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;
/// Longest HTTP request head (request line and all headers), in bytes. Longer: 431.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most HTTP headers in one request. More: 431.
pub const HTTP_HEADERS_MAX: usize = 100;
/// Largest HTTP request body on the client port, in bytes. Larger: 413.
pub const HTTP_BODY_BYTES_MAX: usize = 4 * MIB as usize;

/// Longest header of the PROXY protocol, in bytes, with its additions. The specification (2) has
/// its sender fit it into the smallest TCP segment that every host takes: 576 less 40.
pub const PROXY_HEADER_BYTES_MAX: usize = 536;
/// Most prefixes of addresses in one list of proxies; each is compared with every new connection.
pub const PREFIXES_MAX: usize = 1024;

/// Largest message a client may send by default, in bytes (`websocket.message_size_limit`).
pub const MESSAGE_BYTES_DEFAULT: u32 = 64 * KIB;
/// The most that `websocket.message_size_limit` may be set to, in bytes.
pub const MESSAGE_BYTES_MAX: u32 = 64 * MIB;
/// Frames in one message, and so fragments of which one message may be made.
///
/// Fragments cost their bytes only, but each costs a pass through the decoder.
pub const MESSAGE_FRAMES_MAX: u32 = 4096;
/// With a larger message limit, a message may have one frame for so many bytes of the limit.
pub const FRAGMENT_BYTES_MEAN_MIN: u32 = 64;
/// A control frame's payload, in bytes (RFC 6455, 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;
/// A frame head that a server writes: 2 bytes and at most 8 of length (RFC 6455, 5.2).
pub const FRAME_HEAD_BYTES_MAX: usize = 10;

/// Longest channel name, in bytes (`channel.max_length`).
pub const CHANNEL_BYTES_MAX: usize = 255;
/// Longest user id, in bytes.
pub const USER_BYTES_MAX: usize = 255;
/// Longest token, in bytes. A signature check costs time in proportion.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Most commands in one message; further ones close the connection.
pub const COMMANDS_PER_MESSAGE_MAX: usize = 512;
/// Longest name of an RPC method, in bytes.
pub const RPC_METHOD_BYTES_MAX: usize = 255;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Most publications in one history answer (`client.recovery_max_publication_limit` and friends).
pub const HISTORY_PUBLICATIONS_MAX: u32 = 300;

const _: () = assert!(MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_MAX);
const _: () = assert!(HTTP_REQUEST_LINE_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
const _: () = assert!(CHANNEL_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
