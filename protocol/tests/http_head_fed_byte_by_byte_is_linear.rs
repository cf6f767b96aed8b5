//! A head that arrives byte by byte costs as much as one that arrives whole (attack A4).
//!
//! Method: count bytes looked at, not time. The scan sees only what is new, and parsing happens
//! once.

use protocol::http::{HeadScan, HttpViolation, parse_head};
use protocol::limits::{HTTP_HEAD_BYTES_MAX, HTTP_REQUEST_LINE_BYTES_MAX};

#[test]
fn each_byte_is_looked_at_once() {
    let padding = "x".repeat(HTTP_HEAD_BYTES_MAX - 100);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n");
    let mut scan = HeadScan::new();
    let mut parses_count = 0;
    for (index, byte) in head.bytes().enumerate() {
        let found = scan.feed(&[byte]).expect("a good head");
        assert_eq!(scan.scanned_bytes(), index + 1, "one byte of work for one byte");
        if let Some(head_bytes) = found {
            let (request, parsed_bytes) = parse_head(head.as_bytes()).unwrap().expect("complete");
            assert_eq!((parsed_bytes, request.headers.len()), (head_bytes, 2));
            parses_count += 1;
        }
    }
    assert_eq!(parses_count, 1);
}

#[test]
fn an_endless_head_is_refused_at_its_limit() {
    let endless = "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat_n(b'x', 1024 * 1024));
    assert_eq!(bytes_until_refused(endless), (HTTP_HEAD_BYTES_MAX, HttpViolation::HeadTooLarge));
}

#[test]
fn an_endless_request_line_is_refused_at_its_limit() {
    let endless = "GET /".bytes().chain(std::iter::repeat_n(b'x', 1024 * 1024));
    let refused = (HTTP_REQUEST_LINE_BYTES_MAX + 1, HttpViolation::RequestLineTooLong);
    assert_eq!(bytes_until_refused(endless), refused);
}

/// How many bytes were looked at when the head was refused, and why it was.
fn bytes_until_refused(bytes: impl Iterator<Item = u8>) -> (usize, HttpViolation) {
    let mut scan = HeadScan::new();
    for byte in bytes {
        match scan.feed(&[byte]) {
            Ok(found) => assert_eq!(found, None),
            Err(violation) => return (scan.scanned_bytes(), violation),
        }
    }
    panic!("an endless head was not refused");
}
