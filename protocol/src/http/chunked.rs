//! Chunked bodies (RFC 9112, 7.1).
//!
//! ```text
//! size [;extension] CRLF  data  CRLF   ...   0 [;extension] CRLF CRLF
//! ```
//!
//! Extensions are skipped and bounded. Trailers are refused: the request was judged by its head.

use super::violation::HttpViolation;

/// Reads one chunked body. Holds none of it.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedDecoder {
    body_bytes_max: usize,
    /// Announced by all chunks so far.
    body_bytes: usize,
    /// Of the size line at first, then of the data.
    chunk_bytes: usize,
    extension_bytes: usize,
    state: State,
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// The next bytes of the body, never empty.
    Data(&'a [u8]),
    /// The input is used up.
    Starved,
    /// The body is complete; what is left of the input belongs to the next request.
    End,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the digits of a size, of which so many are read.
    Size {
        digits_count: u32,
    },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    End,
}

impl ChunkedDecoder {
    /// At the first byte of a body that may have `body_bytes_max` bytes.
    pub const fn new(body_bytes_max: usize) -> Self {
        Self {
            body_bytes_max,
            body_bytes: 0,
            chunk_bytes: 0,
            extension_bytes: 0,
            state: State::Size { digits_count: 0 },
        }
    }

    /// Takes the next piece of the body out of `input`. Call until `Starved` or `End`.
    ///
    /// A chunk that would make the body too large is refused when its size is known, before its
    /// data.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Chunk<'i>, HttpViolation> {
        loop {
            if let State::End = self.state {
                return Ok(Chunk::End);
            }
            if input.is_empty() {
                return Ok(Chunk::Starved);
            }
            if let State::Data = self.state {
                let (data, rest) = input.split_at(self.chunk_bytes.min(input.len()));
                *input = rest;
                self.chunk_bytes -= data.len();
                if self.chunk_bytes == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Chunk::Data(data));
            }
            let [byte, rest @ ..] = *input else { return Ok(Chunk::Starved) };
            *input = rest;
            self.state = self.after(*byte)?;
        }
    }

    /// Bytes of the body that the chunks so far announced.
    pub const fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The state after a byte that is not data.
    fn after(&mut self, byte: u8) -> Result<State, HttpViolation> {
        match (self.state, byte) {
            (State::Size { digits_count }, _) => self.after_size_byte(byte, digits_count),
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension_bytes += 1;
                match self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                    true => Err(HttpViolation::ChunkExtension),
                    false => Ok(State::Extension),
                }
            }
            (State::Extension, _) => Err(HttpViolation::ChunkExtension),
            (State::SizeLf, b'\n') if self.chunk_bytes == 0 => Ok(State::LastCr),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::SizeLf, _) => Err(HttpViolation::ChunkSize),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits_count: 0 }),
            (State::LastCr, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::End),
            (State::LastCr | State::LastLf, _) => Err(HttpViolation::Trailer),
            (State::Data | State::DataCr | State::DataLf | State::End, _) => {
                Err(HttpViolation::ChunkEnd)
            }
        }
    }

    fn after_size_byte(&mut self, byte: u8, digits_count: u32) -> Result<State, HttpViolation> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits_count == SIZE_DIGITS_MAX {
                return Err(HttpViolation::ChunkSize);
            }
            self.chunk_bytes = self.chunk_bytes << 4 | digit as usize;
            return Ok(State::Size { digits_count: digits_count + 1 });
        }
        if digits_count == 0 {
            return Err(HttpViolation::ChunkSize);
        }
        let next = match byte {
            b'\r' => State::SizeLf,
            b';' => State::Extension,
            _ => return Err(HttpViolation::ChunkSize),
        };
        if self.chunk_bytes > self.body_bytes_max - self.body_bytes {
            return Err(HttpViolation::BodyTooLarge);
        }
        self.body_bytes += self.chunk_bytes;
        Ok(next)
    }
}

/// Most bytes of chunk extensions in one body. Nobody uses them; without a bound they would be
/// free.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 1024;

/// Hexadecimal digits of a size, zeros in front included: up to 4 GiB.
const SIZE_DIGITS_MAX: u32 = 8;

const _: () = assert!(usize::BITS / 4 >= SIZE_DIGITS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_BYTES_MAX: usize = 20;

    fn decode(body: &[u8], piece: usize) -> Result<(Vec<u8>, Option<usize>), HttpViolation> {
        let mut decoder = ChunkedDecoder::new(BODY_BYTES_MAX);
        let (mut out, mut given_bytes) = (Vec::new(), 0);
        for mut chunk in body.chunks(piece) {
            given_bytes += chunk.len();
            loop {
                match decoder.next(&mut chunk)? {
                    Chunk::Data(data) => out.extend_from_slice(data),
                    Chunk::Starved => break,
                    Chunk::End => return Ok((out, Some(given_bytes - chunk.len()))),
                }
            }
        }
        Ok((out, None))
    }

    #[test]
    fn bodies_are_joined_however_they_are_cut() {
        let body = b"5\r\nhello\r\n00F;a=b;c=\"d\"\r\n, chunked world\r\n0;x\r\n\r\nGET /";
        for piece in 1..=body.len() {
            let (out, end) = decode(body, piece).unwrap();
            assert_eq!(out, b"hello, chunked world");
            assert_eq!(end, Some(body.len() - 5));
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        let long_extension = [b"5;", &[b'x'; CHUNK_EXTENSION_BYTES_MAX + 1][..]].concat();
        let many_extensions = b"1;aaaaaaaaaaaaaaa\r\nx\r\n".repeat(100);
        let cases: &[(&[u8], HttpViolation)] = &[
            (b"\r\n", HttpViolation::ChunkSize),
            (b"-5\r\n", HttpViolation::ChunkSize),
            (b"+5\r\n", HttpViolation::ChunkSize),
            (b" 5\r\n", HttpViolation::ChunkSize),
            (b"5 \r\n", HttpViolation::ChunkSize),
            (b"0x5\r\n", HttpViolation::ChunkSize),
            (b"g\r\n", HttpViolation::ChunkSize),
            (b"5\n", HttpViolation::ChunkSize),
            (b"5\rh", HttpViolation::ChunkSize),
            (b"000000005\r\n", HttpViolation::ChunkSize),
            (b"ffffffffffffffff5\r\n", HttpViolation::ChunkSize),
            (b"ffffffff\r\n", HttpViolation::BodyTooLarge),
            (b"15\r\n", HttpViolation::BodyTooLarge),
            (b"a\r\n0123456789\r\nb\r\n", HttpViolation::BodyTooLarge),
            (b"5;a\nhello", HttpViolation::ChunkExtension),
            (b"5;\0\r\n", HttpViolation::ChunkExtension),
            (&long_extension, HttpViolation::ChunkExtension),
            (&many_extensions, HttpViolation::BodyTooLarge),
            (b"5\r\nhello!\r\n", HttpViolation::ChunkEnd),
            (b"5\r\nhello\n", HttpViolation::ChunkEnd),
            (b"5\r\nhello\r5", HttpViolation::ChunkEnd),
            (b"5\r\nhell\r\n0\r\n\r\n", HttpViolation::ChunkEnd),
            (b"0\r\nTrailer: x\r\n\r\n", HttpViolation::Trailer),
            (b"0\r\n\n", HttpViolation::Trailer),
            (b"0\r\n\rX", HttpViolation::Trailer),
        ];
        for (body, violation) in cases {
            for piece in [1, 2, body.len()] {
                assert_eq!(decode(body, piece), Err(*violation), "{}", body.escape_ascii());
            }
        }
    }
}
