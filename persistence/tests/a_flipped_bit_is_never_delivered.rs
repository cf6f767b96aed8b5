//! Goal: of what was synced, no changed bit goes unnoticed, and nothing damaged is delivered.
//! Method: flips 200 bits, one at a time, in a closed journal and in a copy of a resting one; then
//! removes and moves whole pieces.

mod support;

use persistence::files::simulated::{Faults, SimulatedDisk};
use persistence::{ReadError, read_journal};
use support::{Random, SALT, close, entry, journal_options, open_now, settle};

fn journal(is_closed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("an empty disk");
    for sequence in 1..=120 {
        let payload = format!("{{\"number\":{sequence}}}");
        journal.appender.append(1, &entry(2, sequence, payload.as_bytes())).expect("room");
        if sequence % 3 == 0 {
            settle(&mut journal);
        }
    }
    if is_closed {
        close(&mut journal);
    }
    disk
}

#[test]
fn in_200_places() {
    for is_closed in [true, false] {
        let disk = journal(is_closed);
        let found = read_journal(&disk, SALT, 0, Default::default()).expect("a valid journal");
        assert_eq!(found.replayed.entries.len(), 120);
        assert!(found.replayed.spans.len() > 2, "there is more than one segment");
        let mut random = Random(7);
        for _ in 0..200 {
            let span =
                found.replayed.spans[random.below(found.replayed.spans.len() as u64) as usize];
            let bit = random.below(span.end * 8) as usize;
            let whole = disk.bytes(span.segment).expect("a segment");
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.put(span.segment, flipped);
            let read = read_journal(&disk, SALT, 0, Default::default());
            assert!(
                matches!(read, Err(ReadError::Refused(_))),
                "segment {} bit {bit}, closed: {is_closed}: {:?}",
                span.segment,
                read.map(|read| read.replayed.entries.len())
            );
            disk.put(span.segment, whole);
        }
    }
}

#[test]
fn nor_a_piece_in_another_place() {
    let disk = journal(true);
    let found = read_journal(&disk, SALT, 0, Default::default()).expect("a valid journal");
    let [first, second] = [found.replayed.spans[0], found.replayed.spans[1]];
    let bytes = [first, second].map(|span| disk.bytes(span.segment).expect("a segment"));
    // Two records of equal length change places.
    let mut swapped = bytes[0].clone();
    let record = (first.end as usize - 64 - 32) / 4;
    let (one, other) = (200, 200 + record);
    for at in 0..64 {
        swapped.swap(one + at, other + at);
    }
    disk.put(first.segment, swapped);
    assert!(read_journal(&disk, SALT, 0, Default::default()).is_err());
    // A segment takes the place of another.
    disk.put(first.segment, bytes[1].clone());
    assert!(read_journal(&disk, SALT, 0, Default::default()).is_err());
    disk.put(first.segment, bytes[0].clone());
    assert!(read_journal(&disk, SALT, 0, Default::default()).is_ok());
    assert!(read_journal(&disk, SALT + 1, 0, Default::default()).is_err(), "another directory's");
}

#[test]
fn nor_a_journal_with_a_part_missing() {
    let disk = journal(true);
    let count = read_journal(&disk, SALT, 0, Default::default()).expect("valid").segments.1;
    for missing in 1..count {
        let part = SimulatedDisk::new(1, Faults::default());
        for number in (1..=count).filter(|number| *number != missing) {
            part.put(number, disk.bytes(number).expect("a segment"));
        }
        let read = read_journal(&part, SALT, 0, Default::default());
        assert!(matches!(read, Err(ReadError::Refused(_))), "without segment {missing}");
    }
}
