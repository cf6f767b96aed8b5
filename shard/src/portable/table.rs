//! Places for connections: sockets, their generations, and what each waits for.
//!
//! Invariant: a place has a socket from the moment it is taken until it is freed, and none else.
//!
//! ```text
//!  receive:  Idle ─receive()─► Queued ─turn─► Armed ─edge─► (bytes) ─► Armed
//!                                               │ more than a turn allows ─► Again ─► …
//!                                               └ no buffer is free ─► Parked ─► …
//! ```

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::task::Waker;

use monoio::net::TcpStream;
use protocol::ids::{ConnectionId, Slot, next_generation};
use rustix::net::Shutdown;

use super::readiness;
use crate::io::SendBuffer;
use crate::ring::RingOptions;

/// Life of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Free,
    Open,
    /// `close` was asked for; the next turn closes the socket.
    Closing,
}

/// What a place's receiving waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Nobody asked, or it was paused or has ended.
    Idle,
    /// The next turn.
    Queued,
    /// The waker.
    Armed,
    /// The next turn, because this one's share is used up.
    Again,
    /// A free buffer.
    Parked,
}

pub(super) struct Place {
    socket: Option<TcpStream>,
    /// Made once for the place and kept by the next connection.
    waker: Waker,
    /// Bytes that the kernel did not take yet.
    pub(super) waiting_send: Option<Box<SendBuffer>>,
    generation: u32,
    pub(super) life: Life,
    pub(super) receive: Receive,
    /// Does the owner want to receive?
    pub(super) wanted: bool,
    /// From `send` to its completion.
    pub(super) is_sending: bool,
}

pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<Slot>,
    places_max: usize,
}

impl Table {
    pub(super) fn new(places_max: u32) -> Self {
        Self { places: Vec::new(), free: Vec::new(), places_max: places_max as usize }
    }

    pub(super) fn open_count(&self) -> u32 {
        (self.places.len() - self.free.len()) as u32
    }

    /// Bytes of memory that the table takes, without what the runtime keeps for each socket.
    pub(super) fn memory_bytes(&self) -> usize {
        self.places.len() * size_of::<Place>() + self.free.len() * size_of::<Slot>()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() == self.places_max
    }

    /// Puts a socket in a free place of a table that is not full.
    pub(super) fn take(&mut self, socket: TcpStream, waker: impl Fn(Slot) -> Waker) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            assert!(self.places.len() < self.places_max, "who accepts looks for room first");
            let slot = Slot(self.places.len() as u32);
            self.places.push(Place::new(waker(slot)));
            slot
        });
        let place = &mut self.places[slot.index()];
        assert!(place.life == Life::Free, "an open place was taken again");
        place.socket = Some(socket);
        place.generation = next_generation(place.generation);
        place.life = Life::Open;
        slot
    }

    /// Closes the socket of a place. Must be called inside the runtime.
    pub(super) fn free(&mut self, slot: Slot) {
        let place = &mut self.places[slot.index()];
        assert!(place.waiting_send.is_none(), "bytes are given back before the place is free");
        place.socket = None;
        place.life = Life::Free;
        place.receive = Receive::Idle;
        place.wanted = false;
        place.is_sending = false;
        self.free.push(slot);
    }

    /// The place that a slot names, whoever is in it.
    pub(super) fn at(&mut self, slot: Slot) -> &mut Place {
        &mut self.places[slot.index()]
    }

    pub(super) fn is_open(&self, connection: ConnectionId) -> bool {
        let place = &self.places[connection.slot().index()];
        place.generation == connection.generation() && place.life == Life::Open
    }

    /// The open place of a connection.
    pub(super) fn open(&mut self, connection: ConnectionId) -> &mut Place {
        let place = &mut self.places[connection.slot().index()];
        let is_it = place.generation == connection.generation() && place.life != Life::Free;
        assert!(is_it, "operations name connections that are not closed");
        assert!(place.life == Life::Open, "a connection that is being closed is not used");
        place
    }
}

impl Place {
    fn new(waker: Waker) -> Self {
        Self {
            socket: None,
            waker,
            waiting_send: None,
            generation: 0,
            life: Life::Free,
            receive: Receive::Idle,
            wanted: false,
            is_sending: false,
        }
    }

    pub(super) fn connection(&self, options: &RingOptions, slot: Slot) -> ConnectionId {
        ConnectionId::new(options.shard, options.ring, slot, self.generation)
    }

    fn registered(&self) -> &TcpStream {
        self.socket.as_ref().expect("operations are carried out before their place is freed")
    }

    /// The descriptor, for calls that monoio has no plain form of.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        let fd = self.registered().as_raw_fd();
        // SAFETY: the stream in this place owns `fd` and closes it when it is dropped, which needs
        // `&mut self`: not while the result borrows `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    pub(super) fn shut_down(&self, how: Shutdown) -> rustix::io::Result<()> {
        rustix::net::shutdown(self.socket(), how)
    }

    /// Is there something to receive? If not, the place's waker is called when there is.
    pub(super) fn is_readable_or_wakes(&self) -> bool {
        readiness::is_readable(self.registered(), &self.waker)
    }

    /// Is there room to send? If not, the place's waker is called when there is.
    pub(super) fn is_writable_or_wakes(&self) -> bool {
        readiness::is_writable(self.registered(), &self.waker)
    }
}
