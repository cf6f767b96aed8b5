//! Frame heads as a client sends them, and every way in which they can be wrong.
//!
//! ```text
//!  byte 0            byte 1           0, 2 or 8 bytes      4 bytes
//! +---+---+--------+------+---------+--------------------+-----------+ - - - - -+
//! |FIN|RSV| opcode | MASK | length  | longer length      | key       |  payload
//! +---+---+--------+------+---------+--------------------+-----------+ - - - - -+
//! ```

use crate::close::CloseReason;
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;

/// A frame head that passed every check that needs no other frame than an open message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) key: [u8; 4],
    pub(super) head_bytes: u8,
    /// Announced by the peer, so compared with a limit before anything else is done with it.
    pub(super) payload_bytes: u64,
}

impl Head {
    /// Reads a head from the start of `bytes`. `None`: it is not complete, and right so far.
    ///
    /// What is wrong in the first byte is refused although the second has not arrived.
    #[inline]
    pub(super) fn parse(bytes: &[u8], expect: Expect) -> Result<Option<Self>, FrameViolation> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let opcode = opcode_of(*first, expect)?;
        let [second, rest @ ..] = rest else { return Ok(None) };
        // RFC 6455, 5.1: a server must close the connection upon a frame that is not masked.
        if second & MASK_BIT == 0 {
            return Err(FrameViolation::Unmasked);
        }
        let length = second & LENGTH_BITS;
        // RFC 6455, 5.5: a control frame carries at most 125 bytes.
        if opcode.is_control() && usize::from(length) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(FrameViolation::ControlTooLong);
        }
        let (payload_bytes, rest) = match length {
            LENGTH_IN_2_BYTES => match rest.split_first_chunk() {
                Some((length, rest)) => (length_of_2(*length)?, rest),
                None => return Ok(None),
            },
            LENGTH_IN_8_BYTES => match rest.split_first_chunk() {
                Some((length, rest)) => (length_of_8(*length)?, rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self {
            opcode,
            fin: first & FIN_BIT != 0,
            key: *key,
            head_bytes: (bytes.len() - rest.len()) as u8,
            payload_bytes,
        }))
    }
}

/// What kind of data frame may come next. Control frames may always come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The first frame of a message.
    Start,
    /// A further frame of the open message.
    Continuation,
}

/// What a frame carries (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// UTF-8 text, or its first fragment.
    Text = 0x1,
    /// Any bytes, or their first fragment.
    Binary = 0x2,
    /// The end of the conversation.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl Opcode {
    /// Close, ping and pong: short, never fragmented, allowed between fragments.
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & CONTROL_BIT != 0
    }

    /// The opcode in the first byte of a frame, if it has a meaning.
    #[inline]
    pub(super) const fn of_first_byte(first: u8) -> Option<Self> {
        match first & OPCODE_BITS {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }
}

/// A rule of RFC 6455, or a limit of ours, that a client's frame broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameViolation {
    /// A client's frame must be masked (5.1).
    Unmasked,
    /// A server's frame must not be masked (5.1). Only clients see this.
    Masked,
    /// A reserved bit is set though no extension was agreed upon (5.2).
    ReservedBits,
    /// An opcode without a meaning (5.2).
    ReservedOpcode,
    /// A length that fits in fewer bytes (5.2).
    NonMinimalLength,
    /// The most significant bit of a 64-bit length is set (5.2).
    LengthTooLarge,
    /// A control frame of more than 125 bytes (5.5).
    ControlTooLong,
    /// A control frame without FIN (5.5).
    ControlFragmented,
    /// A continuation where no message is open (5.4).
    UnexpectedContinuation,
    /// A new message inside an open one (5.4).
    ExpectedContinuation,
    /// Text, or a close reason, that is not UTF-8 (8.1).
    InvalidUtf8,
    /// A close code that must not be on the wire (7.4).
    InvalidCloseCode,
    /// A close frame with half a code (5.5.1).
    CloseBodyOneByte,
    /// A message over `DecoderLimits::message_bytes_max`.
    MessageTooBig,
    /// A message of more frames than `DecoderLimits::frames_max`.
    TooManyFrames,
}

impl FrameViolation {
    /// The reason with which the connection is closed.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::InvalidUtf8 => CloseReason::InvalidText,
            Self::MessageTooBig => CloseReason::MessageTooBig,
            Self::TooManyFrames => CloseReason::PolicyViolation,
            Self::Unmasked
            | Self::Masked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::NonMinimalLength
            | Self::LengthTooLarge
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::InvalidCloseCode
            | Self::CloseBodyOneByte => CloseReason::ProtocolError,
        }
    }
}

/// What the first byte of a frame says, if `expect` and the RFC allow it.
#[inline]
fn opcode_of(first: u8, expect: Expect) -> Result<Opcode, FrameViolation> {
    if first & RESERVED_BITS != 0 {
        return Err(FrameViolation::ReservedBits);
    }
    let opcode = Opcode::of_first_byte(first).ok_or(FrameViolation::ReservedOpcode)?;
    match (opcode, expect) {
        (Opcode::Continuation, Expect::Start) => Err(FrameViolation::UnexpectedContinuation),
        (Opcode::Text | Opcode::Binary, Expect::Continuation) => {
            Err(FrameViolation::ExpectedContinuation)
        }
        // RFC 6455, 5.5: control frames must not be fragmented.
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if first & FIN_BIT == 0 => {
            Err(FrameViolation::ControlFragmented)
        }
        _ => Ok(opcode),
    }
}

// RFC 6455, 5.2: the minimal number of bytes must be used to encode the length.
#[inline]
fn length_of_2(bytes: [u8; 2]) -> Result<u64, FrameViolation> {
    match u16::from_be_bytes(bytes) {
        length if length < u16::from(LENGTH_IN_2_BYTES) => Err(FrameViolation::NonMinimalLength),
        length => Ok(u64::from(length)),
    }
}

#[inline]
fn length_of_8(bytes: [u8; 8]) -> Result<u64, FrameViolation> {
    match u64::from_be_bytes(bytes) {
        length if length <= u64::from(u16::MAX) => Err(FrameViolation::NonMinimalLength),
        length if length > i64::MAX as u64 => Err(FrameViolation::LengthTooLarge),
        length => Ok(length),
    }
}

pub(super) const FIN_BIT: u8 = 0x80;
pub(super) const RESERVED_BITS: u8 = 0x70;
pub(super) const OPCODE_BITS: u8 = 0x0f;
pub(super) const MASK_BIT: u8 = 0x80;
pub(super) const LENGTH_BITS: u8 = 0x7f;
/// This length says that the next two bytes hold it; it is also the least that they may hold.
pub(super) const LENGTH_IN_2_BYTES: u8 = 126;
pub(super) const LENGTH_IN_8_BYTES: u8 = 127;
/// A client's head: 2 bytes, at most 8 of length, 4 of key.
pub(super) const MASKED_HEAD_BYTES_MAX: usize = 14;
const CONTROL_BIT: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<u64>, FrameViolation> {
        Head::parse(bytes, Expect::Start).map(|head| head.map(|head| head.payload_bytes))
    }

    #[test]
    fn first_bytes_are_judged_before_the_second_arrives() {
        for first in 0..=u8::MAX {
            let start = Head::parse(&[first], Expect::Start).map(|_| ());
            let inside = Head::parse(&[first], Expect::Continuation).map(|_| ());
            let (expected_start, expected_inside) = match first {
                0x81 | 0x82 | 0x01 | 0x02 => (Ok(()), Err(FrameViolation::ExpectedContinuation)),
                0x80 | 0x00 => (Err(FrameViolation::UnexpectedContinuation), Ok(())),
                0x88..=0x8a => (Ok(()), Ok(())),
                0x08..=0x0a => {
                    let violation = Err(FrameViolation::ControlFragmented);
                    (violation, violation)
                }
                reserved if reserved & RESERVED_BITS != 0 => {
                    let violation = Err(FrameViolation::ReservedBits);
                    (violation, violation)
                }
                _ => {
                    let violation = Err(FrameViolation::ReservedOpcode);
                    (violation, violation)
                }
            };
            assert_eq!((start, inside), (expected_start, expected_inside), "{first:#04x}");
        }
    }

    #[test]
    fn lengths_are_minimal_and_positive() {
        let key = [0; 4];
        let two = |length: u16| [&[0x82, 0xfe], &length.to_be_bytes()[..], &key].concat();
        let eight = |length: u64| [&[0x82, 0xff], &length.to_be_bytes()[..], &key].concat();
        assert_eq!(parse(&[0x82, 0x80 | 125, 0, 0, 0, 0]), Ok(Some(125)));
        assert_eq!(parse(&two(125)), Err(FrameViolation::NonMinimalLength));
        assert_eq!(parse(&two(126)), Ok(Some(126)));
        assert_eq!(parse(&two(65535)), Ok(Some(65535)));
        assert_eq!(parse(&eight(65535)), Err(FrameViolation::NonMinimalLength));
        assert_eq!(parse(&eight(65536)), Ok(Some(65536)));
        assert_eq!(parse(&eight(1 << 62)), Ok(Some(1 << 62)));
        assert_eq!(parse(&eight(1 << 63)), Err(FrameViolation::LengthTooLarge));
        assert_eq!(parse(&eight(u64::MAX)), Err(FrameViolation::LengthTooLarge));
    }

    #[test]
    fn every_proper_prefix_of_a_head_is_incomplete() {
        let head = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        assert_eq!(head.len(), MASKED_HEAD_BYTES_MAX);
        for length in 0..head.len() {
            assert_eq!(parse(&head[..length]), Ok(None));
        }
        assert_eq!(parse(&head), Ok(Some(65536)));
    }

    #[test]
    fn control_frames_are_short_and_frames_are_masked() {
        assert_eq!(parse(&[0x89, 0xfe]), Err(FrameViolation::ControlTooLong));
        assert_eq!(parse(&[0x89, 0xff]), Err(FrameViolation::ControlTooLong));
        assert_eq!(parse(&[0x81, 0x05]), Err(FrameViolation::Unmasked));
        assert_eq!(FrameViolation::Unmasked.close_reason().code(), 1002);
        assert_eq!(FrameViolation::InvalidUtf8.close_reason().code(), 1007);
        assert_eq!(FrameViolation::TooManyFrames.close_reason().code(), 1008);
        assert_eq!(FrameViolation::MessageTooBig.close_reason().code(), 1009);
    }
}
