//! What clients send, and where the frames they receive end.

use protocol::client::client_side::encode_commands;
use protocol::client::{Command, CommandKind, Connect, Format, Publish, Subscribe};
use protocol::websocket::Opcode;
use protocol::websocket::client::{ClientFrame, encode_masked_frame};

use crate::Dialect;

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

pub(crate) fn upgrade(path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol =
        subprotocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_masked_frame(&ClientFrame::whole(opcode, KEY, payload), &mut out);
    out
}

/// The wire format of a dialect; `None` for bare frames.
pub(crate) fn format_of(dialect: Dialect) -> Option<Format> {
    match dialect {
        Dialect::Json => Some(Format::Json),
        Dialect::Protobuf => Some(Format::Protobuf),
        Dialect::Bare => None,
    }
}

fn commands(format: Format, commands: &[Command<'_>]) -> Vec<u8> {
    let opcode = match format {
        Format::Json => Opcode::Text,
        Format::Protobuf => Opcode::Binary,
    };
    frame(opcode, &encode_commands(format, commands))
}

/// `connect`, and `subscribe` if there is a channel, in one message.
pub(crate) fn greeting(format: Format, channel: Option<&str>) -> Vec<u8> {
    let mut all = vec![Command { id: 1, kind: CommandKind::Connect(Connect::default()) }];
    if let Some(channel) = channel {
        let subscribe = Subscribe { channel: channel.into(), ..Subscribe::default() };
        all.push(Command { id: 2, kind: CommandKind::Subscribe(subscribe) });
    }
    commands(format, &all)
}

/// `connect` with a token.
pub(crate) fn connect(format: Format, token: &str) -> Vec<u8> {
    let connect = Connect { token: token.into(), ..Connect::default() };
    commands(format, &[Command { id: 1, kind: CommandKind::Connect(connect) }])
}

/// `subscribe` to each of `channels`, in one message.
pub(crate) fn subscribe(format: Format, channels: &[String]) -> Vec<u8> {
    let subscribe = |(index, channel): (usize, &'_ String)| Command {
        id: index as u32 + 2,
        kind: CommandKind::Subscribe(Subscribe {
            channel: channel.clone().into(),
            ..Subscribe::default()
        }),
    };
    commands(format, &channels.iter().enumerate().map(subscribe).collect::<Vec<_>>())
}

/// A recoverable `subscribe`, from a position if there is one.
pub(crate) fn resubscribe(format: Format, channel: &str, since: Option<(&str, u64)>) -> Vec<u8> {
    let (epoch, offset) = since.unwrap_or_default();
    let subscribe = Subscribe {
        channel: channel.into(),
        recover: since.is_some(),
        epoch: epoch.into(),
        offset,
        recoverable: true,
        ..Subscribe::default()
    };
    commands(format, &[Command { id: 2, kind: CommandKind::Subscribe(subscribe) }])
}

pub(crate) fn publish(format: Format, id: u32, channel: &str, data: &[u8]) -> Vec<u8> {
    let publish = Publish { channel: channel.into(), data, ..Publish::default() };
    commands(format, &[Command { id, kind: CommandKind::Publish(publish) }])
}

/// Bytes of the largest ping of the client protocol: `{}` in JSON.
const PING_BYTES: u32 = 2;

/// Counts whole frames in a stream without looking at what they carry, except that pings of the
/// client protocol are left out: whoever connects slowly would take them for deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCounter {
    head: [u8; 4],
    head_bytes: u8,
    /// Bytes of the current frame's payload that are still to come.
    payload_left: u32,
    is_ping: bool,
}

impl FrameCounter {
    /// How many frames but pings ended within `bytes`. Frames of 64 KiB and more do not occur here.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> u32 {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = bytes.len().min(self.payload_left as usize);
                self.payload_left -= taken as u32;
                bytes = &bytes[taken..];
                ended += u32::from(self.payload_left == 0 && !self.is_ping);
                continue;
            }
            self.head[usize::from(self.head_bytes)] = bytes[0];
            self.head_bytes += 1;
            bytes = &bytes[1..];
            let length = match (self.head_bytes, self.head[1]) {
                (2, length @ 0..=125) => u32::from(length),
                (4, 126) => u32::from(u16::from_be_bytes([self.head[2], self.head[3]])),
                (4, _) => panic!("a frame of 64 KiB or more"),
                _ => continue,
            };
            self.head_bytes = 0;
            self.payload_left = length;
            self.is_ping = length <= PING_BYTES;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut stream = vec![0x81, 3, b'a', b'b', b'c', 0x81, 2, b'{', b'}', 0x82, 1, 0];
        stream.extend_from_slice(&[0x8a, 0, 0x82, 126, 0, 200]);
        stream.extend_from_slice(&[7; 200]);
        for size in 1..stream.len() {
            let mut counter = FrameCounter::default();
            let ended: u32 = stream.chunks(size).map(|chunk| counter.feed(chunk)).sum();
            assert_eq!(ended, 2, "in pieces of {size}");
        }
    }
}
