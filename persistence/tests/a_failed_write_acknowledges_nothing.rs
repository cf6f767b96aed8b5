//! Goal: after a failed write, a failed sync or a full disk nothing is acknowledged, the term ends,
//! and the journal comes back by itself.
//! Method: one fault at a time on a simulated disk, with a look at the board before and after.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use persistence::files::simulated::{Faults, SimulatedDisk};
use persistence::{Full, Turn, read_journal};
use protocol::ids::PartitionId;
use support::{SALT, entry, journal_options, now, open_now, settle};

fn fails_and_recovers(faults: Faults) {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("an empty disk");
    let rings = Arc::new(AtomicU64::new(0));
    let ringing = rings.clone();
    journal.board.add_bell(Box::new(move || {
        ringing.fetch_add(1, Ordering::Relaxed);
    }));
    let progress = |board: &persistence::Board| board.progress(PartitionId(0)).synced;
    journal.appender.append(1, &entry(0, 1, b"one")).expect("room");
    settle(&mut journal);
    assert_eq!(progress(&journal.board), 1);
    disk.set_faults(faults);
    let rings_before = rings.load(Ordering::Relaxed);
    journal.appender.append(1, &entry(0, 2, b"two")).expect("room");
    journal.appender.append(1, &entry(0, 3, b"three")).expect("room");
    now(journal.journal.turn());
    assert_eq!(progress(&journal.board), 1, "{faults:?}");
    assert_eq!(journal.board.term(), 2, "{faults:?}");
    assert!(!journal.board.is_available(), "{faults:?}");
    assert!(rings.load(Ordering::Relaxed) > rings_before, "everybody is told");
    assert_eq!(journal.appender.append(2, &entry(0, 2, b"early")), Err(Full));
    assert_eq!(journal.appender.append(1, &entry(0, 4, b"late")), Ok(()), "dropped, not refused");
    assert_eq!(now(journal.journal.turn()), Turn::Unavailable, "{faults:?}");
    disk.set_faults(Faults::default());
    settle(&mut journal);
    assert!(journal.board.is_available());
    assert_eq!(journal.board.term(), 2);
    journal.appender.append(2, &entry(0, 2, b"two again")).expect("room");
    settle(&mut journal);
    assert_eq!(progress(&journal.board), 2);
    assert_eq!(journal.unstored_bytes(), {
        let found = read_journal(&disk, SALT, 0, Default::default()).expect("a valid journal");
        assert_eq!(found.replayed.entries, [entry(0, 1, b"one"), entry(0, 2, b"two again")]);
        found.replayed.entry_bytes
    });
}

#[test]
fn an_error_of_the_write() {
    fails_and_recovers(Faults { write_errors_per_mille: 1000, ..Faults::default() });
}

#[test]
fn a_short_write() {
    fails_and_recovers(Faults { short_writes_per_mille: 1000, ..Faults::default() });
}

#[test]
fn an_error_of_the_sync() {
    fails_and_recovers(Faults { sync_errors_per_mille: 1000, ..Faults::default() });
}

#[test]
fn a_full_disk() {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("an empty disk");
    disk.set_faults(Faults { space_bytes: Some(3 * 4096), ..Faults::default() });
    let (mut sequence, mut term) = (0, 1);
    while term == 1 {
        sequence += 1;
        assert!(sequence < 1000, "the disk gets full");
        journal.appender.append(1, &entry(0, sequence, &[b'x'; 200])).expect("room");
        settle(&mut journal);
        term = journal.board.term();
    }
    let synced = journal.board.progress(PartitionId(0)).synced;
    assert_eq!(synced, sequence - 1, "what fitted is acknowledged, the next is not");
    for _ in 0..5 {
        assert_eq!(now(journal.journal.turn()), Turn::Unavailable);
    }
    disk.set_faults(Faults::default());
    settle(&mut journal);
    journal.appender.append(2, &entry(0, sequence, b"again")).expect("room");
    settle(&mut journal);
    let found = read_journal(&disk, SALT, 0, Default::default()).expect("a valid journal");
    assert_eq!(found.replayed.entries.len() as u64, sequence);
    assert!(found.segments.1 <= 6, "attempts leave no files behind");
}

#[test]
fn entries_out_of_order_end_the_term_too() {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("an empty disk");
    journal.appender.append(1, &entry(0, 1, b"one")).expect("room");
    journal.appender.append(1, &entry(0, 3, b"three")).expect("room");
    settle(&mut journal);
    assert_eq!(journal.board.progress(PartitionId(0)).synced, 0, "nothing behind a hole");
    assert_eq!(journal.board.term(), 2);
    assert!(journal.board.is_available());
}

#[test]
fn a_disk_that_refuses_everything_for_a_while_leaves_no_hole() {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("an empty disk");
    journal.appender.append(1, &entry(0, 1, b"one")).expect("room");
    settle(&mut journal);
    // As a file system that was made read-only after an error: nothing can be removed either.
    disk.set_faults(Faults { stops_at: Some(0), ..Faults::default() });
    journal.appender.append(1, &entry(0, 2, b"two")).expect("room");
    for _ in 0..6 {
        now(journal.journal.turn());
    }
    disk.set_faults(Faults::default());
    settle(&mut journal);
    journal.appender.append(2, &entry(0, 2, b"two again")).expect("room");
    settle(&mut journal);
    let found = read_journal(&disk, SALT, 0, Default::default()).expect("no segment is missing");
    assert_eq!(found.replayed.entries, [entry(0, 1, b"one"), entry(0, 2, b"two again")]);
}
