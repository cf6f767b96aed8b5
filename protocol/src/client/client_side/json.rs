//! Replies and pushes from JSON, by serde's derive.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ReplyViolation;
use super::received::{
    Received, ReceivedClientInfo, ReceivedConnect, ReceivedDisconnect, ReceivedError,
    ReceivedExpiry, ReceivedHistory, ReceivedPresenceStats, ReceivedPublication, ReceivedPush,
    ReceivedRefresh, ReceivedReply, ReceivedSubscribe, ReceivedUnsubscribe, raw,
};

/// Everything in `message`, one entry per line.
pub(super) fn decode_replies(message: &[u8]) -> Result<Vec<Received>, ReplyViolation> {
    let text = std::str::from_utf8(message).map_err(|_| ReplyViolation)?;
    text.split('\n').map(decode_line).collect()
}

fn decode_line(line: &str) -> Result<Received, ReplyViolation> {
    let mut reply: JsonReply = serde_json::from_str(line).map_err(|_| ReplyViolation)?;
    let (id, push) = (reply.id, reply.push.take());
    let body = reply.into_body()?;
    match (id, push, body) {
        (0, None, None) => Ok(Received::Ping),
        (0, Some(mut push), None) => {
            let channel = std::mem::take(&mut push.channel);
            let body = push.into_body()?.ok_or(ReplyViolation)?;
            Ok(Received::Push { channel, body })
        }
        (id @ 1.., None, Some(body)) => Ok(Received::Reply { id, body }),
        _ => Err(ReplyViolation),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonReply {
    id: u32,
    error: Option<ReceivedError>,
    push: Option<JsonPush>,
    connect: Option<ReceivedConnect>,
    subscribe: Option<ReceivedSubscribe>,
    unsubscribe: Option<JsonFieldless>,
    publish: Option<JsonFieldless>,
    presence: Option<JsonPresence>,
    presence_stats: Option<ReceivedPresenceStats>,
    history: Option<ReceivedHistory>,
    ping: Option<JsonFieldless>,
    rpc: Option<JsonData>,
    refresh: Option<ReceivedRefresh>,
    sub_refresh: Option<ReceivedExpiry>,
}

impl JsonReply {
    fn into_body(self) -> Result<Option<ReceivedReply>, ReplyViolation> {
        at_most_one([
            self.error.map(ReceivedReply::Error),
            self.connect.map(ReceivedReply::Connect),
            self.subscribe.map(ReceivedReply::Subscribe),
            self.unsubscribe.map(|_| ReceivedReply::Unsubscribe),
            self.publish.map(|_| ReceivedReply::Publish),
            self.presence.map(|result| ReceivedReply::Presence(result.presence)),
            self.presence_stats.map(ReceivedReply::PresenceStats),
            self.history.map(ReceivedReply::History),
            self.ping.map(|_| ReceivedReply::Ping),
            self.rpc.map(|result| ReceivedReply::Rpc(result.data)),
            self.refresh.map(ReceivedReply::Refresh),
            self.sub_refresh.map(ReceivedReply::SubRefresh),
        ])
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonPush {
    channel: String,
    #[serde(rename = "pub")]
    publication: Option<ReceivedPublication>,
    join: Option<JsonInfo>,
    leave: Option<JsonInfo>,
    unsubscribe: Option<ReceivedUnsubscribe>,
    message: Option<JsonData>,
    subscribe: Option<ReceivedSubscribe>,
    connect: Option<ReceivedConnect>,
    disconnect: Option<ReceivedDisconnect>,
    refresh: Option<ReceivedExpiry>,
}

impl JsonPush {
    fn into_body(self) -> Result<Option<ReceivedPush>, ReplyViolation> {
        at_most_one([
            self.publication.map(ReceivedPush::Publication),
            self.join.map(|join| ReceivedPush::Join(join.info)),
            self.leave.map(|leave| ReceivedPush::Leave(leave.info)),
            self.unsubscribe.map(ReceivedPush::Unsubscribe),
            self.message.map(|message| ReceivedPush::Message(message.data)),
            self.subscribe.map(ReceivedPush::Subscribe),
            self.connect.map(ReceivedPush::Connect),
            self.disconnect.map(ReceivedPush::Disconnect),
            self.refresh.map(ReceivedPush::Refresh),
        ])
    }
}

#[derive(Deserialize)]
struct JsonFieldless {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonPresence {
    presence: BTreeMap<String, ReceivedClientInfo>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonInfo {
    info: ReceivedClientInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonData {
    #[serde(deserialize_with = "raw")]
    data: Vec<u8>,
}

fn at_most_one<T, const N: usize>(given: [Option<T>; N]) -> Result<Option<T>, ReplyViolation> {
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if given.next().is_some() { Err(ReplyViolation) } else { Ok(first) }
}
