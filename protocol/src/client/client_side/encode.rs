//! Commands into both formats.

use crate::client::command::{Command, CommandKind, Connect, History, Subscribe};
use crate::client::json_encode::JsonObject;
use crate::client::wire::WireWriter;
use crate::client::{Format, Payload, PayloadForm};

/// One WebSocket message of `commands`.
pub fn encode_commands(format: Format, commands: &[Command<'_>]) -> Vec<u8> {
    let mut message = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        if index > 0 && format == Format::Json {
            message.push(b'\n');
        }
        encode_command(format, command, &mut message);
    }
    message
}

/// Appends a command as it stands in a WebSocket message. Nothing is checked, so that tests can
/// also write what a server must refuse.
pub fn encode_command(format: Format, command: &Command<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Json => JsonObject::write(out, |object| {
            object.number("id", u64::from(command.id));
            json_request(object, &command.kind);
        }),
        Format::Protobuf => WireWriter::new(out).delimited(0, |w| {
            w.number(1, u64::from(command.id));
            protobuf_request(w, &command.kind);
        }),
    }
}

fn json_request(object: &mut JsonObject<'_>, kind: &CommandKind<'_>) {
    match kind {
        CommandKind::Pong => {}
        CommandKind::Connect(connect) => object.object("connect", |o| json_connect(o, connect)),
        CommandKind::Subscribe(subscribe) => {
            object.object("subscribe", |o| json_subscribe(o, subscribe));
        }
        CommandKind::Unsubscribe(unsubscribe) => {
            object.object("unsubscribe", |o| o.text("channel", &unsubscribe.channel));
        }
        CommandKind::Publish(publish) => object.object("publish", |o| {
            o.text("channel", &publish.channel);
            o.payload("data", json_payload(publish.data));
            o.signed("type", i64::from(publish.publication_type));
        }),
        CommandKind::Presence(presence) => {
            object.object("presence", |o| o.text("channel", &presence.channel));
        }
        CommandKind::PresenceStats(presence_stats) => {
            object.object("presence_stats", |o| o.text("channel", &presence_stats.channel));
        }
        CommandKind::History(history) => object.object("history", |o| json_history(o, history)),
        CommandKind::Ping => object.object("ping", |_| {}),
        CommandKind::Send(send) => {
            object.object("send", |o| o.payload("data", json_payload(send.data)));
        }
        CommandKind::Rpc(rpc) => object.object("rpc", |o| {
            o.payload("data", json_payload(rpc.data));
            o.text("method", &rpc.method);
        }),
        CommandKind::Refresh(refresh) => object.object("refresh", |o| {
            o.text("token", &refresh.token);
        }),
        CommandKind::SubRefresh(sub_refresh) => object.object("sub_refresh", |o| {
            o.text("channel", &sub_refresh.channel);
            o.text("token", &sub_refresh.token);
            o.signed("type", i64::from(sub_refresh.refresh_type));
        }),
    }
}

fn json_connect(object: &mut JsonObject<'_>, connect: &Connect<'_>) {
    object.text("token", &connect.token);
    object.payload("data", json_payload(connect.data));
    if !connect.subs.is_empty() {
        object.object("subs", |subs| {
            for (channel, subscribe) in &connect.subs {
                subs.object(channel, |o| json_subscribe(o, subscribe));
            }
        });
    }
    object.text("name", &connect.name);
    object.text("version", &connect.version);
    if !connect.headers.is_empty() {
        object.object("headers", |headers| {
            for (name, value) in &connect.headers {
                headers.text_always(name, value);
            }
        });
    }
}

fn json_subscribe(object: &mut JsonObject<'_>, subscribe: &Subscribe<'_>) {
    object.text("channel", &subscribe.channel);
    object.text("token", &subscribe.token);
    object.flag("recover", subscribe.recover);
    object.text("epoch", &subscribe.epoch);
    object.number("offset", subscribe.offset);
    object.payload("data", json_payload(subscribe.data));
    object.flag("positioned", subscribe.positioned);
    object.flag("recoverable", subscribe.recoverable);
    object.flag("join_leave", subscribe.join_leave);
    object.text("delta", &subscribe.delta);
    if subscribe.has_tag_filter {
        object.object("tf", |_| {});
    }
    object.signed("flag", subscribe.flag);
    object.signed("type", i64::from(subscribe.subscription_type));
}

fn json_history(object: &mut JsonObject<'_>, history: &History<'_>) {
    object.text("channel", &history.channel);
    object.signed("limit", i64::from(history.limit));
    if let Some(since) = &history.since {
        object.object("since", |position| {
            position.number("offset", since.offset);
            position.text("epoch", &since.epoch);
        });
    }
    object.flag("reverse", history.reverse);
}

/// JSON stays as it is, with carriage returns between tokens, so that a server finds what was
/// given.
fn json_payload(bytes: &[u8]) -> Payload<'_> {
    let payload = Payload::classify(bytes);
    if payload.form == PayloadForm::Compact && !bytes.contains(&b'\n') {
        return Payload::new(bytes, PayloadForm::AsIs);
    }
    payload
}

fn protobuf_request(w: &mut WireWriter<'_>, kind: &CommandKind<'_>) {
    match kind {
        CommandKind::Pong => {}
        CommandKind::Connect(connect) => w.message(4, 0, |w| protobuf_connect(w, connect)),
        CommandKind::Subscribe(subscribe) => {
            w.message(5, 0, |w| protobuf_subscribe(w, subscribe));
        }
        CommandKind::Unsubscribe(unsubscribe) => {
            w.message(6, 0, |w| w.text(1, &unsubscribe.channel));
        }
        CommandKind::Publish(publish) => w.message(7, 0, |w| {
            w.text(1, &publish.channel);
            w.bytes(2, publish.data);
            w.signed(3, i64::from(publish.publication_type));
        }),
        CommandKind::Presence(presence) => w.message(8, 0, |w| w.text(1, &presence.channel)),
        CommandKind::PresenceStats(presence_stats) => {
            w.message(9, 0, |w| w.text(1, &presence_stats.channel));
        }
        CommandKind::History(history) => w.message(10, 0, |w| protobuf_history(w, history)),
        CommandKind::Ping => w.message(11, 0, |_| {}),
        CommandKind::Send(send) => w.message(12, 0, |w| w.bytes(1, send.data)),
        CommandKind::Rpc(rpc) => w.message(13, 0, |w| {
            w.bytes(1, rpc.data);
            w.text(2, &rpc.method);
        }),
        CommandKind::Refresh(refresh) => w.message(14, 0, |w| w.text(1, &refresh.token)),
        CommandKind::SubRefresh(sub_refresh) => w.message(15, 0, |w| {
            w.text(1, &sub_refresh.channel);
            w.text(2, &sub_refresh.token);
            w.signed(3, i64::from(sub_refresh.refresh_type));
        }),
    }
}

fn protobuf_connect(w: &mut WireWriter<'_>, connect: &Connect<'_>) {
    w.text(1, &connect.token);
    w.bytes(2, connect.data);
    for (channel, subscribe) in &connect.subs {
        w.message(3, 0, |w| {
            w.text_always(1, channel);
            w.message(2, 0, |w| protobuf_subscribe(w, subscribe));
        });
    }
    w.text(4, &connect.name);
    w.text(5, &connect.version);
    for (name, value) in &connect.headers {
        w.message(6, 0, |w| {
            w.text_always(1, name);
            w.text_always(2, value);
        });
    }
}

fn protobuf_subscribe(w: &mut WireWriter<'_>, subscribe: &Subscribe<'_>) {
    w.text(1, &subscribe.channel);
    w.text(2, &subscribe.token);
    w.flag(3, subscribe.recover);
    w.text(6, &subscribe.epoch);
    w.number(7, subscribe.offset);
    w.bytes(8, subscribe.data);
    w.flag(9, subscribe.positioned);
    w.flag(10, subscribe.recoverable);
    w.flag(11, subscribe.join_leave);
    w.text(12, &subscribe.delta);
    if subscribe.has_tag_filter {
        w.message(13, 0, |_| {});
    }
    w.signed(14, subscribe.flag);
    w.signed(15, i64::from(subscribe.subscription_type));
}

fn protobuf_history(w: &mut WireWriter<'_>, history: &History<'_>) {
    w.text(1, &history.channel);
    w.signed(7, i64::from(history.limit));
    if let Some(since) = &history.since {
        w.message(8, 0, |w| {
            w.number(1, since.offset);
            w.text(2, &since.epoch);
        });
    }
    w.flag(9, history.reverse);
}
