//! Messages waiting for one connection.
//!
//! Owns: bytes accepted for this client and not yet completed by the kernel.
//! Never: reads a clock, touches a socket, knows another connection.
//! Invariant: `queued_bytes` is the sum of what waits; what is in flight is counted apart; together
//! they stay within the budget, except that a single message may always follow an empty outbox.
//!
//! ```text
//!  push ──► [ head | tail … ] ──take──► in flight ──completed──► gone
//!             small neighbours are copied together on `take`; a short send goes back to the front
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use shard::SendBuffer;

use crate::limits;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be sent.
    Queued,
    /// It does not fit the budget and was not taken.
    Overflow,
}

/// Belongs to no channel, so that it is never conflated.
const NO_CHANNEL: u32 = u32::MAX;

#[derive(Debug)]
struct Segment {
    buffer: SendBuffer,
    /// The channel whose newest publication replaces this one, or [`NO_CHANNEL`].
    conflates: u32,
    /// The rest of something whose beginning was sent: it cannot be left out any more.
    continues: bool,
}

impl Segment {
    fn new(buffer: SendBuffer, conflates: u32) -> Self {
        Self { buffer, conflates, continues: false }
    }

    fn rest(buffer: SendBuffer) -> Self {
        Self { buffer, conflates: NO_CHANNEL, continues: true }
    }
}

/// Buffers for use again, one pile per shard.
#[derive(Debug, Default)]
pub(crate) struct SpareBuffers {
    buffers: Vec<Vec<u8>>,
}

impl SpareBuffers {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, buffer: SendBuffer) {
        let SendBuffer::Owned { mut bytes, .. } = buffer else { return };
        let is_small = bytes.capacity() <= limits::SPARE_BUFFER_BYTES_MAX;
        if is_small && self.buffers.len() < limits::SPARE_BUFFERS_MAX {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The first segment lies here, so that one message costs no allocation.
    head: Option<Segment>,
    #[expect(
        clippy::box_collection,
        reason = "a deque is four words, and most connections have none"
    )]
    tail: Option<Box<VecDeque<Segment>>>,
    queued_bytes: u32,
    in_flight_bytes: u32,
}

impl Outbox {
    /// Bytes that wait or are with the kernel.
    pub(crate) fn bytes(&self) -> u32 {
        self.queued_bytes + self.in_flight_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.in_flight_bytes > 0
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.head.is_some()
    }

    fn fits(&self, bytes_count: u32, bytes_max: u32) -> bool {
        self.is_empty() || self.bytes().saturating_add(bytes_count) <= bytes_max
    }

    fn push(&mut self, segment: Segment) {
        self.queued_bytes += segment.buffer.bytes_count();
        if self.head.is_none() {
            self.head = Some(segment);
        } else {
            self.tail.get_or_insert_default().push_back(segment);
        }
    }

    fn last_mut(&mut self) -> Option<&mut Segment> {
        match &mut self.tail {
            Some(tail) if !tail.is_empty() => tail.back_mut(),
            _ => self.head.as_mut(),
        }
    }

    /// Queues a copy of `parts`, one behind the other.
    pub(crate) fn push_copy(
        &mut self,
        parts: [&[u8]; 2],
        bytes_max: u32,
        spare: &mut SpareBuffers,
    ) -> Pushed {
        let bytes_count = (parts[0].len() + parts[1].len()) as u32;
        if !self.fits(bytes_count, bytes_max) {
            return Pushed::Overflow;
        }
        if let Some(Segment { buffer: SendBuffer::Owned { bytes, .. }, .. }) = self.last_mut()
            && bytes.len() + bytes_count as usize <= limits::GATHER_BYTES_MAX
        {
            bytes.extend_from_slice(parts[0]);
            bytes.extend_from_slice(parts[1]);
            self.queued_bytes += bytes_count;
            return Pushed::Queued;
        }
        let mut bytes = spare.take();
        bytes.extend_from_slice(parts[0]);
        bytes.extend_from_slice(parts[1]);
        self.push(Segment::new(SendBuffer::owned(bytes), NO_CHANNEL));
        Pushed::Queued
    }

    /// Queues a part of bytes that others send too.
    pub(crate) fn push_shared(
        &mut self,
        bytes: &Arc<[u8]>,
        start: u32,
        end: u32,
        bytes_max: u32,
    ) -> Pushed {
        if !self.fits(end - start, bytes_max) {
            return Pushed::Overflow;
        }
        let buffer = SendBuffer::Shared { bytes: bytes.clone(), start, end };
        self.push(Segment::new(buffer, NO_CHANNEL));
        Pushed::Queued
    }

    /// Queues a publication in place of an older one of `channel` that has not begun to be sent.
    pub(crate) fn push_conflated(
        &mut self,
        bytes: &Arc<[u8]>,
        start: u32,
        end: u32,
        channel: u32,
        bytes_max: u32,
    ) -> Pushed {
        let tail = self.tail.iter_mut().flat_map(|tail| tail.iter_mut());
        let older = self.head.iter_mut().chain(tail).find(|entry| entry.conflates == channel);
        let buffer = SendBuffer::Shared { bytes: bytes.clone(), start, end };
        if let Some(older) = older {
            self.queued_bytes -= older.buffer.bytes_count();
            self.queued_bytes += buffer.bytes_count();
            older.buffer = buffer;
            return Pushed::Queued;
        }
        if !self.fits(end - start, bytes_max) {
            return Pushed::Overflow;
        }
        self.push(Segment::new(buffer, channel));
        Pushed::Queued
    }

    /// The next send, unless one is in flight or nothing waits. Small neighbours leave together.
    pub(crate) fn take(&mut self, spare: &mut SpareBuffers) -> Option<SendBuffer> {
        if self.is_sending() {
            return None;
        }
        let first = self.pop()?;
        let mut buffer = first.buffer;
        let next_bytes = self.head.as_ref().map(|next| next.buffer.bytes_count() as usize);
        if let Some(next_bytes) = next_bytes
            && buffer.bytes_count() as usize + next_bytes <= limits::GATHER_BYTES_MAX
        {
            buffer = self.gather(buffer, spare);
        }
        if buffer.bytes_count() > limits::SEND_BYTES_MAX {
            buffer = self.split(buffer);
        }
        self.in_flight_bytes = buffer.bytes_count();
        self.queued_bytes -= self.in_flight_bytes;
        Some(buffer)
    }

    fn gather(&mut self, first: SendBuffer, spare: &mut SpareBuffers) -> SendBuffer {
        let mut gathered = match first {
            SendBuffer::Owned { bytes, start: 0 } => bytes,
            other => {
                let mut bytes = spare.take();
                bytes.extend_from_slice(other.as_slice());
                spare.put(other);
                bytes
            }
        };
        while let Some(next) = &self.head {
            if gathered.len() + next.buffer.bytes_count() as usize > limits::GATHER_BYTES_MAX {
                break;
            }
            let next = self.pop().expect("it was just seen").buffer;
            gathered.extend_from_slice(next.as_slice());
            spare.put(next);
        }
        SendBuffer::owned(gathered)
    }

    /// Cuts a large buffer, so that a slow client still shows progress. The rest goes to the front.
    fn split(&mut self, buffer: SendBuffer) -> SendBuffer {
        let shared = match buffer {
            SendBuffer::Shared { .. } => buffer,
            SendBuffer::Owned { bytes, start } => {
                SendBuffer::shared(Arc::from(&bytes[start as usize..]))
            }
        };
        let SendBuffer::Shared { bytes, start, end } = shared else { unreachable!("made above") };
        let middle = start + limits::SEND_BYTES_MAX;
        let rest = SendBuffer::Shared { bytes: bytes.clone(), start: middle, end };
        self.push_front(Segment::rest(rest));
        SendBuffer::Shared { bytes, start, end: middle }
    }

    fn push_front(&mut self, segment: Segment) {
        if let Some(second) = self.head.replace(segment) {
            self.tail.get_or_insert_default().push_front(second);
        }
    }

    fn pop(&mut self) -> Option<Segment> {
        let first = self.head.take()?;
        if let Some(tail) = &mut self.tail {
            self.head = tail.pop_front();
            if tail.is_empty() {
                self.tail = None;
            }
        }
        Some(first)
    }

    /// The kernel took the first `sent` bytes of what was in flight.
    pub(crate) fn completed(
        &mut self,
        mut buffer: SendBuffer,
        sent: u32,
        spare: &mut SpareBuffers,
    ) {
        assert!(buffer.bytes_count() == self.in_flight_bytes, "one send is in flight");
        self.in_flight_bytes = 0;
        buffer.advance(sent);
        if buffer.bytes_count() > 0 {
            self.queued_bytes += buffer.bytes_count();
            self.push_front(Segment::rest(buffer));
        } else {
            spare.put(buffer);
        }
    }

    /// Takes over what waits in another outbox, none of which has begun to be sent.
    pub(crate) fn append(&mut self, mut other: Self) {
        debug_assert!(!other.is_sending(), "what is in flight cannot move");
        while let Some(segment) = other.pop() {
            self.push(segment);
        }
    }

    /// Leaves out everything that has not begun to be sent. Of a large message that has begun,
    /// every piece stays: they lie in front, one behind the other.
    pub(crate) fn drop_queued(&mut self) {
        if self.head.as_ref().is_some_and(|head| !head.continues) {
            self.head = None;
        }
        if self.head.is_none() {
            self.tail = None;
        }
        if let Some(tail) = &mut self.tail {
            let begun_count = tail.iter().take_while(|segment| segment.continues).count();
            tail.truncate(begun_count);
        }
        let queued = self.head.iter().chain(self.tail.iter().flat_map(|tail| tail.iter()));
        self.queued_bytes = queued.map(|segment| segment.buffer.bytes_count()).sum();
    }

    /// The send failed: nothing will be sent any more.
    pub(crate) fn abandon(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1 << 20;

    fn shared(text: &[u8]) -> Arc<[u8]> {
        Arc::from(text)
    }

    #[test]
    fn everything_of_a_turn_leaves_in_one_send() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        outbox.push_copy([b"a", b"bc"], MAX, &mut spare);
        outbox.push_shared(&shared(b"xdefx"), 1, 4, MAX);
        outbox.push_copy([b"g", b""], MAX, &mut spare);
        let send = outbox.take(&mut spare).unwrap();
        assert_eq!(send.as_slice(), b"abcdefg");
        assert!(outbox.take(&mut spare).is_none(), "one send in flight");
        outbox.push_copy([b"h", b""], MAX, &mut spare);
        outbox.completed(send, 5, &mut spare);
        assert_eq!(outbox.bytes(), 3, "the rest of a short send comes first");
        let send = outbox.take(&mut spare).unwrap();
        assert_eq!(send.as_slice(), b"fgh");
        outbox.completed(send, 3, &mut spare);
        assert!(outbox.is_empty());
    }

    #[test]
    fn one_shared_message_is_not_copied() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        let bytes = shared(b"publication");
        outbox.push_shared(&bytes, 0, 11, MAX);
        let Some(SendBuffer::Shared { bytes: sent, .. }) = outbox.take(&mut spare) else {
            panic!("shared stays shared")
        };
        assert!(Arc::ptr_eq(&bytes, &sent));
    }

    #[test]
    fn the_budget_holds_but_one_message_always_fits() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        let large = vec![0; 100];
        assert_eq!(outbox.push_copy([&large, b""], 50, &mut spare), Pushed::Queued);
        assert_eq!(outbox.push_copy([b"x", b""], 50, &mut spare), Pushed::Overflow);
        let send = outbox.take(&mut spare).unwrap();
        assert_eq!(
            outbox.push_shared(&shared(b"x"), 0, 1, 50),
            Pushed::Overflow,
            "in flight counts"
        );
        outbox.completed(send, 100, &mut spare);
        assert_eq!(outbox.push_copy([b"x", b""], 50, &mut spare), Pushed::Queued);
    }

    #[test]
    fn conflation_keeps_the_newest_that_has_not_begun() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        outbox.push_conflated(&shared(b"1"), 0, 1, 7, MAX);
        let send = outbox.take(&mut spare).unwrap();
        for text in [b"2", b"3", b"4"] {
            outbox.push_conflated(&shared(text), 0, 1, 7, MAX);
            outbox.push_conflated(&shared(text), 0, 1, 8, MAX);
        }
        outbox.completed(send, 1, &mut spare);
        assert_eq!(outbox.take(&mut spare).unwrap().as_slice(), b"44");
    }

    #[test]
    fn what_has_begun_is_not_left_out() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        outbox.push_copy([b"begun", b""], MAX, &mut spare);
        let send = outbox.take(&mut spare).unwrap();
        outbox.push_copy([b"waiting", b""], MAX, &mut spare);
        outbox.completed(send, 2, &mut spare);
        outbox.drop_queued();
        outbox.push_copy([b"!", b""], MAX, &mut spare);
        assert_eq!(outbox.take(&mut spare).unwrap().as_slice(), b"gun!");
    }

    #[test]
    fn pieces_of_what_has_begun_are_not_left_out() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        let large = vec![7; 100_000];
        outbox.push_copy([&large, b""], MAX, &mut spare);
        outbox.push_copy([b"waiting", b""], MAX, &mut spare);
        let send = outbox.take(&mut spare).unwrap();
        outbox.completed(send, 10, &mut spare);
        outbox.drop_queued();
        assert_eq!(outbox.bytes(), 100_000 - 10, "the rest of the piece, and the other piece");
    }

    #[test]
    fn a_large_message_leaves_in_pieces() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        let large: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        outbox.push_copy([&large, b""], MAX, &mut spare);
        outbox.push_copy([b"end", b""], MAX, &mut spare);
        let mut received = Vec::new();
        while let Some(send) = outbox.take(&mut spare) {
            assert!(send.bytes_count() <= limits::SEND_BYTES_MAX);
            received.extend_from_slice(send.as_slice());
            let count = send.bytes_count();
            outbox.completed(send, count, &mut spare);
        }
        assert_eq!(received.len(), large.len() + 3);
        assert_eq!(&received[..large.len()], &large[..]);
        assert!(outbox.is_empty());
    }
}
