//! Segments through `std::fs`: calls block the journal's thread, which has nothing else to do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::oneshot;

use super::{Files, Pace, SegmentFile, SegmentSource, segment_name, segment_number};
use crate::limits::{ZEROS_BYTES, ZEROS_PAUSE_MAX};

/// Begins to bring bytes of a file, from a position on, to the disk, and does not wait for it.
/// `std` has no name for that (`sync_file_range(2)`).
pub type StartWriting = fn(&File, u64, u64);

/// Segments in a folder.
#[derive(Clone, Debug)]
pub struct StdFiles {
    folder: PathBuf,
    start_writing: StartWriting,
}

/// A segment of [`StdFiles`].
#[derive(Debug)]
pub struct StdFile {
    file: File,
    start_writing: StartWriting,
}

impl StdFiles {
    /// The segments in `folder`, which is there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), start_writing: |_, _, _| {} }
    }

    /// The same segments, which begin to reach the disk before they are synced.
    pub fn started_by(self, start_writing: StartWriting) -> Self {
        Self { start_writing, ..self }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(segment_name(number))
    }

    fn create_blocking(&self, number: u64, bytes: u64, pace: &Pace) -> io::Result<File> {
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path)?;
        let allocated = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot reserve space. There the write says whether there is any.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
            other => other.map_err(io::Error::from),
        };
        if let Err(error) = allocated.and_then(|()| write_zeros(&file, bytes, pace)) {
            // A file of half the size would hold the space that somebody needs to free.
            drop(file);
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(file)
    }

    /// Beside the commits, it is made on a thread of its own.
    pub(super) async fn create_file(
        &self,
        number: u64,
        bytes: u64,
        pace: Pace,
    ) -> io::Result<File> {
        if matches!(pace, Pace::AtOnce) {
            return self.create_blocking(number, bytes, &pace);
        }
        let (sender, receiver) = oneshot::channel();
        let files = self.clone();
        let body = move || drop(sender.send(files.create_blocking(number, bytes, &pace)));
        Builder::new().name("segment".to_owned()).spawn(body)?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the segment's thread panicked")))
    }

    pub(super) fn delete_blocking(&self, number: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(super) fn sync_directory_blocking(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Writes a file full and syncs it. Space that was only reserved is not enough: the first write to
/// each block then changes the file's extents, and a sync waits for the file system's own journal,
/// behind whatever else goes through that. (ext4: 2 ms instead of 0.2 ms while SQLite committed.)
fn write_zeros(file: &File, bytes: u64, pace: &Pace) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(bytes as usize)];
    let mut position = 0;
    while position < bytes {
        let count = (bytes - position).min(zeros.len() as u64);
        let began = Instant::now();
        file.write_all_at(&zeros[..count as usize], position)?;
        position += count;
        if let Pace::Beside(hurries) = pace
            && !hurries.load(Ordering::Relaxed)
        {
            file.sync_data()?;
            thread::sleep((began.elapsed() * 2).min(ZEROS_PAUSE_MAX));
        }
    }
    file.sync_all()
}

impl SegmentFile for StdFile {
    async fn write_at(&self, bytes: Vec<u8>, position: u64) -> (io::Result<()>, Vec<u8>) {
        // One call, not `write_all_at`: a short write is a failure and takes the segment with it.
        let result = match self.file.write_at(&bytes, position) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        };
        (result, bytes)
    }

    fn start_writing(&self, position: u64, bytes: u64) {
        (self.start_writing)(&self.file, position, bytes);
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Files for StdFiles {
    type File = StdFile;

    async fn create(&self, number: u64, bytes: u64, pace: Pace) -> io::Result<StdFile> {
        let file = self.create_file(number, bytes, pace).await?;
        Ok(StdFile { file, start_writing: self.start_writing })
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        self.delete_blocking(number)
    }

    async fn sync_directory(&self) -> io::Result<()> {
        self.sync_directory_blocking()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl SegmentSource for StdFiles {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(self.folder())? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(segment_number).ok_or_else(|| {
                let sentence = format!("{} is no segment of the journal", name.to_string_lossy());
                io::Error::new(io::ErrorKind::InvalidData, sentence)
            })?;
            numbers.push(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(number))?;
        let there = file.metadata()?.len().saturating_sub(position).min(bytes_max);
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
