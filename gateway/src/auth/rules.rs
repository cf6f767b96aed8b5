//! What an operator decides about tokens: typed, checked once, immutable.

use std::fmt;
use std::sync::Arc;

use super::algorithm::Algorithm;
use super::jwks::KeySet;
use super::keys::StaticKeys;
use super::limits::LEEWAY_SECONDS_MAX;

/// Which tokens are good (`client.token`, or `client.subscription_token` if it is enabled).
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// The keys. Without any, every token is refused.
    pub keys: Keys,
    /// Algorithms that may be used, of those that fit a key. Default: all.
    pub algorithms: Vec<Algorithm>,
    /// The claim `aud` must be or hold this (`audience`). Default: not looked at.
    pub audience: Option<String>,
    /// The claim `iss` must be this (`issuer`). Default: not looked at.
    pub issuer: Option<String>,
    /// The claim that holds the user (`user_id_claim`). Default: `sub`.
    pub user_claim: String,
    /// How far the clocks of backend and server may differ, in seconds, at most 300. Default: zero,
    /// as in Centrifugo. What a token opens lasts that much longer, too.
    pub leeway_seconds: u64,
}

impl TokenRules {
    /// The claim that holds the user unless another one is configured.
    pub const USER_CLAIM_DEFAULT: &'static str = "sub";

    /// Rules with these keys and defaults for the rest.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            algorithms: Algorithm::ALL.to_vec(),
            audience: None,
            issuer: None,
            user_claim: Self::USER_CLAIM_DEFAULT.to_owned(),
            leeway_seconds: 0,
        }
    }

    /// Do these rules make sense?
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn check(&self) -> Result<(), RulesFault> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.user_claim.is_empty() || !self.user_claim.chars().all(is_name) {
            return Err(RulesFault::UserClaim);
        }
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            return Err(RulesFault::Leeway);
        }
        let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
        if is_empty(&self.audience) || is_empty(&self.issuer) {
            return Err(RulesFault::EmptyText);
        }
        if self.algorithms.is_empty() {
            return Err(RulesFault::NoAlgorithm);
        }
        if let Keys::Configured(keys) = &self.keys
            && !keys.is_empty()
            && !self.algorithms.iter().any(|&algorithm| keys.serve(algorithm))
        {
            return Err(RulesFault::NoAlgorithm);
        }
        Ok(())
    }
}

/// Where keys come from. As in Centrifugo, a published key set stands instead of configured keys.
#[derive(Clone, Debug)]
pub enum Keys {
    /// From the configuration: `hmac_secret_key`, `rsa_public_key`, `ecdsa_public_key`,
    /// `ed25519_public_key`.
    Configured(StaticKeys),
    /// Published by an issuer (`jwks_public_endpoint`); every token names its key. Before the first
    /// fetch: empty.
    Published(Arc<KeySet>),
}

/// Why rules are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulesFault {
    /// `user_id_claim` is not a name of letters, digits and underscores.
    UserClaim,
    /// The leeway is longer than 300 seconds.
    Leeway,
    /// `audience` or `issuer` is empty; leave it out to accept any.
    EmptyText,
    /// No key may be used with any allowed algorithm.
    NoAlgorithm,
}

impl fmt::Display for RulesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserClaim => "user_id_claim must be made of letters, digits and underscores",
            Self::Leeway => "the leeway must not be longer than 300 seconds",
            Self::EmptyText => {
                "audience and issuer must not be empty; leave them out to accept any"
            }
            Self::NoAlgorithm => "no key may be used with any of the allowed algorithms",
        })
    }
}

impl std::error::Error for RulesFault {}
