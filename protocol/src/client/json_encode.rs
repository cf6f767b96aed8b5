//! Replies and pushes into JSON, written straight into the outgoing bytes.
//!
//! SDKs take an absent name for zero or empty, so that these are omitted. Present even then are
//! what JavaScript reads without a default: the answer itself (`{"id":3,"publish":{}}`), user and
//! client of a client, counts, presence, publications and position of a history.

use super::payload::{Payload, push_json_payload, push_json_string};
use super::reply::{
    ClientInfo, ConnectResult, HistoryResult, Publication, Push, PushBody, RefreshResult, Reply,
    ReplyBody, SubRefreshResult, SubscribeResult,
};

pub(super) fn encode_reply(reply: &Reply<'_>, out: &mut Vec<u8>) {
    JsonObject::write(out, |object| {
        object.number("id", u64::from(reply.id));
        match &reply.body {
            ReplyBody::Error(error) => object.object("error", |inner| {
                inner.number("code", u64::from(error.code));
                inner.text("message", error.message);
                inner.flag("temporary", error.temporary);
            }),
            ReplyBody::Connect(result) => {
                object.object("connect", |inner| connect_result(inner, result));
            }
            ReplyBody::Subscribe(result) => {
                object.object("subscribe", |inner| subscribe_result(inner, result));
            }
            ReplyBody::Unsubscribe => object.object("unsubscribe", |_| {}),
            ReplyBody::Publish => object.object("publish", |_| {}),
            ReplyBody::Presence(result) => object.object("presence", |inner| {
                inner.object("presence", |clients| {
                    for (client, info) in result.presence {
                        clients.object(client, |inner| client_info(inner, info));
                    }
                });
            }),
            ReplyBody::PresenceStats(result) => object.object("presence_stats", |inner| {
                inner.number_always("num_clients", u64::from(result.num_clients));
                inner.number_always("num_users", u64::from(result.num_users));
            }),
            ReplyBody::History(result) => {
                object.object("history", |inner| history_result(inner, result));
            }
            ReplyBody::Ping => object.object("ping", |_| {}),
            ReplyBody::Rpc(result) => {
                object.object("rpc", |inner| inner.payload("data", result.data));
            }
            ReplyBody::Refresh(result) => {
                object.object("refresh", |inner| refresh_result(inner, result));
            }
            ReplyBody::SubRefresh(result) => {
                object.object("sub_refresh", |inner| sub_refresh_result(inner, result));
            }
        }
    });
}

pub(super) fn encode_push(push: &Push<'_>, out: &mut Vec<u8>) {
    JsonObject::write(out, |object| {
        object.object("push", |object| {
            object.text("channel", push.channel);
            push_body(object, &push.body);
        });
    });
}

fn push_body(object: &mut JsonObject<'_>, body: &PushBody<'_>) {
    match body {
        PushBody::Publication(value) => object.object("pub", |inner| publication(inner, value)),
        PushBody::Join(info) => object.object("join", |inner| {
            inner.object("info", |inner| client_info(inner, info));
        }),
        PushBody::Leave(info) => object.object("leave", |inner| {
            inner.object("info", |inner| client_info(inner, info));
        }),
        PushBody::Unsubscribe(unsubscribe) => object.object("unsubscribe", |inner| {
            inner.number("code", u64::from(unsubscribe.code));
            inner.text("reason", unsubscribe.reason);
        }),
        PushBody::Message(data) => object.object("message", |inner| inner.payload("data", *data)),
        PushBody::Subscribe(subscribe) => object.object("subscribe", |inner| {
            inner.flag("recoverable", subscribe.recoverable);
            inner.text("epoch", subscribe.epoch);
            inner.number("offset", subscribe.offset);
            inner.flag("positioned", subscribe.positioned);
            inner.payload("data", subscribe.data);
        }),
        PushBody::Connect(connect) => {
            object.object("connect", |inner| connect_result(inner, connect));
        }
        PushBody::Disconnect(disconnect) => object.object("disconnect", |inner| {
            inner.number("code", u64::from(disconnect.code));
            inner.text("reason", disconnect.reason);
            inner.flag("reconnect", disconnect.reconnect);
        }),
        PushBody::Refresh(refresh) => {
            object.object("refresh", |inner| sub_refresh_result(inner, refresh));
        }
    }
}

fn connect_result(object: &mut JsonObject<'_>, result: &ConnectResult<'_>) {
    object.text("client", result.client);
    object.text("version", result.version);
    object.flag("expires", result.expires);
    object.number("ttl", u64::from(result.ttl));
    object.payload("data", result.data);
    if !result.subs.is_empty() {
        object.object("subs", |subs| {
            for (channel, subscribe) in result.subs {
                subs.object(channel, |inner| subscribe_result(inner, subscribe));
            }
        });
    }
    object.number("ping", u64::from(result.ping));
    object.flag("pong", result.pong);
    object.text("session", result.session);
    object.text("node", result.node);
    object.signed("time", result.time);
}

fn subscribe_result(object: &mut JsonObject<'_>, result: &SubscribeResult<'_>) {
    object.flag("expires", result.expires);
    object.number("ttl", u64::from(result.ttl));
    object.flag("recoverable", result.recoverable);
    object.text("epoch", result.epoch);
    if !result.publications.is_empty() {
        publications(object, result.publications);
    }
    object.flag("recovered", result.recovered);
    object.number("offset", result.offset);
    object.flag("positioned", result.positioned);
    object.payload("data", result.data);
    object.flag("was_recovering", result.was_recovering);
    object.flag("delta", result.delta);
}

fn history_result(object: &mut JsonObject<'_>, result: &HistoryResult<'_>) {
    publications(object, result.publications);
    object.text_always("epoch", result.epoch);
    object.number_always("offset", result.offset);
}

fn publications(object: &mut JsonObject<'_>, values: &[Publication<'_>]) {
    object.array("publications", values, publication);
}

fn publication(object: &mut JsonObject<'_>, value: &Publication<'_>) {
    object.payload("data", value.data);
    if let Some(info) = &value.info {
        object.object("info", |inner| client_info(inner, info));
    }
    object.number("offset", value.offset);
    if !value.tags.is_empty() {
        object.object("tags", |tags| {
            for (name, value) in value.tags {
                tags.text_always(name, value);
            }
        });
    }
    object.flag("delta", value.delta);
    object.signed("time", value.time);
}

fn client_info(object: &mut JsonObject<'_>, info: &ClientInfo<'_>) {
    object.text_always("user", info.user);
    object.text_always("client", info.client);
    object.payload("conn_info", info.conn_info);
    object.payload("chan_info", info.chan_info);
}

fn refresh_result(object: &mut JsonObject<'_>, result: &RefreshResult<'_>) {
    object.text("client", result.client);
    object.text("version", result.version);
    object.flag("expires", result.expires);
    object.number("ttl", u64::from(result.ttl));
}

fn sub_refresh_result(object: &mut JsonObject<'_>, result: &SubRefreshResult) {
    object.flag("expires", result.expires);
    object.number("ttl", u64::from(result.ttl));
}

/// An object that is being written. Methods without `always` omit zero and empty values.
pub(super) struct JsonObject<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl JsonObject<'_> {
    /// Appends an object of what `fill` writes.
    pub(super) fn write(out: &mut Vec<u8>, fill: impl FnOnce(&mut JsonObject<'_>)) {
        out.push(b'{');
        fill(&mut JsonObject { out, is_empty: true });
        out.push(b'}');
    }

    /// A nested object, present even when it is empty.
    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut JsonObject<'_>)) {
        self.name(name);
        JsonObject::write(self.out, fill);
    }

    fn array<T>(&mut self, name: &str, values: &[T], fill: impl Fn(&mut JsonObject<'_>, &T)) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            JsonObject::write(self.out, |object| fill(object, value));
        }
        self.out.push(b']');
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text_always(name, text);
        }
    }

    pub(super) fn text_always(&mut self, name: &str, text: &str) {
        self.name(name);
        push_json_string(self.out, text);
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        if number != 0 {
            self.number_always(name, number);
        }
    }

    pub(super) fn signed(&mut self, name: &str, number: i64) {
        if number != 0 {
            self.name(name);
            if number < 0 {
                self.out.push(b'-');
            }
            push_decimal(self.out, number.unsigned_abs());
        }
    }

    fn number_always(&mut self, name: &str, number: u64) {
        self.name(name);
        push_decimal(self.out, number);
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.name(name);
            self.out.extend_from_slice(b"true");
        }
    }

    pub(super) fn payload(&mut self, name: &str, payload: Payload<'_>) {
        if !payload.bytes.is_empty() {
            self.name(name);
            push_json_payload(self.out, payload);
        }
    }

    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        push_json_string(self.out, name);
        self.out.push(b':');
    }
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; DECIMAL_DIGITS_MAX];
    let mut first = DECIMAL_DIGITS_MAX;
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Digits of the largest 64-bit number.
const DECIMAL_DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{PresenceResult, PresenceStatsResult};

    fn pushed(push: &Push<'_>) -> String {
        let mut out = Vec::new();
        encode_push(push, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn replied(body: ReplyBody<'_>) -> String {
        let mut out = Vec::new();
        encode_reply(&Reply { id: 7, body }, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 1234, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        let mut out = Vec::new();
        JsonObject::write(&mut out, |object| object.signed("n", i64::MIN));
        assert_eq!(out, b"{\"n\":-9223372036854775808}");
    }

    #[test]
    fn a_publication_has_only_what_is_given() {
        let data = Payload::classify(b"{\"a\":1}");
        let body = Publication { data, offset: 1, ..Publication::default() };
        assert_eq!(
            pushed(&Push { channel: "x", body: PushBody::Publication(body) }),
            r#"{"push":{"channel":"x","pub":{"data":{"a":1},"offset":1}}}"#
        );
    }

    #[test]
    fn what_sdks_read_without_default_is_always_present() {
        assert_eq!(replied(ReplyBody::Publish), r#"{"id":7,"publish":{}}"#);
        assert_eq!(
            replied(ReplyBody::History(HistoryResult::default())),
            r#"{"id":7,"history":{"publications":[],"epoch":"","offset":0}}"#
        );
        assert_eq!(
            replied(ReplyBody::PresenceStats(PresenceStatsResult::default())),
            r#"{"id":7,"presence_stats":{"num_clients":0,"num_users":0}}"#
        );
        assert_eq!(
            replied(ReplyBody::Presence(PresenceResult::default())),
            r#"{"id":7,"presence":{"presence":{}}}"#
        );
        assert_eq!(
            pushed(&Push { channel: "x", body: PushBody::Join(ClientInfo::default()) }),
            r#"{"push":{"channel":"x","join":{"info":{"user":"","client":""}}}}"#
        );
    }
}
