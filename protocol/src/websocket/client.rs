//! The client's side of the framing, for tests and for the load source. The server never uses it.

use super::frame::{
    FIN_BIT, FrameViolation, LENGTH_BITS, LENGTH_IN_2_BYTES, LENGTH_IN_8_BYTES, MASK_BIT,
    OPCODE_BITS, RESERVED_BITS,
};
use super::{Opcode, frame_head, unmask};
use crate::limits::MESSAGE_BYTES_MAX;

/// One frame as a client sends it, right or wrong: tests want to break rules.
#[derive(Clone, Copy, Debug)]
pub struct ClientFrame<'a> {
    /// The last frame of its message.
    pub fin: bool,
    /// The three reserved bits, as a number below 8.
    pub rsv: u8,
    /// The opcode, also one without a meaning.
    pub opcode: u8,
    /// The masking key.
    pub key: [u8; 4],
    /// The payload, not masked.
    pub payload: &'a [u8],
}

impl<'a> ClientFrame<'a> {
    /// A whole message, or a control frame.
    pub const fn whole(opcode: Opcode, key: [u8; 4], payload: &'a [u8]) -> Self {
        Self { fin: true, rsv: 0, opcode: opcode as u8, key, payload }
    }
}

/// Appends `frame`, masked, its length in the fewest bytes.
pub fn encode_masked_frame(frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
    let head = frame_head(Opcode::Binary, frame.payload.len());
    // The server's head has the lengths that we want, and the client's has a key behind them.
    let lengths = &head.as_slice()[1..];
    let fin = if frame.fin { FIN_BIT } else { 0 };
    out.push(fin | (frame.rsv << 4 & RESERVED_BITS) | (frame.opcode & OPCODE_BITS));
    out.push(MASK_BIT | lengths[0]);
    out.extend_from_slice(&lengths[1..]);
    out.extend_from_slice(&frame.key);
    let payload_start = out.len();
    out.extend_from_slice(frame.payload);
    unmask(&mut out[payload_start..], frame.key, 0);
}

/// One frame as a server sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerFrame<'a> {
    /// The last frame of its message.
    pub fin: bool,
    /// What it carries.
    pub opcode: Opcode,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Reads a server's frames out of bytes that arrive in any pieces. Joins no fragments, checks no
/// text.
#[derive(Debug, Default)]
pub struct ServerFrames {
    /// A frame of which not all bytes have arrived; empty, without memory, at all other times.
    partial: Vec<u8>,
    /// The frame in `partial` was complete and returned by the previous call.
    delivered: bool,
}

impl ServerFrames {
    /// A reader at the border between two frames.
    pub const fn new() -> Self {
        Self { partial: Vec::new(), delivered: false }
    }

    /// Takes the next frame out of `input`. `None`: all of it is consumed. Call until `None`.
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<ServerFrame<'d>>, FrameViolation> {
        if self.delivered {
            *self = Self::new();
        }
        if self.partial.is_empty() {
            if let Some((frame, frame_bytes)) = parse(input)? {
                *input = &input[frame_bytes..];
                return Ok(Some(frame));
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        while !input.is_empty() {
            let wanted_bytes = frame_bytes_of(&self.partial)?;
            let missing_bytes = wanted_bytes.map_or(1, |wanted| wanted - self.partial.len());
            let (taken, rest) = input.split_at(missing_bytes.min(input.len()));
            self.partial.extend_from_slice(taken);
            *input = rest;
            if frame_bytes_of(&self.partial)? == Some(self.partial.len()) {
                self.delivered = true;
                return Ok(parse(&self.partial)?.map(|(frame, _)| frame));
            }
        }
        Ok(None)
    }
}

/// The frame at the start of `bytes`, and how many bytes it takes, if all of them are there.
fn parse(bytes: &[u8]) -> Result<Option<(ServerFrame<'_>, usize)>, FrameViolation> {
    let Some((head_bytes, payload_bytes)) = lengths_of(bytes)? else { return Ok(None) };
    let frame_bytes = head_bytes + payload_bytes;
    let Some(payload) = bytes.get(head_bytes..frame_bytes) else { return Ok(None) };
    let opcode = Opcode::of_first_byte(bytes[0]).ok_or(FrameViolation::ReservedOpcode)?;
    Ok(Some((ServerFrame { fin: bytes[0] & FIN_BIT != 0, opcode, payload }, frame_bytes)))
}

fn frame_bytes_of(bytes: &[u8]) -> Result<Option<usize>, FrameViolation> {
    Ok(lengths_of(bytes)?.map(|(head_bytes, payload_bytes)| head_bytes + payload_bytes))
}

/// Bytes of the head and of the payload, once the head has arrived.
fn lengths_of(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameViolation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & RESERVED_BITS != 0 {
        return Err(FrameViolation::ReservedBits);
    }
    // RFC 6455, 5.1: a server must not mask.
    if second & MASK_BIT != 0 {
        return Err(FrameViolation::Masked);
    }
    let (length, length_bytes) = match second & LENGTH_BITS {
        LENGTH_IN_2_BYTES => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), length.len()),
            None => return Ok(None),
        },
        LENGTH_IN_8_BYTES => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), length.len()),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    if length > u64::from(MESSAGE_BYTES_MAX) {
        return Err(FrameViolation::MessageTooBig);
    }
    Ok(Some((2 + length_bytes, length as usize)))
}

#[cfg(test)]
mod tests {
    use super::super::{encode_close, encode_frame};
    use super::*;

    #[test]
    fn frames_arrive_in_any_pieces() {
        let mut bytes = Vec::new();
        encode_frame(Opcode::Text, b"", &mut bytes);
        encode_frame(Opcode::Text, b"abc", &mut bytes);
        encode_frame(Opcode::Binary, &[9; 300], &mut bytes);
        encode_close(1000, "bye", &mut bytes);
        for piece in 1..=bytes.len() {
            let mut frames = ServerFrames::new();
            let mut lengths = Vec::new();
            for mut chunk in bytes.chunks(piece) {
                while let Some(frame) = frames.next(&mut chunk).unwrap() {
                    assert!(frame.fin);
                    lengths.push((frame.opcode, frame.payload.len()));
                }
            }
            let expected =
                [(Opcode::Text, 0), (Opcode::Text, 3), (Opcode::Binary, 300), (Opcode::Close, 5)];
            assert_eq!(lengths, expected);
            assert_eq!(frames.partial.capacity(), 0);
        }
    }

    #[test]
    fn the_masked_example_of_the_rfc_encodes() {
        // RFC 6455, 5.7.
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut out = Vec::new();
        encode_masked_frame(&ClientFrame::whole(Opcode::Text, key, b"Hello"), &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
