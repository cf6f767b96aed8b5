//! The simulated network: sockets between clients and shards, as both ends see them.
//!
//! Owns: bytes on their way in both directions, and what each end was told of the other's end.
//! Never: knows a protocol, or which connection of a shard a socket is.
//!
//! ```text
//!  client ── write ──► inbound: pieces with their time of arrival ── receive ──► shard
//!  client ◄── read ─── pipe: at most `capacity` bytes ◄── progress ── outgoing ── send ── shard
//! ```
//!
//! A send is copied into the pipe as far as there is room and goes on while the client reads,
//! whether or not its shard has a turn: that is what a kernel does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use protocol::time::Moment;
use shard::{Errno, ReceiveEnd};

use crate::clock::SimClock;
use crate::random::Random;

/// Error numbers as the kernel's.
pub const EPIPE: Errno = Errno(32);
/// The peer reset the connection.
pub const ECONNRESET: Errno = Errno(104);
/// No place in the table of descriptors.
pub const ENFILE: Errno = Errno(23);

/// One socket, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub usize);

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Eof,
    /// By force.
    Reset,
}

/// What a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// Nothing more.
    Ended(End),
}

/// What a shard receives.
#[derive(Debug)]
pub(crate) enum Receipt {
    Bytes(usize),
    Nothing,
    Ended(ReceiveEnd),
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    taken: usize,
    /// Ends short once this many bytes are taken.
    enough: usize,
    result: Option<Result<u32, Errno>>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    inbound: VecDeque<(Moment, Vec<u8>)>,
    inbound_end: Option<(Moment, End)>,
    pipe: VecDeque<u8>,
    capacity: usize,
    outgoing: Option<Outgoing>,
    /// What the client reads behind the pipe.
    outbound_end: Option<End>,
    client_gone: bool,
    server_gone: bool,
}

/// How rough the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest way from a client to its shard.
    pub delay_max: Duration,
    /// Sends that end short, of 100.
    pub short_sends_percent: u64,
}

/// What happened, for the list of faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkCounters {
    /// Sends that took fewer bytes than they were given.
    pub sends_short: u64,
    /// Sends that had to wait for their client to read.
    pub sends_blocked: u64,
}

/// All sockets.
#[derive(Debug)]
pub struct Network {
    clock: SimClock,
    random: Random,
    sockets: Vec<Socket>,
    backlogs: Vec<Option<VecDeque<SocketId>>>,
    /// How rough it is now.
    pub weather: Weather,
    /// What happened so far.
    pub counters: NetworkCounters,
}

/// The network, as its users hold it.
pub type SharedNetwork = Rc<RefCell<Network>>;

impl Network {
    /// A network with `shards_count` listeners.
    pub fn new(clock: SimClock, random: Random, shards_count: usize) -> Self {
        let weather = Weather { delay_max: Duration::ZERO, short_sends_percent: 0 };
        let backlogs = (0..shards_count).map(|_| Some(VecDeque::new())).collect();
        let counters = NetworkCounters::default();
        Self { clock, random, sockets: Vec::new(), backlogs, weather, counters }
    }

    /// A client connects to a shard; the shard's kernel holds `capacity` bytes for it.
    pub fn connect(&mut self, shard: usize, capacity: usize) -> SocketId {
        let id = SocketId(self.sockets.len());
        let [_, high, middle, low] = (id.0 as u32).to_be_bytes();
        let listens = self.backlogs[shard].is_some();
        self.sockets.push(Socket {
            address: ([10, high, middle, low], 40_000).into(),
            inbound: VecDeque::new(),
            inbound_end: None,
            pipe: VecDeque::new(),
            capacity,
            outgoing: None,
            outbound_end: (!listens).then_some(End::Reset),
            client_gone: false,
            server_gone: !listens,
        });
        if let Some(backlog) = &mut self.backlogs[shard] {
            backlog.push_back(id);
        }
        id
    }

    /// The client's address.
    pub fn address(&self, id: SocketId) -> SocketAddr {
        self.sockets[id.0].address
    }

    /// The client writes.
    pub fn write(&mut self, id: SocketId, bytes: &[u8]) {
        let at = self.arrival(id);
        let socket = &mut self.sockets[id.0];
        if socket.inbound_end.is_none() && !socket.server_gone && !bytes.is_empty() {
            socket.inbound.push_back((at, bytes.to_vec()));
        }
    }

    /// When what is written now arrives: not before what was written earlier.
    fn arrival(&mut self, id: SocketId) -> Moment {
        let delay_ns = self.weather.delay_max.as_nanos() as u64;
        let delay = Duration::from_nanos(self.random.within(0, delay_ns));
        let last = self.sockets[id.0].inbound.back().map_or(Moment::ZERO, |(at, _)| *at);
        (self.clock.moment() + delay).max(last)
    }

    /// The client reads at most `bytes_max`.
    pub fn read(&mut self, id: SocketId, bytes_max: usize) -> Read {
        self.progress(id);
        let socket = &mut self.sockets[id.0];
        if socket.pipe.is_empty() {
            return socket.outbound_end.map_or(Read::Nothing, Read::Ended);
        }
        let count = bytes_max.min(socket.pipe.len());
        let bytes = socket.pipe.drain(..count).collect();
        self.progress(id);
        Read::Bytes(bytes)
    }

    /// Would [`Network::read`] say something?
    pub fn is_readable(&self, id: SocketId) -> bool {
        let socket = &self.sockets[id.0];
        !socket.pipe.is_empty() || socket.outbound_end.is_some()
    }

    /// The client will write nothing more.
    pub fn shutdown_write(&mut self, id: SocketId) {
        let at = self.arrival(id);
        self.sockets[id.0].inbound_end.get_or_insert((at, End::Eof));
    }

    /// The client closes: it reads nothing more, and writes nothing more.
    pub fn close(&mut self, id: SocketId) {
        self.shutdown_write(id);
        self.leave(id);
    }

    /// The client ends the connection by force. What it wrote may be lost.
    pub fn reset(&mut self, id: SocketId) {
        let at = self.arrival(id);
        let socket = &mut self.sockets[id.0];
        if self.random.chance(1, 2) {
            socket.inbound.clear();
        }
        socket.inbound_end = Some((at, End::Reset));
        self.leave(id);
    }

    fn leave(&mut self, id: SocketId) {
        let socket = &mut self.sockets[id.0];
        socket.client_gone = true;
        socket.pipe.clear();
        self.progress(id);
    }

    /// Bytes of the client that the shard has not received.
    pub fn is_drained(&self, id: SocketId) -> bool {
        self.sockets[id.0].inbound.is_empty()
    }

    /// The server is gone, with everything that it had; another one listens.
    pub(crate) fn restart_server(&mut self) {
        for index in 0..self.sockets.len() {
            let socket = &mut self.sockets[index];
            if !socket.server_gone {
                socket.server_gone = true;
                socket.outbound_end.get_or_insert(End::Reset);
            }
            socket.inbound.clear();
            socket.outgoing = None;
        }
        self.backlogs.iter_mut().for_each(|backlog| *backlog = Some(VecDeque::new()));
    }

    pub(crate) fn stop_listening(&mut self, shard: usize) {
        for id in self.backlogs[shard].take().unwrap_or_default() {
            self.refuse(id);
        }
    }

    pub(crate) fn has_backlog(&self, shard: usize) -> bool {
        self.backlogs[shard].as_ref().is_some_and(|backlog| !backlog.is_empty())
    }

    pub(crate) fn take_backlog(&mut self, shard: usize) -> Option<SocketId> {
        self.backlogs[shard].as_mut()?.pop_front()
    }

    /// The socket had no place in the table.
    pub(crate) fn refuse(&mut self, id: SocketId) {
        self.sockets[id.0].outbound_end = Some(End::Reset);
        self.sockets[id.0].server_gone = true;
    }

    /// When something can be received, if anything is on its way.
    pub(crate) fn receivable_at(&self, id: SocketId) -> Option<Moment> {
        let socket = &self.sockets[id.0];
        let first = socket.inbound.front().map(|(at, _)| *at);
        first.or(socket.inbound_end.map(|(at, _)| at))
    }

    /// The shard receives what has arrived, as much as `into` takes.
    pub(crate) fn receive(&mut self, id: SocketId, into: &mut [u8]) -> Receipt {
        let now = self.clock.moment();
        let socket = &mut self.sockets[id.0];
        let Some((at, bytes)) = socket.inbound.front_mut() else {
            return match socket.inbound_end {
                Some((at, End::Eof)) if at <= now => Receipt::Ended(ReceiveEnd::Eof),
                Some((at, End::Reset)) if at <= now => {
                    Receipt::Ended(ReceiveEnd::Failed(ECONNRESET))
                }
                _ => Receipt::Nothing,
            };
        };
        if *at > now {
            return Receipt::Nothing;
        }
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        if bytes.is_empty() {
            socket.inbound.pop_front();
        }
        Receipt::Bytes(count)
    }

    pub(crate) fn begin_send(&mut self, id: SocketId, bytes: &[u8]) {
        let is_short = self.random.chance(self.weather.short_sends_percent, 100);
        let enough = if is_short { 1 + self.random.below(bytes.len()) } else { bytes.len() };
        let socket = &mut self.sockets[id.0];
        assert!(socket.outgoing.is_none(), "one send is in flight");
        let outgoing = Outgoing { bytes: bytes.to_vec(), taken: 0, enough, result: None };
        socket.outgoing = Some(outgoing);
        self.progress(id);
        let outgoing = self.sockets[id.0].outgoing.as_ref().expect("it was just put there");
        self.counters.sends_blocked += u64::from(outgoing.result.is_none());
    }

    /// Copies what has room. A send completes when all of it, or enough, was taken.
    fn progress(&mut self, id: SocketId) {
        let socket = &mut self.sockets[id.0];
        let Some(outgoing) = &mut socket.outgoing else { return };
        if outgoing.result.is_some() {
            return;
        }
        if socket.client_gone || socket.server_gone {
            let error = if socket.client_gone { ECONNRESET } else { EPIPE };
            let some = u32::try_from(outgoing.taken).expect("sends are small");
            outgoing.result = Some(if some > 0 { Ok(some) } else { Err(error) });
            return;
        }
        let room = socket.capacity.saturating_sub(socket.pipe.len());
        let count = room.min(outgoing.enough - outgoing.taken);
        let from = &outgoing.bytes[outgoing.taken..outgoing.taken + count];
        socket.pipe.extend(from);
        outgoing.taken += count;
        if outgoing.taken == outgoing.enough {
            let is_short = outgoing.taken < outgoing.bytes.len();
            self.counters.sends_short += u64::from(is_short);
            outgoing.result = Some(Ok(u32::try_from(outgoing.taken).expect("sends are small")));
        }
    }

    /// True if the send in flight is over.
    pub(crate) fn has_sent(&self, id: SocketId) -> bool {
        self.sockets[id.0].outgoing.as_ref().is_some_and(|outgoing| outgoing.result.is_some())
    }

    /// The result of the send in flight, if it is over.
    pub(crate) fn take_sent(&mut self, id: SocketId) -> Option<Result<u32, Errno>> {
        let outgoing = self.sockets[id.0].outgoing.take_if(|outgoing| outgoing.result.is_some());
        outgoing.and_then(|outgoing| outgoing.result)
    }

    /// The shard sends nothing more, behind what it has sent.
    pub(crate) fn finish(&mut self, id: SocketId) {
        self.sockets[id.0].outbound_end.get_or_insert(End::Eof);
    }

    /// The shard closes. What it did not receive makes the end a forced one.
    pub(crate) fn close_by_server(&mut self, id: SocketId) {
        let now = self.clock.moment();
        let socket = &mut self.sockets[id.0];
        let has_unread = socket.inbound.front().is_some_and(|(at, _)| *at <= now);
        socket.server_gone = true;
        socket.outbound_end.get_or_insert(if has_unread { End::Reset } else { End::Eof });
        socket.inbound.clear();
        self.progress(id);
    }
}
