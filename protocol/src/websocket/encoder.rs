//! Frames as a server sends them: whole messages, unmasked.

use super::frame::{FIN_BIT, LENGTH_IN_2_BYTES, LENGTH_IN_8_BYTES, Opcode};
use crate::limits::{CONTROL_PAYLOAD_BYTES_MAX, FRAME_HEAD_BYTES_MAX};

/// The bytes that stand before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    bytes: [u8; FRAME_HEAD_BYTES_MAX],
    len: u8,
}

impl FrameHead {
    /// The bytes to send.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The head of an unfragmented, unmasked frame.
#[inline]
pub fn frame_head(opcode: Opcode, payload_len: usize) -> FrameHead {
    let mut bytes = [0; FRAME_HEAD_BYTES_MAX];
    bytes[0] = FIN_BIT | opcode as u8;
    let len = if payload_len < usize::from(LENGTH_IN_2_BYTES) {
        bytes[1] = payload_len as u8;
        2
    } else if let Ok(length) = u16::try_from(payload_len) {
        bytes[1] = LENGTH_IN_2_BYTES;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        bytes[1] = LENGTH_IN_8_BYTES;
        bytes[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
        FRAME_HEAD_BYTES_MAX as u8
    };
    FrameHead { bytes, len }
}

/// Appends one unfragmented, unmasked frame.
#[inline]
pub fn encode_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let head = frame_head(opcode, payload.len());
    out.reserve(head.as_slice().len() + payload.len());
    out.extend_from_slice(head.as_slice());
    out.extend_from_slice(payload);
}

/// Appends a pong with the payload of the ping that it answers.
#[inline]
pub fn encode_pong(payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX, "a decoded ping is a control frame");
    encode_frame(Opcode::Pong, payload, out);
}

/// Appends a close frame. A reason that is too long is cut between two characters.
pub fn encode_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    let code = code.to_be_bytes();
    out.extend_from_slice(frame_head(Opcode::Close, code.len() + reason.len()).as_slice());
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

/// Longest close reason on the wire: a control frame's payload without the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - size_of::<u16>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_fewest_bytes() {
        let head = |length| frame_head(Opcode::Binary, length).as_slice().to_vec();
        assert_eq!(head(0), [0x82, 0]);
        assert_eq!(head(125), [0x82, 125]);
        assert_eq!(head(126), [0x82, 126, 0, 126]);
        assert_eq!(head(65535), [0x82, 126, 255, 255]);
        assert_eq!(head(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn the_example_of_the_rfc_encodes() {
        // RFC 6455, 5.7.
        let mut out = Vec::new();
        encode_frame(Opcode::Text, b"Hello", &mut out);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        encode_pong(b"Hello", &mut out);
        assert_eq!(out, [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn long_close_reasons_are_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(1001, "away", &mut out);
        assert_eq!(out, [&[0x88, 6, 0x03, 0xe9], &b"away"[..]].concat());
        // 122 bytes fit, and the next character has two.
        let reason = format!("{}ßß", "x".repeat(122));
        out.clear();
        encode_close(1001, &reason, &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(core::str::from_utf8(&out[4..]).is_ok());
    }
}
