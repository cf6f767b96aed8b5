//! How a ring takes clients in: one operation for all while there is room, one for each in the last
//! places, and the peer's address before anybody hears of them.
//!
//! The kernel looks for a free place behind the one it gave out or took back last. Where many come
//! and go it would wander through the whole table, and so would all that is kept by place, up to
//! the shard's connections. Whenever it has strayed it is sent back to the first place.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::cqueue;
use protocol::ids::Slot;

use super::{Arrived, Ring};
use crate::entries::{self, Operation, Tag};
use crate::io::{Completion, Errno};
use crate::limits;

/// `struct io_uring_file_index_range` of `io_uring_register(2)`.
#[repr(C)]
struct FileIndexRange {
    first: u32,
    count: u32,
    reserved: u64,
}

/// `IORING_REGISTER_FILE_ALLOC_RANGE`: in which places sockets are put. Since Linux 6.0.
const REGISTER_FILE_ALLOC_RANGE: libc::c_uint = 25;

impl Ring {
    /// Free places in the table that no accept has in view.
    pub(crate) fn room(&self) -> u32 {
        let taken = self.slots.open_count() + self.accepts_single;
        self.options.connections_max.saturating_sub(taken)
    }

    pub(super) fn on_accept(&mut self, arrived: Arrived) -> Option<Completion> {
        if arrived.tag.aux == entries::ONE_CLIENT {
            self.accepts_single -= 1;
        } else if !cqueue::more(arrived.flags) {
            (self.accept_armed, self.accept_cancelled) = (false, false);
        }
        if arrived.result < 0 {
            return match -arrived.result {
                libc::ECANCELED => {
                    self.begin_accepting();
                    None
                }
                // The client went away in the queue; the next one is not affected.
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => {
                    self.begin_accepting();
                    None
                }
                errno => Some(Completion::AcceptEnded(Errno(errno))),
            };
        }
        let slot = Slot(arrived.result as u32);
        let generation = self.slots.open(slot);
        self.watch_places(slot);
        self.begin_accepting();
        if self.options.peer_addresses {
            self.lookups_waiting.push_back((slot, generation));
            self.look_up_next();
            return None;
        }
        Some(Completion::Accepted { connection: self.id(slot, generation), peer: None })
    }

    fn look_up_next(&mut self) {
        while let Some((slot, generation)) = self.lookups_waiting.front().copied() {
            let Some(place) = self.lookups_free.pop() else { return };
            self.lookups_waiting.pop_front();
            let storage = &raw mut self.memory.lookups[usize::from(place)];
            let tag = Tag { operation: Operation::Peer, aux: place, slot, generation };
            self.in_flight_count += 1;
            self.push(entries::peer_name(tag, storage, self.address_bytes));
        }
    }

    pub(super) fn on_peer(&mut self, arrived: Arrived) -> Option<Completion> {
        let Tag { slot, generation, aux, .. } = arrived.tag;
        self.in_flight_count -= 1;
        let peer = if arrived.result >= 0 {
            self.memory.lookups[usize::from(aux)].address()
        } else {
            None
        };
        self.lookups_free.push(aux);
        self.look_up_next();
        Some(Completion::Accepted { connection: self.id(slot, generation), peer })
    }

    /// Notes where the kernel goes on to look for free places.
    pub(super) fn watch_places(&mut self, slot: Slot) {
        self.has_strayed |= slot.0 >= self.slots.open_count() + limits::PLACES_STRAYED;
    }

    /// Sends the kernel back to the first free place. What is to be submitted goes before: each
    /// close would make it go on behind the place it frees, and clients are taken in behind the
    /// closes.
    pub(super) fn use_first_places(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.has_strayed) {
            return Ok(());
        }
        if let Err(error) = self.ring.submit()
            && !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
        {
            return Err(error);
        }
        let count = self.options.connections_max;
        let range = FileIndexRange { first: 0, count, reserved: 0 };
        // SAFETY: the kernel reads `range` during the call, and the ring is open.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                REGISTER_FILE_ALLOC_RANGE,
                &raw const range,
                0,
            )
        };
        assert_eq!(result, 0, "the range is that of the table");
        Ok(())
    }

    pub(super) fn begin_accepting(&mut self) {
        let Some(listener) = self.listener.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if self.room() > limits::ACCEPT_SINGLY_BELOW {
            if !self.accept_armed {
                self.accept_armed = true;
                self.push(entries::accept(listener));
            }
            return;
        }
        if self.accept_armed {
            // Its last completion leads here again.
            if !self.accept_cancelled {
                self.accept_cancelled = true;
                self.push(entries::cancel(Tag::of(Operation::Accept)));
            }
            return;
        }
        while self.accepts_single < limits::ACCEPTS_SINGLE_MAX && self.room() > 0 {
            self.accepts_single += 1;
            self.push(entries::accept_one(listener));
        }
        self.is_full = self.accepts_single == 0;
    }

    pub(super) fn end_accepting(&mut self) {
        if self.accept_armed {
            self.push(entries::cancel(Tag::of(Operation::Accept)));
        }
        if self.accepts_single > 0 {
            let one = Tag { aux: entries::ONE_CLIENT, ..Tag::of(Operation::Accept) };
            self.push(entries::cancel_all(one));
        }
        self.is_full = false;
        // Closing the listener makes the kernel refuse new clients at once.
        self.listener = None;
    }
}
