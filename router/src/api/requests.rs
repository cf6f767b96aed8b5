//! What backends send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
pub(super) struct Publish<'a> {
    /// For `publish`.
    #[serde(default)]
    pub(super) channel: String,
    /// For `broadcast`.
    #[serde(default)]
    pub(super) channels: Vec<String>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) b64data: Option<String>,
    #[serde(default)]
    pub(super) skip_history: bool,
    #[serde(default)]
    pub(super) tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) epoch: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct BoolValue {
    #[serde(default)]
    pub(super) value: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Override {
    pub(super) presence: Option<BoolValue>,
    pub(super) join_leave: Option<BoolValue>,
    pub(super) force_push_join_leave: Option<BoolValue>,
    pub(super) force_recovery: Option<BoolValue>,
    pub(super) force_positioning: Option<BoolValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Subscribe<'a> {
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) channel: String,
    pub(super) client: Option<String>,
    #[serde(borrow, default)]
    pub(super) info: Option<&'a RawValue>,
    pub(super) b64info: Option<String>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    pub(super) b64data: Option<String>,
    pub(super) recover_since: Option<Position>,
    pub(super) r#override: Option<Override>,
    #[serde(default)]
    pub(super) expire_at: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unsubscribe {
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) channel: String,
    pub(super) client: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DisconnectCode {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disconnect {
    #[serde(default)]
    pub(super) user: String,
    pub(super) client: Option<String>,
    #[serde(default)]
    pub(super) whitelist: Vec<String>,
    pub(super) disconnect: Option<DisconnectCode>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refresh {
    #[serde(default)]
    pub(super) user: String,
    pub(super) client: Option<String>,
    #[serde(default)]
    pub(super) expired: bool,
    #[serde(default)]
    pub(super) expire_at: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    #[serde(default)]
    pub(super) channel: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct History {
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) limit: i32,
    pub(super) since: Option<Position>,
    #[serde(default)]
    pub(super) reverse: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Channels {
    #[serde(default)]
    pub(super) pattern: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow, default)]
    pub(super) commands: Option<Vec<BTreeMap<String, &'a RawValue>>>,
}
