//! What the disk allows, and how much of it the journal, a replay and the store use.
//!
//! `cargo bench -p persistence --bench disk -- FOLDER [commit] [replay] [store] [whole]` measures
//! all or some parts in a new folder below FOLDER. One line per result: name, then `key=value`. The
//! raw loop and the journal take turns in every round, because the disk of a shared machine changes
//! from minute to minute.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persistence::files::StdFiles;
use persistence::store::Store;
use persistence::store::sqlite::SqliteStore;
use persistence::{
    JournalIo, JournalOptions, Opened, PersistenceOptions, Turn, open, open_journal, read_journal,
};
use protocol::channels::{ChannelOptions, Namespaces};
use protocol::ids::PartitionId;
use protocol::link::{Content, LogChange, LogEntry, Publication};

const PAYLOAD_BYTES: usize = 200;
const CHANNELS: u64 = 5000;
const PARTITIONS: u16 = 64;
const ROUNDS: usize = 3;
const REPLAYED_ENTRIES: u64 = 1_000_000;
const STORED_ENTRIES: u64 = 600_000;
const SEGMENT_BYTES: u64 = 64 << 20;

/// Entry `number` of a load that is spread over all channels.
struct Load {
    sequences: Vec<u64>,
    number: u64,
    payload: Content,
    channels: Vec<Arc<str>>,
    epoch: Arc<str>,
}

impl Load {
    fn new() -> Self {
        Self {
            sequences: vec![0; usize::from(PARTITIONS)],
            number: 0,
            payload: Content::classify(&[b'"'; PAYLOAD_BYTES]),
            channels: (0..CHANNELS).map(|n| format!("chat:room-{n}").into()).collect(),
            epoch: "epoch".into(),
        }
    }

    fn next(&mut self) -> LogEntry {
        let at = self.number % CHANNELS;
        let partition = (at % u64::from(PARTITIONS)) as u16;
        let sequence = &mut self.sequences[usize::from(partition)];
        *sequence += 1;
        self.number += 1;
        let publication = Publication {
            offset: self.number.div_ceil(CHANNELS),
            content: self.payload.clone(),
            publisher: None,
            tags: None,
            time_ms: 1_795_000_000_000 + self.number / 50,
        };
        LogEntry {
            partition: PartitionId(partition),
            sequence: *sequence,
            channel: self.channels[at as usize].clone(),
            epoch: self.epoch.clone(),
            change: LogChange::Published {
                publication: Arc::new(publication),
                idempotency_key: None,
            },
        }
    }
}

fn main() {
    // `cargo test` builds and runs benches too: without a folder there is nothing to measure.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(folder) = arguments.next() else {
        println!("name a folder on the disk to measure");
        return;
    };
    let parts: Vec<String> = arguments.collect();
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let folder = tempfile::tempdir_in(folder).expect("a folder to write to");
    if wants("commit") {
        for batch in [1, 16, 256, 4096] {
            for journal_io in [JournalIo::Standard, JournalIo::Uring] {
                commits(folder.path(), batch, journal_io);
            }
        }
    }
    if wants("replay") {
        replay(folder.path());
    }
    if wants("store") {
        store(folder.path());
    }
    if wants("whole") {
        whole(folder.path());
    }
}

/// Equal batches, one after the other: written and synced by hand, and through the journal.
fn commits(folder: &Path, entries: u64, journal_io: JournalIo) {
    let commits = (4000 / entries.isqrt()).clamp(100, 1000);
    for round in 0..ROUNDS {
        let name = format!("{entries}-{journal_io:?}-{round}");
        let (bytes, journal) = through_journal(&folder.join(&name), entries, commits, journal_io);
        let raw = by_hand(&folder.join(format!("{name}.raw")), bytes, commits);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / commits as f64;
        println!(
            "commit io={journal_io:?} entries={entries} bytes={bytes} round={round} \
             raw_us={:.0} journal_us={:.0} journal_of_raw={:.3} entries_per_s={:.0}",
            each(raw),
            each(journal),
            raw.as_secs_f64() / journal.as_secs_f64(),
            entries as f64 * commits as f64 / journal.as_secs_f64(),
        );
    }
}

fn by_hand(path: &Path, bytes: usize, commits: u64) -> Duration {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    let file = file.expect("a file");
    let total = (bytes as u64 * commits).max(SEGMENT_BYTES);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total).expect("space");
    file.sync_all().expect("synced");
    let buffer = vec![7; bytes];
    let started = Instant::now();
    for at in 0..commits {
        file.write_all_at(&buffer, at * bytes as u64).expect("written");
        file.sync_data().expect("synced");
    }
    let time = started.elapsed();
    drop(file);
    std::fs::remove_file(path).expect("removed");
    time
}

/// Bytes per batch, and the time of all, through a journal without a store: appended, turned until
/// they are synced, and then the next.
fn through_journal(
    folder: &Path,
    entries: u64,
    commits: u64,
    journal_io: JournalIo,
) -> (usize, Duration) {
    std::fs::create_dir(folder).expect("a folder");
    let files = StdFiles::new(folder);
    let time = match journal_io {
        JournalIo::Uring => {
            let uring = tokio_uring::Runtime::new(&tokio_uring::builder()).expect("io_uring");
            uring.block_on(turns(persistence::files::UringFiles::new(files), entries, commits))
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(turns(files, entries, commits))
        }
    };
    let one = {
        let mut body = Vec::new();
        persistence::engine::record::encode(&Load::new().next(), &mut body);
        body.len() + 8
    };
    std::fs::remove_dir_all(folder).expect("removed");
    (one * entries as usize + 32, time)
}

async fn turns<F>(files: F, entries: u64, commits: u64) -> Duration
where
    F: persistence::files::Files + persistence::files::SegmentSource + Clone,
{
    let Ok(mut opened) = open_journal(&files, journal_options()).await else {
        panic!("an empty folder")
    };
    let mut load = Load::new();
    let mut time = Duration::ZERO;
    for _ in 0..commits {
        // Shards encode on their own cores while the journal syncs: that is not its time.
        for _ in 0..entries {
            opened.appender.append(1, &load.next()).expect("room");
        }
        let started = Instant::now();
        assert_eq!(opened.journal.turn().await, Turn::Busy);
        time += started.elapsed();
    }
    time
}

fn journal_options() -> JournalOptions {
    JournalOptions {
        salt: 7,
        partitions_count: PARTITIONS,
        segment_bytes: SEGMENT_BYTES,
        appends_waiting_max: 8192,
        unstored_bytes_max: 4 << 30,
        checkpoint: 0,
        sequences: BTreeMap::new(),
    }
}

/// A million entries that the store does not have.
fn replay(folder: &Path) {
    let folder = folder.join("replay");
    std::fs::create_dir(&folder).expect("a folder");
    let files = StdFiles::new(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let Ok(mut opened) = open_journal(&files, journal_options()).await else {
            panic!("an empty folder")
        };
        let mut load = Load::new();
        for number in 1..=REPLAYED_ENTRIES {
            opened.appender.append(1, &load.next()).expect("room");
            if number % 1000 == 0 {
                opened.journal.turn().await;
            }
        }
        opened.close();
        while opened.journal.turn().await != Turn::Done {}
    });
    for round in 0..ROUNDS {
        if round == 0 {
            forget_pages(&folder);
        }
        let started = Instant::now();
        let read = read_journal(&files, 7, 0, BTreeMap::new()).expect("a journal");
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "replay entries={} bytes={} round={round} pages={} seconds={seconds:.3}",
            read.replayed.entries.len(),
            read.replayed.entry_bytes,
            if round == 0 { "cold" } else { "warm" },
        );
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// Lets the kernel forget the pages of all files, so that they are read from the disk.
fn forget_pages(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = File::open(entry.expect("an entry").path()).expect("a file");
        file.sync_all().expect("synced");
        let forget = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(&file, 0, None, forget).expect("advice is taken");
    }
}

/// The store alone, in commits as large as the follower's.
fn store(folder: &Path) {
    for commit in [1000, 8192, 32_768] {
        let path = folder.join(format!("store-{commit}.sqlite"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut store = SqliteStore::open(&path).await.expect("a new store");
            let mut load = Load::new();
            let total = STORED_ENTRIES.min(commit * 60);
            let (mut done, mut batch) = (0, 0);
            let mut time = Duration::ZERO;
            while done < total {
                let entries: Vec<_> = (0..commit).map(|_| load.next()).collect();
                batch += 1;
                let started = Instant::now();
                store.apply(&entries, batch).await.expect("stored");
                time += started.elapsed();
                done += commit;
            }
            println!(
                "store commit={commit} rows={done} channels={CHANNELS} rows_per_s={:.0}",
                done as f64 / time.as_secs_f64()
            );
            store.close().await.expect("closed");
        });
    }
}

/// A hundred publications per channel are kept, so that retention has work too.
fn namespaces() -> Arc<Namespaces> {
    let options = ChannelOptions {
        history_size: 100,
        history_ttl: Duration::from_secs(3600 * 24 * 3650),
        ..ChannelOptions::default()
    };
    Arc::new(Namespaces {
        without: ChannelOptions::default(),
        named: BTreeMap::from([("chat".to_owned(), options)]),
    })
}

/// Everything together: one thread appends as fast as it is let, the journal and the store follow.
fn whole(folder: &Path) {
    let options = PersistenceOptions::new(folder.join("whole"), PARTITIONS, namespaces());
    let opened = open(options).expect("it opens");
    let Opened { persistence, appender, board, .. } = opened;
    let mut load = Load::new();
    let started = Instant::now();
    let mut refused = 0_u64;
    while load.number < STORED_ENTRIES {
        let entry = load.next();
        while appender.append(board.term(), &entry).is_err() {
            refused += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let is_all = |stored: bool| {
        load.sequences.iter().enumerate().all(|(partition, last)| {
            let progress = board.progress(PartitionId(partition as u16));
            *last == if stored { progress.stored } else { progress.synced }
        })
    };
    while !is_all(false) {
        std::thread::sleep(Duration::from_micros(200));
    }
    let synced = started.elapsed().as_secs_f64();
    while !is_all(true) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stored = started.elapsed().as_secs_f64();
    println!(
        "whole io_uring={} entries={STORED_ENTRIES} refused={refused} synced_per_s={:.0} \
         stored_per_s={:.0} commits={} store_commits={}",
        persistence.is_uring(),
        STORED_ENTRIES as f64 / synced,
        STORED_ENTRIES as f64 / stored,
        persistence.counters().commits.value(),
        persistence.counters().store_commits.value(),
    );
    persistence.shutdown();
    let started = Instant::now();
    let opened = open(PersistenceOptions::new(folder.join("whole"), PARTITIONS, namespaces()));
    let opened = opened.expect("it opens again");
    println!("restart seconds={:.3}", started.elapsed().as_secs_f64());
    opened.persistence.shutdown();
}
