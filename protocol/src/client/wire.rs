//! Protobuf's encoding: keys, varints and lengths, read and written by hand.
//!
//! ```text
//!  field = key value          key = varint of (number << 3 | wire type)
//!  wire type 0: varint        7 bits per byte, lowest first, the top bit says that more follow
//!  wire type 1: 8 bytes       wire type 5: 4 bytes
//!  wire type 2: varint length, then as many bytes: text, bytes, nested messages
//!  wire types 3 and 4: groups, which no message of ours has; refused
//! ```
//!
//! Source: protobuf.dev, "Encoding". Unknown fields are skipped, the last of a repeated scalar
//! wins.

/// What cannot be Protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireFault {
    /// A length or value reaches past the end.
    Truncated,
    /// A varint of more than 64 bits.
    Overlong,
    /// A group, an unused wire type, or field number zero.
    Key,
    /// A known field in another wire type.
    Type,
    /// Text that is not UTF-8.
    Text,
}

/// Reads the fields of one message.
#[derive(Clone, Copy)]
pub(super) struct WireReader<'a> {
    rest: &'a [u8],
}

/// One field: its number, and its value by wire type.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes: no known field has them, so that they are only skipped.
    Fixed,
}

impl<'a> WireReader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) const fn as_slice(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end of the message.
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, WireFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| WireFault::Key)?;
        let number = key >> WIRE_TYPE_BITS;
        if number == 0 {
            return Err(WireFault::Key);
        }
        let value = match key & WIRE_TYPE_MASK {
            WIRE_VARINT => Value::Varint(self.varint()?),
            WIRE_BYTES => Value::Bytes(self.delimited()?),
            WIRE_FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            WIRE_FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(WireFault::Key),
        };
        Ok(Some(Field { number, value }))
    }

    /// A length and as many bytes.
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], WireFault> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireFault::Truncated)?;
        self.take(length)
    }

    fn varint(&mut self) -> Result<u64, WireFault> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit of 64.
            if index + 1 == VARINT_BYTES_MAX && byte > 1 {
                return Err(WireFault::Overlong);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.take(index + 1)?;
                return Ok(value);
            }
        }
        Err(WireFault::Truncated)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireFault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireFault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Field<'a> {
    pub(super) const fn number(&self) -> Result<u64, WireFault> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireFault::Type),
        }
    }

    /// 32 bits of a varint; higher ones are cut off, as the encoding demands.
    pub(super) fn uint32(&self) -> Result<u32, WireFault> {
        self.number().map(|value| value as u32)
    }

    /// A negative number comes as 64 bits.
    pub(super) fn int32(&self) -> Result<i32, WireFault> {
        self.number().map(|value| value as i32)
    }

    pub(super) fn int64(&self) -> Result<i64, WireFault> {
        self.number().map(|value| value as i64)
    }

    pub(super) fn flag(&self) -> Result<bool, WireFault> {
        self.number().map(|value| value != 0)
    }

    pub(super) const fn bytes(&self) -> Result<&'a [u8], WireFault> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireFault::Type),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, WireFault> {
        simdutf8::basic::from_utf8(self.bytes()?).map_err(|_| WireFault::Text)
    }
}

/// Writes fields. Like every proto3 writer it omits zeros and empty values, except in
/// [`WireWriter::message`] and [`WireWriter::text_always`].
pub(super) struct WireWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> WireWriter<'o> {
    pub(super) const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn number(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.key(number, WIRE_VARINT);
            push_varint(self.out, value);
        }
    }

    /// Negative numbers take ten bytes: none of our fields is of a zigzag type.
    pub(super) fn signed(&mut self, number: u32, value: i64) {
        self.number(number, value as u64);
    }

    pub(super) fn flag(&mut self, number: u32, value: bool) {
        self.number(number, u64::from(value));
    }

    pub(super) fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_always(number, value);
        }
    }

    /// Text whose presence counts even when it is empty: the key of a map.
    pub(super) fn text_always(&mut self, number: u32, value: &str) {
        self.bytes_always(number, value.as_bytes());
    }

    fn bytes_always(&mut self, number: u32, value: &[u8]) {
        self.key(number, WIRE_BYTES);
        push_varint(self.out, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// A nested message, present even when it is empty.
    ///
    /// `bytes_hint` is a guess of its size. Room for the length is left by the guess; a wrong guess
    /// costs one move of the message, which is cheaper than computing every size beforehand.
    pub(super) fn message(
        &mut self,
        number: u32,
        bytes_hint: usize,
        write: impl FnOnce(&mut WireWriter<'_>),
    ) {
        self.key(number, WIRE_BYTES);
        self.delimited(bytes_hint, write);
    }

    /// A message behind its length, without a key.
    pub(super) fn delimited(&mut self, bytes_hint: usize, write: impl FnOnce(&mut WireWriter<'_>)) {
        let prefix_at = self.out.len();
        let guessed_bytes = varint_bytes(bytes_hint as u64);
        let body_at = prefix_at + guessed_bytes;
        self.out.resize(body_at, 0);
        write(&mut WireWriter { out: self.out });

        let body_end = self.out.len();
        let length = (body_end - body_at) as u64;
        let needed_bytes = varint_bytes(length);
        if needed_bytes != guessed_bytes {
            self.out.resize(body_end.max(body_end + needed_bytes - guessed_bytes), 0);
            self.out.copy_within(body_at..body_end, prefix_at + needed_bytes);
            self.out.truncate(body_end + needed_bytes - guessed_bytes);
        }
        let mut rest = length;
        for byte in &mut self.out[prefix_at..prefix_at + needed_bytes] {
            *byte = (rest as u8 & 0x7f) | 0x80;
            rest >>= 7;
        }
        self.out[prefix_at + needed_bytes - 1] &= 0x7f;
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        push_varint(self.out, u64::from(number << WIRE_TYPE_BITS | wire_type));
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes `value` takes as a varint.
const fn varint_bytes(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const WIRE_TYPE_BITS: u32 = 3;
const WIRE_TYPE_MASK: u32 = 7;
const WIRE_VARINT: u32 = 0;
const WIRE_FIXED64: u32 = 1;
const WIRE_BYTES: u32 = 2;
const WIRE_FIXED32: u32 = 5;
/// 64 bits in groups of seven.
const VARINT_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_at_every_width() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                push_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_bytes(value), "{value}");
                let mut reader = WireReader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn overlong_and_truncated_varints_are_refused() {
        let varint = |bytes: &[u8]| WireReader::new(bytes).varint();
        assert_eq!(varint(&[]), Err(WireFault::Truncated));
        assert_eq!(varint(&[0x80]), Err(WireFault::Truncated));
        assert_eq!(varint(&[0xff; 9]), Err(WireFault::Truncated));
        assert_eq!(varint(&[0xff; 11]), Err(WireFault::Overlong));
        let mut largest = [0xff; 10];
        largest[9] = 2;
        assert_eq!(varint(&largest), Err(WireFault::Overlong));
        largest[9] = 1;
        assert_eq!(varint(&largest), Ok(u64::MAX));
    }

    #[test]
    fn groups_and_number_zero_are_refused() {
        for key in [0x00, 0x02, 0x0b, 0x0c, 0x0e, 0x0f] {
            assert_eq!(WireReader::new(&[key, 0]).field().err(), Some(WireFault::Key), "{key:#x}");
        }
    }

    #[test]
    fn wrong_guesses_of_size_are_repaired() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let body = vec![7; length];
            let mut expected = vec![9];
            push_varint(&mut expected, length as u64);
            expected.extend_from_slice(&body);
            for hint in [0, 127, 128, 16_384, 3_000_000] {
                let mut out = vec![9];
                WireWriter::new(&mut out).delimited(hint, |w| w.out.extend_from_slice(&body));
                assert_eq!(out, expected, "length {length}, hint {hint}");
            }
        }
    }
}
