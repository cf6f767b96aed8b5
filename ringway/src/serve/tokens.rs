//! From key settings to what checks tokens.

use std::sync::Arc;

use gateway::auth::{KeySet, Keys, StaticKeys, TokenRules, Verifier, VerifyingKey};

use super::jwks::KeySource;
use crate::settings::{Settings, TokenKeys};

/// The verifier of these settings. Keys behind a URL are not there yet.
pub(super) fn verifier(settings: &Settings) -> Result<Arc<Verifier>, String> {
    let connection = rules("client.token", &settings.connection_tokens)?;
    let differs = settings.subscription_tokens != settings.connection_tokens;
    let subscription = differs
        .then(|| rules("client.subscription_token", &settings.subscription_tokens))
        .transpose()?;
    let verifier = Verifier::new(connection, subscription)
        .map_err(|fault| format!("client.token: {fault}"))?;
    Ok(Arc::new(verifier))
}

/// The verifier of these settings and where its keys are fetched.
pub(super) fn key_source(
    settings: &Settings,
    verifier: Arc<Verifier>,
) -> Result<KeySource, String> {
    let endpoint = settings.connection_tokens.jwks_endpoint.clone();
    let subscriptions = &settings.subscription_tokens.jwks_endpoint;
    if subscriptions.is_some() && *subscriptions != endpoint {
        return Err("client.subscription_token.jwks_public_endpoint: only the endpoint of \
                    client.token is fetched in this version; give the key set in jwks_file"
            .to_owned());
    }
    Ok(KeySource { verifier, endpoint })
}

fn rules(path: &str, from: &TokenKeys) -> Result<TokenRules, String> {
    let mut rules = TokenRules::new(keys(path, from)?);
    rules.audience = from.audience.clone();
    rules.issuer = from.issuer.clone();
    if let Some(claim) = &from.user_id_claim {
        rules.user_claim.clone_from(claim);
    }
    Ok(rules)
}

fn keys(path: &str, from: &TokenKeys) -> Result<Keys, String> {
    let fault = |name: &str, fault: &dyn std::fmt::Display| format!("{path}.{name}: {fault}");
    if let Some(document) = &from.jwks {
        let set = KeySet::parse(document.as_bytes()).map_err(|why| fault("jwks_file", &why))?;
        return Ok(Keys::Published(Arc::new(set)));
    }
    if from.jwks_endpoint.is_some() {
        return Ok(Keys::Published(Arc::new(KeySet::default())));
    }
    let mut keys = StaticKeys::default();
    if let Some(secret) = &from.hmac {
        let key = VerifyingKey::hmac(secret.expose().as_bytes());
        keys = keys.with(key.map_err(|why| fault("hmac_secret_key", &why))?);
    }
    if let Some(secret) = &from.hmac_previous {
        let key = VerifyingKey::hmac(secret.expose().as_bytes());
        let key = key.map_err(|why| fault("hmac_previous_secret_key", &why))?;
        keys = match from.hmac_previous_until {
            Some(until) => keys.with_until(key, until),
            None => keys.with(key),
        };
    }
    if let Some(pem) = &from.rsa_public_key {
        let key = VerifyingKey::rsa_pem(pem);
        keys = keys.with(key.map_err(|why| fault("rsa_public_key", &why))?);
    }
    if let Some(pem) = &from.ecdsa_public_key {
        let key = VerifyingKey::ecdsa_pem(pem);
        keys = keys.with(key.map_err(|why| fault("ecdsa_public_key", &why))?);
    }
    if let Some(pem) = &from.eddsa_public_key {
        let key = VerifyingKey::ed25519_pem(pem);
        keys = keys.with(key.map_err(|why| fault("eddsa_public_key", &why))?);
    }
    Ok(Keys::Configured(keys))
}
