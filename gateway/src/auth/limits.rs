//! Bounds of tokens and key sets. The length of a token itself is a wire maximum:
//! `protocol::limits`.

use core::time::Duration;

/// Longest key id (`kid`) in a token or a key set, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 255;
/// Largest key set document, in bytes.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Most keys in a key set. All of them together take less than 1 MiB of memory.
pub const JWKS_KEYS_MAX: usize = 100;
/// Key ids that are remembered as unknown; beyond it only the interval between fetches protects.
pub const UNKNOWN_KEYS_MAX: usize = 1024;

/// Shortest RSA modulus, in bytes (RFC 7518, 3.3: 2048 bits or larger).
pub const RSA_MODULUS_BYTES_MIN: usize = 256;
/// Longest RSA modulus, in bytes. The time of a check grows with its square.
pub const RSA_MODULUS_BYTES_MAX: usize = 1024;
/// Longest RSA public exponent, in bytes. Longer ones only cost time.
pub const RSA_EXPONENT_BYTES_MAX: usize = 4;
/// HMAC secrets below this are worth a warning (RFC 7518, 3.2: the size of the hash).
pub const HMAC_SECRET_BYTES_STRONG: usize = 32;

/// Most leeway for wrong clocks that may be configured, in seconds.
pub const LEEWAY_SECONDS_MAX: u64 = 300;
/// Latest expiry that is handed on, in Unix seconds: the end of the year 9999. Later means the
/// same.
pub const EXPIRES_AT_MAX: u64 = 253_402_300_799;

/// Published keys are fetched again after this time.
pub const JWKS_REFRESH_INTERVAL_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two fetches, whatever keys tokens name.
pub const JWKS_FETCH_INTERVAL_MIN_DEFAULT: Duration = Duration::from_secs(10);
/// Never less than this, whatever is configured.
pub const JWKS_FETCH_INTERVAL_FLOOR: Duration = Duration::from_secs(1);
/// A fetch without an answer counts as failed after this time.
pub const JWKS_FETCH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// A key id that was not in the set is not asked for again for this time.
pub const JWKS_UNKNOWN_FOR_DEFAULT: Duration = Duration::from_secs(60);
/// Keys are used this long after they should have been refreshed.
pub const JWKS_STALE_FOR_DEFAULT: Duration = Duration::from_secs(6 * 60 * 60);
/// Doublings of the time between failed fetches.
pub const JWKS_BACKOFF_DOUBLINGS_MAX: u32 = 10;

const _: () = assert!(RSA_MODULUS_BYTES_MIN < RSA_MODULUS_BYTES_MAX);
const _: () = assert!(JWKS_BYTES_MAX / JWKS_KEYS_MAX > 2 * RSA_MODULUS_BYTES_MAX);
const _: () = assert!(KEY_ID_BYTES_MAX < protocol::limits::TOKEN_BYTES_MAX);
