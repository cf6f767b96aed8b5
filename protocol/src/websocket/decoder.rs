//! Messages out of a client's bytes.
//!
//! Owns: what has arrived of a frame or message that is not complete; nothing while none is begun.
//! Never: copies a message that lies whole in the input.
//!
//! ```text
//!              whole frame in the input
//!        ┌──────────────> Message (borrows the input)
//! input ─┤
//!        └─> Unfinished: Between ──> Head ──> Payload ──> Message (borrows the decoder)
//!                           ^                    │
//!                           └── fragment ended ──┘
//! ```

use super::assembly::Assembly;
use super::frame::{Expect, FrameViolation, Head, MASKED_HEAD_BYTES_MAX, Opcode};
use super::mask::unmask;
use super::message::Message;
use crate::limits::{MESSAGE_BYTES_DEFAULT, MESSAGE_FRAMES_MAX};

/// Decodes one connection's frames.
#[derive(Debug, Default)]
pub struct Decoder {
    unfinished: Option<Box<Unfinished>>,
    /// A close frame or a violation was seen; whatever follows is ignored.
    ended: bool,
}

/// How much one message may be.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// Largest message, in bytes, over all its frames.
    pub message_bytes_max: u32,
    /// Most frames of one message. Control frames between them are not counted here.
    pub frames_max: u32,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self { message_bytes_max: MESSAGE_BYTES_DEFAULT, frames_max: MESSAGE_FRAMES_MAX }
    }
}

impl Decoder {
    /// A decoder of which nothing is known yet.
    pub const fn new() -> Self {
        Self { unfinished: None, ended: false }
    }

    /// Takes the next message out of `input`, unmasking in place, and moves `input` behind it.
    ///
    /// `None`: all of the input is consumed, and kept where it is unfinished. Call until `None`:
    /// memory of a message that was put together from pieces is released by the call after the one
    /// that returned it. After a close frame or a violation, input is consumed and ignored.
    #[inline]
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i mut [u8],
        limits: &DecoderLimits,
    ) -> Result<Option<Message<'d>>, FrameViolation> {
        if self.unfinished.is_some() {
            self.release_delivered();
        }
        if self.unfinished.is_none() && !self.ended {
            match whole_message(input, limits.message_bytes_max) {
                Ok(Some(message)) => {
                    self.ended = matches!(message, Message::Close(_));
                    return Ok(Some(message));
                }
                Ok(None) if input.is_empty() => return Ok(None),
                Ok(None) => {}
                Err(violation) => {
                    self.ended = true;
                    *input = &mut [];
                    return Err(violation);
                }
            }
        }
        self.next_of_pieces(input, limits)
    }

    /// True while a frame or fragmented message is begun and not finished.
    #[inline]
    pub fn is_unfinished(&self) -> bool {
        !self.ended && self.unfinished.as_ref().is_some_and(|unfinished| unfinished.is_open())
    }

    /// Bytes of heap memory held for unfinished data.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.held_bytes())
    }

    #[inline(never)]
    fn next_of_pieces<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i mut [u8],
        limits: &DecoderLimits,
    ) -> Result<Option<Message<'d>>, FrameViolation> {
        if self.ended {
            self.unfinished = None;
            *input = &mut [];
            return Ok(None);
        }
        let unfinished = self.unfinished.get_or_insert_default();
        match unfinished.advance(input, limits) {
            Ok(Step::Starved) => Ok(None),
            Ok(Step::InPlace(message)) => {
                self.ended = matches!(message, Message::Close(_));
                Ok(Some(message))
            }
            Ok(Step::Control(opcode)) => {
                self.ended = opcode == Opcode::Close;
                unfinished.delivered = Delivered::Control;
                Message::of_frame(opcode, &unfinished.control).map(Some)
            }
            Ok(Step::Message) => {
                unfinished.delivered = Delivered::Message;
                Ok(unfinished.message.as_ref().map(Assembly::message))
            }
            Err(violation) => {
                self.ended = true;
                **unfinished = Unfinished::default();
                *input = &mut [];
                Err(violation)
            }
        }
    }

    /// Frees what the previous call returned out of the decoder's own memory.
    #[inline(never)]
    fn release_delivered(&mut self) {
        let Some(unfinished) = &mut self.unfinished else { return };
        match core::mem::take(&mut unfinished.delivered) {
            Delivered::Nothing => return,
            Delivered::Control => unfinished.control = Vec::new(),
            Delivered::Message => unfinished.message = None,
        }
        if unfinished.message.is_none() {
            self.unfinished = None;
        }
    }
}

/// Everything that exists only between the first and the last byte of a frame or message.
#[derive(Debug, Default)]
struct Unfinished {
    progress: Progress,
    /// The open message, if a data frame of it was begun.
    message: Option<Assembly>,
    /// The payload of a control frame that did not arrive in one piece.
    control: Vec<u8>,
    delivered: Delivered,
}

/// How far the current frame has arrived.
#[derive(Clone, Copy, Debug, Default)]
enum Progress {
    #[default]
    Between,
    Head {
        bytes: [u8; MASKED_HEAD_BYTES_MAX],
        bytes_count: u8,
    },
    Payload {
        head: Head,
        payload_bytes: usize,
        received_bytes: usize,
    },
}

/// What of our own memory the last call lent out.
#[derive(Clone, Copy, Debug, Default)]
enum Delivered {
    #[default]
    Nothing,
    Control,
    Message,
}

/// What the input led to.
enum Step<'i> {
    /// The input is used up.
    Starved,
    /// A message that lies in the input.
    InPlace(Message<'i>),
    /// A control frame, now complete in `Unfinished::control`.
    Control(Opcode),
    /// The open message, now complete in `Unfinished::message`.
    Message,
}

impl Unfinished {
    fn advance<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &DecoderLimits,
    ) -> Result<Step<'i>, FrameViolation> {
        loop {
            let step = match self.progress {
                Progress::Between => self.begin_frame(input, limits)?,
                Progress::Head { bytes, bytes_count } => {
                    self.extend_head(input, limits, (bytes, bytes_count))?
                }
                Progress::Payload { head, payload_bytes, received_bytes } => {
                    let missing_bytes = payload_bytes - received_bytes;
                    let chunk = take(input, missing_bytes.min(input.len()));
                    unmask(chunk, head.key, received_bytes);
                    let received_bytes = received_bytes + chunk.len();
                    self.progress = Progress::Payload { head, payload_bytes, received_bytes };
                    self.take_payload(chunk, &head, limits)?;
                    match payload_bytes == received_bytes {
                        true => self.end_frame(&head)?,
                        false => Some(Step::Starved),
                    }
                }
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// At the border between two frames: the next one may lie whole in the input.
    fn begin_frame<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &DecoderLimits,
    ) -> Result<Option<Step<'i>>, FrameViolation> {
        if input.is_empty() {
            return Ok(Some(Step::Starved));
        }
        let Some(head) = Head::parse(input, self.expect())? else {
            self.progress = Progress::Head { bytes: [0; MASKED_HEAD_BYTES_MAX], bytes_count: 0 };
            return Ok(None);
        };
        let payload_bytes = self.admit(&head, limits)?;
        take(input, usize::from(head.head_bytes));
        if head.opcode.is_control() && payload_bytes <= input.len() {
            let payload = take(input, payload_bytes);
            unmask(payload, head.key, 0);
            return Message::of_frame(head.opcode, payload)
                .map(|message| Some(Step::InPlace(message)));
        }
        self.progress = Progress::Payload { head, payload_bytes, received_bytes: 0 };
        Ok(None)
    }

    /// Inside a head that was cut: byte by byte, since it is 14 bytes at most.
    fn extend_head<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &DecoderLimits,
        (mut bytes, mut bytes_count): ([u8; MASKED_HEAD_BYTES_MAX], u8),
    ) -> Result<Option<Step<'i>>, FrameViolation> {
        while !input.is_empty() {
            bytes[usize::from(bytes_count)] = take(input, 1)[0];
            bytes_count += 1;
            if let Some(head) = Head::parse(&bytes[..usize::from(bytes_count)], self.expect())? {
                let payload_bytes = self.admit(&head, limits)?;
                self.progress = Progress::Payload { head, payload_bytes, received_bytes: 0 };
                return Ok(None);
            }
        }
        self.progress = Progress::Head { bytes, bytes_count };
        Ok(Some(Step::Starved))
    }

    /// Judges a complete head before its payload is looked at, and opens the message if it is the
    /// first.
    fn admit(&mut self, head: &Head, limits: &DecoderLimits) -> Result<usize, FrameViolation> {
        if head.opcode.is_control() {
            return Ok(head.payload_bytes as usize);
        }
        let message = self.message.get_or_insert_with(|| Assembly::new(head.opcode));
        message.admit_frame(head.payload_bytes, limits.message_bytes_max, limits.frames_max)
    }

    fn take_payload(
        &mut self,
        chunk: &[u8],
        head: &Head,
        limits: &DecoderLimits,
    ) -> Result<(), FrameViolation> {
        match &mut self.message {
            Some(message) if !head.opcode.is_control() => {
                message.append(chunk, limits.message_bytes_max)
            }
            _ => {
                self.control.extend_from_slice(chunk);
                Ok(())
            }
        }
    }

    fn end_frame<'i>(&mut self, head: &Head) -> Result<Option<Step<'i>>, FrameViolation> {
        self.progress = Progress::Between;
        match &self.message {
            _ if head.opcode.is_control() => Ok(Some(Step::Control(head.opcode))),
            Some(message) if head.fin => message.finish().map(|()| Some(Step::Message)),
            _ => Ok(None),
        }
    }

    fn expect(&self) -> Expect {
        match self.message {
            None => Expect::Start,
            Some(_) => Expect::Continuation,
        }
    }

    fn is_open(&self) -> bool {
        match self.delivered {
            Delivered::Nothing => true,
            Delivered::Control => self.message.is_some(),
            Delivered::Message => false,
        }
    }

    fn held_bytes(&self) -> usize {
        let message_bytes = self.message.as_ref().map_or(0, Assembly::held_bytes);
        size_of::<Self>() + message_bytes + self.control.capacity()
    }
}

/// The hot path: one unfragmented frame, all of it in the input, and nothing begun before it.
#[inline]
fn whole_message<'i>(
    input: &mut &'i mut [u8],
    message_bytes_max: u32,
) -> Result<Option<Message<'i>>, FrameViolation> {
    let Some(head) = Head::parse(input, Expect::Start)? else { return Ok(None) };
    if head.payload_bytes > u64::from(message_bytes_max) && !head.opcode.is_control() {
        return Err(FrameViolation::MessageTooBig);
    }
    // At most a message or a control frame, so within every usize.
    let payload_bytes = head.payload_bytes as usize;
    let head_bytes = usize::from(head.head_bytes);
    if !head.fin || input.len() - head_bytes < payload_bytes {
        return Ok(None);
    }
    take(input, head_bytes);
    let payload = take(input, payload_bytes);
    unmask(payload, head.key, 0);
    Message::of_frame(head.opcode, payload).map(Some)
}

/// Takes the first `count` bytes out of `input`, which has as many.
#[inline]
fn take<'i>(input: &mut &'i mut [u8], count: usize) -> &'i mut [u8] {
    let (taken, rest) = core::mem::take(input).split_at_mut(count);
    *input = rest;
    taken
}

const _: () = assert!(size_of::<Decoder>() <= 40);

#[cfg(test)]
mod tests {
    use super::super::client::{ClientFrame, encode_masked_frame};
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let fin = first & 0x80 != 0;
        let frame = ClientFrame { fin, rsv: 0, opcode: first & 0xf, key: KEY, payload };
        encode_masked_frame(&frame, &mut out);
        out
    }

    /// What a decoder makes of `bytes`, given to it in pieces of `piece` bytes.
    fn decode(bytes: &[u8], piece: usize) -> (Vec<String>, Option<FrameViolation>, Decoder) {
        let mut decoder = Decoder::new();
        let mut messages = Vec::new();
        for chunk in bytes.chunks(piece) {
            let mut chunk = chunk.to_vec();
            let mut rest = &mut chunk[..];
            loop {
                match decoder.next(&mut rest, &DecoderLimits::default()) {
                    Ok(Some(message)) => messages.push(format!("{message:?}")),
                    Ok(None) => break,
                    Err(violation) => return (messages, Some(violation), decoder),
                }
            }
            assert!(rest.is_empty());
        }
        (messages, None, decoder)
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        // RFC 6455, 5.7.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for piece in 1..=hello.len() {
            let (messages, violation, _) = decode(&hello, piece);
            assert_eq!((messages, violation), (vec!["Text(\"Hello\")".to_owned()], None));
        }
    }

    #[test]
    fn fragments_join_and_control_frames_come_between_them() {
        let bytes = [
            frame(0x01, "Κό".as_bytes()),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, "σμε".as_bytes()),
            frame(0x82, &[7; 300]),
            frame(0x88, b"\x03\xe9away"),
            frame(0x81, b"ignored"),
        ]
        .concat();
        let expected = [
            "Ping([112, 105, 110, 103])".to_owned(),
            "Text(\"Κόσμε\")".to_owned(),
            format!("Binary({:?})", [7; 300]),
            "Close(Some((1001, \"away\")))".to_owned(),
        ];
        for piece in 1..=bytes.len() {
            let (messages, violation, decoder) = decode(&bytes, piece);
            assert_eq!((&messages[..], violation), (&expected[..], None), "pieces of {piece}");
            assert!(!decoder.is_unfinished());
        }
    }

    #[test]
    fn a_finished_connection_holds_nothing() {
        let bytes = [frame(0x01, b"ab"), frame(0x80, b"cd")].concat();
        for piece in 1..=bytes.len() {
            let (messages, _, decoder) = decode(&bytes, piece);
            assert_eq!(messages, ["Text(\"abcd\")"]);
            assert_eq!((decoder.held_bytes(), decoder.is_unfinished()), (0, false));
        }
        let (_, _, decoder) = decode(&bytes[..3], 1);
        assert!(decoder.is_unfinished());
        assert_ne!(decoder.held_bytes(), 0);
    }

    #[test]
    fn invalid_text_fails_before_its_frame_is_complete() {
        let bytes = frame(0x01, b"Hello \xf4\x90 and more text that never arrives");
        let head_bytes = 6;
        for piece in 1..=bytes.len() {
            let arrived = &bytes[..head_bytes + 8];
            assert_eq!(decode(arrived, piece).1, Some(FrameViolation::InvalidUtf8));
            assert_eq!(decode(&arrived[..head_bytes + 7], piece).1, None);
        }
    }

    #[test]
    fn after_a_violation_input_is_ignored_and_memory_is_free() {
        let bytes = [frame(0x01, b"ab"), frame(0x81, b"cd")].concat();
        for piece in [1, 5, bytes.len()] {
            let (_, violation, mut decoder) = decode(&bytes, piece);
            assert_eq!(violation, Some(FrameViolation::ExpectedContinuation));
            assert!(!decoder.is_unfinished());
            let mut more = frame(0x81, b"more");
            let mut rest = &mut more[..];
            assert_eq!(decoder.next(&mut rest, &DecoderLimits::default()), Ok(None));
            assert!(rest.is_empty());
            assert_eq!(decoder.held_bytes(), 0);
        }
    }

    #[test]
    fn an_idle_decoder_is_two_words() {
        assert_eq!(size_of::<Decoder>(), 16);
    }
}
