//! Goal: the store commits rarely while nobody awaits it, and at once when somebody does.
//! Method: real files and threads; commits are counted.

mod support;

use std::time::{Duration, Instant};

use persistence::limits::COMMIT_PAUSE;
use persistence::open;
use protocol::ids::PartitionId;
use support::{entry, options, wait_until};

#[test]
fn unless_somebody_awaits_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(&folder.path().join("data"))).expect("it opens");
    let counters = opened.persistence.counters();
    let progress = || opened.board.progress(PartitionId(1));
    opened.appender.append(1, &entry(1, 1, b"{}")).expect("room");
    wait_until("the first is stored, there is nothing to wait for", || progress().stored == 1);
    let began = Instant::now();
    for sequence in 2..=40 {
        opened.appender.append(1, &entry(1, sequence, b"{}")).expect("room");
        wait_until("synced", || progress().synced == sequence);
    }
    let batches = counters.commits.value();
    assert!(batches >= 40, "a batch each: {batches}");
    let commits = counters.store_commits.value();
    let pauses = 2 + (began.elapsed().as_nanos() / COMMIT_PAUSE.as_nanos()) as u64;
    assert!(commits <= pauses, "{commits} commits in {:?}", began.elapsed());
    // A slow disk may make one of them late, but not all.
    let in_time = (0..3).any(|round| {
        let sequence = 41 + 3 * round;
        let is_stored = |sequence: u64| progress().stored >= sequence;
        opened.appender.append(1, &entry(1, sequence, b"{}")).expect("room");
        wait_until("a paced commit", || is_stored(sequence));
        let committed = Instant::now();
        opened.appender.append(1, &entry(1, sequence + 1, b"{}")).expect("room");
        opened.appender.append_awaiting_store(1, &entry(1, sequence + 2, b"{}")).expect("room");
        wait_until("stored", || is_stored(sequence + 2));
        committed.elapsed() < COMMIT_PAUSE / 2
    });
    assert!(in_time, "who awaits the store does not wait for its pause");
}

#[test]
fn and_not_behind_a_backlog() {
    const COUNT: u64 = 100_000;
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(&folder.path().join("data"))).expect("it opens");
    let progress = || opened.board.progress(PartitionId(1));
    opened.appender.append(1, &entry(1, 1, b"{}")).expect("room");
    wait_until("the first is stored", || progress().stored == 1);
    for sequence in 2..COUNT {
        while opened.appender.append(1, &entry(1, sequence, b"{}")).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait_until("room", || {
        opened.appender.append_awaiting_store(1, &entry(1, COUNT, b"{}")).is_ok()
    });
    wait_until("stored", || progress().stored == COUNT);
    let commits = opened.persistence.counters().store_commits.value();
    let entries_each = COUNT / commits;
    assert!(entries_each > 100, "{commits} commits");
    assert_eq!(opened.persistence.counters().unstored_bytes.value(), 0, "the gauge says so too");
}
