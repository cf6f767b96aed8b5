//! Bodies of requests, and how much memory all of one shard may take.
//!
//! A body counts from its first byte until whoever answers the request has dropped it, wherever
//! that is: a client that goes away meanwhile frees nothing that is still held.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::BODIES_BYTES_MAX;

/// What the bodies of one shard take.
#[derive(Clone, Debug, Default)]
pub(super) struct Bodies {
    bytes: Arc<AtomicUsize>,
}

/// One body.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    /// Bytes of memory that were counted for it.
    counted: usize,
    all: Option<Bodies>,
}

/// There is no room for more bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Bodies {
    /// A body without bytes.
    pub(super) fn begin(&self) -> Body {
        Body { bytes: Vec::new(), counted: 0, all: Some(self.clone()) }
    }

    /// Bytes of memory that bodies take.
    pub(super) fn bytes_count(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Body {
    /// More of it has come.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let Some(all) = &self.all else { return Err(NoRoom) };
        let needed = self.bytes.len() + bytes.len();
        if needed > self.counted {
            // As a vector grows, so that what is counted is what is taken.
            let room = needed.max(2 * self.counted);
            if all.bytes_count() - self.counted + room > BODIES_BYTES_MAX {
                return Err(NoRoom);
            }
            self.bytes.reserve_exact(room - self.bytes.len());
            all.bytes.fetch_add(room - self.counted, Ordering::Relaxed);
            self.counted = room;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Body {
    /// Bytes of memory that were counted for it.
    pub(super) fn memory_bytes(&self) -> usize {
        self.counted
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.bytes.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bodies_share_a_bound_and_give_back_what_they_took() {
        let bodies = Bodies::default();
        let piece = vec![0; BODIES_BYTES_MAX / 4];
        let mut first = bodies.begin();
        assert_eq!(first.extend(&piece), Ok(()));
        assert_eq!(first.extend(&piece), Ok(()));
        let mut second = bodies.begin();
        assert_eq!(second.extend(&piece), Ok(()));
        assert_eq!(second.extend(&piece), Ok(()));
        assert_eq!(second.extend(b"x"), Err(NoRoom));
        assert_eq!(second.len(), BODIES_BYTES_MAX / 2);
        assert_eq!(bodies.bytes_count(), BODIES_BYTES_MAX);
        drop(first);
        assert_eq!(bodies.bytes_count(), BODIES_BYTES_MAX / 2);
        assert_eq!(bodies.begin().extend(b"x"), Ok(()));
        drop(second);
        assert_eq!(bodies.bytes_count(), 0);
    }
}
