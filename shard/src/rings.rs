//! Several rings that look like one: as many tables of direct descriptors as a shard needs.
//!
//! A table may have RLIMIT_NOFILE places, a process as many tables as it likes. The next ring is
//! made when the tables before it are full, so that a shard with few clients has one ring and turns
//! as fast as that.
//!
//! Owns: the rings of one shard, and which of them accepts.
//! Never: sleeps on another ring than the first. The kernel rings the shard's bell for the others,
//! and the first one listens to it.
//!
//! ```text
//!             ┌── ring 0 ◄── bell ◄──┬── other threads
//!  turn ──────┤     (sleeps here)    │
//!             ├── ring 1 ────────────┤  eventfd of the ring
//!             └── ring 2 ────────────┘
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use protocol::ids::ConnectionId;

use crate::io::{Chunk, Completion, Errno, Io, SendBuffer, Wait};
use crate::lanes::Bell;
use crate::limits;
use crate::ring::{Ring, RingCounters, RingOptions};

/// The rings of one shard.
pub struct Rings {
    rings: Vec<Ring>,
    options: RingOptions,
    rings_max: u8,
    listener: Option<OwnedFd>,
    bell: Bell,
    /// The ring that accepts, if one does.
    accepting: Option<usize>,
    /// The ring whose completions are taken.
    taking: usize,
    /// Why accepting ended, if nobody was told.
    ended: VecDeque<Errno>,
}

impl Rings {
    /// The first of at most `rings_max` rings, each as `options` says, on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`Ring::new`].
    pub fn new(
        options: RingOptions,
        rings_max: u8,
        listener: Option<OwnedFd>,
        bell: Bell,
    ) -> io::Result<Self> {
        let share = listener.as_ref().map(OwnedFd::try_clone).transpose()?;
        let first = Ring::new(options, share, bell.clone())?;
        Ok(Self {
            rings: vec![first],
            options,
            rings_max,
            listener,
            bell,
            accepting: None,
            taking: 0,
            ended: VecDeque::new(),
        })
    }

    /// What happened since the start, in all rings.
    pub fn counters(&self) -> RingCounters {
        self.rings.iter().map(Ring::counters).fold(RingCounters::default(), RingCounters::plus)
    }

    /// The first ring with room, made if there is none.
    fn ring_with_room(&mut self) -> io::Result<Option<usize>> {
        if let Some(index) = self.rings.iter().position(|ring| ring.room() > 0) {
            return Ok(Some(index));
        }
        let Some(listener) = &self.listener else { return Ok(None) };
        if self.rings.len() >= usize::from(self.rings_max) {
            return Ok(None);
        }
        let index = self.rings.len();
        let options = RingOptions {
            ring: index as u8,
            first_slot: index as u32 * self.options.connections_max,
            buffers_count: self.options.buffers_count.min(limits::FURTHER_RECEIVE_BUFFERS_COUNT),
            ..self.options
        };
        let listener = listener.try_clone()?;
        self.rings.push(Ring::further(options, Some(listener), &self.bell)?);
        Ok(Some(index))
    }

    fn ring_of(&mut self, connection: ConnectionId) -> &mut Ring {
        &mut self.rings[usize::from(connection.ring())]
    }
}

impl Io for Rings {
    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let (first, others) = self.rings.split_first_mut().expect("the first is always there");
        if others.is_empty() {
            return first.turn(wait);
        }
        // What the others have to submit is submitted before anybody sleeps; what happens in them
        // from here on rings the bell.
        let mut has_news = !self.ended.is_empty();
        for ring in &mut *others {
            ring.turn(Wait::No)?;
            has_news |= ring.has_arrived();
        }
        first.turn(if has_news { Wait::No } else { wait })?;
        if !has_news && wait != Wait::No {
            others.iter_mut().try_for_each(Ring::look)?;
        }
        self.taking = 0;
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some(ring) = self.rings.get_mut(self.taking) {
            let Some(completion) = ring.next() else {
                self.taking += 1;
                continue;
            };
            if matches!(completion, Completion::AcceptEnded(_)) {
                let is_full = ring.room() == 0;
                if self.accepting != Some(self.taking) {
                    continue;
                }
                self.accepting = None;
                if is_full {
                    // Another one goes on, or says that there is none.
                    self.accept();
                    continue;
                }
            }
            return Some(completion);
        }
        self.taking = 0;
        self.ended.pop_front().map(Completion::AcceptEnded)
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.rings[usize::from(chunk.ring)].bytes(chunk)
    }

    fn recycle(&mut self, chunk: Chunk) {
        self.rings[usize::from(chunk.ring)].recycle(chunk);
    }

    fn accept(&mut self) {
        if self.listener.is_none() || self.accepting.is_some() {
            return;
        }
        match self.ring_with_room() {
            Ok(Some(index)) => {
                self.accepting = Some(index);
                self.rings[index].accept();
            }
            Ok(None) => self.ended.push_back(Errno(libc::ENFILE)),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::ENOMEM);
                self.ended.push_back(Errno(errno));
            }
        }
    }

    fn stop_accepting(&mut self) {
        self.listener = None;
        self.accepting = None;
        self.rings.iter_mut().for_each(Ring::stop_accepting);
    }

    fn receive(&mut self, connection: ConnectionId) {
        self.ring_of(connection).receive(connection);
    }

    fn rest(&mut self, connection: ConnectionId) {
        self.ring_of(connection).rest(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.ring_of(connection).pause(connection);
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        self.ring_of(connection).send(connection, buffer);
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.ring_of(connection).shutdown_write(connection);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.ring_of(connection).close(connection);
    }
}
