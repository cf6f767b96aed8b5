//! Where the journal's next write goes.
//!
//! Owns: the place and number of the next batch, and how far everything is synced.
//! Never: writes. The driver does, one write and one sync at a time, and says how it went.
//! Invariant: synced_end <= position, synced_batch < next_batch.

use super::segment::{
    BATCH_HEADER_BYTES, BATCH_NUMBERS_SKIPPED, BatchHeader, Place, RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES, SegmentHeader, put_record,
};

/// Where a journal ends: the last valid batch, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalEnd {
    /// The segment of the last batch; zero: there is none.
    pub segment: u64,
    /// Where the valid bytes of that segment end.
    pub end: u64,
    /// The number of the last batch.
    pub batch: u64,
}

/// Bytes that go to one position of the current segment.
#[derive(Debug)]
pub struct Write {
    /// Where, in bytes.
    pub position: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// The writing end of the journal.
#[derive(Debug)]
pub struct Writer {
    salt: u64,
    segment: u64,
    segment_bytes: u64,
    position: u64,
    next_batch: u64,
    synced: JournalEnd,
    /// The end of what was handed out and is not synced.
    written: JournalEnd,
    header: Option<SegmentHeader>,
    building: Building,
}

#[derive(Debug, Default)]
struct Building {
    bytes: Vec<u8>,
    header_at: usize,
    records: u32,
}

impl Writer {
    /// Goes on behind `end`, in a segment that is still to be opened.
    pub fn new(salt: u64, end: JournalEnd) -> Self {
        Self {
            salt,
            segment: end.segment,
            segment_bytes: 0,
            position: 0,
            next_batch: end.batch + 1,
            synced: end,
            written: end,
            header: None,
            building: Building::default(),
        }
    }

    /// Goes on in a new segment of `bytes`, behind what is synced. Everything else becomes void.
    pub fn open(&mut self, segment: u64, bytes: u64) {
        assert!(segment > self.synced.segment, "segments are opened in order");
        self.segment = segment;
        self.segment_bytes = bytes;
        self.position = 0;
        self.next_batch = self.synced.batch + 1 + BATCH_NUMBERS_SKIPPED;
        self.written = self.synced;
        self.header = Some(SegmentHeader {
            number: segment,
            first_batch: self.next_batch,
            previous: self.synced.segment,
            previous_end: self.synced.end,
        });
    }

    /// Takes the header out of the first write. It is written last, once the first batch is synced:
    /// until then the header would make void what that batch repeats.
    pub fn defer_header(&mut self) -> Write {
        let header = self.header.take().expect("nothing was written to the segment yet");
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        header.encode(self.salt, &mut bytes);
        self.position = SEGMENT_HEADER_BYTES as u64;
        Write { position: 0, bytes }
    }

    /// The current segment.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Up to where everything is synced.
    pub fn synced(&self) -> JournalEnd {
        self.synced
    }

    /// Bytes of the current segment that are used.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Is there room in the segment for a batch with so many bytes of records? A fresh segment is
    /// made for the batch, so it always has.
    pub fn fits(&self, records_bytes: usize) -> bool {
        let needed = self.position + BATCH_HEADER_BYTES as u64 + records_bytes as u64;
        // Room for a seal as well: it must not need a segment of its own.
        needed + BATCH_HEADER_BYTES as u64 <= self.segment_bytes
    }

    /// Bytes of a segment that holds a first batch with so many bytes of records.
    pub fn segment_bytes_for(records_bytes: usize) -> u64 {
        (SEGMENT_HEADER_BYTES + 2 * BATCH_HEADER_BYTES + records_bytes) as u64
    }

    /// Bytes that an entry takes in a batch.
    pub fn record_bytes(body_bytes: usize) -> usize {
        RECORD_HEADER_BYTES + body_bytes
    }

    /// Begins a batch in a buffer that is used again.
    pub fn begin(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if let Some(header) = self.header {
            header.encode(self.salt, &mut buffer);
        }
        let header_at = buffer.len();
        buffer.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
        self.building = Building { bytes: buffer, header_at, records: 0 };
    }

    /// Adds an entry to the batch.
    pub fn push(&mut self, body: &[u8], body_crc: u32) {
        let place = self.place(self.position + self.building.bytes.len() as u64);
        put_record(&mut self.building.bytes, body, body_crc, place);
        self.building.records += 1;
    }

    /// Ends the batch. Without entries it is a seal.
    pub fn finish(&mut self) -> Write {
        let Building { mut bytes, header_at, records } = std::mem::take(&mut self.building);
        let records_bytes = bytes.len() - header_at - BATCH_HEADER_BYTES;
        let header = BatchHeader {
            number: self.next_batch,
            synced: self.synced.batch,
            records,
            bytes: u32::try_from(records_bytes).expect("a batch is bounded by limits.rs"),
        };
        let place = self.place(self.position + header_at as u64);
        bytes[header_at..header_at + BATCH_HEADER_BYTES].copy_from_slice(&header.encode(place));
        let position = self.position;
        self.position += bytes.len() as u64;
        self.written =
            JournalEnd { segment: self.segment, end: self.position, batch: self.next_batch };
        self.next_batch += 1;
        self.header = None;
        assert!(self.position <= self.segment_bytes, "a batch fits its segment");
        Write { position, bytes }
    }

    /// Everything that was handed out is on disk for good.
    pub fn all_synced(&mut self) {
        self.synced = self.written;
    }

    /// Was everything that was handed out synced?
    pub fn is_synced(&self) -> bool {
        self.synced == self.written
    }

    fn place(&self, position: u64) -> Place {
        Place { salt: self.salt, segment: self.segment, position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::segment::Batch;

    #[test]
    fn a_new_segment_names_the_end_of_what_was_synced() {
        let mut writer = Writer::new(7, JournalEnd::default());
        writer.open(1, 4096);
        writer.begin(Vec::new());
        writer.push(b"a", crc32c::crc32c(b"a"));
        let first = writer.finish();
        assert_eq!(first.position, 0);
        writer.all_synced();
        let end = writer.synced();
        assert_eq!((end.segment, end.end, end.batch), (1, first.bytes.len() as u64, 3));
        writer.begin(Vec::new());
        writer.finish();
        assert!(!writer.is_synced(), "a seal waits for the next sync");
        writer.open(2, 4096);
        writer.begin(Vec::new());
        let write = writer.finish();
        let header = SegmentHeader::decode(&write.bytes, 2, 7).unwrap();
        assert_eq!(header.previous, 1);
        assert_eq!(header.previous_end, end.end);
        assert_eq!(header.first_batch, 6, "4 and 5 are void");
        let place = Place { salt: 7, segment: 2, position: SEGMENT_HEADER_BYTES as u64 };
        let batch = Batch::read(&write.bytes[SEGMENT_HEADER_BYTES..], place, 6).unwrap();
        assert_eq!(batch.header.synced, 3);
    }
}
