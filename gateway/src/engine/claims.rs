//! What a token says, once its signature was found good.

use std::collections::BTreeMap;

use protocol::link::Content;

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

/// What a token says of one subscription (claims `info`, `data`, `exp`, `override`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscriptionClaims {
    /// Unix seconds at which the subscription expires; `None`: never.
    pub expires_at: Option<u64>,
    /// Shown to others in the channel.
    pub info: Option<Content>,
    /// Handed to the client with the subscription.
    pub data: Option<Content>,
    /// Options that differ from the namespace's.
    pub overrides: Overrides,
}

/// Options of a namespace that one subscription may have otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of `presence`.
    pub presence: Option<bool>,
    /// Instead of `join_leave`.
    pub join_leave: Option<bool>,
    /// Instead of `force_push_join_leave`.
    pub force_push_join_leave: Option<bool>,
    /// Instead of `force_recovery`.
    pub force_recovery: Option<bool>,
    /// Instead of `force_positioning`.
    pub force_positioning: Option<bool>,
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
