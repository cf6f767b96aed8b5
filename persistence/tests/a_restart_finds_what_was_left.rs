//! Goal: a restart goes on where the last process ended, whether it ended in order or not, through
//! io_uring and through std alike.
//! Method: real files. A process that dies is a copy of its files while it lives.

mod support;

use std::path::Path;

use persistence::{JournalIo, OpenError, Opened, open};
use protocol::ids::PartitionId;
use support::{entry, newest, options, wait_until};

fn append(opened: &Opened, sequences: std::ops::RangeInclusive<u64>) {
    let last = *sequences.end();
    for sequence in sequences {
        opened.appender.append(opened.board.term(), &entry(1, sequence, b"{}")).expect("room");
    }
    wait_until("synced", || opened.board.progress(PartitionId(1)).synced == last);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn in_order() {
    for journal_io in [JournalIo::Standard, JournalIo::Auto] {
        let folder = tempfile::tempdir().expect("a directory");
        let mut options = options(folder.path());
        options.journal_io = journal_io;
        for round in 0..5_u64 {
            let opened = open(options.clone()).expect("it opens");
            assert_eq!(opened.recovered.sequences[1], round * 100);
            assert!(opened.recovered.entries.is_empty(), "all of it was stored");
            assert_eq!(opened.recovered.torn, None);
            append(&opened, round * 100 + 1..=round * 100 + 100);
            opened.persistence.shutdown();
        }
        let opened = open(options).expect("it opens");
        assert_eq!(newest(&opened.reader, "chat:1").len(), 500);
    }
}

#[test]
fn without_order() {
    let folder = tempfile::tempdir().expect("a directory");
    let (live, copied) = (folder.path().join("live"), folder.path().join("copied"));
    let opened = open(options(&live)).expect("it opens");
    append(&opened, 1..=50);
    wait_until("stored", || opened.board.progress(PartitionId(1)).stored == 50);
    // The database stays as it was: what follows is in the journal alone.
    std::fs::create_dir_all(&copied).expect("a directory");
    for name in ["store.sqlite", "store.sqlite-wal"] {
        std::fs::copy(live.join(name), copied.join(name)).expect("a copy");
    }
    append(&opened, 51..=80);
    copy(&live.join("journal"), &copied.join("journal"));
    std::fs::copy(live.join("FORMAT"), copied.join("FORMAT")).expect("a copy");
    let again = open(options(&copied)).expect("it opens");
    assert_eq!(again.recovered.sequences, [0, 80, 0, 0]);
    let expected: Vec<_> = (51..=80).map(|sequence| entry(1, sequence, b"{}")).collect();
    assert_eq!(again.recovered.entries, expected);
    wait_until("stored", || again.board.progress(PartitionId(1)).stored == 80);
    assert_eq!(newest(&again.reader, "chat:1").len(), 80);
    wait_until("released", || again.persistence.unstored_bytes() == 0);
    append(&again, 81..=90);
    drop(again);
    drop(opened);
}

#[test]
fn but_not_twice_at_once() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    let second = open(options(folder.path()));
    let Err(refused @ OpenError::Directory(_)) = second else { panic!("it opened twice") };
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    opened.persistence.shutdown();
    open(options(folder.path())).expect("it is free again");
}

#[test]
fn nor_with_a_part_missing() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    append(&opened, 1..=5);
    opened.persistence.shutdown();
    let journal = folder.path().join("journal");
    let aside = folder.path().join("aside");
    std::fs::rename(&journal, &aside).expect("moved");
    let refused = open(options(folder.path())).expect_err("the journal is lost");
    assert!(refused.to_string().contains("the end of the journal is lost"), "{refused}");
    std::fs::remove_dir_all(&journal).expect("an empty folder");
    std::fs::rename(&aside, &journal).expect("moved");
    std::fs::write(journal.join("notes.txt"), "mine").expect("written");
    let refused = open(options(folder.path())).expect_err("a strange file");
    assert!(refused.to_string().contains("notes.txt is not what belongs there"), "{refused}");
    std::fs::remove_file(journal.join("notes.txt")).expect("removed");
    let mut other = options(folder.path());
    other.partitions_count = 8;
    let refused = open(other).expect_err("another number of partitions");
    assert!(refused.to_string().contains("configure 4 instead of 8"), "{refused}");
    open(options(folder.path())).expect("as it was");
}

#[test]
fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let opened = open(options(&data)).expect("it opens");
    append(&opened, 1..=5);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("journal")), 0o700);
    for name in ["LOCK", "FORMAT", "journal/00000000000000000001.log", "store.sqlite"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}
