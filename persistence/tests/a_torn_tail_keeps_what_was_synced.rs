//! Goal: a write that the power cut short costs itself and nothing before it.
//! Method: cuts the last batch at every byte, with zeros or with other bytes behind the cut.

mod support;

use persistence::files::simulated::{Faults, SimulatedDisk};
use persistence::{Turn, read_journal};
use support::{SALT, close, entry, journal_options, now, open_now, settle};

/// A segment with three synced batches and a fourth in flight, and where that one begins.
fn segment() -> (Vec<u8>, usize, usize) {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(1 << 16)).expect("an empty disk");
    for batch in 0..4_u64 {
        if batch == 3 {
            settle(&mut journal);
        }
        for at in 0..3 {
            let sequence = batch * 3 + at + 1;
            journal.appender.append(1, &entry(1, sequence, b"{\"payload\":1}")).expect("room");
        }
        assert_eq!(now(journal.journal.turn()), Turn::Busy);
    }
    let bytes = disk.bytes(1).expect("the first segment");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("there are batches") + 1;
    let found = read_journal(&disk, SALT, 0, Default::default()).expect("a valid journal");
    assert_eq!(found.replayed.unproven, 3, "nothing proves the last batch yet");
    (bytes, found.replayed.end.end as usize, end)
}

#[test]
fn at_every_byte() {
    let (bytes, synced, end) = segment();
    for cut in synced..end {
        for fill in [0, 0xa5] {
            let mut torn = bytes.clone();
            torn[cut..end].fill(fill);
            let disk = SimulatedDisk::new(1, Faults::default());
            disk.put(1, torn);
            let mut journal = open_now(&disk, journal_options(1 << 16))
                .unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
            let kept = journal.found.replayed.entries.len();
            assert_eq!(kept, 9, "cut at {cut}, filled with {fill}");
            let is_clean = fill == 0 && bytes[synced..cut].iter().all(|byte| *byte == 0);
            // The seal before the fourth batch is valid, and not damage that must be told.
            if !is_clean && cut > synced + 32 {
                let torn = journal.found.torn.expect("it is told what was cut");
                assert_eq!(torn.entries_kept, 9);
            }
            journal.appender.append(1, &entry(1, 10, b"again")).expect("room");
            close(&mut journal);
            let again = read_journal(&disk, SALT, 0, Default::default()).expect("still valid");
            assert_eq!(again.replayed.entries.len(), 10);
            assert_eq!(again.replayed.entries[9], entry(1, 10, b"again"));
        }
    }
}

#[test]
fn a_whole_batch_that_nothing_proves_is_kept_and_written_again() {
    let (bytes, _, _) = segment();
    let disk = SimulatedDisk::new(1, Faults::default());
    disk.put(1, bytes);
    let journal = open_now(&disk, journal_options(1 << 16)).expect("a valid journal");
    assert_eq!(journal.found.replayed.entries.len(), 12);
    drop(journal);
    // The old place of the last batch is void now: only its copy in the second segment counts.
    let mut first = disk.bytes(1).expect("the first segment");
    let end = first.iter().rposition(|byte| *byte != 0).expect("there are batches");
    first[end - 40] ^= 1;
    disk.put(1, first);
    let again = read_journal(&disk, SALT, 0, Default::default()).expect("still valid");
    assert_eq!(again.replayed.entries.len(), 12);
}
