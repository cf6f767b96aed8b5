//! What a token says, once its signature was found good.

use std::collections::BTreeMap;

use protocol::link::Content;
pub use protocol::link::{Overrides, SubscriptionClaims};

/// What a connection token says (claims `sub`, `exp`, `info`, `channels`, `subs`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectClaims {
    /// The user; empty: anonymous.
    pub user: String,
    /// Unix seconds at which the connection expires; `None`: never.
    pub expires_at: Option<u64>,
    /// Shown to others with presence, joins and publications.
    pub info: Option<Content>,
    /// Channels to subscribe on behalf of the client.
    pub channels: Vec<String>,
    /// The same, with options.
    pub subs: BTreeMap<String, SubscriptionClaims>,
}

/// What a subscription token says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscribeTokenClaims {
    /// The user it was made for (`sub`); empty: anonymous.
    pub user: String,
    /// The channel it was made for.
    pub channel: String,
    /// What it says of the subscription.
    pub subscription: SubscriptionClaims,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It is not a token, its signature or algorithm is wrong, or a claim has a wrong form.
    Invalid,
    /// It was good once.
    Expired,
    /// It names a key that is not loaded; the driver may be able to load it.
    KeyUnknown,
}

/// Checks tokens. Made by whoever holds the keys; free of I/O, so that a shard may call it.
pub trait TokenVerifier: Send + Sync + std::fmt::Debug {
    /// Checks a connection token.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    fn connection(&self, token: &str, unix_seconds: u64) -> Result<ConnectClaims, TokenRefusal>;

    /// Checks a subscription token.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    fn subscription(
        &self,
        token: &str,
        unix_seconds: u64,
    ) -> Result<SubscribeTokenClaims, TokenRefusal>;
}

/// Refuses every token: no key is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokens;

impl TokenVerifier for NoTokens {
    fn connection(&self, _: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}
