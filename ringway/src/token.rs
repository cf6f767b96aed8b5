//! Minting tokens on the command line: HS256 JSON Web Tokens for connections and subscriptions.
//!
//! Checking tokens is not done here.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::settings::TokenKeys;

/// Whom a token is for.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The user; empty: an anonymous one.
    pub user: &'a str,
    /// With a channel, it is a subscription token for it.
    pub channel: Option<&'a str>,
    /// The token holds from this time …
    pub issued_at: u64,
    /// … to this one, both in seconds since 1970. `None`: without end.
    pub expires_at: Option<u64>,
}

/// There is no key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHmacKey;

/// Mints a token that a server with the same `keys` accepts.
///
/// # Errors
///
/// The keys have no HMAC secret. Public keys cannot sign.
pub fn mint(keys: &TokenKeys, grant: Grant<'_>) -> Result<String, NoHmacKey> {
    let secret = keys.hmac.as_ref().ok_or(NoHmacKey)?;
    let claims = Value::Object(claims(keys, grant)).to_string();
    let mut token = URL_SAFE_NO_PAD.encode(HEADER);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let signature = hmac::sign(&key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// RFC 7519, 4.1: the registered claims. The user and the channel are Centrifugo's.
fn claims(keys: &TokenKeys, grant: Grant<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    let user_claim = keys.user_id_claim.as_deref().unwrap_or("sub");
    claims.insert(user_claim.to_owned(), grant.user.into());
    if let Some(channel) = grant.channel {
        claims.insert("channel".to_owned(), channel.into());
    }
    claims.insert("iat".to_owned(), grant.issued_at.into());
    if let Some(expires_at) = grant.expires_at {
        claims.insert("exp".to_owned(), expires_at.into());
    }
    for (name, value) in [("aud", &keys.audience), ("iss", &keys.issuer)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value.as_str().into());
        }
    }
    claims
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const GRANT: Grant<'_> =
        Grant { user: "42", channel: None, issued_at: 1_700_000_000, expires_at: None };

    #[test]
    fn a_token_is_signed_as_rfc_7515_says() {
        let keys = TokenKeys { hmac: Some(Secret::new("secret")), ..TokenKeys::default() };
        let token = mint(&keys, GRANT).unwrap();
        // From Python: hmac.new(b"secret", head + b"." + claims, "sha256").
        assert_eq!(
            token,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsInN1YiI6IjQyIn0.\
             tywMxNQmzKZzxCUpdQITxjQO6mfvzZLWd8XAQ7a-8rs"
        );
    }

    #[test]
    fn claims_follow_the_configuration() {
        let keys = TokenKeys {
            audience: Some("app".to_owned()),
            issuer: Some("me".to_owned()),
            user_id_claim: Some("uid".to_owned()),
            ..TokenKeys::default()
        };
        let grant = Grant { channel: Some("news"), expires_at: Some(1_700_000_060), ..GRANT };
        assert_eq!(
            Value::Object(claims(&keys, grant)).to_string(),
            "{\"aud\":\"app\",\"channel\":\"news\",\"exp\":1700000060,\"iat\":1700000000,\
             \"iss\":\"me\",\"uid\":\"42\"}"
        );
        assert_eq!(mint(&keys, grant), Err(NoHmacKey));
    }
}
