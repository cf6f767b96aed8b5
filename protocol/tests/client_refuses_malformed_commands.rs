//! Goal: every message that is not a row of valid commands is refused, with the violation that
//! names the fault, and nothing behind the fault is decoded.
//! Method: tables of messages and of what the decoders must say.

use protocol::client::{
    Command, CommandKind, CommandViolation, JSON_DEPTH_MAX, JsonCommands, ProtobufCommands,
};
use protocol::close::CloseReason;
use protocol::limits::{
    CHANNEL_BYTES_MAX, COMMANDS_PER_MESSAGE_MAX, RPC_METHOD_BYTES_MAX, TOKEN_BYTES_MAX,
};

use CommandViolation::{
    EmptyMessage, FieldTooLong, Malformed, ManyRequests, MissingId, NoRequest, TooDeep,
    TooManyCommands,
};

/// The ids of the commands before the violation, and the violation.
type Outcome = (Vec<u32>, Option<CommandViolation>);

#[test]
fn json() {
    let table: &[(&str, &[u32], CommandViolation)] = &[
        ("", &[], EmptyMessage),
        ("\n", &[], Malformed),
        (" ", &[], Malformed),
        ("{}\n\n", &[0], Malformed),
        ("{}\n\n{}", &[0], Malformed),
        ("{}{}", &[], Malformed),
        ("{} x", &[], Malformed),
        ("{", &[], Malformed),
        ("null", &[], Malformed),
        ("[]", &[], Malformed),
        ("[1]", &[], Malformed),
        ("5", &[], Malformed),
        ("\"ping\"", &[], Malformed),
        ("{\"id\":1,\"ping\":{}}\n{\"id\":2,", &[1], Malformed),
        // Pretty-printed: a line feed ends a command.
        ("{\n\"id\":1,\"ping\":{}}", &[], Malformed),
        // Numbers.
        (r#"{"id":-1,"ping":{}}"#, &[], Malformed),
        (r#"{"id":"1","ping":{}}"#, &[], Malformed),
        (r#"{"id":1.0,"ping":{}}"#, &[], Malformed),
        (r#"{"id":1e2,"ping":{}}"#, &[], Malformed),
        (r#"{"id":4294967296,"ping":{}}"#, &[], Malformed),
        (r#"{"id":true,"ping":{}}"#, &[], Malformed),
        (r#"{"id":1,"history":{"limit":2147483648}}"#, &[], Malformed),
        (r#"{"id":1,"history":{"since":{"offset":-1}}}"#, &[], Malformed),
        (r#"{"id":1,"subscribe":{"offset":18446744073709551616}}"#, &[], Malformed),
        (r#"{"id":1,"subscribe":{"offset":"5"}}"#, &[], Malformed),
        (r#"{"id":1,"subscribe":{"recover":1}}"#, &[], Malformed),
        // Types.
        (r#"{"id":1,"ping":[]}"#, &[], Malformed),
        (r#"{"id":1,"ping":true}"#, &[], Malformed),
        (r#"{"id":1,"connect":["token"]}"#, &[], Malformed),
        (r#"{"id":1,"connect":"token"}"#, &[], Malformed),
        (r#"{"id":1,"connect":{"token":5}}"#, &[], Malformed),
        (r#"{"id":1,"connect":{"subs":[]}}"#, &[], Malformed),
        (r#"{"id":1,"connect":{"headers":{"a":5}}}"#, &[], Malformed),
        (r#"{"id":1,"subscribe":{"channel":{}}}"#, &[], Malformed),
        (r#"{"id":1,"publish":{"data":{"a":}}}"#, &[], Malformed),
        (r#"{"id":1,"publish":{"data":}}"#, &[], Malformed),
        (r#"{"id":1,"publish":{"data":'a'}}"#, &[], Malformed),
        (r#"{"id":1,"presence":{"channel":"\ud800"}}"#, &[], Malformed),
        ("{\"id\":1,\"presence\":{\"channel\":\"a\u{1}\"}}", &[], Malformed),
        // Repeated names.
        (r#"{"id":1,"id":1,"ping":{}}"#, &[], Malformed),
        (r#"{"id":1,"\u0069d":2,"ping":{}}"#, &[], Malformed),
        (r#"{"id":1,"presence":{"channel":"a","channel":"a"}}"#, &[], Malformed),
        (r#"{"id":1,"connect":{"subs":{"a":{},"a":{}}}}"#, &[], Malformed),
        (r#"{"id":1,"connect":{"headers":{"a":"1","a":"2"}}}"#, &[], Malformed),
        // Ids and requests.
        (r#"{"id":1}"#, &[], NoRequest),
        (r#"{"id":1,"ping":null}"#, &[], NoRequest),
        (r#"{"id":1,"future":{}}"#, &[], NoRequest),
        (r#"{"ping":{}}"#, &[], MissingId),
        (r#"{"id":0,"connect":{}}"#, &[], MissingId),
        (r#"{"publish":{"channel":"a","data":1}}"#, &[], MissingId),
        (r#"{"id":1,"ping":{},"ping":{}}"#, &[], ManyRequests),
        (r#"{"id":1,"ping":{},"send":{}}"#, &[], ManyRequests),
        (r#"{"connect":{},"send":{}}"#, &[], ManyRequests),
    ];
    for (message, ids, violation) in table {
        assert_eq!(json_outcome(message), (ids.to_vec(), Some(*violation)), "{message}");
    }
}

#[test]
fn protobuf() {
    let table: &[(&[u8], &[u32], CommandViolation)] = &[
        (b"", &[], EmptyMessage),
        // Lengths: cut off, past the end, past the end inside, over 64 bits.
        (b"\x80", &[], Malformed),
        (b"\x05\x08\x01", &[], Malformed),
        (b"\x04\x08\x01\x5a\x01", &[], Malformed),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", &[], Malformed),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &[], Malformed),
        (b"\x00\x04\x08\x07\x5a\x00\x05", &[0, 7], Malformed),
        // Field number zero; a number over 29 bits; groups; wire types that do not exist.
        (b"\x02\x00\x01", &[], Malformed),
        (b"\x07\x80\x80\x80\x80\x10\x01\x00", &[], Malformed),
        (b"\x05\x08\x01\x5a\x00\x83", &[], Malformed),
        (b"\x02\xa3\x01", &[], Malformed),
        (b"\x03\xa4\x01\x00", &[], Malformed),
        (b"\x03\xa6\x01\x00", &[], Malformed),
        (b"\x03\xa7\x01\x00", &[], Malformed),
        // Known fields in other wire types: the id as bytes, ping as a number, fixed values.
        (b"\x02\x0a\x00", &[], Malformed),
        (b"\x04\x08\x01\x58\x00", &[], Malformed),
        (b"\x05\x0d\x01\x00\x00\x00", &[], Malformed),
        (b"\x06\x08\x01\x42\x02\x08\x05", &[], Malformed),
        (b"\x06\x08\x01\x2a\x02\x1a\x00", &[], Malformed),
        // A fixed value that is cut off.
        (b"\x04\xa1\x01\x00\x00", &[], Malformed),
        (b"\x04\xa5\x01\x00\x00", &[], Malformed),
        // A channel that is not UTF-8.
        (b"\x07\x08\x01\x42\x03\x0a\x01\xff", &[], Malformed),
        // A broken map entry in connect.
        (b"\x08\x08\x01\x22\x04\x1a\x02\x0a\x05", &[], Malformed),
        // Ids and requests.
        (b"\x02\x08\x01", &[], NoRequest),
        (b"\x05\x08\x01\xa2\x06\x00", &[], NoRequest),
        (b"\x02\x5a\x00", &[], MissingId),
        (b"\x04\x08\x00\x22\x00", &[], MissingId),
        (b"\x06\x08\x01\x5a\x00\x5a\x00", &[], ManyRequests),
        (b"\x06\x08\x01\x5a\x00\x62\x00", &[], ManyRequests),
    ];
    for (message, ids, violation) in table {
        let expected = (ids.to_vec(), Some(*violation));
        assert_eq!(protobuf_outcome(message), expected, "{}", message.escape_ascii());
    }
}

#[test]
fn what_is_unknown_is_ignored() {
    let json = r#"{"future":[{"a":[]}],"id":1,"ping":{"future":1},"flag":5}"#;
    assert_eq!(json_outcome(json), (vec![1], None));
    // Field 20 as varint, bytes, 8 bytes and 4 bytes, beside an id and a ping with a field of its
    // own.
    let protobuf =
        b"\x1d\xa0\x01\x05\x08\x01\xa2\x01\x01x\xa1\x0112345678\xa5\x011234\x5a\x02\x08\x01";
    assert_eq!(protobuf_outcome(protobuf), (vec![1], None));
}

#[test]
fn commands_in_one_message_are_counted() {
    let json = |count: usize| vec!["{}"; count].join("\n");
    assert_eq!(json_outcome(&json(COMMANDS_PER_MESSAGE_MAX)).1, None);
    let (ids, violation) = json_outcome(&json(COMMANDS_PER_MESSAGE_MAX + 2));
    assert_eq!((ids.len(), violation), (COMMANDS_PER_MESSAGE_MAX, Some(TooManyCommands)));

    let protobuf = |count: usize| vec![0; count];
    assert_eq!(protobuf_outcome(&protobuf(COMMANDS_PER_MESSAGE_MAX)).1, None);
    let (ids, violation) = protobuf_outcome(&protobuf(COMMANDS_PER_MESSAGE_MAX + 2));
    assert_eq!((ids.len(), violation), (COMMANDS_PER_MESSAGE_MAX, Some(TooManyCommands)));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"send":{{"data":{open}{close}}}}}"#)
    };
    assert_eq!(json_outcome(&nested(JSON_DEPTH_MAX - 2)), (vec![0], None));
    assert_eq!(json_outcome(&nested(JSON_DEPTH_MAX - 1)), (vec![], Some(TooDeep)));
    assert_eq!(json_outcome(&nested(1_000_000)), (vec![], Some(TooDeep)));
    // Unknown names are no way around it.
    let unknown = format!(r#"{{"future":{}"#, "[".repeat(1_000_000));
    assert_eq!(json_outcome(&unknown), (vec![], Some(TooDeep)));
}

#[test]
fn long_fields_name_their_command_and_do_not_end_the_message() {
    let table = [
        ("subscribe", "channel", CHANNEL_BYTES_MAX),
        ("subscribe", "token", TOKEN_BYTES_MAX),
        ("unsubscribe", "channel", CHANNEL_BYTES_MAX),
        ("publish", "channel", CHANNEL_BYTES_MAX),
        ("presence", "channel", CHANNEL_BYTES_MAX),
        ("presence_stats", "channel", CHANNEL_BYTES_MAX),
        ("history", "channel", CHANNEL_BYTES_MAX),
        ("rpc", "method", RPC_METHOD_BYTES_MAX),
        ("connect", "token", TOKEN_BYTES_MAX),
        ("refresh", "token", TOKEN_BYTES_MAX),
        ("sub_refresh", "channel", CHANNEL_BYTES_MAX),
        ("sub_refresh", "token", TOKEN_BYTES_MAX),
    ];
    for (request, field, bytes_max) in table {
        let command = |bytes: usize| {
            format!(r#"{{"id":9,"{request}":{{"{field}":"{}"}}}}"#, "a".repeat(bytes))
        };
        assert_eq!(json_outcome(&command(bytes_max)), (vec![9], None), "{request}.{field}");
        let message = command(bytes_max + 1) + "\n" + r#"{"id":10,"ping":{}}"#;
        let outcomes: Vec<_> = JsonCommands::new(&message).collect();
        let ping = Command { id: 10, kind: CommandKind::Ping };
        assert_eq!(outcomes, [Err(FieldTooLong { id: 9 }), Ok(ping)], "{request}.{field}");
    }
    let channel = "a".repeat(CHANNEL_BYTES_MAX + 1);
    let message = format!(r#"{{"id":9,"connect":{{"subs":{{"{channel}":{{}}}}}}}}"#);
    assert_eq!(json_outcome(&message), (vec![], Some(FieldTooLong { id: 9 })));
}

#[test]
fn every_violation_has_a_reason_and_a_label_of_its_own() {
    let all = [
        EmptyMessage,
        Malformed,
        TooDeep,
        TooManyCommands,
        NoRequest,
        ManyRequests,
        MissingId,
        FieldTooLong { id: 1 },
    ];
    let labels: std::collections::BTreeSet<_> = all.iter().map(|it| it.label()).collect();
    assert_eq!(labels.len(), all.len());
    assert!(all.iter().all(|it| it.close_reason() == CloseReason::BadRequest));
    assert!(size_of::<CommandViolation>() <= 8);
}

fn json_outcome(message: &str) -> Outcome {
    outcome(JsonCommands::new(message))
}

fn protobuf_outcome(message: &[u8]) -> Outcome {
    outcome(ProtobufCommands::new(message))
}

/// Goes to the first violation and checks that nothing is behind it.
fn outcome<'a>(
    mut commands: impl Iterator<Item = Result<Command<'a>, CommandViolation>>,
) -> Outcome {
    let mut ids = Vec::new();
    for command in commands.by_ref() {
        match command {
            Ok(command) => ids.push(command.id),
            Err(violation) => {
                assert!(commands.next().is_none(), "nothing is decoded behind a violation");
                return (ids, Some(violation));
            }
        }
    }
    (ids, None)
}
