//! The portable driver: sockets on epoll, by monoio's legacy driver, where io_uring is forbidden.
//!
//! Owns: sockets, receive buffers, the bytes of every send that the kernel has not taken.
//! Never: knows a protocol, keeps time, or shares anything with another thread.
//!
//! It keeps the contract of [`crate::io`] word for word, so engines and pump do not know which
//! driver they run on. monoio's usual shape, a task and a buffer per connection, would cost an idle
//! connection several KiB; here a connection is a place in a table, and only its readiness is a
//! future, polled by the driver when its waker has put the place in the ready list.
//!
//! ```text
//!  turn: queued operations ─► leftovers ─► epoll_wait ─► bell, listener, ready places ─► `arrived`
//! ```
//!
//! Sends and receives are plain calls, not monoio's operations: those own their buffer until they
//! are done, which for a receive would be for as long as the client is silent.
//!
//! Limitation: monoio waits again when epoll_wait itself fails, so [`Io::turn`] never returns an
//! error.

mod accept;
mod pool;
mod readiness;
mod table;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use monoio::time::TimeDriver;
use monoio::{LegacyDriver, Runtime, RuntimeBuilder};
use protocol::ids::{ConnectionId, Slot};
use rustix::io::Errno as Error;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::io::{Chunk, Completion, Errno, Io, ReceiveEnd, SendBuffer, Wait};
use crate::lanes::Bell;
use crate::limits;
use crate::ring::{RingCounters, RingOptions};
use accept::Door;
use pool::Pool;
use readiness::{BellWatch, ReadyList, Token};
use table::{Life, Receive, Table};

/// The portable driver of one shard.
pub struct Portable {
    runtime: Runtime<TimeDriver<LegacyDriver>>,
    state: State,
}

/// Everything but the runtime, which lends itself to it during a turn.
struct State {
    options: RingOptions,
    table: Table,
    pool: Pool,
    ready: ReadyList,
    door: Door,
    bell: BellWatch,
    /// What was asked for since the last turn, in this order.
    queued: VecDeque<Queued>,
    /// Completions of this turn, not yet asked for.
    arrived: VecDeque<Completion>,
    /// Places that have more to do than one turn allows.
    again: VecDeque<Slot>,
    /// Places that found no free buffer.
    parked: VecDeque<Slot>,
    counters: RingCounters,
}

/// An operation that the next turn carries out.
enum Queued {
    Receive(ConnectionId),
    Send(ConnectionId, SendBuffer),
    ShutdownWrite(ConnectionId),
    Close(ConnectionId),
    Accept,
    StopAccepting,
}

impl Portable {
    /// Makes the driver on the calling thread, which alone may use it. The options mean what they
    /// mean to a ring; the table counts against RLIMIT_NOFILE of the process.
    ///
    /// # Errors
    ///
    /// No epoll instance or no descriptor is left.
    pub fn new(options: RingOptions, listener: Option<OwnedFd>, bell: &Bell) -> io::Result<Self> {
        assert!(options.connections_max <= limits::CONNECTIONS_PER_RING_MAX);
        let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(limits::READY_EVENTS_MAX);
        let mut runtime = builder.enable_timer().build()?;
        let ready = ReadyList::default();
        let eventfd = bell.as_fd().try_clone_to_owned()?;
        // What registers a descriptor with epoll runs inside the runtime.
        let (door, bell) = runtime.block_on(async {
            let door = Door::new(listener, ready.waker(Token::Listener))?;
            Ok::<_, io::Error>((door, BellWatch::new(eventfd, ready.waker(Token::Bell))?))
        })?;
        let state = State {
            table: Table::new(options.connections_max),
            pool: Pool::new(options.buffers_count, options.buffer_bytes),
            options,
            ready,
            door,
            bell,
            queued: VecDeque::new(),
            arrived: VecDeque::new(),
            again: VecDeque::new(),
            parked: VecDeque::new(),
            counters: RingCounters::default(),
        };
        Ok(Self { runtime, state })
    }

    /// What happened since the start. A submission is an operation, a turn at least one
    /// epoll_wait. What the runtime of epoll keeps for each socket is not among the bytes of slots.
    pub fn counters(&self) -> RingCounters {
        RingCounters {
            slot_bytes: self.state.table.memory_bytes() as u64,
            receive_buffer_bytes: self.state.pool.touched_bytes() as u64,
            ..self.state.counters
        }
    }

    /// Connections that are not closed yet.
    pub fn connections_count(&self) -> u32 {
        self.state.table.open_count()
    }
}

impl Io for Portable {
    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let state = &mut self.state;
        assert!(state.arrived.is_empty(), "all completions are taken before the next turn");
        state.counters.turns += 1;
        self.runtime.block_on(async {
            state.carry_out_queued();
            state.go_on_with_leftovers();
            let wait = if state.has_work() { Wait::No } else { wait };
            state.ready.wait(wait).await;
            state.take_ready();
        });
        state.counters.completions += state.arrived.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.state.next()
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.state.pool.bytes(chunk.buffer, chunk.bytes_count)
    }

    fn recycle(&mut self, chunk: Chunk) {
        self.state.pool.give_back(chunk.buffer);
    }

    fn accept(&mut self) {
        if self.state.door.open() {
            self.state.queued.push_back(Queued::Accept);
        }
    }

    fn stop_accepting(&mut self) {
        self.state.queued.push_back(Queued::StopAccepting);
    }

    fn receive(&mut self, connection: ConnectionId) {
        let place = self.state.table.open(connection);
        place.wanted = true;
        if place.receive == Receive::Idle {
            place.receive = Receive::Queued;
            self.state.queued.push_back(Queued::Receive(connection));
        }
    }

    /// As [`Io::receive`]: readiness is what epoll watches anyway.
    fn rest(&mut self, connection: ConnectionId) {
        self.receive(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.state.table.open(connection).wanted = false;
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        let place = self.state.table.open(connection);
        assert!(!place.is_sending, "two sends on one socket may reorder");
        assert!(buffer.bytes_count() > 0, "an empty send would look like a failure");
        place.is_sending = true;
        self.state.queued.push_back(Queued::Send(connection, buffer));
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.state.table.open(connection);
        self.state.queued.push_back(Queued::ShutdownWrite(connection));
    }

    fn close(&mut self, connection: ConnectionId) {
        let place = self.state.table.open(connection);
        place.life = Life::Closing;
        place.wanted = false;
        self.state.queued.push_back(Queued::Close(connection));
    }
}

impl State {
    /// Is there something to report, or to do without waiting for the kernel?
    fn has_work(&self) -> bool {
        let can_unpark = !self.parked.is_empty() && self.pool.has_free();
        let has_leftovers = can_unpark || !self.again.is_empty() || self.door.has_more;
        has_leftovers || !self.arrived.is_empty()
    }

    fn next(&mut self) -> Option<Completion> {
        while let Some(completion) = self.arrived.pop_front() {
            match completion {
                // After `close` nothing but `Sent` and `Closed` is reported.
                Completion::Received { connection, chunk } if !self.table.is_open(connection) => {
                    self.pool.give_back(chunk.buffer);
                }
                Completion::ReceiveEnded { connection, .. } if !self.table.is_open(connection) => {}
                completion => return Some(completion),
            }
        }
        None
    }

    fn carry_out_queued(&mut self) {
        while let Some(queued) = self.queued.pop_front() {
            self.counters.submissions += 1;
            match queued {
                Queued::Receive(connection) => {
                    let slot = connection.slot();
                    if self.table.at(slot).receive == Receive::Queued {
                        self.receive_some(slot);
                    }
                }
                Queued::Send(connection, buffer) => self.send_some(connection.slot(), buffer),
                Queued::ShutdownWrite(connection) => {
                    // A connection that is gone already needs no FIN.
                    let _ = self.table.at(connection.slot()).shut_down(Shutdown::Write);
                }
                Queued::Close(connection) => self.close_now(connection),
                Queued::Accept => self.accept_some(),
                Queued::StopAccepting => self.door.stop(),
            }
        }
    }

    fn go_on_with_leftovers(&mut self) {
        for _ in 0..self.again.len() {
            let Some(slot) = self.again.pop_front() else { break };
            if self.table.at(slot).receive == Receive::Again {
                self.receive_some(slot);
            }
        }
        for _ in 0..self.parked.len() {
            if !self.pool.has_free() {
                break;
            }
            let Some(slot) = self.parked.pop_front() else { break };
            if self.table.at(slot).receive == Receive::Parked {
                self.receive_some(slot);
            }
        }
        if self.door.has_more {
            self.accept_some();
        }
    }

    /// Looks after everything whose waker was called since the last time.
    fn take_ready(&mut self) {
        while let Some(token) = self.ready.pop() {
            match token {
                Token::Bell => self.bell.silence(),
                Token::Listener => self.accept_some(),
                Token::Place(slot) => self.look_after(slot),
            }
        }
    }

    /// A place is readable, writable or both. A waker may also be late, for a connection that is
    /// gone: the next one in the place then finds out that there is nothing to do.
    fn look_after(&mut self, slot: Slot) {
        let place = self.table.at(slot);
        if let Some(buffer) = place.waiting_send.take() {
            self.send_some(slot, *buffer);
        }
        if self.table.at(slot).receive == Receive::Armed {
            self.receive_some(slot);
        }
    }

    /// Receives until the socket is empty, the place's share of the turn is used up, or no buffer
    /// is free.
    fn receive_some(&mut self, slot: Slot) {
        let place = self.table.at(slot);
        place.receive = Receive::Idle;
        if !place.wanted {
            return;
        }
        let connection = place.connection(&self.options, slot);
        for _ in 0..limits::RECEIVES_PER_TURN {
            let Some(buffer) = self.pool.take() else {
                self.counters.receives_parked += 1;
                self.table.at(slot).receive = Receive::Parked;
                self.parked.push_back(slot);
                return;
            };
            let bytes = self.pool.bytes(buffer, self.options.buffer_bytes);
            let socket = self.table.at(slot).socket();
            let end = match rustix::net::recv(socket, bytes, RecvFlags::DONTWAIT) {
                Ok((count @ 1.., _)) => {
                    let chunk = Chunk { ring: 0, buffer, bytes_count: count as u32 };
                    self.arrived.push_back(Completion::Received { connection, chunk });
                    if count < self.options.buffer_bytes as usize {
                        return self.wait_for_bytes(slot);
                    }
                    continue;
                }
                Err(Error::AGAIN | Error::INTR) => {
                    self.pool.give_back(buffer);
                    return self.wait_for_bytes(slot);
                }
                Ok(_) => ReceiveEnd::Eof,
                Err(error) => ReceiveEnd::Failed(Errno(error.raw_os_error())),
            };
            self.pool.give_back(buffer);
            self.table.at(slot).wanted = false;
            self.arrived.push_back(Completion::ReceiveEnded { connection, end });
            return;
        }
        self.leave_for_next_turn(slot);
    }

    /// Arms the readiness of a place; what has come meanwhile is left for the next turn.
    fn wait_for_bytes(&mut self, slot: Slot) {
        let place = self.table.at(slot);
        if place.is_readable_or_wakes() {
            self.leave_for_next_turn(slot);
        } else {
            place.receive = Receive::Armed;
        }
    }

    fn leave_for_next_turn(&mut self, slot: Slot) {
        self.table.at(slot).receive = Receive::Again;
        self.again.push_back(slot);
    }

    /// Sends what the kernel takes. If it takes nothing, the bytes wait until the socket is
    /// writable.
    fn send_some(&mut self, slot: Slot, buffer: SendBuffer) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let place = self.table.at(slot);
        let result = loop {
            match rustix::net::send(place.socket(), buffer.as_slice(), flags) {
                Ok(0) => break Err(Errno(libc::EPIPE)),
                Ok(count) => break Ok(count as u32),
                Err(Error::INTR) => {}
                Err(Error::AGAIN) => {
                    if !place.is_writable_or_wakes() {
                        place.waiting_send = Some(Box::new(buffer));
                        return;
                    }
                }
                Err(error) => break Err(Errno(error.raw_os_error())),
            }
        };
        place.is_sending = false;
        let connection = place.connection(&self.options, slot);
        self.arrived.push_back(Completion::Sent { connection, result, buffer });
    }

    fn close_now(&mut self, connection: ConnectionId) {
        let slot = connection.slot();
        let place = self.table.at(slot);
        let _ = place.shut_down(Shutdown::Both);
        if let Some(buffer) = place.waiting_send.take() {
            let result = Err(Errno(libc::EPIPE));
            self.arrived.push_back(Completion::Sent { connection, result, buffer: *buffer });
        }
        self.table.free(slot);
        self.arrived.push_back(Completion::Closed { connection });
    }
}
