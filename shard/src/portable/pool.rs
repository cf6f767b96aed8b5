//! Receive buffers: as many as the ring would have, taken for one call and given back by the pump.
//!
//! Invariant: every buffer is either in `free` or with a [`crate::io::Chunk`].

pub(super) struct Pool {
    memory: Box<[u8]>,
    buffer_bytes: usize,
    /// The last one given back is taken first: its memory is warm, and what is never taken is
    /// never touched.
    free: Vec<u16>,
    buffers_count: usize,
    /// Most buffers that were taken at once.
    taken_most: usize,
}

impl Pool {
    pub(super) fn new(buffers_count: u16, buffer_bytes: u32) -> Self {
        let (count, bytes) = (usize::from(buffers_count), buffer_bytes as usize);
        Self {
            memory: vec![0; count * bytes].into_boxed_slice(),
            buffer_bytes: bytes,
            free: (0..buffers_count).rev().collect(),
            buffers_count: count,
            taken_most: 0,
        }
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        let taken = self.free.pop()?;
        self.taken_most = self.taken_most.max(self.buffers_count - self.free.len());
        Some(taken)
    }

    /// Bytes of the buffers that were ever taken.
    pub(super) fn touched_bytes(&self) -> usize {
        self.taken_most * self.buffer_bytes
    }

    pub(super) fn give_back(&mut self, buffer: u16) {
        assert!(usize::from(buffer) < self.buffers_count);
        assert!(self.free.len() < self.buffers_count, "a buffer was returned twice");
        self.free.push(buffer);
    }

    /// The first `bytes_count` bytes of a buffer that was taken.
    pub(super) fn bytes(&mut self, buffer: u16, bytes_count: u32) -> &mut [u8] {
        assert!(bytes_count as usize <= self.buffer_bytes);
        let start = usize::from(buffer) * self.buffer_bytes;
        &mut self.memory[start..start + bytes_count as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_do_not_overlap_and_come_back() {
        let mut pool = Pool::new(2, 8);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        assert!(!pool.has_free());
        pool.bytes(first, 8).fill(1);
        pool.bytes(second, 8).fill(2);
        assert_eq!(pool.bytes(first, 3), [1; 3]);
        pool.give_back(first);
        assert_eq!(pool.take(), Some(first));
    }

    #[test]
    #[should_panic(expected = "a buffer was returned twice")]
    fn a_buffer_comes_back_once() {
        let mut pool = Pool::new(1, 8);
        pool.give_back(0);
    }
}
