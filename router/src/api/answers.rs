//! What backends read.

use std::sync::Arc;

use protocol::client::{ErrorCode, PayloadForm};
use protocol::link::{Content, Member, Position, Publication};
use serde_json::{Map, Value, json};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The body is not what the method takes: status 400 with this sentence.
    BadRequest(String),
    /// The method needs this field: code 107 with its name.
    Missing(&'static str),
    /// A code of the protocol.
    Code(ErrorCode),
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl ApiError {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Code(code) => json!({ "code": code.code(), "message": code.message() }),
            Self::Missing(field) => {
                let message = format!("bad request: `{field}` is missing");
                json!({ "code": ErrorCode::BadRequest.code(), "message": message })
            }
            Self::BadRequest(why) => {
                json!({ "code": ErrorCode::BadRequest.code(), "message": why })
            }
        }
    }
}

pub(super) fn position(position: &Position) -> Value {
    if position.epoch.is_empty() {
        return json!({});
    }
    json!({ "offset": position.offset, "epoch": &*position.epoch })
}

/// JSON as it is, or base64 under the name with `b64` before it.
fn put(map: &mut Map<String, Value>, name: &str, content: &Content) {
    use base64::Engine as _;
    if content.bytes.is_empty() {
        return;
    }
    let parsed = match content.form {
        PayloadForm::Base64 => None,
        _ => serde_json::from_slice::<Value>(&content.bytes).ok(),
    };
    match parsed {
        Some(value) => map.insert(name.to_owned(), value),
        None => {
            let text = base64::engine::general_purpose::STANDARD.encode(&content.bytes);
            map.insert(format!("b64{name}"), Value::String(text))
        }
    };
}

pub(super) fn member(member: &Member) -> Value {
    let mut map = Map::new();
    map.insert("client".to_owned(), member.client.to_string().into());
    map.insert("user".to_owned(), (*member.user).into());
    if let Some(info) = &member.connection_info {
        put(&mut map, "conn_info", info);
    }
    if let Some(info) = &member.channel_info {
        put(&mut map, "chan_info", info);
    }
    Value::Object(map)
}

pub(super) fn presence(members: &[Arc<Member>]) -> Value {
    let entries = members.iter().map(|one| (one.client.to_string(), member(one)));
    json!({ "presence": entries.collect::<Map<_, _>>() })
}

fn publication(publication: &Publication) -> Value {
    let mut map = Map::new();
    put(&mut map, "data", &publication.content);
    if let Some(publisher) = &publication.publisher {
        map.insert("info".to_owned(), member(publisher));
    }
    map.insert("offset".to_owned(), publication.offset.into());
    if let Some(tags) = &publication.tags {
        map.insert("tags".to_owned(), json!(**tags));
    }
    Value::Object(map)
}

pub(super) fn history(publications: &[Arc<Publication>], position: &Position) -> Value {
    let publications: Vec<_> = publications.iter().map(|one| publication(one)).collect();
    json!({
        "publications": publications,
        "epoch": &*position.epoch,
        "offset": position.offset,
    })
}
