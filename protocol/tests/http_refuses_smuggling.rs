//! A request that two readers could understand differently is refused, by name (attacks A5 and A6).
//!
//! Method: a table of bad requests. Each is read whole and byte by byte; both must name the
//! violation.

use protocol::http::HttpViolation::{self, *};
use protocol::http::{BodyFraming, HeadScan, parse_head};

/// Request lines that are wrong, with what is wrong about them. `Host` is right.
const REQUEST_LINES: &[(&str, HttpViolation)] = &[
    ("", RequestLine),
    ("GET", RequestLine),
    ("GET /", RequestLine),
    ("GET  / HTTP/1.1", RequestLine),
    ("GET /  HTTP/1.1", RequestLine),
    ("GET / HTTP/1.1 ", RequestLine),
    (" GET / HTTP/1.1", RequestLine),
    ("GET\t/ HTTP/1.1", ControlByte),
    ("GET / a HTTP/1.1", RequestLine),
    ("GET / http/1.1", RequestLine),
    ("GET / HTTP/1.10", RequestLine),
    ("GET / HTTP/11", RequestLine),
    ("GET / HTTP/1,1", RequestLine),
    ("GET / HTTPS/1.1", RequestLine),
    ("G<T / HTTP/1.1", RequestLine),
    ("GET /\0 HTTP/1.1", ControlByte),
    ("GET /\u{7f} HTTP/1.1", ControlByte),
    ("GET /ß HTTP/1.1", ControlByte),
    ("GET / HTTP/1.2", Version),
    ("GET / HTTP/0.9", Version),
    ("GET / HTTP/2.0", Version),
    ("PRI * HTTP/2.0", Version),
    ("get / HTTP/1.1", MethodUnknown),
    ("CONNECT a:443 HTTP/1.1", MethodUnknown),
    ("TRACE / HTTP/1.1", MethodUnknown),
    ("SMUGGLE / HTTP/1.1", MethodUnknown),
    ("GET * HTTP/1.1", Target),
    ("GET a HTTP/1.1", Target),
    ("GET /a#b HTTP/1.1", Target),
    ("GET file:///etc/passwd HTTP/1.1", Target),
    ("GET http:/a/ HTTP/1.1", Target),
    ("GET http://evil/ HTTP/1.1", TargetAuthority),
    ("GET http://a@evil/ HTTP/1.1", TargetAuthority),
    ("GET http:///a HTTP/1.1", TargetAuthority),
];

/// Headers that are wrong beside a right request line and a right `Host`.
const HEADERS: &[(&str, HttpViolation)] = &[
    ("Host: a", HostDuplicate),
    ("host: b", HostDuplicate),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked", LengthAndTransferEncoding),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0", LengthAndTransferEncoding),
    ("Content-Length: 5\r\nTransfer-Encoding: identity", LengthAndTransferEncoding),
    ("Content-Length: 5\r\nContent-Length: 5", ContentLengthDuplicate),
    ("Content-Length: 5\r\ncontent-length: 6", ContentLengthDuplicate),
    ("Content-Length: 5, 5", ContentLengthInvalid),
    ("Content-Length:", ContentLengthInvalid),
    ("Content-Length: +5", ContentLengthInvalid),
    ("Content-Length: -5", ContentLengthInvalid),
    ("Content-Length: 0x5", ContentLengthInvalid),
    ("Content-Length: 5 5", ContentLengthInvalid),
    ("Content-Length: 5.0", ContentLengthInvalid),
    ("Content-Length: 5;", ContentLengthInvalid),
    ("Content-Length: ٥", ContentLengthInvalid),
    ("Content-Length: 99999999999999999999999999", BodyTooLarge),
    ("Content-Length: 4194305", BodyTooLarge),
    ("Transfer-Encoding: Chunked", TransferEncoding),
    ("Transfer-Encoding: xchunked", TransferEncoding),
    ("Transfer-Encoding: chunked, identity", TransferEncoding),
    ("Transfer-Encoding: identity, chunked", TransferEncoding),
    ("Transfer-Encoding: gzip, chunked", TransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", TransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", TransferEncoding),
    ("Transfer-Encoding: \"chunked\"", TransferEncoding),
    ("Transfer-Encoding: chunked;q=1", TransferEncoding),
    ("Transfer-Encoding: ,chunked", TransferEncoding),
    ("Transfer-Encoding: identity", TransferEncoding),
    ("Transfer-Encoding:", TransferEncoding),
    ("Transfer-Encoding: \u{b}chunked", ControlByte),
    ("Transfer-Encoding: chunked\0", ControlByte),
    ("X: a\u{1}b", ControlByte),
    ("X: a\u{7f}b", ControlByte),
    ("X\0: a", ControlByte),
    ("Transfer-Encoding\r\n : chunked", ObsFold),
    ("Transfer-Encoding:\r\n chunked", ObsFold),
    ("X: a\r\n\tb", ObsFold),
    (" Transfer-Encoding: chunked", ObsFold),
    ("Transfer-Encoding : chunked", HeaderName),
    ("Transfer-Encoding\t: chunked", HeaderName),
    ("Content-Length : 5", HeaderName),
    ("Transfer Encoding: chunked", HeaderName),
    (": chunked", HeaderName),
    ("Transfer-Encoding", HeaderName),
    ("Transfer-Encöding: chunked", HeaderName),
    ("X(y): a", HeaderName),
    ("X: a\nTransfer-Encoding: chunked", BareLf),
    ("X: a\rTransfer-Encoding: chunked", BareCr),
    ("X: a\r\r\nTransfer-Encoding: chunked", BareCr),
    ("X: a\n\nGET /admin HTTP/1.1", BareLf),
    ("Content_Length: 5", UnderscoreTwin),
    ("transfer_encoding: chunked", UnderscoreTwin),
    ("Sec_WebSocket-Key: a", UnderscoreTwin),
    ("X_Api_Key: a", UnderscoreTwin),
    ("X-User: a\r\nX_User: b", UnderscoreTwin),
    ("Expect: 200-ok", Expectation),
    ("Expect: 100-continue\r\nExpect: tea", Expectation),
    ("Expect:", Expectation),
];

/// Whole heads that are wrong about their host, or too old for what they ask.
const HEADS: &[(&str, HttpViolation)] = &[
    ("GET / HTTP/1.1\r\n\r\n", HostMissing),
    ("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", HostMissing),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.1\r\nHost: ä\r\n\r\n", HostInvalid),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", HostDuplicate),
    ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncoding),
    ("GET http://a/ HTTP/1.0\r\n\r\n", TargetAuthority),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", RequestLine),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLf),
    ("GET / HTTP/1.1\nHost: a\n\n", BareLf),
    ("GET / HTTP/1.1\rHost: a\r\r", BareCr),
];

#[test]
fn bad_request_lines_are_named() {
    for (line, violation) in REQUEST_LINES {
        assert_refused(&format!("{line}\r\nHost: a\r\n\r\n"), *violation);
    }
}

#[test]
fn bad_headers_are_named() {
    for (headers, violation) in HEADERS {
        // As the last header, and as one among others. A bad start of a line is one anywhere.
        assert_refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"), *violation);
        let among = format!("POST / HTTP/1.1\r\nHost: a\r\nA: b\r\n{headers}\r\nY: z\r\n\r\n");
        assert_refused(&among, *violation);
    }
}

#[test]
fn bad_heads_are_named() {
    for (head, violation) in HEADS {
        assert_refused(head, *violation);
    }
}

#[test]
fn the_table_is_large_enough_and_statuses_are_those_of_refusals() {
    let rows = [REQUEST_LINES, HEADERS, HEADS].concat();
    assert!(rows.len() >= 80);
    for (_, violation) in rows {
        assert!(matches!(violation.status(), 400 | 413 | 417 | 501 | 505), "{violation:?}");
        assert!(!violation.text().is_empty());
    }
}

#[test]
fn too_many_headers_and_too_long_ones_are_refused() {
    let head = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    assert_refused(&head(&"A: b\r\n".repeat(100)), TooManyHeaders);
    assert_refused(&head(&format!("A: {}\r\n", "b".repeat(16 * 1024))), HeadTooLarge);
    let line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8 * 1024));
    assert_refused(&line, RequestLineTooLong);
    assert_eq!(RequestLineTooLong.status(), 414);
    assert_eq!(HeadTooLarge.status(), 431);
    assert_eq!(TooManyHeaders.status(), 431);
}

#[test]
fn what_looks_similar_and_is_right_is_accepted() {
    let accepted = [
        ("Transfer-Encoding: chunked", BodyFraming::Chunked),
        ("transfer-encoding:chunked  ", BodyFraming::Chunked),
        ("Content-Length: 0005", BodyFraming::Length(5)),
        ("Content-Length: 4194304", BodyFraming::Length(4_194_304)),
        ("X_Custom: a", BodyFraming::None),
        ("Cookie: caf\u{e9}=1\tb", BodyFraming::None),
        ("Empty:", BodyFraming::None),
    ];
    for (headers, body) in accepted {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        let (request, head_bytes) = parse_head(head.as_bytes()).unwrap().unwrap();
        assert_eq!((request.body, head_bytes), (body, head.len()), "{headers}");
    }
}

fn assert_refused(head: &str, violation: HttpViolation) {
    let text = head.escape_debug();
    assert_eq!(parse_head(head.as_bytes()).map(|_| ()), Err(violation), "{text}");
    // While it arrives: the scan refuses it, or the parser does once the head is complete.
    let mut scan = HeadScan::new();
    for (index, byte) in head.bytes().enumerate() {
        match scan.feed(&[byte]) {
            Ok(None) => {}
            Ok(Some(head_bytes)) => {
                assert_eq!(head_bytes, index + 1);
                assert_eq!(parse_head(head.as_bytes()).map(|_| ()), Err(violation), "{text}");
                return;
            }
            Err(found) => return assert_eq!(found, violation, "{text}"),
        }
    }
    panic!("neither refused nor complete: {text}");
}
