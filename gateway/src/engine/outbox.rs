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
    /// Publications in it, if it can be replaced.
    publications_count: u16,
    /// The rest of something whose beginning was sent: it cannot be left out any more.
    continues: bool,
}

impl Segment {
    fn new(buffer: SendBuffer) -> Self {
        Self { buffer, conflates: NO_CHANNEL, publications_count: 0, continues: false }
    }

    fn rest(buffer: SendBuffer) -> Self {
        Self { continues: true, ..Self::new(buffer) }
    }
}

/// Buffers for use again, one pile per shard.
#[derive(Debug, Default)]
pub(crate) struct SpareBuffers {
    buffers: Vec<Vec<u8>>,
}

impl SpareBuffers {
    /// Bytes of memory that wait to be used again. Looks at each: there are at most
    /// [`limits::SPARE_BUFFERS_MAX`].
    pub(crate) fn memory_bytes(&self) -> usize {
        let buffers = self.buffers.iter().map(Vec::capacity).sum::<usize>();
        buffers + self.buffers.capacity() * size_of::<Vec<u8>>()
    }

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

    /// Bytes of memory that keep the order of what waits. One message costs none.
    pub(crate) fn order_bytes(&self) -> u32 {
        let Some(tail) = &self.tail else { return 0 };
        (size_of::<VecDeque<Segment>>() + tail.capacity() * size_of::<Segment>()) as u32
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
        self.push(Segment::new(SendBuffer::owned(bytes)));
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
        self.push(Segment::new(buffer));
        Pushed::Queued
    }

    /// Queues publications of `channel`. For a client that is behind by more than its next send
    /// carries, they replace older ones of the channel that have not begun to be sent; returns how
    /// many those were.
    pub(crate) fn push_conflated(
        &mut self,
        bytes: &Arc<[u8]>,
        (start, end): (u32, u32),
        (channel, publications_count): (u32, u32),
        bytes_max: u32,
    ) -> (Pushed, u32) {
        // Half a budget is where a small one begins to be used up.
        let one_send = (limits::GATHER_BYTES_MAX as u32).min(bytes_max / 2);
        let is_slow = self.bytes() + (end - start) > one_send;
        let left_out = if is_slow { self.leave_out(channel) } else { 0 };
        if !self.fits(end - start, bytes_max) {
            return (Pushed::Overflow, left_out);
        }
        let buffer = SendBuffer::Shared { bytes: bytes.clone(), start, end };
        let publications_count = u16::try_from(publications_count).unwrap_or(u16::MAX);
        self.push(Segment { conflates: channel, publications_count, ..Segment::new(buffer) });
        (Pushed::Queued, left_out)
    }

    /// Leaves out what waits of a channel. Returns how many publications that was.
    fn leave_out(&mut self, channel: u32) -> u32 {
        let mut left_out = 0;
        let mut bytes_count = 0;
        let mut stays = |segment: &Segment| {
            if segment.conflates != channel {
                return true;
            }
            left_out += u32::from(segment.publications_count);
            bytes_count += segment.buffer.bytes_count();
            false
        };
        if let Some(tail) = &mut self.tail {
            tail.retain(&mut stays);
        }
        if self.head.as_ref().is_some_and(|head| !stays(head)) {
            self.pop();
        } else if self.tail.as_ref().is_some_and(|tail| tail.is_empty()) {
            self.tail = None;
        }
        self.queued_bytes -= bytes_count;
        left_out
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

    fn conflate(outbox: &mut Outbox, text: &[u8], channel: u32, bytes_max: u32) -> (Pushed, u32) {
        let range = (0, text.len() as u32);
        outbox.push_conflated(&shared(text), range, (channel, 1), bytes_max)
    }

    #[test]
    fn conflation_keeps_the_newest_that_has_not_begun() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        let large = [b'1'; limits::GATHER_BYTES_MAX];
        conflate(&mut outbox, &large, 7, MAX);
        let send = outbox.take(&mut spare).unwrap();
        let mut left_out = 0;
        for text in [b"2", b"3", b"4"] {
            left_out += conflate(&mut outbox, text, 7, MAX).1;
            left_out += conflate(&mut outbox, text, 8, MAX).1;
        }
        assert_eq!(left_out, 4);
        assert_eq!(outbox.bytes() as usize, limits::GATHER_BYTES_MAX + 2);
        outbox.completed(send, limits::GATHER_BYTES_MAX as u32, &mut spare);
        assert_eq!(outbox.take(&mut spare).unwrap().as_slice(), b"44");
    }

    #[test]
    fn a_client_that_is_merely_in_the_middle_of_a_send_gets_everything() {
        let (mut outbox, mut spare) = (Outbox::default(), SpareBuffers::default());
        conflate(&mut outbox, b"1", 7, MAX);
        let send = outbox.take(&mut spare).unwrap();
        for text in [b"2", b"3", b"4"] {
            assert_eq!(conflate(&mut outbox, text, 7, MAX), (Pushed::Queued, 0));
        }
        outbox.completed(send, 1, &mut spare);
        assert_eq!(outbox.take(&mut spare).unwrap().as_slice(), b"234");
    }

    #[test]
    fn conflation_respects_the_budget() {
        let mut outbox = Outbox::default();
        let mut spare = SpareBuffers::default();
        outbox.push_copy([b"other", b""], MAX, &mut spare);
        let large = vec![0; limits::GATHER_BYTES_MAX];
        let bytes_max = large.len() as u32 + 10;
        assert_eq!(conflate(&mut outbox, &large, 7, bytes_max), (Pushed::Queued, 0));
        assert_eq!(conflate(&mut outbox, &large, 7, bytes_max), (Pushed::Queued, 1));
        let larger = vec![0; limits::GATHER_BYTES_MAX + 10];
        assert_eq!(conflate(&mut outbox, &larger, 7, bytes_max), (Pushed::Overflow, 1));
        assert_eq!(outbox.bytes(), 5, "the older one has left, and the connection is closed");
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
