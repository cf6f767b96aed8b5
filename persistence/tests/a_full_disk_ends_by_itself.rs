//! Goal: what the disk refuses for a while is refused for a while, and neither the next start nor
//! the operator is left with a riddle.
//! Method: a simulated disk whose space and directory are taken away at the worst moment.

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use persistence::files::simulated::{Faults, SimulatedDisk, SimulatedSegment};
use persistence::files::{Files, Pace, SegmentSource};
use persistence::{OpenedJournal, Turn, read_journal};
use protocol::ids::PartitionId;
use support::{SALT, entry, journal_options, now, open_now, settle};

const P: PartitionId = PartitionId(0);

/// A disk that refuses what it is told to refuse.
#[derive(Clone)]
struct Faulty {
    disk: SimulatedDisk,
    /// No segment can be made.
    is_full: Arc<AtomicBool>,
    /// The sync of the directory behind the next removal fails, once.
    fails_behind_removal: Arc<AtomicBool>,
    fails_next_sync: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
}

fn faulty() -> Faulty {
    Faulty {
        disk: SimulatedDisk::new(1, Faults::default()),
        is_full: Arc::default(),
        fails_behind_removal: Arc::default(),
        fails_next_sync: Arc::default(),
        attempts: Arc::default(),
    }
}

impl Files for Faulty {
    type File = SimulatedSegment;

    async fn create(&self, number: u64, bytes: u64, pace: Pace) -> io::Result<SimulatedSegment> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.create(number, bytes, pace).await
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        if self.fails_behind_removal.swap(false, Ordering::Relaxed) {
            self.fails_next_sync.store(true, Ordering::Relaxed);
        }
        Files::delete(&self.disk, number).await
    }

    async fn sync_directory(&self) -> io::Result<()> {
        if self.fails_next_sync.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("EIO"));
        }
        self.disk.sync_directory().await
    }

    async fn pause(&self, _: Duration) {}
}

impl SegmentSource for Faulty {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.disk.numbers()
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.disk.read(number, position, bytes_max)
    }
}

fn append<F: Files>(journal: &mut OpenedJournal<F>, bytes: usize) -> Turn {
    let sequence = journal.board.progress(P).synced + 1;
    let appended =
        journal.appender.append(journal.board.term(), &entry(0, sequence, &vec![b'x'; bytes]));
    match appended {
        Ok(()) => settle(journal),
        Err(_) => Turn::Unavailable,
    }
}

#[test]
fn as_soon_as_the_store_has_caught_up() {
    let disk = SimulatedDisk::new(1, Faults { space_bytes: Some(4 * 4096), ..Faults::default() });
    let mut journal = open_now(&disk, journal_options(4096)).expect("it opens");
    let is_full = (0..100).any(|_| append(&mut journal, 900) == Turn::Unavailable);
    assert!(is_full);
    let last = journal.last_batches().last().expect("a segment").1;
    journal.stored(last, journal.unstored_bytes());
    let is_back = (0..50).any(|_| now(journal.journal.turn()) != Turn::Unavailable);
    assert!(is_back, "what is stored makes room: {:?}", disk.numbers());
}

#[test]
fn without_a_hole_between_the_segments() {
    let files = faulty();
    let mut journal = open_now(&files, journal_options(4096)).expect("it opens");
    append(&mut journal, 10);
    files.disk.set_faults(Faults { write_errors_per_mille: 1000, ..Faults::default() });
    let (term, second) = (journal.board.term(), entry(0, 2, b"two"));
    journal.appender.append(term, &second).expect("room");
    assert_eq!(now(journal.journal.turn()), Turn::Busy);
    // The next segment is written in vain and removed; nobody knows whether for good.
    files.fails_behind_removal.store(true, Ordering::Relaxed);
    assert_eq!(now(journal.journal.turn()), Turn::Unavailable);
    files.disk.set_faults(Faults::default());
    settle(&mut journal);
    append(&mut journal, 10);
    assert_eq!(journal.board.progress(P).synced, 2);
    let read = read_journal(&files, SALT, 0, Default::default());
    assert_eq!(
        read.map_err(|error| error.to_string()).map(|read| read.replayed.entries.len()),
        Ok(2)
    );
}

#[test]
fn with_few_attempts_to_make_a_segment_ahead() {
    let files = faulty();
    let mut journal = open_now(&files, journal_options(1 << 20)).expect("it opens");
    files.is_full.store(true, Ordering::Relaxed);
    append(&mut journal, 600 << 10);
    let before = files.attempts.load(Ordering::Relaxed);
    (0..500).for_each(|_| _ = append(&mut journal, 100));
    let attempts = files.attempts.load(Ordering::Relaxed) - before;
    assert!((1..20).contains(&attempts), "{attempts} attempts beside 500 commits");
}

#[test]
fn at_the_next_start_too() {
    let disk = SimulatedDisk::new(1, Faults::default());
    let mut journal = open_now(&disk, journal_options(4096)).expect("it opens");
    (0..4).for_each(|_| _ = append(&mut journal, 600));
    assert_eq!(disk.numbers().expect("a folder").len(), 2, "one was made ahead");
    drop(journal);
    disk.set_faults(Faults { space_bytes: Some(2 * 4096), ..Faults::default() });
    let opened = open_now(&disk, journal_options(4096));
    let found = opened.map(|opened| opened.found.replayed.entries.len());
    assert_eq!(found.map_err(|error| format!("{error:?}")), Ok(4));
}
