//! The bytes of one segment of the journal.
//!
//! ```text
//! ┌────────────────┬─────────┬─────────┬───┬──────┬─────────┬──── ─ ─ ─ ─ ─ ─┐
//! │ segment header │  batch  │  batch  │ … │ seal │  batch  │ zeros, or void │
//! └────────────────┴─────────┴─────────┴───┴──────┴─────────┴──── ─ ─ ─ ─ ─ ─┘
//!
//! segment header: magic 8 · version u32 · zero u32 · number u64 · first batch u64 ·
//!                 previous segment u64 · its valid end u64 · salt u64 · zero u32 · crc u32
//! batch:          magic u32 · records u32 · number u64 · synced u64 · bytes u32 · crc u32 ·
//!                 records
//! record:         length u32 · crc u32 · an entry (record.rs)
//! ```
//!
//! * A batch is written after the sync of the batch before it, and its header says up to which
//!   batch everything is synced. So a valid header anywhere later proves that a bad batch was once
//!   good.
//! * A *seal* is an empty batch behind the last one of a burst. It waits for no sync of its own and
//!   is there so that damage to the last synced batch is not taken for a torn tail.
//! * Every checksum covers the *place* too: salt of the directory, segment, position. A record that
//!   is moved is bad, and nobody who publishes bytes can forge a header without the salt.
//! * Batch numbers rise by one within a segment. A new segment leaves out
//!   [`BATCH_NUMBERS_SKIPPED`], so that no number of a batch that became void is used again.

use super::bytes::Reader;

/// The version this build writes, and the only one it reads.
pub const SEGMENT_VERSION: u32 = 1;
/// Bytes of a segment header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes of a batch header, and so of a seal.
pub const BATCH_HEADER_BYTES: usize = 32;
/// Bytes before an entry.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Numbers that become void with an interrupted segment: a seal, and the batch behind it.
pub const BATCH_NUMBERS_SKIPPED: u64 = 2;

const SEGMENT_MAGIC: &[u8; 8] = b"RINGWAYJ";
const BATCH_MAGIC: &[u8; 4] = b"rwB\xb5";
/// Zeros are skipped in pieces of this size.
const SCAN_BYTES: usize = 4096;
static ZEROS: [u8; SCAN_BYTES] = [0; SCAN_BYTES];

/// Where bytes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The secret number of the data directory.
    pub salt: u64,
    /// The segment.
    pub segment: u64,
    /// The position in the segment, in bytes.
    pub position: u64,
}

impl Place {
    fn checksum(self, crc: u32) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.salt.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..].copy_from_slice(&self.position.to_le_bytes());
        crc32c::crc32c_append(crc, &bytes)
    }

    /// The same segment, elsewhere.
    #[must_use]
    pub fn at(self, position: u64) -> Self {
        Self { position, ..self }
    }
}

/// Why bytes are not what should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentViolation {
    /// They end too early.
    Short,
    /// Another magic number.
    Magic,
    /// A later build wrote them.
    Version(u32),
    /// The checksum differs.
    Checksum,
    /// A segment header under another name, or of another data directory.
    Foreign,
    /// A batch with another number than the one that is due.
    Number(u64),
    /// Records that do not fill their batch exactly.
    Records,
}

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number, which is its name.
    pub number: u64,
    /// The number of its first batch.
    pub first_batch: u64,
    /// The segment with the batches before; zero: there were none.
    pub previous: u64,
    /// Where the valid batches of that segment end. Bytes beyond, and segments between, are void.
    pub previous_end: u64,
}

impl SegmentHeader {
    /// Appends its bytes.
    pub fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [self.number, self.first_batch, self.previous, self.previous_end, salt] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header of segment `number`.
    ///
    /// # Errors
    ///
    /// What is wrong with it. The version is looked at before the checksum, because a later build
    /// may have put that elsewhere.
    pub fn decode(bytes: &[u8], number: u64, salt: u64) -> Result<Self, SegmentViolation> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(SegmentViolation::Short)?;
        let mut reader = Reader::new(bytes);
        if reader.take(8) != Some(SEGMENT_MAGIC) {
            return Err(SegmentViolation::Magic);
        }
        let version = reader.u32().ok_or(SegmentViolation::Short)?;
        if version > SEGMENT_VERSION {
            return Err(SegmentViolation::Version(version));
        }
        let (covered, crc) = bytes.split_at(SEGMENT_HEADER_BYTES - 4);
        if crc32c::crc32c(covered).to_le_bytes() != *crc {
            return Err(SegmentViolation::Checksum);
        }
        reader.take(4);
        let mut next = || reader.u64().ok_or(SegmentViolation::Short);
        let header = Self {
            number: next()?,
            first_batch: next()?,
            previous: next()?,
            previous_end: next()?,
        };
        if header.number != number || next()? != salt || version != SEGMENT_VERSION {
            return Err(SegmentViolation::Foreign);
        }
        Ok(header)
    }
}

/// The first bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Its number.
    pub number: u64,
    /// Batches up to this one were synced when this one was written.
    pub synced: u64,
    /// Records in it; none: a seal.
    pub records: u32,
    /// Bytes of its records.
    pub bytes: u32,
}

impl BatchHeader {
    /// Its bytes.
    pub fn encode(&self, place: Place) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        out[..4].copy_from_slice(BATCH_MAGIC);
        out[4..8].copy_from_slice(&self.records.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.synced.to_le_bytes());
        out[24..28].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = place.checksum(crc32c::crc32c(&out[..28]));
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header that stands at `place`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(bytes: &[u8], place: Place) -> Result<Self, SegmentViolation> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES).ok_or(SegmentViolation::Short)?;
        let mut reader = Reader::new(bytes);
        if reader.take(4) != Some(BATCH_MAGIC) {
            return Err(SegmentViolation::Magic);
        }
        let (covered, crc) = bytes.split_at(BATCH_HEADER_BYTES - 4);
        if place.checksum(crc32c::crc32c(covered)).to_le_bytes() != *crc {
            return Err(SegmentViolation::Checksum);
        }
        let records = reader.u32().ok_or(SegmentViolation::Short)?;
        let number = reader.u64().ok_or(SegmentViolation::Short)?;
        let synced = reader.u64().ok_or(SegmentViolation::Short)?;
        let bytes = reader.u32().ok_or(SegmentViolation::Short)?;
        Ok(Self { number, synced, records, bytes })
    }

    /// Bytes of the batch with its header.
    pub fn total_bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.bytes)
    }
}

/// Appends a record. `body_crc` is the CRC32C of the body, computed by whoever encoded it, so that
/// the journal's thread only adds the place to it.
pub fn put_record(out: &mut Vec<u8>, body: &[u8], body_crc: u32, place: Place) {
    let length = u32::try_from(body.len()).expect("an entry is at most ENTRY_BYTES_MAX");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&place.checksum(body_crc).to_le_bytes());
    out.extend_from_slice(body);
}

/// A batch whose every checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch at the beginning of `bytes`, which stand at `place`, and checks all of it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn read(bytes: &'a [u8], place: Place, due: u64) -> Result<Self, SegmentViolation> {
        let header = BatchHeader::decode(bytes, place)?;
        if header.number != due || header.synced >= header.number {
            return Err(SegmentViolation::Number(header.number));
        }
        let records = bytes
            .get(BATCH_HEADER_BYTES..)
            .and_then(|bytes| bytes.get(..header.bytes as usize))
            .ok_or(SegmentViolation::Short)?;
        let batch = Self { header, records };
        let mut position = place.position + BATCH_HEADER_BYTES as u64;
        let mut rest = records;
        for _ in 0..header.records {
            let (record, length) = take_record(rest, place.at(position))?;
            rest = record;
            position += length;
        }
        if rest.is_empty() { Ok(batch) } else { Err(SegmentViolation::Records) }
    }

    /// Its entries, still encoded, in order.
    pub fn entries(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.records);
        std::iter::from_fn(move || {
            let length = reader.u32()? as usize;
            reader.take(4)?;
            reader.take(length)
        })
    }
}

/// Checks one record and returns what is behind it, and its length with the header.
fn take_record(bytes: &[u8], place: Place) -> Result<(&[u8], u64), SegmentViolation> {
    let mut reader = Reader::new(bytes);
    let length = reader.u32().ok_or(SegmentViolation::Records)?;
    let crc = reader.u32().ok_or(SegmentViolation::Records)?;
    let body = reader.take(length as usize).ok_or(SegmentViolation::Records)?;
    if place.checksum(crc32c::crc32c(body)) != crc {
        return Err(SegmentViolation::Checksum);
    }
    Ok((reader.rest(), RECORD_HEADER_BYTES as u64 + u64::from(length)))
}

/// Where, from `place` on, a batch header stands that proves that batch `number` was synced.
pub fn find_proof(bytes: &[u8], place: Place, number: u64) -> Option<u64> {
    let mut at = 0;
    while at < bytes.len() {
        let piece = bytes.get(at..at + SCAN_BYTES).unwrap_or(&bytes[at..]);
        if *piece == ZEROS[..piece.len()] {
            at += piece.len();
            continue;
        }
        for start in at..at + piece.len() {
            if bytes[start] != BATCH_MAGIC[0] {
                continue;
            }
            let position = place.position + start as u64;
            let header = BatchHeader::decode(&bytes[start..], place.at(position));
            if header.is_ok_and(|header| header.synced >= number && header.number > header.synced) {
                return Some(position);
            }
        }
        at += piece.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { salt: 7, segment: 3, position: 100 };

    fn batch(number: u64, synced: u64, bodies: &[&[u8]]) -> Vec<u8> {
        let mut records = Vec::new();
        for body in bodies {
            let position = PLACE.position + (BATCH_HEADER_BYTES + records.len()) as u64;
            put_record(&mut records, body, crc32c::crc32c(body), PLACE.at(position));
        }
        let header = BatchHeader {
            number,
            synced,
            records: bodies.len() as u32,
            bytes: records.len() as u32,
        };
        let mut bytes = header.encode(PLACE).to_vec();
        bytes.extend_from_slice(&records);
        bytes
    }

    #[test]
    fn a_batch_is_whole_or_bad() {
        let bytes = batch(5, 4, &[b"one", b"", b"three"]);
        let read = Batch::read(&bytes, PLACE, 5).unwrap();
        assert_eq!(read.entries().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        for count in 0..bytes.len() {
            assert!(Batch::read(&bytes[..count], PLACE, 5).is_err(), "{count} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::read(&flipped, PLACE, 5).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_is_good_in_its_place_only() {
        let bytes = batch(5, 4, &[b"one"]);
        let elsewhere = [PLACE.at(101), Place { segment: 4, ..PLACE }, Place { salt: 8, ..PLACE }];
        for place in elsewhere {
            assert_eq!(Batch::read(&bytes, place, 5).err(), Some(SegmentViolation::Checksum));
        }
        assert_eq!(Batch::read(&bytes, PLACE, 6).err(), Some(SegmentViolation::Number(5)));
    }

    #[test]
    fn a_header_names_its_segment() {
        let header = SegmentHeader { number: 3, first_batch: 9, previous: 2, previous_end: 4000 };
        let mut bytes = Vec::new();
        header.encode(7, &mut bytes);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes, 3, 7), Ok(header));
        assert_eq!(SegmentHeader::decode(&bytes, 4, 7), Err(SegmentViolation::Foreign));
        assert_eq!(SegmentHeader::decode(&bytes, 3, 8), Err(SegmentViolation::Foreign));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped, 3, 7).is_err(), "bit {bit}");
        }
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes, 3, 7), Err(SegmentViolation::Version(2)));
    }

    #[test]
    fn a_proof_is_found_behind_anything() {
        let mut bytes = vec![0; 9000];
        bytes[8190] = b'r';
        let place = PLACE.at(PLACE.position + bytes.len() as u64);
        let seal = BatchHeader { number: 6, synced: 5, records: 0, bytes: 0 };
        bytes.extend_from_slice(&seal.encode(place));
        assert_eq!(find_proof(&bytes, PLACE, 5), Some(place.position));
        assert_eq!(find_proof(&bytes, PLACE, 6), None, "it says nothing of batch 6");
    }
}
