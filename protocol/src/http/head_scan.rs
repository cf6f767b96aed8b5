//! Where a request head ends, found while its bytes arrive.
//!
//! Each byte is looked at once, however the head is cut, so a head that comes byte by byte costs
//! linear time. Lines, their ends and their limits are judged here; what they say is for
//! `request.rs`.

use super::violation::HttpViolation;
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_REQUEST_LINE_BYTES_MAX};

/// How far the search for the end of a head got. Eight bytes; holds no bytes of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    head_bytes: u16,
    /// In the current line, without its end.
    line_bytes: u16,
    lines_count: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Line,
    AfterCr,
    Complete,
}

impl HeadScan {
    /// At the first byte of a request.
    pub const fn new() -> Self {
        Self { head_bytes: 0, line_bytes: 0, lines_count: 0, state: State::Line }
    }

    /// Looks at the bytes that arrived since the last call, and only those.
    ///
    /// Returns the length of the whole head, counted from its first byte, once it has ended; what
    /// follows it in `arrived` is not looked at.
    pub fn feed(&mut self, arrived: &[u8]) -> Result<Option<usize>, HttpViolation> {
        for byte in arrived {
            if self.state == State::Complete {
                break;
            }
            if self.scanned_bytes() == HTTP_HEAD_BYTES_MAX {
                return Err(HttpViolation::HeadTooLarge);
            }
            self.head_bytes += 1;
            self.take(*byte)?;
        }
        Ok((self.state == State::Complete).then_some(self.scanned_bytes()))
    }

    /// Bytes looked at so far.
    pub const fn scanned_bytes(&self) -> usize {
        self.head_bytes as usize
    }

    fn take(&mut self, byte: u8) -> Result<(), HttpViolation> {
        match (self.state, byte) {
            (State::AfterCr, b'\n') => self.end_line(),
            (State::AfterCr, _) => Err(HttpViolation::BareCr),
            (_, b'\r') => {
                self.state = State::AfterCr;
                Ok(())
            }
            (_, b'\n') => Err(HttpViolation::BareLf),
            _ => self.take_text(byte),
        }
    }

    fn end_line(&mut self) -> Result<(), HttpViolation> {
        if self.line_bytes == 0 {
            // RFC 9112, 2.2, lets a server skip an empty line before a request. Ours does not: it
            // is the trace of a client whose last body was longer than it said.
            if self.lines_count == 0 {
                return Err(HttpViolation::RequestLine);
            }
            self.state = State::Complete;
            return Ok(());
        }
        self.lines_count += 1;
        self.line_bytes = 0;
        self.state = State::Line;
        if usize::from(self.lines_count) > 1 + HTTP_HEADERS_MAX {
            return Err(HttpViolation::TooManyHeaders);
        }
        Ok(())
    }

    fn take_text(&mut self, byte: u8) -> Result<(), HttpViolation> {
        self.line_bytes += 1;
        if self.lines_count == 0 {
            return match byte {
                b' '..=b'~' if usize::from(self.line_bytes) > HTTP_REQUEST_LINE_BYTES_MAX => {
                    Err(HttpViolation::RequestLineTooLong)
                }
                b' '..=b'~' => Ok(()),
                _ => Err(HttpViolation::ControlByte),
            };
        }
        match byte {
            // RFC 9112, 5.2: a server must reject or replace a folded header.
            b' ' | b'\t' if self.line_bytes == 1 => Err(HttpViolation::ObsFold),
            b'\t' | b' '..=b'~' | 0x80.. => Ok(()),
            _ => Err(HttpViolation::ControlByte),
        }
    }
}

const _: () = assert!(HTTP_HEAD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HTTP_HEADERS_MAX + 2 <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, HttpViolation> {
        let whole = HeadScan::new().feed(bytes);
        for piece in [1, 2, 3, 7] {
            let mut scan = HeadScan::new();
            let mut result = Ok(None);
            for chunk in bytes.chunks(piece) {
                result = scan.feed(chunk);
                if result != Ok(None) {
                    break;
                }
            }
            assert_eq!(result, whole);
        }
        whole
    }

    #[test]
    fn the_end_is_found_however_the_head_is_cut() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"), Ok(Some(27)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\n"), Ok(Some(18)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), Ok(None));
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let line = |bytes: usize| ["G".repeat(bytes).as_bytes(), b"\r\n\r\n"].concat();
        let longest = HTTP_REQUEST_LINE_BYTES_MAX;
        assert_eq!(scan(&line(longest)), Ok(Some(longest + 4)));
        assert_eq!(scan(&line(longest + 1)), Err(HttpViolation::RequestLineTooLong));
        let head = |bytes: usize| {
            let padding = "x".repeat(bytes - b"G\r\na:\r\n\r\n".len());
            format!("G\r\na:{padding}\r\n\r\n").into_bytes()
        };
        assert_eq!(scan(&head(HTTP_HEAD_BYTES_MAX)), Ok(Some(HTTP_HEAD_BYTES_MAX)));
        assert_eq!(scan(&head(HTTP_HEAD_BYTES_MAX + 1)), Err(HttpViolation::HeadTooLarge));
        let headers = |count: usize| format!("G\r\n{}\r\n", "a:b\r\n".repeat(count)).into_bytes();
        assert!(matches!(scan(&headers(HTTP_HEADERS_MAX)), Ok(Some(_))));
        assert_eq!(scan(&headers(HTTP_HEADERS_MAX + 1)), Err(HttpViolation::TooManyHeaders));
    }

    #[test]
    fn a_tls_greeting_is_refused_at_its_first_byte() {
        assert_eq!(HeadScan::new().feed(&[0x16]), Err(HttpViolation::ControlByte));
    }

    #[test]
    fn a_scan_is_eight_bytes() {
        assert!(size_of::<HeadScan>() <= 8);
    }
}
