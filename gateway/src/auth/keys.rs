//! Keys that check signatures: prepared and examined once, when they are loaded.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaSubjectPublicKey,
    UnparsedPublicKey, VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;

use super::algorithm::{Algorithm, KeyKind};
use super::limits::{
    HMAC_SECRET_BYTES_STRONG, RSA_EXPONENT_BYTES_MAX, RSA_MODULUS_BYTES_MAX, RSA_MODULUS_BYTES_MIN,
};
use super::token::Token;

/// One key that can check signatures. Its kind decides which algorithms it serves.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    kind: KeyKind,
    decoding: DecodingKey,
    is_weak: bool,
}

impl VerifyingKey {
    /// A secret shared with the backend (`hmac_secret_key`), for HS256, HS384 and HS512.
    ///
    /// # Errors
    ///
    /// It is empty, or it is a key in PEM: whoever knows a public key could sign with it.
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.is_empty() {
            return Err(KeyFault::EmptySecret);
        }
        if secret.trim_ascii_start().starts_with(PEM_BEGIN.as_bytes()) {
            return Err(KeyFault::SecretIsPem);
        }
        let is_weak = secret.len() < HMAC_SECRET_BYTES_STRONG;
        Ok(Self { kind: KeyKind::Hmac, decoding: DecodingKey::from_secret(secret), is_weak })
    }

    /// An RSA public key in PEM (`rsa_public_key`), for RS256, RS384 and RS512.
    ///
    /// # Errors
    ///
    /// It is none, or its size is not served.
    pub fn rsa_pem(pem: &str) -> Result<Self, KeyFault> {
        check_label(pem)?;
        let decoding = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyFault::NotRsa)?;
        let der = decoding.try_get_as_bytes().map_err(|_| KeyFault::NotRsa)?;
        let key = RsaSubjectPublicKey::from_der(der).map_err(|_| KeyFault::NotRsa)?;
        let modulus = key.modulus().big_endian_without_leading_zero();
        Self::rsa_components(modulus, key.exponent().big_endian_without_leading_zero())
    }

    /// An RSA public key by its numbers, in network order.
    pub(super) fn rsa_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyFault> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        if !(RSA_MODULUS_BYTES_MIN..=RSA_MODULUS_BYTES_MAX).contains(&modulus.len()) {
            return Err(KeyFault::RsaSize { bits: modulus.len() * 8 });
        }
        // An exponent of 1 makes every message its own signature; even ones are no exponents.
        let is_odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
        if !is_odd || exponent == [1] || exponent.len() > RSA_EXPONENT_BYTES_MAX {
            return Err(KeyFault::RsaExponent);
        }
        let is_odd = modulus.last().is_some_and(|byte| byte % 2 == 1);
        if !is_odd {
            return Err(KeyFault::NotRsa);
        }
        let decoding = DecodingKey::from_rsa_raw_components(modulus, exponent);
        Ok(Self { kind: KeyKind::Rsa, decoding, is_weak: false })
    }

    /// An ECDSA public key in PEM (`ecdsa_public_key`), for ES256 on P-256 or ES384 on P-384.
    ///
    /// # Errors
    ///
    /// It is none, or on another curve.
    pub fn ecdsa_pem(pem: &str) -> Result<Self, KeyFault> {
        check_label(pem)?;
        let decoding = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| KeyFault::NotEcdsa)?;
        let point = decoding.try_get_as_bytes().map_err(|_| KeyFault::NotEcdsa)?;
        Self::ecdsa_point(point)
    }

    /// An ECDSA public key as an uncompressed point (SEC 1, 2.3.3). Its length tells the curve.
    pub(super) fn ecdsa_point(point: &[u8]) -> Result<Self, KeyFault> {
        let (kind, algorithm) = match point.len() {
            P256_POINT_BYTES => (KeyKind::P256, &ECDSA_P256_SHA256_FIXED),
            P384_POINT_BYTES => (KeyKind::P384, &ECDSA_P384_SHA384_FIXED),
            _ => return Err(KeyFault::Curve),
        };
        check_key(algorithm, point, KeyFault::NotOnCurve)?;
        Ok(Self { kind, decoding: DecodingKey::from_ec_der(point), is_weak: false })
    }

    /// An Ed25519 public key in PEM (`ed25519_public_key`), for EdDSA.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn ed25519_pem(pem: &str) -> Result<Self, KeyFault> {
        check_label(pem)?;
        let decoding =
            DecodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| KeyFault::NotEd25519)?;
        Self::ed25519_bytes(decoding.try_get_as_bytes().map_err(|_| KeyFault::NotEd25519)?)
    }

    /// An Ed25519 public key as RFC 8032, 5.1.5 writes it.
    pub(super) fn ed25519_bytes(bytes: &[u8]) -> Result<Self, KeyFault> {
        if bytes.len() != ED25519_BYTES {
            return Err(KeyFault::NotEd25519);
        }
        check_key(&ED25519, bytes, KeyFault::NotEd25519)?;
        let decoding = DecodingKey::from_ed_der(bytes);
        Ok(Self { kind: KeyKind::Ed25519, decoding, is_weak: false })
    }

    /// May a token with this algorithm be checked with this key?
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        algorithm.key_kind() == self.kind
    }

    /// Is it an HMAC secret so short that it can be guessed (below 32 bytes)? Worth a warning.
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    /// Is the signature of `token` made with this key? No, if the algorithm belongs to another kind
    /// of key.
    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        if !self.serves(token.algorithm) {
            return false;
        }
        let message = token.message.as_bytes();
        let algorithm = token.algorithm.library();
        jsonwebtoken::crypto::verify(token.signature, message, &self.decoding, algorithm)
            .unwrap_or(false)
    }
}

/// Keys of the configuration, at most a handful. A token's key id is not looked at with them.
#[derive(Clone, Debug, Default)]
pub struct StaticKeys {
    keys: Vec<StaticKey>,
}

#[derive(Clone, Debug)]
struct StaticKey {
    key: VerifyingKey,
    /// Last second of its use.
    until_unix_seconds: Option<u64>,
}

impl StaticKeys {
    /// One more key.
    #[must_use]
    pub fn with(mut self, key: VerifyingKey) -> Self {
        self.keys.push(StaticKey { key, until_unix_seconds: None });
        self
    }

    /// One more key, good up to and including a second (`hmac_previous_secret_key` and
    /// `hmac_previous_secret_key_valid_until`).
    #[must_use]
    pub fn with_until(mut self, key: VerifyingKey, until_unix_seconds: u64) -> Self {
        self.keys.push(StaticKey { key, until_unix_seconds: Some(until_unix_seconds) });
        self
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Is there a key for this algorithm?
    pub fn serve(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.key.serves(algorithm))
    }

    /// Is one of the keys worth a warning?
    pub fn have_weak(&self) -> bool {
        self.keys.iter().any(|key| key.key.is_weak)
    }

    pub(super) fn verify(&self, token: &Token<'_>, unix_seconds: u64) -> bool {
        self.keys.iter().any(|key| {
            let is_over = key.until_unix_seconds.is_some_and(|until| unix_seconds > until);
            !is_over && key.key.verify(token)
        })
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// The HMAC secret is empty.
    EmptySecret,
    /// The HMAC secret is a key in PEM.
    SecretIsPem,
    /// A private key stands where a public one belongs.
    PrivateKey,
    /// It is no public key in PEM; a certificate is not one either.
    NotPublicKeyPem,
    /// It is no RSA public key.
    NotRsa,
    /// The RSA modulus is shorter than 2048 bits or longer than 8192.
    RsaSize {
        /// Its size, rounded up to whole bytes.
        bits: usize,
    },
    /// The RSA exponent is even, 1, or longer than 32 bits.
    RsaExponent,
    /// It is no ECDSA public key.
    NotEcdsa,
    /// The curve is neither P-256 nor P-384.
    Curve,
    /// The point is not on the curve.
    NotOnCurve,
    /// It is no Ed25519 public key.
    NotEd25519,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptySecret => "the HMAC secret is empty",
            Self::SecretIsPem => "the HMAC secret is a PEM key; name it as what it is",
            Self::PrivateKey => "this is a private key; the server needs the public one only",
            Self::NotPublicKeyPem => "this is no PEM block with the label PUBLIC KEY",
            Self::NotRsa => "this is no RSA public key",
            Self::RsaSize { bits } => {
                return write!(f, "an RSA key of {bits} bits; 2048 to 8192 are served");
            }
            Self::RsaExponent => "the RSA exponent must be odd, above 1 and within 32 bits",
            Self::NotEcdsa => "this is no ECDSA public key",
            Self::Curve => "the curve is not served; P-256 and P-384 are",
            Self::NotOnCurve => "the point is not on its curve",
            Self::NotEd25519 => "this is no Ed25519 public key",
        })
    }
}

impl std::error::Error for KeyFault {}

/// The library would take private keys and certificates, too, and the first bit string in them.
fn check_label(pem: &str) -> Result<(), KeyFault> {
    let label = pem
        .trim_start()
        .strip_prefix(PEM_BEGIN)
        .and_then(|rest| rest.split_once("-----"))
        .map(|(label, _)| label.trim());
    match label {
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => Ok(()),
        Some(label) if label.ends_with("PRIVATE KEY") => Err(KeyFault::PrivateKey),
        _ => Err(KeyFault::NotPublicKeyPem),
    }
}

fn check_key(
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: &[u8],
    fault: KeyFault,
) -> Result<(), KeyFault> {
    UnparsedPublicKey::new(algorithm, bytes).parse().map(drop).map_err(|_| fault)
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

const PEM_BEGIN: &str = "-----BEGIN";
/// A point: one byte of form and two coordinates.
const P256_POINT_BYTES: usize = 1 + 2 * 32;
const P384_POINT_BYTES: usize = 1 + 2 * 48;
const ED25519_BYTES: usize = 32;
