//! Goal: what one side writes the other reads, in both formats, also several in one message.
//! Method: random commands, replies and pushes, encoded by one side and decoded by the other.

mod client_support;

use client_support::borrowed::encode_entry;
use client_support::{BINARY_PAYLOADS, Payloads, commands, entries};
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::client::client_side::{Received, ReceivedPush, decode_replies, encode_commands};
use protocol::client::{
    Batch, Format, JsonCommands, Payload, PayloadForm, ProtobufCommands, Publication, Push,
    PushBody, encode_push,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn commands_come_back_in_json(sent in vec(commands(JSON_PAYLOADS), 1..5)) {
        let message = String::from_utf8(encode_commands(Format::Json, &sent)).expect("text");
        let decoded: Result<Vec<_>, _> = JsonCommands::new(&message).collect();
        prop_assert_eq!(decoded, Ok(sent));
    }

    #[test]
    fn commands_come_back_in_protobuf(sent in vec(commands(BINARY_PAYLOADS), 1..5)) {
        let message = encode_commands(Format::Protobuf, &sent);
        let decoded: Result<Vec<_>, _> = ProtobufCommands::new(&message).collect();
        prop_assert_eq!(decoded, Ok(sent));
    }

    #[test]
    fn entries_come_back_in_json(sent in vec(entries(JSON_PAYLOADS), 1..5)) {
        let message = message_of(Format::Json, &sent);
        prop_assert_eq!(message.iter().filter(|&&byte| byte == b'\n').count(), sent.len() - 1);
        prop_assert_eq!(decode_replies(Format::Json, &message), Ok(sent));
    }

    #[test]
    fn entries_come_back_in_protobuf(sent in vec(entries(BINARY_PAYLOADS), 1..5)) {
        let message = message_of(Format::Protobuf, &sent);
        prop_assert_eq!(decode_replies(Format::Protobuf, &message), Ok(sent));
    }

    #[test]
    fn no_payload_breaks_a_line(bytes in vec(any::<u8>(), 1..40)) {
        let data = published_as_json(Payload::classify(&bytes));
        let text = std::str::from_utf8(&data).expect("JSON is UTF-8");
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        match Payload::classify(&bytes).form {
            PayloadForm::Base64 => prop_assert!(value.is_string()),
            _ => prop_assert_eq!(Some(value), serde_json::from_slice(&bytes).ok()),
        }
    }

    #[test]
    fn json_payloads_keep_their_value(value in json_values()) {
        let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
        let data = published_as_json(Payload::classify(&pretty));
        prop_assert!(!data.contains(&b'\n'));
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&data).ok(), Some(value));
    }

    #[test]
    fn deltas_travel_as_json_strings(delta in ".{1,40}") {
        let data = published_as_json(Payload::new(delta.as_bytes(), PayloadForm::Text));
        prop_assert_eq!(serde_json::from_slice::<String>(&data).ok(), Some(delta));
    }
}

/// The entries in one message.
fn message_of(format: Format, entries: &[Received]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut batch = Batch::new(format, &mut message);
    for entry in entries {
        let mut encoded = Vec::new();
        encode_entry(format, entry, &mut encoded);
        batch.encoded(&encoded);
    }
    message
}

/// The data of a publication as it is embedded in JSON.
fn published_as_json(data: Payload<'_>) -> Vec<u8> {
    let body = PushBody::Publication(Publication { data, ..Publication::default() });
    let mut message = Vec::new();
    encode_push(Format::Json, &Push { channel: "c", body }, &mut message);
    let mut received = decode_replies(Format::Json, &message).expect("one line of JSON");
    match received.pop() {
        Some(Received::Push { body: ReceivedPush::Publication(publication), .. }) => {
            publication.data
        }
        other => panic!("a publication was sent, but {other:?} arrived"),
    }
}

fn json_values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((".{0,4}", inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Each is JSON on one line, or absent.
const JSON_PAYLOADS: Payloads =
    &[b"", b"null", b"{}", b"{\"a\": [1, 2.5e3, \"\\n\\\"\"]}", b"\"text\"", b"-0"];
