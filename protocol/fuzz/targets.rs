//! One function per decoder. It takes any bytes, and panics where a promise of the decoder is
//! broken.
//!
//! A further decoder adds its function here, a line to `TARGETS`, and a folder `corpus/<name>`.

use protocol::http::{Chunk, ChunkedDecoder, HeadScan, HttpViolation, parse_head};
use protocol::limits::PROXY_HEADER_BYTES_MAX;
use protocol::proxies::{Prefixes, ProxyFault, ProxyHeader, Source, forwarded_for};
use protocol::websocket::{Decoder, DecoderLimits, FrameViolation};

/// A decoder under test: its name, which is also its corpus folder, and its function.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    ("websocket", fuzz_websocket),
    ("http_head", fuzz_http_head),
    ("chunked", fuzz_chunked),
    ("proxy_header", fuzz_proxy_header),
    ("forwarded_for", fuzz_forwarded_for),
];

/// A stream of frames means the same however it is cut, and holds memory in proportion to its
/// bytes.
pub(crate) fn fuzz_websocket(bytes: &[u8]) {
    let whole = websocket_outcome(bytes, bytes.len());
    for piece in PIECES {
        assert_eq!(websocket_outcome(bytes, *piece), whole, "pieces of {piece}");
    }
}

fn websocket_outcome(bytes: &[u8], piece: usize) -> (Vec<String>, Option<FrameViolation>) {
    let limits = DecoderLimits { message_bytes_max: 4096, frames_max: 16 };
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for chunk in bytes.chunks(piece.max(1)) {
        let mut chunk = chunk.to_vec();
        let mut rest = &mut chunk[..];
        loop {
            match decoder.next(&mut rest, &limits) {
                Ok(Some(message)) => messages.push(format!("{message:?}")),
                Ok(None) => break,
                Err(violation) => {
                    assert!(!decoder.is_unfinished());
                    return (messages, Some(violation));
                }
            }
        }
        assert!(rest.is_empty(), "input is consumed");
        assert!(decoder.held_bytes() <= 512 + 2 * bytes.len(), "memory follows bytes");
        assert!(decoder.is_unfinished() || decoder.held_bytes() == 0, "idle holds nothing");
    }
    (messages, None)
}

/// A head means the same however it is cut, and nothing behind its end changes it.
pub(crate) fn fuzz_http_head(bytes: &[u8]) {
    let whole = parse_head(bytes);
    if let Ok(Some((request, head_bytes))) = &whole {
        assert!(bytes[..*head_bytes].ends_with(b"\r\n\r\n"));
        assert!(request.path.starts_with('/') || request.path == "*");
        assert_eq!(parse_head(&bytes[..*head_bytes]), whole);
        assert_eq!(parse_head(&bytes[..*head_bytes - 1]), Ok(None));
    }
    for piece in PIECES {
        match (scan_outcome(bytes, *piece), &whole) {
            (Ok(None), outcome) => assert_eq!(*outcome, Ok(None)),
            (Ok(Some(end)), Ok(Some((_, head_bytes)))) => assert_eq!(end, *head_bytes),
            (Err(violation), outcome) => assert_eq!(*outcome, Err(violation)),
            (Ok(Some(_)), Err(_)) => {}
            (Ok(Some(_)), Ok(None)) => panic!("the scan found an end that the parser did not"),
        }
    }
}

fn scan_outcome(bytes: &[u8], piece: usize) -> Result<Option<usize>, HttpViolation> {
    let mut scan = HeadScan::new();
    for chunk in bytes.chunks(piece) {
        if let Some(end) = scan.feed(chunk)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// A chunked body means the same however it is cut, and is no larger than its bound or its bytes.
pub(crate) fn fuzz_chunked(bytes: &[u8]) {
    let whole = chunked_outcome(bytes, bytes.len());
    for piece in PIECES {
        assert_eq!(chunked_outcome(bytes, *piece), whole, "pieces of {piece}");
    }
}

/// The body so far, and how many bytes it took if it is complete.
type Body = (Vec<u8>, Option<usize>);

fn chunked_outcome(bytes: &[u8], piece: usize) -> Result<Body, HttpViolation> {
    let body_bytes_max = 1000;
    let mut decoder = ChunkedDecoder::new(body_bytes_max);
    let (mut body, mut given_bytes) = (Vec::new(), 0);
    for mut chunk in bytes.chunks(piece.max(1)) {
        given_bytes += chunk.len();
        loop {
            match decoder.next(&mut chunk)? {
                Chunk::Data(data) => body.extend_from_slice(data),
                Chunk::Starved => break,
                Chunk::End => {
                    assert_eq!(body.len(), decoder.body_bytes());
                    return Ok((body, Some(given_bytes - chunk.len())));
                }
            }
            assert!(body.len() <= decoder.body_bytes() && decoder.body_bytes() <= body_bytes_max);
        }
    }
    Ok((body, None))
}

/// A header of the PROXY protocol means the same however it is cut, within its bound.
pub(crate) fn fuzz_proxy_header(bytes: &[u8]) {
    let whole = proxy_header_outcome(bytes, bytes.len());
    if let Ok(Some((header_bytes, _))) = whole {
        assert!((16..=PROXY_HEADER_BYTES_MAX).contains(&header_bytes));
        assert_eq!(proxy_header_outcome(&bytes[..header_bytes], header_bytes), whole);
        assert_eq!(proxy_header_outcome(&bytes[..header_bytes - 1], header_bytes), Ok(None));
    }
    if whole == Ok(None) {
        assert!(bytes.len() < PROXY_HEADER_BYTES_MAX);
    }
    for piece in PIECES {
        assert_eq!(proxy_header_outcome(bytes, *piece), whole, "pieces of {piece}");
    }
}

fn proxy_header_outcome(bytes: &[u8], piece: usize) -> Result<Option<(usize, Source)>, ProxyFault> {
    let (mut header, mut given_bytes) = (ProxyHeader::default(), 0);
    for chunk in bytes.chunks(piece.max(1)) {
        if let Some((taken, source)) = header.feed(chunk)? {
            return Ok(Some((given_bytes + taken, source)));
        }
        given_bytes += chunk.len();
    }
    Ok(None)
}

/// Whatever X-Forwarded-For says, whom it names is no trusted proxy.
pub(crate) fn fuzz_forwarded_for(bytes: &[u8]) {
    let Ok(Some((request, _))) = parse_head(bytes) else { return };
    let listed = ["10.0.0.0/8", "2001:db8::/32"].map(|text| Prefixes::parse(text).expect("one"));
    let trusted = Prefixes::new(listed);
    if let Some(address) = forwarded_for(&request, &trusted) {
        assert!(!trusted.contains(address.ip()));
        assert_eq!(address.ip(), address.ip().to_canonical());
    }
}

const PIECES: &[usize] = &[1, 2, 3, 7, 64];
