//! The methods of the API, one function each.

use std::sync::Arc;

use base64::Engine as _;
use protocol::channels::{ChannelOptions, check_name};
use protocol::client::ErrorCode;
use protocol::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use protocol::link::{
    Answer, Content, HistoryRequest, Overrides, Position, PublishRequest, ReplyTo, Request,
    SubscriptionClaims, ToRouter, UserCommand,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answers::{self, ApiError};
use super::backend::Backend;
use super::requests as ask;

/// Every method, as it stands in a path.
pub(super) const NAMES: [&str; 13] = [
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "batch",
];

/// Bytes of payload in one answer to `history`.
const HISTORY_BYTES_MAX: u32 = 2 << 20;
/// Code of a disconnect by the API, unless it names another one (force disconnect).
const DISCONNECT_CODE: u16 = 3503;

/// Calls a method. `None`: there is no such method.
pub(super) async fn call<B: Backend>(
    backend: &B,
    method: &str,
    body: &[u8],
) -> Option<Result<Value, ApiError>> {
    if method == "batch" {
        return Some(super::batch::batch(backend, body).await);
    }
    call_one(backend, method, body).await
}

/// Calls a method other than `batch`.
pub(super) async fn call_one<B: Backend>(
    backend: &B,
    method: &str,
    body: &[u8],
) -> Option<Result<Value, ApiError>> {
    Some(match method {
        "publish" => publish(backend, body).await,
        "broadcast" => broadcast(backend, body).await,
        "subscribe" => subscribe(backend, body),
        "unsubscribe" => unsubscribe(backend, body),
        "disconnect" => disconnect(backend, body),
        "refresh" => refresh(backend, body),
        "presence" => presence(backend, body).await,
        "presence_stats" => presence_stats(backend, body).await,
        "history" => history(backend, body).await,
        "history_remove" => history_remove(backend, body).await,
        "channels" => channels(backend, body).await,
        "info" => info(backend).await,
        _ => return None,
    })
}

/// Reads a body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is not what it takes: {error}")))
}

/// A field that the method needs. Nothing but an empty text stands for it.
fn needed(field: &'static str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() { Err(ApiError::Missing(field)) } else { Ok(()) }
}

fn channel_of(body: &[u8]) -> Result<String, ApiError> {
    let ask::Channel { channel } = parse(body)?;
    needed("channel", &channel)?;
    Ok(channel)
}

fn content(data: Option<&RawValue>, b64: Option<&str>) -> Result<Option<Content>, ApiError> {
    if let Some(text) = b64 {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| ApiError::BadRequest(format!("base64: {error}")))?;
        return Ok(Some(Content::classify(&bytes)));
    }
    Ok(data.map(|data| Content::classify(data.get().as_bytes())))
}

fn options<B: Backend>(backend: &B, channel: &str) -> Result<ChannelOptions, ErrorCode> {
    check_name(channel).map_err(|_| ErrorCode::BadRequest)?;
    backend.namespaces().resolve(channel).cloned().ok_or(ErrorCode::UnknownChannel)
}

async fn ask_partition<B: Backend>(
    backend: &B,
    channel: &str,
    request: Request,
) -> Result<Answer, ErrorCode> {
    let message = ToRouter { channel: channel.into(), reply_to: ReplyTo::Nobody, request };
    backend.ask(message).await
}

fn publish_request(request: ask::Publish<'_>) -> Result<PublishRequest, ApiError> {
    let content = content(request.data, request.b64data.as_deref())?;
    let content = content.ok_or(ApiError::Missing("data"))?;
    let key = request.idempotency_key.filter(|key| !key.is_empty());
    if key.as_ref().is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
        return Err(ErrorCode::BadRequest.into());
    }
    Ok(PublishRequest {
        content,
        publisher: None,
        tags: request.tags.map(Arc::new),
        skip_history: request.skip_history,
        idempotency_key: key.map(String::into_boxed_str),
    })
}

async fn publish_one<B: Backend>(
    backend: &B,
    channel: &str,
    request: PublishRequest,
) -> Result<Value, ApiError> {
    options(backend, channel)?;
    match ask_partition(backend, channel, Request::Publish(Box::new(request))).await? {
        Answer::Published(position) => Ok(answers::position(&position)),
        _ => Err(ErrorCode::Internal.into()),
    }
}

async fn publish<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::Publish<'_> = parse(body)?;
    needed("channel", &request.channel)?;
    let channel = request.channel.clone();
    let request = publish_request(request)?;
    publish_one(backend, &channel, request).await
}

async fn broadcast<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let mut request: ask::Publish<'_> = parse(body)?;
    let channels = std::mem::take(&mut request.channels);
    if channels.is_empty() {
        return Err(ApiError::Missing("channels"));
    }
    let request = publish_request(request)?;
    let mut responses = Vec::with_capacity(channels.len());
    for channel in &channels {
        responses.push(match publish_one(backend, channel, request.clone()).await {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": error.to_json() }),
        });
    }
    Ok(json!({ "responses": responses }))
}

fn subscribe<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::Subscribe<'_> = parse(body)?;
    needed("user", &request.user)?;
    needed("channel", &request.channel)?;
    options(backend, &request.channel)?;
    let flag = |one: &Option<ask::BoolValue>| one.as_ref().map(|one| one.value);
    let wanted = request.r#override.unwrap_or_default();
    let claims = SubscriptionClaims {
        expires_at: (request.expire_at > 0).then_some(request.expire_at),
        info: content(request.info, request.b64info.as_deref())?,
        data: content(request.data, request.b64data.as_deref())?,
        overrides: Overrides {
            presence: flag(&wanted.presence),
            join_leave: flag(&wanted.join_leave),
            force_push_join_leave: flag(&wanted.force_push_join_leave),
            force_recovery: flag(&wanted.force_recovery),
            force_positioning: flag(&wanted.force_positioning),
        },
    };
    let since = request.recover_since.map(position);
    let command = UserCommand::Subscribe {
        channel: request.channel.into(),
        claims: Box::new(claims),
        client: client(request.client),
        recover_since: since.map(Box::new),
    };
    user_command(backend, &request.user, command)
}

fn unsubscribe<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::Unsubscribe = parse(body)?;
    let (channel, client) = (request.channel.into(), client(request.client));
    user_command(backend, &request.user, UserCommand::Unsubscribe { channel, client })
}

fn disconnect<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::Disconnect = parse(body)?;
    let (code, reason) = match request.disconnect {
        Some(asked) if (3000..5000).contains(&asked.code) => (asked.code, asked.reason),
        Some(_) => {
            let why = "`disconnect.code` is from 3000 to 4999".to_owned();
            return Err(ApiError::BadRequest(why));
        }
        None => (DISCONNECT_CODE, "force disconnect".to_owned()),
    };
    let (client, except) = (client(request.client), request.whitelist);
    let command = UserCommand::Disconnect { code, reason: reason.into(), client, except };
    user_command(backend, &request.user, command)
}

fn refresh<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::Refresh = parse(body)?;
    let command = UserCommand::Refresh {
        expires_at: request.expire_at,
        expired: request.expired,
        client: client(request.client),
    };
    user_command(backend, &request.user, command)
}

fn user_command<B: Backend>(
    backend: &B,
    user: &str,
    command: UserCommand,
) -> Result<Value, ApiError> {
    needed("user", user)?;
    backend.user(user.into(), command)?;
    Ok(json!({}))
}

fn client(client: Option<String>) -> Option<Box<str>> {
    client.filter(|client| !client.is_empty()).map(String::into_boxed_str)
}

fn position(position: ask::Position) -> Position {
    Position { offset: position.offset, epoch: position.epoch.into() }
}

async fn presence<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let channel = channel_of(body)?;
    require_presence(backend, &channel)?;
    match ask_partition(backend, &channel, Request::Presence).await? {
        Answer::Presence(members) => Ok(answers::presence(&members)),
        _ => Err(ErrorCode::Internal.into()),
    }
}

async fn presence_stats<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let channel = channel_of(body)?;
    require_presence(backend, &channel)?;
    match ask_partition(backend, &channel, Request::PresenceStats).await? {
        Answer::PresenceStats { clients, users } => {
            Ok(json!({ "num_clients": clients, "num_users": users }))
        }
        _ => Err(ErrorCode::Internal.into()),
    }
}

fn require_presence<B: Backend>(backend: &B, channel: &str) -> Result<(), ErrorCode> {
    if options(backend, channel)?.presence { Ok(()) } else { Err(ErrorCode::NotAvailable) }
}

async fn history<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let request: ask::History = parse(body)?;
    needed("channel", &request.channel)?;
    options(backend, &request.channel)?;
    let (limit, reverse, bytes_max) = (request.limit, request.reverse, HISTORY_BYTES_MAX);
    let since = request.since.map(position);
    let query = Request::History(Box::new(HistoryRequest { limit, since, reverse, bytes_max }));
    match ask_partition(backend, &request.channel, query).await? {
        Answer::History { publications, position } => {
            Ok(answers::history(&publications, &position))
        }
        _ => Err(ErrorCode::Internal.into()),
    }
}

async fn history_remove<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let channel = channel_of(body)?;
    if !options(backend, &channel)?.has_history() {
        return Err(ErrorCode::NotAvailable.into());
    }
    ask_partition(backend, &channel, Request::HistoryRemove).await?;
    Ok(json!({}))
}

async fn channels<B: Backend>(backend: &B, body: &[u8]) -> Result<Value, ApiError> {
    let ask::Channels { pattern } = parse(body)?;
    let pattern = if pattern.is_empty() { "*".into() } else { pattern.into() };
    let found = backend.channels(pattern).await?;
    let entries =
        found.iter().map(|(name, count)| (name.to_string(), json!({ "num_clients": count })));
    Ok(json!({ "channels": entries.collect::<Map<_, _>>() }))
}

async fn info<B: Backend>(backend: &B) -> Result<Value, ApiError> {
    let nodes = backend.info().await;
    let nodes = nodes.iter().map(|node| {
        json!({
            "uid": node.uid,
            "name": node.name,
            "version": node.version,
            "num_clients": node.clients,
            "num_users": node.users,
            "num_subs": node.subscriptions,
            "num_channels": node.channels,
            "uptime": node.uptime,
        })
    });
    Ok(json!({ "nodes": nodes.collect::<Vec<_>>() }))
}
