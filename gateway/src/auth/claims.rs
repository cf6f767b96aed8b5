//! The inside of a token: claims become what the engine knows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::limits::{CHANNEL_BYTES_MAX, USER_BYTES_MAX};
use protocol::link::Content;
use serde::Deserialize;

use super::limits::EXPIRES_AT_MAX;
use super::object::{Malformed, Object};
use super::rules::TokenRules;
use crate::engine::{
    ConnectClaims, Overrides, SubscribeTokenClaims, SubscriptionClaims, TokenRefusal,
};

/// Reads the claims of a connection token, checks for whom and when it is.
pub(super) fn connection(
    claims: &[u8],
    rules: &TokenRules,
    unix_seconds: u64,
) -> Result<ConnectClaims, TokenRefusal> {
    let claims = Object::parse(claims)?;
    check_audience_and_issuer(&claims, rules)?;
    // A subscription token must not open a connection, although the same keys sign both.
    if claims.text("channel")?.is_some_and(|channel| !channel.is_empty()) {
        return Err(TokenRefusal::Invalid);
    }
    let mut read = ConnectClaims {
        user: user(&claims, &rules.user_claim)?,
        info: content(&claims, "info", "b64info")?,
        ..ConnectClaims::default()
    };
    if let Some(subs) = claims.object("subs")? {
        for (channel, options) in subs.iter() {
            check_channel(channel)?;
            let options = subscription(&Object::nested(options)?)?;
            read.subs.insert(channel.to_owned(), options);
        }
    }
    let channels: Vec<String> = claims.list("channels")?;
    channels.iter().try_for_each(|channel| check_channel(channel))?;
    // Centrifugo looks at `channels` only where there is no `subs`.
    if read.subs.is_empty() {
        read.channels = channels;
    }
    read.expires_at = expires_at(&claims, rules, unix_seconds)?;
    Ok(read)
}

/// Reads the claims of a subscription token, checks for whom and when it is.
pub(super) fn subscription_token(
    claims: &[u8],
    rules: &TokenRules,
    unix_seconds: u64,
) -> Result<SubscribeTokenClaims, TokenRefusal> {
    let claims = Object::parse(claims)?;
    check_audience_and_issuer(&claims, rules)?;
    // Such a token is good for one connection only, and nobody here could tell which one asks.
    if claims.text("client")?.is_some_and(|client| !client.is_empty()) {
        return Err(TokenRefusal::Invalid);
    }
    let channel = claims.text("channel")?.ok_or(TokenRefusal::Invalid)?;
    check_channel(&channel)?;
    let user = user(&claims, &rules.user_claim)?;
    let mut subscription = subscription(&claims)?;
    subscription.expires_at = expires_at(&claims, rules, unix_seconds)?;
    Ok(SubscribeTokenClaims { user, channel, subscription })
}

/// What `subs` and subscription tokens say of a subscription, but for its expiry.
fn subscription(options: &Object<'_>) -> Result<SubscriptionClaims, Malformed> {
    let overrides = match options.object("override")? {
        None => Overrides::default(),
        Some(overrides) => Overrides {
            presence: switch(&overrides, "presence")?,
            join_leave: switch(&overrides, "join_leave")?,
            force_push_join_leave: switch(&overrides, "force_push_join_leave")?,
            force_recovery: switch(&overrides, "force_recovery")?,
            force_positioning: switch(&overrides, "force_positioning")?,
        },
    };
    Ok(SubscriptionClaims {
        expires_at: None,
        info: content(options, "info", "b64info")?,
        data: content(options, "data", "b64data")?,
        overrides,
    })
}

/// `{"value": true}`. Backends that leave out false values write false as `{}`.
fn switch(overrides: &Object<'_>, name: &str) -> Result<Option<bool>, Malformed> {
    let Some(switch) = overrides.object(name)? else { return Ok(None) };
    Ok(Some(switch.value("value")?.unwrap_or(false)))
}

/// JSON as it stands in the token, or bytes in Base64, which come first if both are there.
fn content(
    object: &Object<'_>,
    json_name: &str,
    base64_name: &str,
) -> Result<Option<Content>, Malformed> {
    let base64 = object.text(base64_name)?.filter(|text| !text.is_empty());
    let Some(base64) = base64 else {
        return Ok(object.raw(json_name).map(|json| Content::classify(json.get().as_bytes())));
    };
    let bytes = STANDARD.decode(base64).map_err(|_| Malformed)?;
    Ok(Some(Content::classify(&bytes)))
}

/// The user. Only a claim of another name may be a whole number: `sub` is a text (RFC 7519, 4.1.2).
fn user(claims: &Object<'_>, name: &str) -> Result<String, Malformed> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum UserId {
        Text(String),
        Number(i64),
    }
    let user = match claims.value(name)? {
        None => String::new(),
        Some(UserId::Text(user)) => user,
        Some(UserId::Number(number)) if name != TokenRules::USER_CLAIM_DEFAULT => {
            number.to_string()
        }
        Some(UserId::Number(_)) => return Err(Malformed),
    };
    if user.len() > USER_BYTES_MAX { Err(Malformed) } else { Ok(user) }
}

fn check_channel(channel: &str) -> Result<(), Malformed> {
    if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX { Err(Malformed) } else { Ok(()) }
}

fn check_audience_and_issuer(claims: &Object<'_>, rules: &TokenRules) -> Result<(), Malformed> {
    if let Some(issuer) = &rules.issuer
        && claims.text("iss")?.as_ref() != Some(issuer)
    {
        return Err(Malformed);
    }
    let Some(audience) = &rules.audience else { return Ok(()) };
    // RFC 7519, 4.1.3: one text, or a list of them.
    let audiences = match claims.raw("aud") {
        Some(value) if value.get().starts_with('[') => claims.list("aud")?,
        _ => claims.text("aud")?.into_iter().collect::<Vec<String>>(),
    };
    if audiences.contains(audience) { Ok(()) } else { Err(Malformed) }
}

/// Is the token of this time, and when does what it opens end?
///
/// `exp` and `nbf` decide about the token. `expire_at`, where it is, decides about the connection
/// or subscription instead of `exp`; zero: it never ends.
fn expires_at(
    claims: &Object<'_>,
    rules: &TokenRules,
    unix_seconds: u64,
) -> Result<Option<u64>, TokenRefusal> {
    let expires: Option<u64> = claims.value("exp")?;
    let not_before: Option<u64> = claims.value("nbf")?;
    let ends = match claims.value("expire_at")? {
        Some(0) => None,
        Some(ends) => Some(ends),
        None => expires,
    };
    let leeway = rules.leeway_seconds;
    // RFC 7519, 4.1.4: on or after the expiration time it must not be accepted.
    let is_over = |time: u64| unix_seconds >= time.saturating_add(leeway);
    if expires.is_some_and(is_over) || ends.is_some_and(is_over) {
        return Err(TokenRefusal::Expired);
    }
    // Centrifugo answers a token of the future as an expired one: the client asks its backend for
    // another and comes back, instead of giving up because two clocks differ by a second.
    if not_before.is_some_and(|time| time > unix_seconds.saturating_add(leeway)) {
        return Err(TokenRefusal::Expired);
    }
    Ok(ends.map(|ends| ends.saturating_add(leeway).min(EXPIRES_AT_MAX)))
}

impl From<Malformed> for TokenRefusal {
    fn from(Malformed: Malformed) -> Self {
        Self::Invalid
    }
}
