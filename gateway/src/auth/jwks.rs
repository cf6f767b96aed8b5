//! Published key sets (RFC 7517), read strictly in whole and patiently in part.
//!
//! An issuer may publish keys that are of no use here. Those are left out, each with a reason. A
//! document without one usable key is refused, so that it does not replace a good one.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::algorithm::Algorithm;
use super::keys::{KeyFault, VerifyingKey};
use super::limits::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEY_ID_BYTES_MAX};
use super::object::{Malformed, Object};
use super::token::Token;

/// Keys by their id. Empty until the first fetch.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<String, PublishedKey>,
    skipped: Vec<(usize, SkipReason)>,
}

/// A key, and the only algorithm it may be used with if the issuer said so.
#[derive(Clone, Debug)]
pub(super) struct PublishedKey {
    key: VerifyingKey,
    algorithm: Option<Algorithm>,
}

impl PublishedKey {
    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        let may = self.algorithm.is_none_or(|algorithm| algorithm == token.algorithm);
        may && self.key.verify(token)
    }
}

impl KeySet {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// It is too large, no key set, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetFault> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(KeySetFault::TooLarge { bytes: document.len() });
        }
        let entries: Vec<&RawValue> = Object::parse(document)
            .and_then(|set| set.value("keys"))
            .map_err(|Malformed| KeySetFault::Malformed)?
            .ok_or(KeySetFault::Malformed)?;
        if entries.len() > JWKS_KEYS_MAX {
            return Err(KeySetFault::TooManyKeys { keys: entries.len() });
        }
        let mut set = Self::default();
        for (index, entry) in entries.into_iter().enumerate() {
            if let Err(reason) = set.add(entry) {
                set.skipped.push((index, reason));
            }
        }
        if set.keys.is_empty() {
            let first = set.skipped.first().map(|(_, reason)| *reason);
            return Err(KeySetFault::NoUsableKey { skipped: set.skipped.len(), first });
        }
        Ok(set)
    }

    /// Usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Is there no key?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Is there a key of this id?
    pub fn contains(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// The ids of usable keys, in order.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// What was left out: place in the document, and why.
    pub fn skipped(&self) -> &[(usize, SkipReason)] {
        &self.skipped
    }

    pub(super) fn find(&self, key_id: &str) -> Option<&PublishedKey> {
        self.keys.get(key_id)
    }

    fn add(&mut self, entry: &RawValue) -> Result<(), SkipReason> {
        let entry = Object::nested(entry)?;
        let key_id = entry.text("kid")?.filter(|key_id| !key_id.is_empty());
        let key_id = key_id.ok_or(SkipReason::NoKeyId)?;
        if key_id.len() > KEY_ID_BYTES_MAX {
            return Err(SkipReason::KeyIdTooLong);
        }
        if self.keys.contains_key(&key_id) {
            return Err(SkipReason::KeyIdTwice);
        }
        let key = published_key(&entry)?;
        self.keys.insert(key_id, key);
        Ok(())
    }
}

/// RFC 7517, 4 and RFC 7518, 6.
fn published_key(entry: &Object<'_>) -> Result<PublishedKey, SkipReason> {
    if entry.text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(SkipReason::OtherPurpose);
    }
    let operations: Vec<String> = entry.list("key_ops")?;
    if !operations.is_empty() && !operations.iter().any(|operation| operation == "verify") {
        return Err(SkipReason::OtherPurpose);
    }
    let algorithm = match entry.text("alg")? {
        None => None,
        Some(name) => Some(Algorithm::from_name(&name).ok_or(SkipReason::Algorithm)?),
    };
    let kind = entry.text("kty")?.ok_or(SkipReason::Malformed)?;
    // Everybody who can read the set could sign with such keys.
    if kind == "oct" || entry.contains("k") {
        return Err(SkipReason::Symmetric);
    }
    if entry.contains("d") {
        return Err(SkipReason::Private);
    }
    let key = match kind.as_str() {
        "RSA" => VerifyingKey::rsa_components(&bytes(entry, "n")?, &bytes(entry, "e")?)?,
        "EC" => ecdsa_key(entry)?,
        "OKP" => {
            if entry.text("crv")?.as_deref() != Some("Ed25519") {
                return Err(SkipReason::Curve);
            }
            VerifyingKey::ed25519_bytes(&bytes(entry, "x")?)?
        }
        _ => return Err(SkipReason::KeyType),
    };
    if algorithm.is_some_and(|algorithm| !key.serves(algorithm)) {
        return Err(SkipReason::Algorithm);
    }
    Ok(PublishedKey { key, algorithm })
}

/// RFC 7518, 6.2.1: both coordinates have exactly the size of the curve's field.
fn ecdsa_key(entry: &Object<'_>) -> Result<VerifyingKey, SkipReason> {
    let coordinate_bytes = match entry.text("crv")?.as_deref() {
        Some("P-256") => 32,
        Some("P-384") => 48,
        _ => return Err(SkipReason::Curve),
    };
    let (x, y) = (bytes(entry, "x")?, bytes(entry, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return Err(SkipReason::Malformed);
    }
    let uncompressed = [4];
    Ok(VerifyingKey::ecdsa_point(&[&uncompressed[..], &x, &y].concat())?)
}

fn bytes(entry: &Object<'_>, name: &str) -> Result<Vec<u8>, SkipReason> {
    let text = entry.text(name)?.ok_or(SkipReason::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| SkipReason::Malformed)
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is no object, a name stands twice in it, or a member is missing or broken.
    Malformed,
    /// It has no `kid`, so that no token can name it.
    NoKeyId,
    /// Its `kid` is longer than 255 bytes.
    KeyIdTooLong,
    /// An earlier key has the same `kid`.
    KeyIdTwice,
    /// `use` or `key_ops` say that it is not for checking signatures.
    OtherPurpose,
    /// `alg` is not served, or does not fit the key.
    Algorithm,
    /// `kty` is not served.
    KeyType,
    /// `crv` is not served.
    Curve,
    /// It is a shared secret.
    Symmetric,
    /// It holds its private part.
    Private,
    /// The key itself is bad.
    Key(KeyFault),
}

impl SkipReason {
    /// A label for a counter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoKeyId => "no_kid",
            Self::KeyIdTooLong => "long_kid",
            Self::KeyIdTwice => "repeated_kid",
            Self::OtherPurpose => "other_purpose",
            Self::Algorithm => "algorithm",
            Self::KeyType => "key_type",
            Self::Curve => "curve",
            Self::Symmetric => "symmetric",
            Self::Private => "private",
            Self::Key(_) => "bad_key",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a member is missing, repeated or of a wrong form",
            Self::NoKeyId => "it has no kid",
            Self::KeyIdTooLong => "its kid is longer than 255 bytes",
            Self::KeyIdTwice => "an earlier key has the same kid",
            Self::OtherPurpose => "use or key_ops give it another purpose",
            Self::Algorithm => "its alg is not served or does not fit the key",
            Self::KeyType => "its kty is not served",
            Self::Curve => "its crv is not served",
            Self::Symmetric => "it is a shared secret",
            Self::Private => "it holds its private part",
            Self::Key(fault) => return fault.fmt(f),
        })
    }
}

impl From<Malformed> for SkipReason {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<KeyFault> for SkipReason {
    fn from(fault: KeyFault) -> Self {
        Self::Key(fault)
    }
}

/// Why a document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetFault {
    /// Longer than 256 KiB.
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// No JSON object with a list `keys`.
    Malformed,
    /// More than 100 keys.
    TooManyKeys {
        /// How many.
        keys: usize,
    },
    /// None of the keys can be used.
    NoUsableKey {
        /// How many there are.
        skipped: usize,
        /// What is wrong with the first.
        first: Option<SkipReason>,
    },
}

impl fmt::Display for KeySetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "a key set of {bytes} bytes; at most {JWKS_BYTES_MAX} are read")
            }
            Self::Malformed => f.write_str("this is no JSON object with a list named keys"),
            Self::TooManyKeys { keys } => {
                write!(f, "a key set of {keys} keys; at most {JWKS_KEYS_MAX} are read")
            }
            Self::NoUsableKey { skipped, first: Some(first) } => {
                write!(f, "none of {skipped} keys can be used; the first: {first}")
            }
            Self::NoUsableKey { .. } => f.write_str("the key set is empty"),
        }
    }
}

impl std::error::Error for KeySetFault {}
