//! Receive buffers that the kernel picks from: one provided buffer ring.
//!
//! Owns: the memory of all buffers and the ring of entries that names the free ones.
//! Never: incremental consumption or bundles; both reorder or fail in released kernels
//! (liburing issues 1409, 1423, 1433).
//! Invariant: every buffer that was ever given is in exactly one of three places: with the kernel
//! (between `push` and the completion that names it), with a [`crate::io::Chunk`], or pushed and
//! waiting for the next `publish`.
//!
//! The kernel fills buffers in turn, so each one that it has is soon memory in use. A ring begins
//! with a few and gives as many again whenever a receive found none.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::limits::RECEIVE_BUFFERS_FIRST;

/// The group id of the one buffer ring of a ring.
pub const BUFFER_GROUP: u16 = 0;

/// A registered ring of equal buffers.
#[derive(Debug)]
pub struct BufferRing {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    buffers_count: u16,
    buffer_bytes: u32,
    tail: u16,
    /// Buffers below this number are in use; the others' memory was never touched.
    given_count: u16,
    /// Of those, buffers not with the kernel: with chunks, or pushed and not yet published.
    outside_count: u16,
    unpublished: bool,
}

impl BufferRing {
    /// Maps memory for `buffers_count` (a power of two) buffers of `buffer_bytes` and registers it.
    ///
    /// # Errors
    ///
    /// No memory, or a kernel before 5.19.
    pub fn register(
        submitter: &Submitter<'_>,
        buffers_count: u16,
        buffer_bytes: u32,
    ) -> io::Result<Self> {
        assert!(buffers_count.is_power_of_two(), "the kernel masks ring positions");
        let entries_bytes = usize::from(buffers_count) * size_of::<BufRingEntry>();
        let memory_bytes = usize::from(buffers_count) * buffer_bytes as usize;
        let entries = map(entries_bytes)?.cast::<BufRingEntry>();
        let memory = map(memory_bytes)?;
        // SAFETY: `entries` is page aligned and zeroed, holds `buffers_count` entries, and stays
        // mapped until `drop`, which the owning ring runs only after the kernel has let go of the
        // group.
        unsafe {
            submitter.register_buf_ring_with_flags(
                entries as u64,
                buffers_count,
                BUFFER_GROUP,
                0,
            )?;
        }
        let mut ring = Self {
            entries,
            memory,
            buffers_count,
            buffer_bytes,
            tail: 0,
            given_count: 0,
            outside_count: 0,
            unpublished: false,
        };
        ring.give(RECEIVE_BUFFERS_FIRST);
        ring.publish();
        Ok(ring)
    }

    /// A receive found no buffer: gives as many again as there are, if that many are left.
    pub(crate) fn grow(&mut self) {
        self.give(self.given_count);
    }

    fn give(&mut self, count: u16) {
        let first = self.given_count;
        self.given_count = first.saturating_add(count).min(self.buffers_count);
        self.outside_count += self.given_count - first;
        for buffer in first..self.given_count {
            self.push(buffer);
        }
    }

    /// Memory of all buffers, in bytes, given or not.
    pub fn memory_bytes(&self) -> usize {
        usize::from(self.buffers_count) * self.buffer_bytes as usize
    }

    /// Memory of the buffers in use and of the entries that name them, in bytes. What was not given
    /// was never touched, and takes none.
    pub fn given_bytes(&self) -> usize {
        let entry = size_of::<BufRingEntry>() + self.buffer_bytes as usize;
        usize::from(self.given_count) * entry
    }

    /// Buffers that the kernel may fill now.
    pub fn free_count(&self) -> u16 {
        self.given_count - self.outside_count
    }

    /// Notes that the kernel filled a buffer.
    pub(crate) fn take(&mut self) {
        self.outside_count += 1;
        assert!(self.outside_count <= self.given_count, "a buffer was delivered twice");
    }

    /// The first `bytes_count` bytes of a buffer that the kernel has delivered.
    pub(crate) fn bytes(&mut self, buffer: u16, bytes_count: u32) -> &mut [u8] {
        assert!(buffer < self.buffers_count);
        assert!(bytes_count <= self.buffer_bytes);
        // SAFETY: the range lies in `memory`, which lives as long as `self`. The kernel does not
        // write to it: the buffer was delivered (the caller holds its chunk, which cannot be
        // copied) and has not been pushed again. `&mut self` keeps a second slice away.
        unsafe {
            let start = self.memory.add(usize::from(buffer) * self.buffer_bytes as usize);
            std::slice::from_raw_parts_mut(start, bytes_count as usize)
        }
    }

    /// Makes a buffer free; the kernel sees it after [`BufferRing::publish`].
    pub(crate) fn push(&mut self, buffer: u16) {
        assert!(buffer < self.buffers_count);
        assert!(self.outside_count > 0, "a buffer was returned twice");
        let position = usize::from(self.tail & (self.buffers_count - 1));
        // SAFETY: `position` is below `buffers_count`, and the kernel does not read the entry
        // before the tail moves past it, which only `publish` does. No reference to the entry
        // outlives this block. The fields written do not overlap the tail, which shares the first
        // entry's reserved field.
        unsafe {
            let entry = &mut *self.entries.add(position);
            let start = self.memory.add(usize::from(buffer) * self.buffer_bytes as usize);
            entry.set_addr(start as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        self.outside_count -= 1;
        self.unpublished = true;
    }

    /// Shows the kernel everything pushed since the last time.
    pub(crate) fn publish(&mut self) {
        if !self.unpublished {
            return;
        }
        self.unpublished = false;
        // SAFETY: the tail is a `u16` inside the mapped first entry, aligned, and shared with the
        // kernel, which only reads it; release makes the entries visible before it.
        unsafe {
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        let entries_bytes = usize::from(self.buffers_count) * size_of::<BufRingEntry>();
        // SAFETY: both ranges were mapped by `register` with these lengths and nobody else unmaps
        // them. The owning ring drops this only after every receive has completed (see
        // `Ring::drop`), so the kernel writes to neither.
        unsafe {
            let _ = munmap(self.entries.cast(), entries_bytes);
            let _ = munmap(self.memory.cast(), self.memory_bytes());
        }
    }
}

fn map(bytes: usize) -> io::Result<*mut u8> {
    // SAFETY: a fresh private anonymous mapping touches no memory that exists.
    let address = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?
    };
    Ok(address.cast())
}
