//! Goal: what the board called synced is there after any crash and any failure of the disk, as it
//! was appended last; and a journal is never refused for a crash alone.
//! Method: three partitions append at random to a simulated disk and rebuild when the term ends, as
//! partitions do. A ledger keeps what was synced. The power goes at every operation in turn; disks
//! fail at random; the journal is replayed and compared, and goes on.

mod support;

use std::collections::BTreeMap;

use persistence::files::simulated::{Faults, SimulatedDisk};
use persistence::{OpenedJournal, Turn};
use protocol::ids::PartitionId;
use protocol::link::LogEntry;
use support::{Random, entry, journal_options, now, open_now};

const PARTITIONS: u16 = 3;

/// What partitions and store remember, besides the disk.
#[derive(Default)]
struct World {
    random: u64,
    term: u64,
    /// By partition: what was appended under the current term, by sequence.
    appended: [BTreeMap<u64, LogEntry>; 3],
    /// By partition: what the board called synced.
    synced: [BTreeMap<u64, LogEntry>; 3],
    /// The store: the last batch, and the last sequences.
    checkpoint: u64,
    stored: BTreeMap<u16, u64>,
}

impl World {
    fn random(&mut self) -> Random {
        self.random += 1;
        Random(self.random)
    }

    fn last(&self, partition: u16) -> u64 {
        let at = usize::from(partition);
        let synced = self.synced[at].keys().next_back().copied().unwrap_or(0);
        self.appended[at].keys().next_back().copied().unwrap_or(0).max(synced)
    }

    fn append(&mut self, journal: &OpenedJournal<SimulatedDisk>) {
        let mut random = self.random();
        if journal.board.term() != self.term {
            self.term = journal.board.term();
            self.appended = Default::default();
        }
        for _ in 0..random.below(6) {
            let partition = random.below(u64::from(PARTITIONS)) as u16;
            let sequence = self.last(partition) + 1;
            let size = random.below(300) as usize;
            let payload = format!("{} {}", random.next(), "x".repeat(size));
            let entry = entry(partition, sequence, payload.as_bytes());
            if journal.appender.append(self.term, &entry).is_ok() {
                self.appended[usize::from(partition)].insert(sequence, entry);
            }
        }
    }

    /// Takes over what the board shows.
    fn look(&mut self, journal: &OpenedJournal<SimulatedDisk>) {
        for partition in 0..PARTITIONS {
            let at = usize::from(partition);
            let synced = journal.board.progress(PartitionId(partition)).synced;
            let before = self.synced[at].keys().next_back().copied().unwrap_or(0);
            for sequence in before + 1..=synced {
                let entry = self.appended[at].get(&sequence).cloned();
                let entry = entry.unwrap_or_else(|| panic!("{partition}:{sequence} was void"));
                self.synced[at].insert(sequence, entry);
            }
        }
    }

    /// The store follows up to a segment's end, which lets the segment go.
    fn store(&mut self, journal: &OpenedJournal<SimulatedDisk>) {
        let mut random = self.random();
        let batches = journal.last_batches();
        if batches.len() > 2 && random.below(4) == 0 {
            self.checkpoint = batches.last().expect("more than two").1;
            for partition in 0..PARTITIONS {
                let synced = self.synced[usize::from(partition)].keys().next_back();
                self.stored.insert(partition, synced.copied().unwrap_or(0));
            }
            journal.stored(self.checkpoint, 0);
        }
    }

    /// Opens the journal again and compares.
    fn reopen(&mut self, disk: &SimulatedDisk, what: &str) -> OpenedJournal<SimulatedDisk> {
        let mut options = journal_options(4096);
        options.checkpoint = self.checkpoint;
        options.sequences = self.stored.clone();
        let opened = open_now(disk, options);
        let journal = opened.unwrap_or_else(|error| panic!("{what}: refused: {error:?}"));
        let found = &journal.found.replayed.entries;
        for partition in 0..PARTITIONS {
            let at = usize::from(partition);
            let stored = self.stored.get(&partition).copied().unwrap_or(0);
            let mut here = found.iter().filter(|entry| entry.partition.0 == partition);
            for (_, expected) in self.synced[at].range(stored + 1..) {
                assert_eq!(here.next(), Some(expected), "{what}: partition {partition}");
            }
            // What was in doubt and is there now counts from now on.
            for entry in here {
                self.synced[at].insert(entry.sequence, entry.clone());
            }
        }
        self.appended = Default::default();
        self.term = journal.board.term();
        journal
    }

    fn live(&mut self, journal: &mut OpenedJournal<SimulatedDisk>, turns: u64) {
        for _ in 0..turns {
            self.append(journal);
            let turn = now(journal.journal.turn());
            self.look(journal);
            self.store(journal);
            assert_ne!(turn, Turn::Done);
        }
    }
}

#[test]
fn at_any_operation() {
    for seed in 0..32 {
        for stops_at in (1..150).map(|n| n + seed % 2) {
            let what = format!("seed {seed}, power cut at operation {stops_at}");
            let faults = Faults { stops_at: Some(stops_at), ..Faults::default() };
            let disk = SimulatedDisk::new(seed, faults);
            let mut world = World { random: seed << 32, ..World::default() };
            if let Ok(mut journal) = open_now(&disk, journal_options(4096)) {
                world.term = journal.board.term();
                world.live(&mut journal, 80);
            }
            let mut disk = disk.after_power_cut(seed ^ stops_at);
            // A second cut soon after the first.
            disk.set_faults(Faults { stops_at: Some(1 + stops_at % 9), ..Faults::default() });
            let mut options = journal_options(4096);
            options.checkpoint = world.checkpoint;
            options.sequences = world.stored.clone();
            drop(open_now(&disk, options));
            disk = disk.after_power_cut(seed + stops_at);
            let mut journal = world.reopen(&disk, &what);
            world.live(&mut journal, 20);
            world.reopen(&disk.after_power_cut(1), &format!("{what}, again"));
        }
    }
}

#[test]
fn on_disks_that_fail() {
    for seed in 0..300 {
        let what = format!("failing disk, seed {seed}");
        let disk = SimulatedDisk::new(seed, Faults::default());
        let mut world = World { random: seed << 32, ..World::default() };
        let mut journal = open_now(&disk, journal_options(4096)).expect("a good disk");
        world.term = journal.board.term();
        disk.set_faults(Faults {
            write_errors_per_mille: 30,
            short_writes_per_mille: 30,
            sync_errors_per_mille: 60,
            ..Faults::default()
        });
        world.live(&mut journal, 150);
        disk.set_faults(Faults::default());
        world.live(&mut journal, 10);
        assert!(journal.board.is_available(), "{what}: it recovers by itself");
        let before = world.synced.iter().map(BTreeMap::len).sum::<usize>();
        world.live(&mut journal, 10);
        let after = world.synced.iter().map(BTreeMap::len).sum::<usize>();
        assert!(after > before, "{what}: it goes on");
        world.reopen(&disk.after_power_cut(seed), &what);
    }
}
