//! Fuzz targets of the client protocol: any bytes may come from a client.
//!
//! Each must not panic, and what is decoded must survive encoding and decoding unchanged. The
//! client side decodes the same bytes, because a load generator must not fall over a broken server
//! either.

#![allow(unreachable_pub, reason = "a runner includes this file as a module of its own")]

use protocol::client::client_side::{decode_replies, encode_commands};
use protocol::client::{
    Command, CommandKind, CommandViolation, Format, JsonCommands, Payload, ProtobufCommands,
    Publication, Push, PushBody, encode_push,
};

/// The bytes of a text message. Bytes that are not UTF-8 never reach the decoder.
pub fn fuzz_client_json(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check(Format::Json, data, JsonCommands::new(text).collect());
    }
    let _ = decode_replies(Format::Json, data);
    check_payload(data);
}

/// The bytes of a binary message.
pub fn fuzz_client_protobuf(data: &[u8]) {
    check(Format::Protobuf, data, ProtobufCommands::new(data).collect());
    let _ = decode_replies(Format::Protobuf, data);
}

fn check(format: Format, data: &[u8], decoded: Vec<Result<Command<'_>, CommandViolation>>) {
    assert!(!decoded.is_empty(), "a message has a command or a violation");
    assert!(decoded.len() <= data.len() + 1, "every command takes a byte");
    let commands: Vec<Command<'_>> = decoded.into_iter().flatten().collect();
    if commands.is_empty() {
        return;
    }
    let encoded = encode_commands(format, &commands);
    let again: Result<Vec<Command<'_>>, CommandViolation> = match format {
        Format::Json => {
            let text = std::str::from_utf8(&encoded).expect("commands are written as UTF-8");
            JsonCommands::new(text).collect()
        }
        Format::Protobuf => ProtobufCommands::new(&encoded).collect(),
    };
    assert_eq!(again.as_ref(), Ok(&commands));
    if format == Format::Json {
        commands.iter().for_each(check_published);
    }
}

/// What a JSON client publishes is never looked through again, and must still be one line of JSON.
fn check_published(command: &Command<'_>) {
    if let CommandKind::Publish(publish) = &command.kind {
        let data = Payload::from_json_command(publish.data);
        let classified = Payload::classify(publish.data);
        assert_eq!(data.form, classified.form, "the short way and the long way agree");
        push_is_one_line(data);
    }
}

/// A payload of any bytes, as a Protobuf client or a backend may bring it.
fn check_payload(data: &[u8]) {
    push_is_one_line(Payload::classify(data));
}

fn push_is_one_line(data: Payload<'_>) {
    let body = PushBody::Publication(Publication { data, ..Publication::default() });
    let mut message = Vec::new();
    encode_push(Format::Json, &Push { channel: "c", body }, &mut message);
    assert!(!message.contains(&b'\n'));
    let received = decode_replies(Format::Json, &message).expect("pushes are JSON");
    assert_eq!(received.len(), 1);
}
