//! A disk in memory that behaves as disks do when the power goes.
//!
//! What was not synced may survive or not, sector by sector; a name may be lost with its file; a
//! failed sync forgets what it could not write, and the next one says that all is well. Everything
//! comes from one seed. The simulation of the whole server uses it too.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Files, Pace, SegmentFile, SegmentSource};

const SECTOR_BYTES: usize = 512;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// In how many of 1000 writes an error is reported and part of the bytes arrive.
    pub write_errors_per_mille: u16,
    /// In how many of 1000 writes only a part is written, without an error of the system.
    pub short_writes_per_mille: u16,
    /// In how many of 1000 syncs an error is reported and unsynced bytes are lost or not.
    pub sync_errors_per_mille: u16,
    /// Bytes that segments may take altogether. More: no space.
    pub space_bytes: Option<u64>,
    /// The disk stops with this operation and everything after it fails.
    pub stops_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct SimulatedFile {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives a power cut.
    synced: Vec<u8>,
    /// Parts of `seen` that were not synced.
    unsynced: Vec<(usize, usize)>,
    is_name_synced: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, SimulatedFile>,
    removed: BTreeMap<u64, SimulatedFile>,
    faults: Faults,
    random: u64,
    operations: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// A segment on the disk.
#[derive(Debug)]
pub struct SimulatedSegment {
    disk: SimulatedDisk,
    number: u64,
}

impl State {
    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn happens(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.random() % 1000 < u64::from(per_mille)
    }

    /// Counts an operation; fails if the disk has stopped.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.faults.stops_at {
            Some(at) if self.operations >= at => Err(io::Error::other("the disk has stopped")),
            _ => Ok(()),
        }
    }

    fn file(&mut self, number: u64) -> io::Result<&mut SimulatedFile> {
        self.files.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Lets some of a file's unsynced sectors reach the disk; the others never do.
    fn tear(&mut self, number: u64) {
        let Some(mut file) = self.files.remove(&number) else { return };
        for (start, end) in std::mem::take(&mut file.unsynced) {
            let mut at = start;
            while at < end {
                let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let upto = sector_end.min(end);
                match self.random() % 8 {
                    0..=3 => file.synced[at..upto].copy_from_slice(&file.seen[at..upto]),
                    4 => {
                        // Half a sector: no disk promises less than this to be whole.
                        let part = at + (self.random() as usize) % (upto - at);
                        file.synced[at..part].copy_from_slice(&file.seen[at..part]);
                    }
                    _ => {}
                }
                at = upto;
            }
        }
        self.files.insert(number, file);
    }
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            faults,
            random: seed,
            operations: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk after a power cut: what was not synced is there or not.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let now = self.lock();
        let mut state = State {
            files: now.files.clone(),
            removed: BTreeMap::new(),
            faults: Faults::default(),
            random: seed,
            operations: 0,
        };
        for (number, file) in &now.removed {
            if !state.files.contains_key(number) && state.random().is_multiple_of(2) {
                state.files.insert(*number, file.clone());
            }
        }
        drop(now);
        for number in state.files.keys().copied().collect::<Vec<_>>() {
            state.tear(number);
            let is_lost = !state.files[&number].is_name_synced && state.random().is_multiple_of(2);
            if is_lost {
                state.files.remove(&number);
            } else if let Some(file) = state.files.get_mut(&number) {
                file.seen.clone_from(&file.synced);
                file.is_name_synced = true;
            }
        }
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes of a segment, as a reader sees them.
    pub fn bytes(&self, number: u64) -> Option<Vec<u8>> {
        self.lock().files.get(&number).map(|file| file.seen.clone())
    }

    /// Puts a segment there, synced.
    pub fn put(&self, number: u64, bytes: Vec<u8>) {
        let file = SimulatedFile {
            seen: bytes.clone(),
            synced: bytes,
            unsynced: Vec::new(),
            is_name_synced: true,
        };
        self.lock().files.insert(number, file);
    }
}

impl SegmentFile for SimulatedSegment {
    async fn write_at(&self, bytes: Vec<u8>, position: u64) -> (io::Result<()>, Vec<u8>) {
        let mut state = self.disk.lock();
        // The operation with which the disk stops is half done.
        let stopped = state.operate();
        let faults = state.faults;
        let is_error = stopped.is_err() || state.happens(faults.write_errors_per_mille);
        let is_short = state.happens(faults.short_writes_per_mille);
        let count = if is_error || is_short {
            (state.random() as usize) % bytes.len().max(1)
        } else {
            bytes.len()
        };
        let start = position as usize;
        let written = state.file(self.number).map(|file| {
            let end = start + count;
            if file.seen.len() < end {
                file.seen.resize(end, 0);
                file.synced.resize(end, 0);
            }
            file.seen[start..end].copy_from_slice(&bytes[..count]);
            file.unsynced.push((start, end));
        });
        let result = match (stopped, written) {
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            _ if is_error => Err(io::Error::other("simulated write error")),
            _ if is_short => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        };
        (result, bytes)
    }

    async fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operate()?;
        let faults = state.faults;
        if state.happens(faults.sync_errors_per_mille) {
            state.tear(self.number);
            return Err(io::Error::other("simulated sync error"));
        }
        let file = state.file(self.number)?;
        for (start, end) in std::mem::take(&mut file.unsynced) {
            file.synced[start..end].copy_from_slice(&file.seen[start..end]);
        }
        Ok(())
    }
}

impl Files for SimulatedDisk {
    type File = SimulatedSegment;

    async fn create(&self, number: u64, bytes: u64, _: Pace) -> io::Result<SimulatedSegment> {
        let mut state = self.lock();
        state.operate()?;
        state.files.remove(&number);
        let taken: u64 = state.files.values().map(|file| file.seen.len() as u64).sum();
        if state.faults.space_bytes.is_some_and(|space| taken + bytes > space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; bytes as usize];
        let file = SimulatedFile { seen: zeros.clone(), synced: zeros, ..Default::default() };
        state.files.insert(number, file);
        Ok(SimulatedSegment { disk: self.clone(), number })
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        if let Some(file) = state.files.remove(&number) {
            state.removed.insert(number, file);
        }
        Ok(())
    }

    async fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.removed.clear();
        for file in state.files.values_mut() {
            file.is_name_synced = true;
        }
        Ok(())
    }

    async fn pause(&self, _: Duration) {}
}

impl SegmentSource for SimulatedDisk {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        Ok(self.lock().files.keys().copied().collect())
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let seen = &state.file(number)?.seen;
        let start = (position as usize).min(seen.len());
        let end = start + bytes_max.min((seen.len() - start) as u64) as usize;
        Ok(seen[start..end].to_vec())
    }
}
