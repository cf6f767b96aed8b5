//! Response heads.

use std::io::Write;

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: u16,
    /// Headers other than the two below.
    pub headers: &'a [(&'a str, &'a str)],
    /// The length of the body, if the response has one.
    pub content_length: Option<usize>,
    /// This is the last response on this connection.
    pub close: bool,
}

/// Appends a response head.
///
/// A control character in a name or value is written as a space, so no text can end a header early.
pub fn write_response_head(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    let written = write!(out, "HTTP/1.1 {} {}\r\n", head.status, reason_of(head.status));
    written.expect("a Vec takes everything");
    for (name, value) in head.headers {
        write_header(name, value, out);
    }
    if let Some(length) = head.content_length {
        write_header("Content-Length", &length.to_string(), out);
    }
    if head.close {
        write_header("Connection", "close", out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_header(name: &str, value: &str, out: &mut Vec<u8>) {
    let harmless = |byte: u8| if byte.is_ascii_control() { b' ' } else { byte };
    out.extend(name.bytes().map(harmless));
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(harmless));
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase. It means nothing to a program, so a status without one here has none.
const fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &ResponseHead<'_>) -> String {
        let mut out = Vec::new();
        write_response_head(head, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn heads_are_complete() {
        let headers = [("Content-Type", "application/json")];
        let mut head =
            ResponseHead { status: 200, headers: &headers, content_length: Some(2), close: false };
        assert_eq!(
            written(&head),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        head = ResponseHead { status: 799, headers: &[], content_length: None, close: true };
        assert_eq!(written(&head), "HTTP/1.1 799 \r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn values_cannot_split_a_response() {
        let headers = [("X-Text", "a\r\nSet-Cookie: b\0")];
        let head =
            ResponseHead { status: 204, headers: &headers, content_length: None, close: false };
        assert_eq!(written(&head), "HTTP/1.1 204 No Content\r\nX-Text: a  Set-Cookie: b \r\n\r\n");
    }
}
