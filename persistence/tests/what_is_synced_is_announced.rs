//! Goal: who waits for an entry is woken behind its sync, when the disk has the next batch to work
//! on, and in any case before the journal rests.
//! Method: one turn after the other, with a bell that counts and a disk that is told to begin.

mod support;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use persistence::files::simulated::{Faults, SimulatedDisk, SimulatedSegment};
use persistence::files::{Files, Pace, SegmentSource, StdFiles};
use persistence::{OpenedJournal, Turn};
use protocol::ids::PartitionId;
use support::{close, entry, journal_options, now, open_now};

const SEGMENT_BYTES: u64 = 1 << 20;

fn append<F: Files>(journal: &OpenedJournal<F>, sequence: u64) {
    journal.appender.append(1, &entry(1, sequence, b"payload")).expect("room");
}

fn synced<F: Files>(journal: &OpenedJournal<F>) -> u64 {
    journal.board.progress(PartitionId(1)).synced
}

/// Counts how often the board rings from now on.
fn bell<F: Files>(journal: &OpenedJournal<F>) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let rung = count.clone();
    journal.board.add_bell(Box::new(move || {
        rung.fetch_add(1, Ordering::Relaxed);
    }));
    count
}

#[test]
fn when_the_next_batch_is_on_its_way() {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().expect("a directory");
    let files = StdFiles::new(folder.path()).started_by(|_, _, bytes| {
        assert!(bytes > 0);
        BEGUN.fetch_add(1, Ordering::Relaxed);
    });
    let Ok(mut journal) = open_now(&files, journal_options(SEGMENT_BYTES)) else {
        panic!("an empty folder")
    };
    let rung = bell(&journal);
    let counts = || (BEGUN.load(Ordering::Relaxed), rung.load(Ordering::Relaxed));
    let before = journal.board.generation();
    append(&journal, 1);
    assert_eq!(now(journal.journal.turn()), Turn::Busy);
    assert_eq!((synced(&journal), counts()), (1, (0, 0)));
    assert_ne!(journal.board.generation(), before, "who looks sees it");
    append(&journal, 2);
    assert_eq!(now(journal.journal.turn()), Turn::Busy);
    assert_eq!((synced(&journal), counts()), (2, (1, 1)), "the first is announced");
    assert_eq!(now(journal.journal.turn()), Turn::Busy, "a seal");
    assert_eq!(counts(), (1, 2), "nothing is to be written: the second is announced, too");
    assert_eq!(now(journal.journal.turn()), Turn::Idle);
    assert_eq!(counts(), (1, 2));
    close(&mut journal);
}

#[test]
fn when_the_next_batch_cannot_be_written() {
    let disk = SimulatedDisk::new(1, Faults::default());
    let Ok(mut journal) = open_now(&disk, journal_options(SEGMENT_BYTES)) else {
        panic!("an empty disk")
    };
    let rung = bell(&journal);
    append(&journal, 1);
    assert_eq!(now(journal.journal.turn()), Turn::Busy);
    disk.set_faults(Faults { write_errors_per_mille: 1000, ..Faults::default() });
    append(&journal, 2);
    assert_eq!(now(journal.journal.turn()), Turn::Busy);
    assert_eq!(synced(&journal), 1, "the second is void");
    assert_eq!(rung.load(Ordering::Relaxed), 2, "the first was announced, and the end of the term");
}

#[test]
fn when_a_segment_is_full() {
    let disk = SimulatedDisk::new(2, Faults::default());
    let Ok(mut journal) = open_now(&disk, journal_options(4096)) else { panic!("an empty disk") };
    let rung = bell(&journal);
    for sequence in 1..=100 {
        append(&journal, sequence);
        assert_eq!(now(journal.journal.turn()), Turn::Busy);
        assert_eq!(synced(&journal), sequence);
        assert_eq!(rung.load(Ordering::Relaxed), sequence - 1, "one behind, and never two");
    }
    assert!(disk.numbers().expect("a disk").len() > 1, "segments were full");
    close(&mut journal);
    assert_eq!(rung.load(Ordering::Relaxed), 100);
}

/// A disk that calls somebody before it does what may take long.
#[derive(Clone)]
struct SlowDisk {
    disk: SimulatedDisk,
    before: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl SlowDisk {
    fn tell(&self) {
        if let Some(before) = self.before.get() {
            before();
        }
    }
}

impl Files for SlowDisk {
    type File = SimulatedSegment;

    async fn create(&self, number: u64, bytes: u64, pace: Pace) -> io::Result<Self::File> {
        self.disk.create(number, bytes, pace).await
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        self.tell();
        self.disk.delete(number).await
    }

    async fn sync_directory(&self) -> io::Result<()> {
        self.tell();
        self.disk.sync_directory().await
    }

    async fn pause(&self, time: Duration) {
        self.disk.pause(time).await;
    }
}

impl SegmentSource for SlowDisk {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.disk.numbers()
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.disk.read(number, position, bytes_max)
    }
}

#[test]
fn before_the_name_of_a_segment_is_synced() {
    let disk = SimulatedDisk::new(3, Faults::default());
    let files = SlowDisk { disk, before: Arc::default() };
    let Ok(mut journal) = open_now(&files, journal_options(4096)) else { panic!("an empty disk") };
    let rung = bell(&journal);
    let (board, counted, slow) = (journal.board.clone(), rung.clone(), Arc::new(AtomicU64::new(0)));
    let slowed = slow.clone();
    let before = move || {
        let synced = board.progress(PartitionId(1)).synced;
        assert_eq!(counted.load(Ordering::Relaxed), synced, "somebody waits for the directory");
        slowed.fetch_add(1, Ordering::Relaxed);
    };
    assert!(files.before.set(Box::new(before)).is_ok());
    for sequence in 1..=100 {
        append(&journal, sequence);
        assert_eq!(now(journal.journal.turn()), Turn::Busy);
    }
    assert!(slow.load(Ordering::Relaxed) > 1, "segments were made");
    close(&mut journal);
}
