//! What the tests of this tier share: entries, turning a journal by hand, waiting.
#![allow(dead_code)] // Each test uses its part.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use persistence::files::{Files, SegmentSource};
use persistence::{
    JournalIo, JournalOptions, OpenJournalError, OpenedJournal, PersistenceOptions, StoreReader,
    Turn, open_journal,
};
use protocol::channels::{ChannelOptions, Namespaces};
use protocol::ids::PartitionId;
use protocol::link::{Content, LogChange, LogEntry, Publication, StoreAnswer, StoreQuestion};

/// Part of the checksums of journals on simulated disks.
pub(crate) const SALT: u64 = 0x5a17;
/// A moment in 2026.
pub(crate) const NOW_MS: u64 = 1_795_000_000_000;

/// A publication, whose offset is its sequence.
pub(crate) fn entry(partition: u16, sequence: u64, payload: &[u8]) -> LogEntry {
    entry_in(&format!("chat:{partition}"), partition, sequence, sequence, payload)
}

/// A publication in a channel.
pub(crate) fn entry_in(
    channel: &str,
    partition: u16,
    sequence: u64,
    offset: u64,
    payload: &[u8],
) -> LogEntry {
    let publication = Publication {
        offset,
        content: Content::classify(payload),
        publisher: None,
        tags: None,
        time_ms: NOW_MS + offset,
    };
    let change = LogChange::Published { publication: Arc::new(publication), idempotency_key: None };
    LogEntry {
        partition: PartitionId(partition),
        sequence,
        channel: channel.into(),
        epoch: "epoch".into(),
        change,
    }
}

/// Gives a publication an idempotency key.
pub(crate) fn with_key(mut entry: LogEntry, key: &str) -> LogEntry {
    if let LogChange::Published { idempotency_key, .. } = &mut entry.change {
        *idempotency_key = Some(key.into());
    }
    entry
}

/// Gives a publication another time.
pub(crate) fn at_time(mut entry: LogEntry, time_ms: u64) -> LogEntry {
    if let LogChange::Published { publication, .. } = &mut entry.change {
        let mut changed = Publication::clone(publication);
        changed.time_ms = time_ms;
        *publication = Arc::new(changed);
    }
    entry
}

pub(crate) fn journal_options(segment_bytes: u64) -> JournalOptions {
    JournalOptions {
        salt: SALT,
        partitions_count: 4,
        segment_bytes,
        appends_waiting_max: 1024,
        unstored_bytes_max: 1 << 30,
        checkpoint: 0,
        sequences: BTreeMap::new(),
    }
}

/// A journal on a simulated disk, whose operations never wait.
pub(crate) fn open_now<F: Files + SegmentSource + Clone>(
    disk: &F,
    options: JournalOptions,
) -> Result<OpenedJournal<F>, OpenJournalError> {
    now(open_journal(disk, options))
}

/// Runs a future that never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a simulated disk answers at once"),
    }
}

/// Turns until nothing waits.
pub(crate) fn settle<F: Files>(journal: &mut OpenedJournal<F>) -> Turn {
    for _ in 0..1000 {
        let turn = now(journal.journal.turn());
        if turn != Turn::Busy {
            return turn;
        }
    }
    panic!("the journal does not come to rest");
}

/// Closes a journal in order.
pub(crate) fn close<F: Files>(journal: &mut OpenedJournal<F>) {
    journal.close();
    assert_eq!(settle(journal), Turn::Done);
}

pub(crate) fn options(directory: &Path) -> PersistenceOptions {
    PersistenceOptions {
        journal_io: JournalIo::Standard,
        clock: Arc::new(|| NOW_MS),
        ..PersistenceOptions::new(directory, 4, namespaces())
    }
}

/// Channels that keep everything a test writes.
pub(crate) fn namespaces() -> Arc<Namespaces> {
    let options = ChannelOptions {
        history_size: 1_000_000,
        history_ttl: Duration::from_secs(86_400),
        ..ChannelOptions::default()
    };
    let without = options.clone();
    Arc::new(Namespaces { without, named: BTreeMap::from([("chat".to_owned(), options)]) })
}

/// Waits for something that another thread does.
pub(crate) fn wait_until(what: &str, mut is_done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_done() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks the store and waits for the answer.
pub(crate) fn ask(reader: &StoreReader, channel: &str, question: StoreQuestion) -> StoreAnswer {
    let (sender, receiver) = std::sync::mpsc::channel();
    let on_answer = Box::new(move |answer| drop(sender.send(answer)));
    reader.ask(channel.into(), question, on_answer);
    let answer =
        receiver.recv_timeout(Duration::from_secs(20)).expect("every question is answered");
    answer.expect("the store answers")
}

/// The offsets of the newest publications of a channel.
pub(crate) fn newest(reader: &StoreReader, channel: &str) -> Vec<u64> {
    let question = StoreQuestion::Newest { publications_max: 1000, bytes_max: u32::MAX };
    let StoreAnswer::Newest { publications, .. } = ask(reader, channel, question) else {
        panic!("an answer to another question");
    };
    publications.iter().map(|publication| publication.offset).collect()
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
