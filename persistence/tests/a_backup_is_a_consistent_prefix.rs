//! Goal: a backup taken while the server writes holds everything that was synced before it began,
//! ends between two entries, and is restored only if every byte is right.
//! Method: appends run in another thread while backups are taken; each is restored and opened.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use persistence::{BackupError, Opened, backup, open, restore};
use protocol::ids::PartitionId;
use protocol::link::{Position, StoreAnswer, StoreQuestion};
use support::{ask, entry, newest, options, wait_until};

fn position(opened: &Opened, channel: &str) -> Position {
    let question = StoreQuestion::Newest { publications_max: 1, bytes_max: 1 };
    match ask(&opened.reader, channel, question) {
        StoreAnswer::Newest { position: Some(position), .. } => position,
        other => panic!("{other:?}"),
    }
}

#[test]
fn while_appending() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let mut opened_options = options(&data);
    opened_options.segment_bytes = 32 << 10;
    let opened = open(opened_options).expect("it opens");
    let is_over = Arc::new(AtomicBool::new(false));
    let (appender, board, over) = (opened.appender.clone(), opened.board.clone(), is_over.clone());
    let writer = std::thread::spawn(move || {
        let mut sequence = 0;
        while !over.load(Ordering::Relaxed) {
            let payload = format!("{{\"number\":{}}}", sequence + 1);
            if appender.append(board.term(), &entry(1, sequence + 1, payload.as_bytes())).is_ok() {
                sequence += 1;
            }
            if sequence % 50 == 0 {
                wait_until("synced", || board.progress(PartitionId(1)).synced == sequence);
            }
        }
        sequence
    });
    for round in 0..8 {
        let started = opened.board.progress(PartitionId(1)).synced;
        wait_until("work", || opened.board.progress(PartitionId(1)).synced > started + 200);
        let before = opened.board.progress(PartitionId(1)).synced;
        let (copy, back) = (
            folder.path().join(format!("copy{round}")),
            folder.path().join(format!("back{round}")),
        );
        let report = backup(&data, &copy).unwrap_or_else(|error| panic!("{round}: {error}"));
        assert!(report.sequences[&1] >= before, "{round}: all that was synced before");
        restore(&copy, &back).unwrap_or_else(|error| panic!("{round}: {error}"));
        let restored = open(options(&back)).unwrap_or_else(|error| panic!("{round}: {error}"));
        let last = restored.recovered.sequences[1];
        assert_eq!(last, report.sequences[&1]);
        wait_until("stored", || restored.board.progress(PartitionId(1)).stored == last);
        let tail: Vec<u64> = (last.saturating_sub(999).max(1)..=last).collect();
        assert_eq!(newest(&restored.reader, "chat:1"), tail, "a prefix without a hole");
        let (was, is) = (position(&opened, "chat:1"), position(&restored, "chat:1"));
        assert_eq!(is.offset, last, "the position stays");
        assert_ne!(is.epoch, was.epoch, "what was lost behind the backup is told");
        let mut next = entry(1, last + 1, b"{}");
        next.epoch = is.epoch;
        restored.appender.append_awaiting_store(1, &next).expect("it goes on");
        wait_until("stored", || restored.board.progress(PartitionId(1)).stored == last + 1);
        assert_eq!(position(&restored, "chat:1").offset, last + 1);
    }
    is_over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
    opened.persistence.shutdown();
}

#[test]
fn of_a_directory_that_nobody_uses() {
    let folder = tempfile::tempdir().expect("a directory");
    let (data, copy, back) =
        (folder.path().join("data"), folder.path().join("copy"), folder.path().join("back"));
    assert!(matches!(backup(&data, &copy), Err(BackupError::Nothing(_))));
    let opened = open(options(&data)).expect("it opens");
    for sequence in 1..=20 {
        opened.appender.append(1, &entry(2, sequence, b"{}")).expect("room");
    }
    wait_until("synced", || opened.board.progress(PartitionId(2)).synced == 20);
    opened.persistence.shutdown();
    backup(&data, &copy).expect("a backup");
    assert!(matches!(backup(&data, &copy), Err(BackupError::NotEmpty(_))));
    assert!(matches!(restore(&copy, &data), Err(BackupError::NotEmpty(_))));
    // One bit anywhere in any file.
    for name in ["FORMAT", "BACKUP", "store.sqlite", "journal/00000000000000000001.log"] {
        let path = copy.join(name);
        let bytes = std::fs::read(&path).expect("a file");
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, flipped).expect("written");
            assert!(restore(&copy, &back).is_err(), "{name} byte {at}");
            assert!(!back.exists(), "nothing is written before everything is verified");
        }
        std::fs::write(&path, bytes).expect("written");
    }
    restore(&copy, &back).expect("it is whole again");
    let restored = open(options(&back)).expect("it opens");
    assert_eq!(restored.recovered.sequences[2], 20);
}
