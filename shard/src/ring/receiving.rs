//! How a ring receives: by one operation that stays armed, or by watching and asking once.
//!
//! ```text
//!           receive(): expects much                     rest(): expects little
//!
//!   idle ──► armed ──┬─► bytes, bytes …          idle ──► watched ──► readable
//!     ▲              │                             ▲                     │
//!     └── cancelled ─┘                             └─────── once ◄───────┘ ─► bytes
//! ```
//!
//! An armed multishot receive costs the kernel some 600 bytes more than a poll, a watch costs two
//! operations for each arrival instead of none. At most one of them is with the kernel for each
//! slot. Who rests and is expected to send much has its watch left as it is: the next arrival ends
//! it, and is received by the operation that stays.

use io_uring::cqueue;
use protocol::ids::{ConnectionId, Slot};

use super::{Arrived, Ring};
use crate::entries::{self, Operation, Tag};
use crate::io::{Chunk, Completion, Errno, ReceiveEnd};
use crate::slots::{Life, Receive};

impl Ring {
    pub(super) fn begin_receiving(&mut self, connection: ConnectionId, rests: bool) {
        let state = self.open(connection);
        state.wanted = true;
        state.rests = rests;
        let (slot, generation) = (self.place(connection), connection.generation());
        match self.open(connection).receive {
            Receive::Idle => self.arm(slot, generation),
            Receive::Armed if rests => self.cancel_receive(slot, generation),
            // Goes on as it is now wanted once that is over.
            Receive::Armed | Receive::Watched | Receive::Once | Receive::Parked => {}
        }
    }

    pub(super) fn end_receiving(&mut self, connection: ConnectionId) {
        let state = self.open(connection);
        state.wanted = false;
        if matches!(state.receive, Receive::Armed | Receive::Watched) {
            self.cancel_receive(self.place(connection), connection.generation());
        }
    }

    /// Cancels what is armed, unless that is under way.
    fn cancel_receive(&mut self, slot: Slot, generation: u32) {
        let Some(state) = self.slots.get(slot, generation) else { return };
        if std::mem::replace(&mut state.cancelling, true) {
            return;
        }
        let operation = match state.receive {
            Receive::Watched => Operation::Watch,
            _ => Operation::Receive,
        };
        self.push(entries::cancel(Tag::new(operation, slot, generation)));
    }

    /// Arms parked receives again, as many as there are free buffers.
    pub(super) fn unpark(&mut self) {
        let mut room = usize::from(self.memory.buffers.free_count());
        while room > 0 {
            let Some((slot, generation)) = self.parked.pop_front() else { return };
            let Some(state) = self.slots.get(slot, generation) else { continue };
            if state.receive != Receive::Parked {
                continue;
            }
            state.receive = Receive::Idle;
            if state.wanted && state.life == Life::Open {
                self.arm(slot, generation);
                room -= 1;
            }
        }
    }

    /// Goes on as the owner wants it.
    fn arm(&mut self, slot: Slot, generation: u32) {
        let Some(state) = self.slots.get(slot, generation) else { return };
        if !state.wanted {
            return;
        }
        self.in_flight_count += 1;
        let entry = if state.rests {
            state.receive = Receive::Watched;
            entries::watch(Tag::new(Operation::Watch, slot, generation))
        } else {
            state.receive = Receive::Armed;
            entries::receive(Tag::new(Operation::Receive, slot, generation))
        };
        self.push(entry);
    }

    /// A watch is over: most often there is something to receive, or the end.
    pub(super) fn on_watch(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, .. } = arrived.tag;
        self.in_flight_count -= 1;
        let state = self.slots.get(slot, generation).expect("a slot outlives its watch");
        state.receive = Receive::Idle;
        state.cancelling = false;
        let was_cancelled = arrived.result == -libc::ECANCELED;
        if state.life != Life::Open {
            self.finish_if_quiet(slot, generation);
        } else if state.wanted && state.rests && !was_cancelled {
            self.ask_once(slot, generation);
        } else {
            self.arm(slot, generation);
        }
        None
    }

    fn ask_once(&mut self, slot: Slot, generation: u32) {
        let Some(state) = self.slots.get(slot, generation) else { return };
        state.receive = Receive::Once;
        self.in_flight_count += 1;
        self.push(entries::receive_once(Tag::new(Operation::Receive, slot, generation)));
    }

    pub(super) fn on_receive(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, .. } = arrived.tag;
        let more = cqueue::more(arrived.flags);
        let chunk = cqueue::buffer_select(arrived.flags).map(|buffer| {
            self.memory.buffers.take();
            let ring = self.options.ring;
            Chunk { ring, buffer, bytes_count: arrived.result.max(0) as u32 }
        });
        if !more {
            self.in_flight_count -= 1;
        }
        let Some(state) = self.slots.get(slot, generation) else {
            self.counters.completions_stale += 1;
            if let Some(chunk) = chunk {
                self.memory.buffers.push(chunk.buffer);
            }
            return None;
        };
        let was_once = state.receive == Receive::Once;
        if !more {
            state.receive = Receive::Idle;
            state.cancelling = false;
        }
        let goes_on = state.wanted && state.rests && was_once;
        if state.life != Life::Open {
            if let Some(chunk) = chunk {
                self.memory.buffers.push(chunk.buffer);
            }
            self.finish_if_quiet(slot, generation);
            return None;
        }
        let connection = self.id(slot, generation);
        if arrived.result > 0 {
            let chunk = chunk.expect("the kernel names the buffer it filled");
            if goes_on && chunk.bytes_count == self.options.buffer_bytes {
                // There is most likely more.
                self.ask_once(slot, generation);
            } else if !more {
                self.arm(slot, generation);
            }
            return Some(Completion::Received { connection, chunk });
        }
        if let Some(chunk) = chunk {
            self.memory.buffers.push(chunk.buffer);
        }
        let end = match -arrived.result {
            0 => ReceiveEnd::Eof,
            libc::ENOBUFS => {
                self.counters.receives_parked += 1;
                self.park(slot, generation);
                return None;
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                self.arm(slot, generation);
                return None;
            }
            errno => ReceiveEnd::Failed(Errno(errno)),
        };
        self.slots.get(slot, generation)?.wanted = false;
        Some(Completion::ReceiveEnded { connection, end })
    }

    fn park(&mut self, slot: Slot, generation: u32) {
        if let Some(state) = self.slots.get(slot, generation) {
            state.receive = Receive::Parked;
            self.parked.push_back((slot, generation));
        }
    }
}
