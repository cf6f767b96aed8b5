//! The check that a shard calls.

use std::sync::Arc;

use super::claims;
use super::jwks::KeySet;
use super::object::Malformed;
use super::rules::{Keys, RulesFault, TokenRules};
use super::token::Token;
use crate::engine::{ConnectClaims, SubscribeTokenClaims, TokenRefusal, TokenVerifier};

/// Checks tokens by the rules of an operator. Immutable: new keys make a new verifier.
#[derive(Clone, Debug)]
pub struct Verifier {
    connection: Arc<TokenRules>,
    /// Rules of their own; `None`: those of connections.
    subscription: Option<Arc<TokenRules>>,
}

impl Verifier {
    /// A verifier. `subscription` are rules of their own for subscription tokens
    /// (`client.subscription_token.enabled`).
    ///
    /// # Errors
    ///
    /// Rules that make no sense.
    pub fn new(
        connection: TokenRules,
        subscription: Option<TokenRules>,
    ) -> Result<Self, RulesFault> {
        connection.check()?;
        if let Some(rules) = &subscription {
            rules.check()?;
        }
        Ok(Self { connection: Arc::new(connection), subscription: subscription.map(Arc::new) })
    }

    /// The same rules with another set of published keys for connection tokens, and for
    /// subscription tokens if they have no rules of their own. Rules with configured keys keep
    /// those.
    #[must_use]
    pub fn with_jwks(&self, set: Arc<KeySet>) -> Self {
        Self {
            connection: with_set(&self.connection, set),
            subscription: self.subscription.clone(),
        }
    }

    /// The same for subscription tokens that have rules of their own.
    #[must_use]
    pub fn with_subscription_jwks(&self, set: Arc<KeySet>) -> Self {
        let subscription = self.subscription.as_ref().map(|rules| with_set(rules, set));
        Self { connection: Arc::clone(&self.connection), subscription }
    }

    /// The rules of connection tokens.
    pub fn connection_rules(&self) -> &TokenRules {
        &self.connection
    }

    /// The rules of subscription tokens.
    pub fn subscription_rules(&self) -> &TokenRules {
        self.subscription.as_ref().unwrap_or(&self.connection)
    }
}

impl TokenVerifier for Verifier {
    fn connection(&self, token: &str, unix_seconds: u64) -> Result<ConnectClaims, TokenRefusal> {
        let rules = self.connection_rules();
        claims::connection(&signed_claims(token, rules, unix_seconds)?, rules, unix_seconds)
    }

    fn subscription(
        &self,
        token: &str,
        unix_seconds: u64,
    ) -> Result<SubscribeTokenClaims, TokenRefusal> {
        let rules = self.subscription_rules();
        claims::subscription_token(&signed_claims(token, rules, unix_seconds)?, rules, unix_seconds)
    }
}

/// The claims of a token whose signature is good.
fn signed_claims(
    token: &str,
    rules: &TokenRules,
    unix_seconds: u64,
) -> Result<Vec<u8>, TokenRefusal> {
    let token = Token::parse(token)?;
    if !rules.algorithms.contains(&token.algorithm) {
        return Err(TokenRefusal::Invalid);
    }
    let is_good = match &rules.keys {
        Keys::Configured(keys) => keys.verify(&token, unix_seconds),
        Keys::Published(set) => {
            let key_id = token.key_id.as_deref().ok_or(Malformed)?;
            set.find(key_id).ok_or(TokenRefusal::KeyUnknown)?.verify(&token)
        }
    };
    if !is_good {
        return Err(TokenRefusal::Invalid);
    }
    Ok(token.claims()?)
}

fn with_set(rules: &Arc<TokenRules>, set: Arc<KeySet>) -> Arc<TokenRules> {
    match &rules.keys {
        Keys::Configured(_) => Arc::clone(rules),
        Keys::Published(_) => {
            Arc::new(TokenRules { keys: Keys::Published(set), ..TokenRules::clone(rules) })
        }
    }
}
