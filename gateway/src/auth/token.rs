//! The outside of a token: three parts, and a header that may only say little.
//!
//! ```text
//! base64url(header) . base64url(claims) . base64url(signature)
//! \_________ what is signed __________/
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::limits::TOKEN_BYTES_MAX;

use super::algorithm::Algorithm;
use super::limits::KEY_ID_BYTES_MAX;
use super::object::{Malformed, Object};

/// A token whose header was read and whose signature was not.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The algorithm that the header names.
    pub(super) algorithm: Algorithm,
    /// The key that it names: looked up, never followed.
    pub(super) key_id: Option<String>,
    /// What is signed.
    pub(super) message: &'a str,
    /// The signature, still in Base64; whoever checks it decodes it without padding and spare bits.
    pub(super) signature: &'a str,
    claims: &'a str,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'a str) -> Result<Self, Malformed> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Malformed)?;
        // A further dot would be no Base64, and so would every blank and every sign of padding.
        if signature.is_empty() {
            return Err(Malformed);
        }
        let header = decode(header)?;
        let header = Object::parse(&header)?;
        // RFC 7515, 4.1.11: who does not understand an extension that `crit` names must refuse.
        // None is understood here. `jwk`, `jku`, `x5u` and `x5c` bring or name keys; keys come from
        // configuration only.
        if header.contains("crit") {
            return Err(Malformed);
        }
        let name: String = header.value("alg")?.ok_or(Malformed)?;
        let algorithm = Algorithm::from_name(&name).ok_or(Malformed)?;
        let key_id: Option<String> = header.value("kid")?;
        if key_id.as_ref().is_some_and(|key_id| key_id.len() > KEY_ID_BYTES_MAX) {
            return Err(Malformed);
        }
        Ok(Self { algorithm, key_id, message, signature, claims })
    }

    /// The claims as text. To be read once the signature was found good.
    pub(super) fn claims(&self) -> Result<Vec<u8>, Malformed> {
        decode(self.claims)
    }
}

/// The key that a token names, for [`super::JwksCache::unknown_key`]. Nothing was checked about the
/// token.
pub fn key_id(token: &str) -> Option<String> {
    Token::parse(token).ok()?.key_id
}

fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed)
}
