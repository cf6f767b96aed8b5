//! What a client says: whole messages and control frames, borrowed from wherever their bytes lie.

use super::frame::{FrameViolation, Opcode};

/// One message or control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame: code and reason, if it had a body.
    Close(Option<(u16, &'a str)>),
}

impl<'a> Message<'a> {
    /// The message in one whole, unmasked frame.
    #[inline]
    pub(super) fn of_frame(opcode: Opcode, payload: &'a [u8]) -> Result<Self, FrameViolation> {
        match opcode {
            Opcode::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Ok(Self::Text(text)),
                Err(_) => Err(FrameViolation::InvalidUtf8),
            },
            Opcode::Binary | Opcode::Continuation => Ok(Self::Binary(payload)),
            Opcode::Ping => Ok(Self::Ping(payload)),
            Opcode::Pong => Ok(Self::Pong(payload)),
            Opcode::Close => close_body(payload).map(Self::Close),
        }
    }
}

/// May `code` stand in a close frame?
///
/// RFC 6455, 7.4, and the IANA registry as of 2026: 1000 to 1003 and 1007 to 1014 are defined, 3000
/// to 3999 are for libraries, 4000 to 4999 for applications. 1004 to 1006 and 1015 must not be
/// sent.
pub const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn close_body(payload: &[u8]) -> Result<Option<(u16, &str)>, FrameViolation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        // RFC 6455, 5.5.1: if there is a body, its first two bytes are the code.
        return match payload {
            [] => Ok(None),
            _ => Err(FrameViolation::CloseBodyOneByte),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(FrameViolation::InvalidCloseCode);
    }
    match core::str::from_utf8(reason) {
        Ok(reason) => Ok(Some((code, reason))),
        Err(_) => Err(FrameViolation::InvalidUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_those_that_may_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!is_close_code(code), "{code}");
            let body = u16::to_be_bytes(code);
            let message = Message::of_frame(Opcode::Close, &body);
            assert_eq!(message, Err(FrameViolation::InvalidCloseCode));
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(is_close_code(code), "{code}");
        }
    }

    #[test]
    fn close_bodies_are_empty_or_a_code_and_utf8() {
        let close = |body: &'static [u8]| Message::of_frame(Opcode::Close, body);
        assert_eq!(close(b""), Ok(Message::Close(None)));
        assert_eq!(close(b"\x03"), Err(FrameViolation::CloseBodyOneByte));
        assert_eq!(close(b"\x03\xe8"), Ok(Message::Close(Some((1000, "")))));
        assert_eq!(close(b"\x03\xe8bye"), Ok(Message::Close(Some((1000, "bye")))));
        assert_eq!(close(b"\x03\xe8\xce"), Err(FrameViolation::InvalidUtf8));
    }
}
