//! Keys of one direction of TLS 1.3 and how the next ones follow from them (RFC 8446, 7).
//!
//! rustls keeps the secrets that this begins with in a connection of 3.5 KiB, or hands them over
//! inside an object of 784 bytes. It tells them as they are to whoever logs keys: so that is what
//! [`Catcher`] pretends to do. Nothing is written anywhere.

use core::cell::Cell;
use core::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::{ConnectionTrafficSecrets, KeyLog};
use zeroize::Zeroizing;

/// A cipher suite of TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Suite {
    /// The suite of secrets that rustls handed over.
    pub(super) fn of(secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { .. } => Some(Self::Aes128Gcm),
            ConnectionTrafficSecrets::Aes256Gcm { .. } => Some(Self::Aes256Gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// RFC 8446, B.4.
    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => HKDF_SHA384,
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => HKDF_SHA256,
        }
    }

    /// Records that may be sealed with one key (RFC 8446, 5.5: 2^24.5 full ones of AES-GCM).
    pub(super) fn records_max(self) -> u64 {
        match self {
            Self::ChaCha20Poly1305 => u64::MAX,
            _ if cfg!(test) => 1 << 6,
            _ => 1 << 24,
        }
    }
}

/// A traffic secret: what keys are derived from.
#[derive(Clone)]
pub(super) struct TrafficSecret(Zeroizing<[u8; SECRET_BYTES_MAX]>);

impl Default for TrafficSecret {
    fn default() -> Self {
        Self(Zeroizing::new([0; SECRET_BYTES_MAX]))
    }
}

/// Keys of one direction.
pub(super) struct Half {
    secret: TrafficSecret,
    key: Zeroizing<[u8; KEY_BYTES_MAX]>,
    iv: [u8; NONCE_LEN],
    /// Of the next record.
    sequence: u64,
}

impl Half {
    /// Derives the keys of a secret. `None`: it is of another suite.
    pub(super) fn new(suite: Suite, secret: TrafficSecret, sequence: u64) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
        let mut iv = [0; NONCE_LEN];
        secret.expand(suite, b"key", &mut key[..suite.algorithm().key_len()])?;
        secret.expand(suite, b"iv", &mut iv)?;
        Some(Self { secret, key, iv, sequence })
    }

    /// Are these the keys that rustls uses?
    pub(super) fn agrees_with(&self, secrets: &ConnectionTrafficSecrets) -> bool {
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            return false;
        };
        let same = |one: &[u8], other| {
            aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
        };
        let own = &self.key[..key.as_ref().len().min(KEY_BYTES_MAX)];
        same(own, key.as_ref()) && same(&self.iv, iv.as_ref())
    }

    /// RFC 8446, 7.2: the secret is replaced by the next one, which begins at record zero.
    pub(super) fn update(&mut self, suite: Suite) -> Option<()> {
        let mut next = TrafficSecret::default();
        let length = suite.hash().hmac_algorithm().digest_algorithm().output_len();
        self.secret.expand(suite, b"traffic upd", &mut next.0[..length])?;
        *self = Self::new(suite, next, 0)?;
        Some(())
    }

    /// The key, expanded for one call: 0.1 µs, against 600 bytes for each connection.
    pub(super) fn key(&self, suite: Suite) -> Option<LessSafeKey> {
        let algorithm = suite.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        Some(LessSafeKey::new(key.ok()?))
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// RFC 8446, 5.3. `None`: all numbers are used up.
    pub(super) fn next_nonce(&mut self) -> Option<Nonce> {
        let nonce = self.nonce_at(self.sequence);
        self.sequence = self.sequence.checked_add(1)?;
        Some(nonce)
    }

    pub(super) fn nonce_at(&self, sequence: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, digit) in nonce[NONCE_LEN - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= digit;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl TrafficSecret {
    /// HKDF-Expand-Label (RFC 8446, 7.1), without a context.
    fn expand(&self, suite: Suite, label: &[u8], out: &mut [u8]) -> Option<()> {
        let hash = suite.hash();
        let secret = &self.0[..hash.hmac_algorithm().digest_algorithm().output_len()];
        let length = u16::try_from(out.len()).ok()?.to_be_bytes();
        let label_bytes = [(PREFIX.len() + label.len()) as u8];
        let info = [&length[..], &label_bytes, PREFIX, label, &[0]];
        let secret = Prk::new_less_safe(hash, secret);
        secret.expand(&info, Length(out.len())).ok()?.fill(out).ok()
    }

    fn of(secret: &[u8]) -> Option<Self> {
        let mut kept = Self::default();
        kept.0.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(kept)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The first secrets of a connection, as they become known in its handshake.
#[derive(Default)]
pub(super) struct FirstSecrets {
    /// What the client seals with.
    pub(super) client: Option<TrafficSecret>,
    /// What the server seals with.
    pub(super) server: Option<TrafficSecret>,
}

impl FirstSecrets {
    /// Takes what this thread caught since the last time. Called behind every call of a connection
    /// in its handshake, so that it is of that connection.
    pub(super) fn take_caught(&mut self) {
        let caught = CAUGHT.take();
        self.client = caught.client.or_else(|| self.client.take());
        self.server = caught.server.or_else(|| self.server.take());
    }
}

thread_local! {
    /// Filled and emptied within one call of one connection: nothing else of the thread runs then.
    static CAUGHT: Cell<FirstSecrets> = const {
        Cell::new(FirstSecrets { client: None, server: None })
    };
}

/// Takes secrets from rustls, which thinks that they are logged.
#[derive(Debug)]
pub(super) struct Catcher;

impl KeyLog for Catcher {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut caught = CAUGHT.take();
        match label {
            OF_CLIENT => caught.client = TrafficSecret::of(secret),
            OF_SERVER => caught.server = TrafficSecret::of(secret),
            _ => {}
        }
        CAUGHT.set(caught);
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, OF_CLIENT | OF_SERVER)
    }
}

/// Secrets never show.
impl fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// SHA-384 makes the longest secrets.
const SECRET_BYTES_MAX: usize = 48;
const KEY_BYTES_MAX: usize = 32;
/// RFC 8446, 7.1.
const PREFIX: &[u8] = b"tls13 ";
// The labels of SSLKEYLOGFILE (RFC 9850).
const OF_CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const OF_SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_rfc_are_derived() {
        // RFC 8448, 3: the server's application traffic secret and its write keys.
        let secret = [
            0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11, 0x6b, 0x45, 0xa9,
            0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb, 0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f,
            0xcb, 0x63, 0x16, 0x43,
        ];
        let half = Half::new(Suite::Aes128Gcm, TrafficSecret::of(&secret).unwrap(), 0).unwrap();
        let key = [
            0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b, 0xb9, 0xf2, 0xac, 0x92,
            0xe3, 0x56,
        ];
        let iv = [0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84];
        assert_eq!((&half.key[..16], half.iv), (&key[..], iv));
    }

    #[test]
    fn secrets_are_as_long_as_they_can_be_and_never_shown() {
        assert!(TrafficSecret::of(&[1; SECRET_BYTES_MAX]).is_some());
        assert!(TrafficSecret::of(&[1; SECRET_BYTES_MAX + 1]).is_none());
        assert_eq!(format!("{:?}", TrafficSecret::of(&[1; 32])), "Some(***)");
        Catcher.log("EXPORTER_SECRET", &[], &[1; 32]);
        Catcher.log(OF_CLIENT, &[], &[1; 32]);
        let mut first = FirstSecrets::default();
        first.take_caught();
        assert!(first.client.is_some());
        assert!(first.server.is_none());
        first.take_caught();
        assert!(first.client.is_some(), "it is kept");
        let mut other = FirstSecrets::default();
        other.take_caught();
        assert!(other.client.is_none(), "it was taken");
    }
}
