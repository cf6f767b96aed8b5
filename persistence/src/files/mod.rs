//! The one-file trait under the journal, and what stands behind it.
//!
//! | implementation | where |
//! |---|---|
//! | [`UringFiles`] | io_uring through tokio-uring |
//! | [`StdFiles`] | where io_uring is forbidden |
//! | [`simulated::SimulatedDisk`] | tests: loses what was not synced, tears, fails |

pub mod simulated;
mod standard;
mod uring;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use standard::{StartWriting, StdFile, StdFiles};
pub use uring::UringFiles;

/// One segment that is written. Only the journal has one.
pub trait SegmentFile {
    /// Writes all of `bytes` at `position` and gives the buffer back. A write that was cut short is
    /// an error.
    fn write_at(
        &self,
        bytes: Vec<u8>,
        position: u64,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Begins to bring what was written there to the disk, and does not wait until it is. A hint:
    /// only [`SegmentFile::sync_data`] says what is there.
    fn start_writing(&self, _position: u64, _bytes: u64) {}

    /// Returns when everything that was written survives a power cut. After an error nobody knows
    /// what does, and asking again may claim that all is well.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>>;
}

/// How a segment is made.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Somebody waits for it.
    AtOnce,
    /// The disk is left to others most of the time, until somebody hurries.
    Beside(Arc<AtomicBool>),
}

/// The folder of segments, as the journal's thread writes it. Clones are the same folder.
pub trait Files: Clone + 'static {
    /// A segment that is written.
    type File: SegmentFile;

    /// Makes segment `number` with `bytes` zeros, in place of one that may be there. The zeros are
    /// written and synced: to sync what replaces them is a matter of the disk, not of the file
    /// system's own journal, which everybody shares.
    fn create(
        &self,
        number: u64,
        bytes: u64,
        pace: Pace,
    ) -> impl Future<Output = io::Result<Self::File>>;

    /// Removes segment `number`. One that is not there is removed.
    fn delete(&self, number: u64) -> impl Future<Output = io::Result<()>>;

    /// Returns when names that were made and removed survive a power cut.
    fn sync_directory(&self) -> impl Future<Output = io::Result<()>>;

    /// Waits.
    fn pause(&self, time: Duration) -> impl Future<Output = ()>;
}

/// The folder of segments, as replay, follower and backup read it, from any thread.
pub trait SegmentSource: Send + Sync {
    /// The numbers of all segments, in ascending order.
    ///
    /// # Errors
    ///
    /// What the system says, or a name that is no segment's.
    fn numbers(&self) -> io::Result<Vec<u64>>;

    /// Bytes of segment `number` from `position` on: `bytes_max`, or as many as there are.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn read(&self, number: u64, position: u64, bytes_max: u64) -> io::Result<Vec<u8>>;
}

/// The name of a segment's file.
pub fn segment_name(number: u64) -> String {
    format!("{number:020}.log")
}

/// The segment that a file name stands for.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    (segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same_thing() {
        assert_eq!(segment_name(1), "00000000000000000001.log");
        assert_eq!(segment_number(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["1.log", "00000000000000000000.log", "+0000000000000000001.log", "a.log"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
