//! What a client has begun and not finished costs its bytes, and those are bounded (A9, A11, A12).
//!
//! Method: feed beginnings and look at the memory the decoder says it holds.

use protocol::limits::MESSAGE_FRAMES_MAX;
use protocol::websocket::client::{ClientFrame, encode_masked_frame};
use protocol::websocket::{Decoder, DecoderLimits, FrameViolation, Opcode};

const KEY: [u8; 4] = [1, 2, 3, 4];
/// The decoder's own bookkeeping while something is unfinished.
const BOOKKEEPING_BYTES_MAX: usize = 192;

/// Feeds `bytes`, all of which must be kept or refused.
fn feed(decoder: &mut Decoder, bytes: &[u8]) -> Result<(), FrameViolation> {
    feed_within(decoder, bytes, &DecoderLimits::default())
}

fn feed_within(
    decoder: &mut Decoder,
    bytes: &[u8],
    limits: &DecoderLimits,
) -> Result<(), FrameViolation> {
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    while decoder.next(&mut rest, limits)?.is_some() {}
    assert!(rest.is_empty());
    Ok(())
}

fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = match length {
        0..126 => vec![first, 0x80 | length as u8],
        126..65536 => [&[first, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xff][..], &length.to_be_bytes()].concat(),
    };
    bytes.extend(KEY);
    bytes
}

fn fragment(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = ClientFrame { fin: false, rsv: 0, opcode: opcode as u8, key: KEY, payload };
    encode_masked_frame(&frame, &mut bytes);
    bytes
}

#[test]
fn a_head_that_announces_too_much_is_refused_before_its_payload() {
    for first in [0x01, 0x02, 0x81, 0x82] {
        for length in [65537, 1 << 31, 1 << 32, 1 << 62, i64::MAX as u64] {
            for piece in [1, 14] {
                let mut decoder = Decoder::new();
                let head = head(first, length);
                let result = head.chunks(piece).try_for_each(|bytes| feed(&mut decoder, bytes));
                assert_eq!(result, Err(FrameViolation::MessageTooBig));
                assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX);
            }
        }
        let mut decoder = Decoder::new();
        let result = feed(&mut decoder, &head(first, 1 << 63));
        assert_eq!(result, Err(FrameViolation::LengthTooLarge));
    }
}

#[test]
fn an_announced_length_reserves_nothing() {
    let mut decoder = Decoder::new();
    feed(&mut decoder, &head(0x82, 65536)).unwrap();
    assert!(decoder.is_unfinished());
    assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX);
    for received_bytes in 1..65536 {
        feed(&mut decoder, &[7]).unwrap();
        assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX + 2 * received_bytes);
        assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX + 65536);
    }
    feed(&mut decoder, &[7]).unwrap();
    assert_eq!((decoder.is_unfinished(), decoder.held_bytes()), (false, 0));
}

#[test]
fn fragments_share_the_limit_of_one_message() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut decoder = Decoder::new();
        feed(&mut decoder, &fragment(opcode, &[b'a'; 40_000])).unwrap();
        feed(&mut decoder, &fragment(Opcode::Continuation, &[b'a'; 25_536])).unwrap();
        assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX + 65536);
        // The limit is reached; the head of one byte more is refused without that byte.
        let result = feed(&mut decoder, &head(0x80, 1));
        assert_eq!(result, Err(FrameViolation::MessageTooBig));
        assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX);
    }
}

#[test]
fn a_cut_character_counts_towards_the_limit() {
    let limits = DecoderLimits { message_bytes_max: 4, ..DecoderLimits::default() };
    let mut decoder = Decoder::new();
    feed_within(&mut decoder, &fragment(Opcode::Text, &[b'a', 0xf0, 0x9f]), &limits).unwrap();
    let result = feed_within(&mut decoder, &head(0x80, 2), &limits);
    assert_eq!(result, Err(FrameViolation::MessageTooBig));
}

#[test]
fn floods_of_tiny_fragments_end_at_the_frame_limit() {
    for payload in [&b""[..], b"a"] {
        let mut decoder = Decoder::new();
        feed(&mut decoder, &fragment(Opcode::Text, payload)).unwrap();
        for _ in 1..MESSAGE_FRAMES_MAX {
            feed(&mut decoder, &fragment(Opcode::Continuation, payload)).unwrap();
            // Control frames in between are the business of whoever answers them.
            feed(&mut decoder, &[0x89, 0x80, 1, 2, 3, 4]).unwrap();
        }
        let held_bytes_max =
            BOOKKEEPING_BYTES_MAX + 2 * payload.len() * MESSAGE_FRAMES_MAX as usize;
        assert!(decoder.held_bytes() <= held_bytes_max);
        let result = feed(&mut decoder, &fragment(Opcode::Continuation, payload));
        assert_eq!(result, Err(FrameViolation::TooManyFrames));
    }
}

#[test]
fn a_message_of_exactly_the_limits_is_accepted() {
    let limits = DecoderLimits { message_bytes_max: 1000, frames_max: 2 };
    let mut whole = Vec::new();
    let payload = [b'a'; 1000];
    encode_masked_frame(&ClientFrame::whole(Opcode::Text, KEY, &payload), &mut whole);
    let last = head(0x80, 0);
    let split = [&fragment(Opcode::Text, &payload)[..], &last].concat();
    for bytes in [whole, split] {
        for piece in [1, 100, bytes.len()] {
            let mut decoder = Decoder::new();
            for chunk in bytes.chunks(piece) {
                feed_within(&mut decoder, chunk, &limits).unwrap();
            }
            assert_eq!((decoder.is_unfinished(), decoder.held_bytes()), (false, 0));
        }
    }
}

#[test]
fn a_cut_control_frame_holds_little_and_then_nothing() {
    let mut decoder = Decoder::new();
    let mut ping = head(0x89, 125);
    ping.extend([0; 125]);
    for byte in &ping[..ping.len() - 1] {
        feed(&mut decoder, &[*byte]).unwrap();
        assert!(decoder.is_unfinished());
        assert!(decoder.held_bytes() <= BOOKKEEPING_BYTES_MAX + 2 * 125);
    }
    feed(&mut decoder, &ping[ping.len() - 1..]).unwrap();
    assert_eq!((decoder.is_unfinished(), decoder.held_bytes()), (false, 0));
}
