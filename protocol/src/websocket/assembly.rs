//! A message of which not all bytes have arrived.
//!
//! Owns: the bytes that arrived. The buffer grows with them, never with what a head announces.
//! Invariant: capacity <= max(2 × bytes arrived, one chunk), and <= the message limit.

use super::frame::{FrameViolation, Opcode};
use super::message::Message;

/// The unmasked bytes of an open message.
#[derive(Debug)]
pub(super) struct Assembly {
    body: Body,
    frames_count: u32,
}

#[derive(Debug)]
enum Body {
    Text(TextStream),
    Binary(Vec<u8>),
}

impl Assembly {
    /// A message whose first frame has `opcode`.
    pub(super) fn new(opcode: Opcode) -> Self {
        let body = match opcode {
            Opcode::Text => Body::Text(TextStream::default()),
            _ => Body::Binary(Vec::new()),
        };
        Self { body, frames_count: 0 }
    }

    /// Admits a further frame of this message, before any of its payload is looked at.
    pub(super) fn admit_frame(
        &mut self,
        payload_bytes: u64,
        bytes_max: u32,
        frames_max: u32,
    ) -> Result<usize, FrameViolation> {
        self.frames_count += 1;
        if self.frames_count > frames_max {
            return Err(FrameViolation::TooManyFrames);
        }
        let room_bytes = (bytes_max as usize).saturating_sub(self.bytes_count());
        match usize::try_from(payload_bytes) {
            Ok(payload_bytes) if payload_bytes <= room_bytes => Ok(payload_bytes),
            _ => Err(FrameViolation::MessageTooBig),
        }
    }

    /// Appends unmasked bytes. Text that can no longer become UTF-8 is refused at once.
    pub(super) fn append(&mut self, bytes: &[u8], bytes_max: u32) -> Result<(), FrameViolation> {
        match &mut self.body {
            Body::Text(text) => text.append(bytes, bytes_max as usize),
            Body::Binary(buffer) => {
                let needed_bytes = buffer.len() + bytes.len();
                let capacity = grown(buffer.capacity(), needed_bytes, bytes_max as usize);
                buffer.reserve_exact(capacity - buffer.len());
                buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Checks that the message may end here.
    pub(super) fn finish(&self) -> Result<(), FrameViolation> {
        match &self.body {
            Body::Text(text) if text.tail_bytes != 0 => Err(FrameViolation::InvalidUtf8),
            _ => Ok(()),
        }
    }

    /// The whole message, once `finish` agreed.
    pub(super) fn message(&self) -> Message<'_> {
        match &self.body {
            Body::Text(text) => Message::Text(&text.text),
            Body::Binary(buffer) => Message::Binary(buffer),
        }
    }

    /// Bytes of memory that the buffer takes.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.text.capacity(),
            Body::Binary(buffer) => buffer.capacity(),
        }
    }

    fn bytes_count(&self) -> usize {
        match &self.body {
            Body::Text(text) => text.text.len() + usize::from(text.tail_bytes),
            Body::Binary(buffer) => buffer.len(),
        }
    }
}

/// Text that arrives in pieces cut anywhere, also inside a character.
///
/// What is in `text` was checked once, on arrival, and is not checked again when the message ends.
#[derive(Debug, Default)]
struct TextStream {
    text: String,
    /// The start of a character whose end has not arrived.
    tail: [u8; CHARACTER_BYTES_MAX],
    tail_bytes: u8,
}

impl TextStream {
    fn append(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), FrameViolation> {
        let needed_bytes = self.text.len() + usize::from(self.tail_bytes) + bytes.len();
        let capacity = grown(self.text.capacity(), needed_bytes, bytes_max);
        self.text.reserve_exact(capacity - self.text.len());
        let mut rest = bytes;
        while self.tail_bytes != 0 {
            let [byte, after @ ..] = rest else { return Ok(()) };
            self.complete_tail(*byte)?;
            rest = after;
        }
        match simdutf8::compat::from_utf8(rest) {
            Ok(text) => self.text.push_str(text),
            // RFC 6455, 8.1: bytes that are not UTF-8 fail the connection.
            Err(error) if error.error_len().is_some() => return Err(FrameViolation::InvalidUtf8),
            Err(error) => {
                let (valid, tail) = rest.split_at(error.valid_up_to());
                let valid = simdutf8::basic::from_utf8(valid);
                self.text.push_str(valid.expect("the validator called this part valid"));
                self.tail[..tail.len()].copy_from_slice(tail);
                self.tail_bytes = tail.len() as u8;
            }
        }
        Ok(())
    }

    /// Adds one byte to a character that was cut.
    fn complete_tail(&mut self, byte: u8) -> Result<(), FrameViolation> {
        self.tail[usize::from(self.tail_bytes)] = byte;
        self.tail_bytes += 1;
        match core::str::from_utf8(&self.tail[..usize::from(self.tail_bytes)]) {
            Ok(character) => {
                self.text.push_str(character);
                self.tail_bytes = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(FrameViolation::InvalidUtf8),
        }
    }
}

/// The capacity for `needed_bytes`: doubled, so that appending is linear, but not beyond the limit.
fn grown(capacity: usize, needed_bytes: usize, bytes_max: usize) -> usize {
    if needed_bytes <= capacity {
        return capacity;
    }
    needed_bytes.max(capacity.saturating_mul(2).min(bytes_max))
}

const CHARACTER_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "aß水🚀 plain ASCII that is long enough for a vector, then Κόσμε 🚀";

    #[test]
    fn text_may_be_cut_anywhere() {
        for first in 0..=TEXT.len() {
            for second in first..=TEXT.len() {
                let mut text = TextStream::default();
                let bytes = TEXT.as_bytes();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    text.append(piece, TEXT.len()).unwrap();
                }
                assert_eq!((text.text.as_str(), text.tail_bytes), (TEXT, 0));
                assert!(text.text.capacity() <= TEXT.len());
            }
        }
    }

    #[test]
    fn the_first_impossible_byte_is_refused() {
        // Bytes that may come, and the one after which no text can follow.
        let cases: &[(&[u8], u8)] = &[
            (b"", 0x80),
            (b"", 0xc0),
            (b"", 0xf5),
            (b"abc", 0xff),
            (b"\xe0", 0x80),
            (b"\xed", 0xa0),
            (b"\xf0", 0x80),
            (b"\xf4", 0x90),
            (b"\xf0\x9f", b'a'),
            (b"\xf0\x9f\x9a", 0xc3),
        ];
        for (start, bad) in cases {
            let mut text = TextStream::default();
            for byte in *start {
                text.append(&[*byte], 100).unwrap();
            }
            assert_eq!(text.append(&[*bad], 100), Err(FrameViolation::InvalidUtf8), "{start:x?}");
        }
    }

    #[test]
    fn a_message_may_not_end_inside_a_character() {
        let mut message = Assembly::new(Opcode::Text);
        message.append(&[0xf0, 0x9f, 0x9a], 100).unwrap();
        assert_eq!(message.finish(), Err(FrameViolation::InvalidUtf8));
        message.append(&[0x80], 100).unwrap();
        assert_eq!(message.finish(), Ok(()));
        assert_eq!(message.message(), Message::Text("🚀"));
    }
}
