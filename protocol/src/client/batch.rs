//! Replies and pushes on their way out: one by one, or several in one WebSocket message.

use super::reply::{Push, Reply};
use super::{Format, json_encode, protobuf_encode};

/// Several replies and pushes in one WebSocket message.
///
/// JSON wants a line feed between them and none at the end; Protobuf, where each carries its
/// length, wants nothing.
pub struct Batch<'o> {
    format: Format,
    out: &'o mut Vec<u8>,
    entries_count: usize,
}

impl<'o> Batch<'o> {
    /// An empty batch at the end of `out`.
    pub const fn new(format: Format, out: &'o mut Vec<u8>) -> Self {
        Self { format, out, entries_count: 0 }
    }

    /// Adds a reply.
    pub fn reply(&mut self, reply: &Reply<'_>) {
        self.separate();
        encode_reply(self.format, reply, self.out);
    }

    /// Adds a push.
    pub fn push(&mut self, push: &Push<'_>) {
        self.separate();
        encode_push(self.format, push, self.out);
    }

    /// Adds a ping.
    pub fn ping(&mut self) {
        self.separate();
        encode_ping(self.format, self.out);
    }

    /// Adds a reply or push that was encoded before, in the same format.
    pub fn encoded(&mut self, message: &[u8]) {
        self.separate();
        self.out.extend_from_slice(message);
    }

    /// How many were added.
    pub const fn entries_count(&self) -> usize {
        self.entries_count
    }

    fn separate(&mut self) {
        if self.entries_count > 0 && self.format == Format::Json {
            self.out.push(b'\n');
        }
        self.entries_count += 1;
    }
}

/// Appends a reply as it stands in a WebSocket message: JSON without a line feed, Protobuf behind
/// its length.
pub fn encode_reply(format: Format, reply: &Reply<'_>, out: &mut Vec<u8>) {
    debug_assert!(reply.id > 0, "a reply without an id would be taken for a push");
    match format {
        Format::Json => json_encode::encode_reply(reply, out),
        Format::Protobuf => protobuf_encode::encode_reply(reply, out),
    }
}

/// Appends a push as it stands in a WebSocket message.
pub fn encode_push(format: Format, push: &Push<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Json => json_encode::encode_push(push, out),
        Format::Protobuf => protobuf_encode::encode_push(push, out),
    }
}

/// Appends a ping of the server: the empty reply.
pub fn encode_ping(format: Format, out: &mut Vec<u8>) {
    match format {
        Format::Json => out.extend_from_slice(b"{}"),
        Format::Protobuf => out.push(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ReplyBody;

    fn batch(format: Format) -> Vec<u8> {
        // What is in the buffer before, such as a frame head, is not part of the batch.
        let mut out = vec![b'#'];
        let mut batch = Batch::new(format, &mut out);
        batch.ping();
        batch.reply(&Reply { id: 3, body: ReplyBody::Publish });
        let mut encoded = Vec::new();
        encode_reply(format, &Reply { id: 4, body: ReplyBody::Ping }, &mut encoded);
        batch.encoded(&encoded);
        assert_eq!(batch.entries_count(), 3);
        out
    }

    #[test]
    fn json_is_joined_by_line_feeds() {
        let text = String::from_utf8(batch(Format::Json)).expect("JSON is UTF-8");
        assert_eq!(text, "#{}\n{\"id\":3,\"publish\":{}}\n{\"id\":4,\"ping\":{}}");
    }

    #[test]
    fn protobuf_is_put_together() {
        assert_eq!(batch(Format::Protobuf), b"#\x00\x04\x08\x03\x42\x00\x04\x08\x04\x62\x00");
    }
}
