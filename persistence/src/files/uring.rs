//! Segments through io_uring: writes and syncs are the kernel's to do while the thread gathers.
//!
//! Making and removing files, once per segment, goes through `std`: it is rare, and a preallocation
//! through the ring is one more operation that a kernel may not have.

use std::io;
use std::time::Duration;

use super::{Files, Pace, SegmentFile, SegmentSource, StdFiles};

/// Segments in a folder. Works within a tokio-uring runtime only.
#[derive(Clone, Debug)]
pub struct UringFiles {
    files: StdFiles,
}

impl UringFiles {
    /// The segments that `files` names.
    pub fn new(files: StdFiles) -> Self {
        Self { files }
    }
}

impl SegmentFile for tokio_uring::fs::File {
    async fn write_at(&self, bytes: Vec<u8>, position: u64) -> (io::Result<()>, Vec<u8>) {
        let count = bytes.len();
        let (result, bytes) = tokio_uring::fs::File::write_at(self, bytes, position).submit().await;
        let result = match result {
            Ok(written) if written == count => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        };
        (result, bytes)
    }

    async fn sync_data(&self) -> io::Result<()> {
        tokio_uring::fs::File::sync_data(self).await
    }
}

impl Files for UringFiles {
    type File = tokio_uring::fs::File;

    async fn create(&self, number: u64, bytes: u64, pace: Pace) -> io::Result<Self::File> {
        self.files.create_file(number, bytes, pace).await.map(tokio_uring::fs::File::from_std)
    }

    async fn delete(&self, number: u64) -> io::Result<()> {
        self.files.delete_blocking(number)
    }

    async fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory_blocking()
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl SegmentSource for UringFiles {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.files.numbers()
    }

    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.files.read(number, position, bytes_max)
    }
}
