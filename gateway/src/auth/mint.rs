//! Making tokens, for `ringway token`, development mode and tests.

use std::fmt;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyKind};
use super::keys::{KeyFault, VerifyingKey};
use super::rules::TokenRules;

/// A key that signs.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: Algorithm,
    encoding: EncodingKey,
    key_id: Option<String>,
}

impl SigningKey {
    /// Signs with HS256 and this secret.
    ///
    /// # Errors
    ///
    /// A secret that [`VerifyingKey::hmac`] would refuse.
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyFault> {
        VerifyingKey::hmac(secret)?;
        let encoding = EncodingKey::from_secret(secret);
        Ok(Self { algorithm: Algorithm::Hs256, encoding, key_id: None })
    }

    /// Signs with a private key in PEM (PKCS #8; RSA: PKCS #1 as well).
    ///
    /// # Errors
    ///
    /// It is no private key for this algorithm.
    pub fn private_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyFault> {
        let pem = pem.as_bytes();
        let encoding = match algorithm.key_kind() {
            KeyKind::Hmac => return Err(KeyFault::SecretIsPem),
            KeyKind::Rsa => EncodingKey::from_rsa_pem(pem).map_err(|_| KeyFault::NotRsa)?,
            KeyKind::P256 | KeyKind::P384 => {
                EncodingKey::from_ec_pem(pem).map_err(|_| KeyFault::NotEcdsa)?
            }
            KeyKind::Ed25519 => EncodingKey::from_ed_pem(pem).map_err(|_| KeyFault::NotEd25519)?,
        };
        Ok(Self { algorithm, encoding, key_id: None })
    }

    /// Names the key in the tokens, for a verifier with a key set.
    #[must_use]
    pub fn with_key_id(self, key_id: &str) -> Self {
        Self { key_id: Some(key_id.to_owned()), ..self }
    }
}

/// What a connection token is to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionToken<'a> {
    /// The user; empty: anonymous.
    pub user: &'a str,
    /// Unix seconds of its end; `None`: never.
    pub expires_at: Option<u64>,
    /// JSON shown to others.
    pub info: Option<&'a str>,
    /// Channels to subscribe.
    pub channels: &'a [&'a str],
}

/// What a subscription token is to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscriptionToken<'a> {
    /// The user; empty: anonymous.
    pub user: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// Unix seconds of its end; `None`: never.
    pub expires_at: Option<u64>,
    /// JSON shown to others in the channel.
    pub info: Option<&'a str>,
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintFault {
    /// `info` is no JSON.
    Info,
    /// The key does not sign.
    Key,
}

impl fmt::Display for MintFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info is no JSON",
            Self::Key => "the key cannot sign with its algorithm",
        })
    }
}

impl std::error::Error for MintFault {}

/// A connection token that `rules` accept as far as user claim, audience and issuer go.
///
/// # Errors
///
/// `info` is no JSON, or the key does not sign.
pub fn mint_connection(
    key: &SigningKey,
    rules: &TokenRules,
    token: &ConnectionToken<'_>,
) -> Result<String, MintFault> {
    let mut claims = common_claims(rules, token.user, token.expires_at, token.info)?;
    if !token.channels.is_empty() {
        claims.insert("channels".to_owned(), token.channels.into());
    }
    sign(key, &claims)
}

/// A subscription token, the same way.
///
/// # Errors
///
/// `info` is no JSON, or the key does not sign.
pub fn mint_subscription(
    key: &SigningKey,
    rules: &TokenRules,
    token: &SubscriptionToken<'_>,
) -> Result<String, MintFault> {
    let mut claims = common_claims(rules, token.user, token.expires_at, token.info)?;
    claims.insert("channel".to_owned(), token.channel.into());
    sign(key, &claims)
}

fn common_claims(
    rules: &TokenRules,
    user: &str,
    expires_at: Option<u64>,
    info: Option<&str>,
) -> Result<Map<String, Value>, MintFault> {
    let mut claims = Map::new();
    claims.insert(rules.user_claim.clone(), user.into());
    let texts = [("aud", &rules.audience), ("iss", &rules.issuer)];
    for (name, text) in texts {
        if let Some(text) = text {
            claims.insert(name.to_owned(), text.as_str().into());
        }
    }
    if let Some(expires_at) = expires_at {
        claims.insert("exp".to_owned(), expires_at.into());
    }
    if let Some(info) = info {
        let info: Value = serde_json::from_str(info).map_err(|_| MintFault::Info)?;
        claims.insert("info".to_owned(), info);
    }
    Ok(claims)
}

fn sign(key: &SigningKey, claims: &Map<String, Value>) -> Result<String, MintFault> {
    let mut header = Header::new(key.algorithm.library());
    header.kid.clone_from(&key.key_id);
    jsonwebtoken::encode(&header, claims, &key.encoding).map_err(|_| MintFault::Key)
}
