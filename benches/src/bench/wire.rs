//! What clients send, and what is found in what they receive.
//!
//! A publication of the generator carries when it was due, its channel and its number, so that any
//! process can tell how long it took and whether one is missing:
//!
//! ```text
//!  "rwb:" | due, ns of CLOCK_MONOTONIC, 16 hex | channel, 8 hex | number, 8 hex | x…
//! ```

use protocol::client::client_side::encode_commands;
use protocol::client::{Command, CommandKind, Connect, Format, Publish, Subscribe};
use protocol::websocket::Opcode;
use protocol::websocket::client::{ClientFrame, encode_masked_frame};

use super::target::Target;

const MARK: &[u8] = b"rwb:";
/// Bytes of a mark with its fields, without quotes.
pub(crate) const MARK_BYTES: usize = MARK.len() + 32;
/// The masking key. Nothing between us and the server has to be confused by a random one.
const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// Ids of the two commands of a greeting.
pub(crate) const CONNECT_ID: u32 = 1;
/// See [`CONNECT_ID`].
pub(crate) const SUBSCRIBE_ID: u32 = 2;
/// The first id that a mode may use.
pub(crate) const FIRST_ID: u32 = 3;

/// What a publication says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) due_ns: u64,
    pub(crate) channel: u32,
    pub(crate) number: u32,
}

impl Mark {
    /// A payload of so many bytes, quotes included; never fewer than the mark takes.
    pub(crate) fn payload(self, bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.max(MARK_BYTES + 2));
        out.push(b'"');
        out.extend_from_slice(MARK);
        let Self { due_ns, channel, number } = self;
        out.extend_from_slice(format!("{due_ns:016x}{channel:08x}{number:08x}").as_bytes());
        out.resize((bytes.max(MARK_BYTES + 2)) - 1, b'x');
        out.push(b'"');
        out
    }

    /// At most this many bytes go over the wire for a publication with such a payload: with its
    /// command, its frame and a TLS record.
    pub(crate) fn sent_bytes(bytes: usize, channel: &str) -> usize {
        const AROUND: usize = 128;
        bytes.max(MARK_BYTES + 2) + channel.len() + AROUND
    }

    /// The mark in an entry of a server's message.
    pub(crate) fn find(entry: &[u8]) -> Option<Self> {
        let at = entry.windows(MARK.len()).position(|four| four == MARK)? + MARK.len();
        let text = std::str::from_utf8(entry.get(at..at + 32)?).ok()?;
        let number = |from, to| u64::from_str_radix(&text[from..to], 16).ok();
        Some(Self {
            due_ns: number(0, 16)?,
            channel: number(16, 24)? as u32,
            number: number(24, 32)? as u32,
        })
    }
}

/// Is the entry a push, whose payload may be one of ours? Replies are decoded as a whole.
pub(crate) fn is_push(format: Format, entry: &[u8]) -> bool {
    match format {
        Format::Json => entry.starts_with(b"{\"push\""),
        // Field 4 of `Reply`, a message: see the client protocol.
        Format::Protobuf => {
            let head = entry.iter().position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
            entry.get(head) == Some(&0x22)
        }
    }
}

/// Takes the first entry of a message: a line of JSON, or a length and so many bytes of Protobuf.
pub(crate) fn next_entry<'a>(format: Format, message: &mut &'a [u8]) -> Option<&'a [u8]> {
    if message.is_empty() {
        return None;
    }
    let (entry, rest) = match format {
        Format::Json => match message.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&message[..end], &message[end + 1..]),
            None => (*message, &[][..]),
        },
        Format::Protobuf => message.split_at(protobuf_entry_bytes(message)),
    };
    *message = rest;
    Some(entry)
}

/// Bytes of a length and what it announces; all there are if that is more.
fn protobuf_entry_bytes(message: &[u8]) -> usize {
    let (mut length, mut shift) = (0_usize, 0);
    for (at, byte) in message.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return length.saturating_add(at + 1).min(message.len());
        }
    }
    message.len()
}

/// Appends commands, as one message in its frame.
pub(crate) fn push_commands(format: Format, commands: &[Command<'_>], out: &mut Vec<u8>) {
    let opcode = match format {
        Format::Json => Opcode::Text,
        Format::Protobuf => Opcode::Binary,
    };
    push_frame(opcode, &encode_commands(format, commands), out);
}

/// Appends one command.
pub(crate) fn push_command(format: Format, id: u32, kind: CommandKind<'_>, out: &mut Vec<u8>) {
    push_commands(format, &[Command { id, kind }], out);
}

/// Appends a publication.
pub(crate) fn push_publication(
    format: Format,
    id: u32,
    channel: &str,
    data: &[u8],
    out: &mut Vec<u8>,
) {
    let publish = Publish { channel: channel.into(), data, ..Publish::default() };
    push_command(format, id, CommandKind::Publish(publish), out);
}

/// Appends a frame.
pub(crate) fn push_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    encode_masked_frame(&ClientFrame::whole(opcode, KEY, payload), out);
}

/// What a client subscribes to as soon as it is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) channel: String,
    /// Recoverable, from this epoch and offset if there is one.
    pub(crate) is_recoverable: bool,
    pub(crate) since: Option<(String, u64)>,
}

/// `connect`, and `subscribe` if there is a wish, in one message.
pub(crate) fn greeting(format: Format, token: &str, wish: Option<&Wish>) -> Vec<u8> {
    let connect =
        Connect { token: token.into(), name: "ringway-bench".into(), ..Connect::default() };
    let mut commands = vec![Command { id: CONNECT_ID, kind: CommandKind::Connect(connect) }];
    if let Some(wish) = wish {
        let (epoch, offset) = wish.since.clone().unwrap_or_default();
        let subscribe = Subscribe {
            channel: wish.channel.as_str().into(),
            recoverable: wish.is_recoverable,
            recover: wish.since.is_some(),
            epoch: epoch.into(),
            offset,
            ..Subscribe::default()
        };
        commands.push(Command { id: SUBSCRIBE_ID, kind: CommandKind::Subscribe(subscribe) });
    }
    let mut out = Vec::new();
    push_commands(format, &commands, &mut out);
    out
}

/// The request that opens a WebSocket (RFC 6455, 4.1).
pub(crate) fn upgrade(target: &Target, format: Format, headers: &[(String, String)]) -> Vec<u8> {
    let (path, host, subprotocol) = (&target.path, &target.host, format.subprotocol());
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK_OF_TEST: Mark = Mark { due_ns: 0x1234_5678_9abc, channel: 7, number: 0xffff_0001 };

    #[test]
    fn a_mark_is_found_in_both_formats() {
        let payload = MARK_OF_TEST.payload(100);
        assert_eq!(payload.len(), 100);
        assert!(serde_json::from_slice::<String>(&payload).is_ok());
        let json = [br#"{"push":{"channel":"a","pub":{"data":"#, &payload[..], b"}}}"].concat();
        assert!(is_push(Format::Json, &json));
        assert_eq!(Mark::find(&json), Some(MARK_OF_TEST));
        let protobuf = [&[0xac, 0x02, 0x22, 9][..], &payload].concat();
        assert!(is_push(Format::Protobuf, &protobuf));
        assert_eq!(Mark::find(&protobuf), Some(MARK_OF_TEST));
        assert_eq!(MARK_OF_TEST.payload(1).len(), MARK_BYTES + 2);
    }

    #[test]
    fn what_is_no_mark_is_none() {
        assert_eq!(Mark::find(b"rwb:12"), None);
        assert_eq!(Mark::find(&[b"rwb:".as_slice(), &[b'z'; 40]].concat()), None);
        assert_eq!(Mark::find(b""), None);
        assert!(!is_push(Format::Json, br#"{"id":1,"ping":{}}"#));
        assert!(!is_push(Format::Protobuf, &[2, 8, 1]));
        assert!(!is_push(Format::Protobuf, &[]));
    }

    #[test]
    fn messages_are_taken_apart() {
        let entries = |format, mut message: &'static [u8]| {
            let mut found = Vec::new();
            while let Some(entry) = next_entry(format, &mut message) {
                found.push(entry.to_vec());
            }
            found
        };
        assert_eq!(entries(Format::Json, b"{}\n{\"id\":1}"), [&b"{}"[..], b"{\"id\":1}"]);
        assert_eq!(entries(Format::Protobuf, &[1, 9, 2, 8, 1]), [&[1, 9][..], &[2, 8, 1]]);
        // A length that announces more than there is, and one that does not end.
        assert_eq!(entries(Format::Protobuf, &[200, 9, 2]), [&[200, 9, 2][..]]);
        assert_eq!(entries(Format::Protobuf, &[255; 7]).concat().len(), 7);
    }
}
