//! Replies and pushes into Protobuf, written straight into the outgoing bytes.
//!
//! Field numbers are those of client.proto.

use super::reply::{
    ClientInfo, ConnectResult, ErrorReply, HistoryResult, Publication, Push, PushBody,
    RefreshResult, Reply, ReplyBody, SubRefreshResult, SubscribePush, SubscribeResult,
};
use super::wire::WireWriter;

pub(super) fn encode_reply(reply: &Reply<'_>, out: &mut Vec<u8>) {
    WireWriter::new(out).delimited(SMALL_BYTES_HINT, |w| {
        w.number(1, u64::from(reply.id));
        match &reply.body {
            ReplyBody::Error(error) => w.message(2, SMALL_BYTES_HINT, |w| error_reply(w, error)),
            ReplyBody::Connect(result) => {
                w.message(5, LARGE_BYTES_HINT, |w| connect_result(w, result));
            }
            ReplyBody::Subscribe(result) => {
                w.message(6, SMALL_BYTES_HINT, |w| subscribe_result(w, result));
            }
            ReplyBody::Unsubscribe => w.message(7, 0, |_| {}),
            ReplyBody::Publish => w.message(8, 0, |_| {}),
            ReplyBody::Presence(result) => w.message(9, LARGE_BYTES_HINT, |w| {
                for (client, info) in result.presence {
                    w.message(1, SMALL_BYTES_HINT, |w| {
                        w.text_always(1, client);
                        w.message(2, SMALL_BYTES_HINT, |w| client_info(w, info));
                    });
                }
            }),
            ReplyBody::PresenceStats(result) => w.message(10, SMALL_BYTES_HINT, |w| {
                w.number(1, u64::from(result.num_clients));
                w.number(2, u64::from(result.num_users));
            }),
            ReplyBody::History(result) => {
                w.message(11, LARGE_BYTES_HINT, |w| history_result(w, result));
            }
            ReplyBody::Ping => w.message(12, 0, |_| {}),
            ReplyBody::Rpc(result) => {
                w.message(13, result.data.bytes.len(), |w| w.bytes(1, result.data.bytes));
            }
            ReplyBody::Refresh(result) => {
                w.message(14, SMALL_BYTES_HINT, |w| refresh_result(w, result));
            }
            ReplyBody::SubRefresh(result) => {
                w.message(15, SMALL_BYTES_HINT, |w| sub_refresh_result(w, result));
            }
        }
    });
}

pub(super) fn encode_push(push: &Push<'_>, out: &mut Vec<u8>) {
    let body_hint = push_body_bytes_hint(&push.body);
    let push_hint = body_hint + push.channel.len() + HEAD_BYTES_HINT;
    WireWriter::new(out).delimited(push_hint + HEAD_BYTES_HINT, |w| {
        w.message(4, push_hint, |w| {
            w.text(2, push.channel);
            push_body(w, &push.body, body_hint);
        });
    });
}

/// About how long the body of a push will be; right nearly always for what is sent most.
fn push_body_bytes_hint(body: &PushBody<'_>) -> usize {
    match body {
        PushBody::Publication(value) => publication_bytes_hint(value),
        PushBody::Message(data) => data.bytes.len() + HEAD_BYTES_HINT,
        PushBody::Connect(_) => LARGE_BYTES_HINT,
        _ => SMALL_BYTES_HINT,
    }
}

fn publication_bytes_hint(value: &Publication<'_>) -> usize {
    let info_hint = value.info.as_ref().map_or(0, |info| {
        let payloads = info.conn_info.bytes.len() + info.chan_info.bytes.len();
        info.user.len() + info.client.len() + payloads + 4 * HEAD_BYTES_HINT
    });
    let tags_hint: usize =
        value.tags.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    value.data.bytes.len() + info_hint + tags_hint + 2 * HEAD_BYTES_HINT
}

fn push_body(w: &mut WireWriter<'_>, body: &PushBody<'_>, hint: usize) {
    match body {
        PushBody::Publication(value) => w.message(4, hint, |w| publication(w, value)),
        PushBody::Join(info) => {
            w.message(5, hint, |w| w.message(1, hint, |w| client_info(w, info)));
        }
        PushBody::Leave(info) => {
            w.message(6, hint, |w| w.message(1, hint, |w| client_info(w, info)));
        }
        PushBody::Unsubscribe(unsubscribe) => w.message(7, hint, |w| {
            w.number(2, u64::from(unsubscribe.code));
            w.text(3, unsubscribe.reason);
        }),
        PushBody::Message(data) => w.message(8, hint, |w| w.bytes(1, data.bytes)),
        PushBody::Subscribe(subscribe) => w.message(9, hint, |w| subscribe_push(w, subscribe)),
        PushBody::Connect(connect) => w.message(10, hint, |w| connect_push(w, connect)),
        PushBody::Disconnect(disconnect) => w.message(11, hint, |w| {
            w.number(1, u64::from(disconnect.code));
            w.text(2, disconnect.reason);
            w.flag(3, disconnect.reconnect);
        }),
        PushBody::Refresh(refresh) => w.message(12, hint, |w| sub_refresh_result(w, refresh)),
    }
}

fn error_reply(w: &mut WireWriter<'_>, error: &ErrorReply<'_>) {
    w.number(1, u64::from(error.code));
    w.text(2, error.message);
    w.flag(3, error.temporary);
}

fn connect_result(w: &mut WireWriter<'_>, result: &ConnectResult<'_>) {
    w.text(1, result.client);
    w.text(2, result.version);
    w.flag(3, result.expires);
    w.number(4, u64::from(result.ttl));
    w.bytes(5, result.data.bytes);
    connect_subs(w, 6, result);
    w.number(7, u64::from(result.ping));
    w.flag(8, result.pong);
    w.text(9, result.session);
    w.text(10, result.node);
    w.signed(11, result.time);
}

/// The same content as a push: expiry, payload and subscriptions have other numbers.
fn connect_push(w: &mut WireWriter<'_>, connect: &ConnectResult<'_>) {
    w.text(1, connect.client);
    w.text(2, connect.version);
    w.bytes(3, connect.data.bytes);
    connect_subs(w, 4, connect);
    w.flag(5, connect.expires);
    w.number(6, u64::from(connect.ttl));
    w.number(7, u64::from(connect.ping));
    w.flag(8, connect.pong);
    w.text(9, connect.session);
    w.text(10, connect.node);
    w.signed(11, connect.time);
}

fn connect_subs(w: &mut WireWriter<'_>, number: u32, result: &ConnectResult<'_>) {
    for (channel, subscribe) in result.subs {
        w.message(number, SMALL_BYTES_HINT, |w| {
            w.text_always(1, channel);
            w.message(2, SMALL_BYTES_HINT, |w| subscribe_result(w, subscribe));
        });
    }
}

fn subscribe_result(w: &mut WireWriter<'_>, result: &SubscribeResult<'_>) {
    w.flag(1, result.expires);
    w.number(2, u64::from(result.ttl));
    w.flag(3, result.recoverable);
    w.text(6, result.epoch);
    publications(w, 7, result.publications);
    w.flag(8, result.recovered);
    w.number(9, result.offset);
    w.flag(10, result.positioned);
    w.bytes(11, result.data.bytes);
    w.flag(12, result.was_recovering);
    w.flag(13, result.delta);
}

fn subscribe_push(w: &mut WireWriter<'_>, subscribe: &SubscribePush<'_>) {
    w.flag(1, subscribe.recoverable);
    w.text(4, subscribe.epoch);
    w.number(5, subscribe.offset);
    w.flag(6, subscribe.positioned);
    w.bytes(7, subscribe.data.bytes);
}

fn history_result(w: &mut WireWriter<'_>, result: &HistoryResult<'_>) {
    publications(w, 1, result.publications);
    w.text(2, result.epoch);
    w.number(3, result.offset);
}

fn publications(w: &mut WireWriter<'_>, number: u32, values: &[Publication<'_>]) {
    for value in values {
        w.message(number, publication_bytes_hint(value), |w| publication(w, value));
    }
}

fn publication(w: &mut WireWriter<'_>, value: &Publication<'_>) {
    w.bytes(4, value.data.bytes);
    if let Some(info) = &value.info {
        w.message(5, SMALL_BYTES_HINT, |w| client_info(w, info));
    }
    w.number(6, value.offset);
    for (name, value) in value.tags {
        w.message(7, SMALL_BYTES_HINT, |w| {
            w.text_always(1, name);
            w.text_always(2, value);
        });
    }
    w.flag(8, value.delta);
    w.signed(9, value.time);
}

fn client_info(w: &mut WireWriter<'_>, info: &ClientInfo<'_>) {
    w.text(1, info.user);
    w.text(2, info.client);
    w.bytes(3, info.conn_info.bytes);
    w.bytes(4, info.chan_info.bytes);
}

fn refresh_result(w: &mut WireWriter<'_>, result: &RefreshResult<'_>) {
    w.text(1, result.client);
    w.text(2, result.version);
    w.flag(3, result.expires);
    w.number(4, u64::from(result.ttl));
}

fn sub_refresh_result(w: &mut WireWriter<'_>, result: &SubRefreshResult) {
    w.flag(1, result.expires);
    w.number(2, u64::from(result.ttl));
}

/// A message whose length fits one byte, as most do.
const SMALL_BYTES_HINT: usize = 64;
/// A message whose length takes two bytes.
const LARGE_BYTES_HINT: usize = 256;
/// Key and length of a field.
const HEAD_BYTES_HINT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Payload;

    #[test]
    fn a_publication_is_written_to_the_byte() {
        let data = Payload::classify(b"{}");
        let body = Publication { data, offset: 1, ..Publication::default() };
        let mut out = Vec::new();
        encode_push(&Push { channel: "x", body: PushBody::Publication(body) }, &mut out);
        assert_eq!(out, b"\x0d\x22\x0b\x12\x01x\x22\x06\x22\x02{}\x30\x01");
    }
}
