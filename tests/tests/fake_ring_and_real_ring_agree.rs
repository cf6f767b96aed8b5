//! Goal: the simulated ring behaves as the real one, so that what the simulation finds is true, and
//! so does the portable driver, so that engines do not know which one they run on.
//! Method: each promise of `shard::Io` is one function, generic over the ring and over how its
//! peers are made; every function runs against `shard::Ring`, one whose connections are all at
//! rest, several (`shard::Rings`) and `shard::Portable` with TCP peers and against `SimIo`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use protocol::ids::{ConnectionId, ShardId};
use shard::lanes::Bell;
use shard::{Completion, Io, Portable, ReceiveEnd, Ring, RingOptions, Rings, SendBuffer, Wait};
use socket2::SockRef;
use world::clock::SimClock;
use world::network::{End, Network, Read, SharedNetwork, SocketId};
use world::random::Random;
use world::sim_io::{SimIo, SimIoOptions};

const BUFFERS: u16 = 4;
const BUFFER_BYTES: usize = 256;
const CONNECTIONS: u32 = 4;
/// More than any socket buffer holds here.
const LARGE: usize = 16 << 20;

/// The other ends of a ring's connections.
trait Peers {
    type Io: Io;
    fn io(&mut self) -> &mut Self::Io;
    fn connect(&mut self) -> usize;
    fn address(&self, peer: usize) -> Option<SocketAddr>;
    fn write(&mut self, peer: usize, bytes: &[u8]);
    fn read(&mut self, peer: usize) -> Read;
    fn shutdown_write(&mut self, peer: usize);
    fn reset(&mut self, peer: usize);
    fn pass_time(&mut self);
}

struct RealPeers<I> {
    io: I,
    address: SocketAddr,
    peers: Vec<Option<TcpStream>>,
}

/// A driver of real sockets.
trait Real: Io + Sized {
    fn make(options: RingOptions, listener: OwnedFd, bell: Bell) -> Self;
}

impl Real for Ring {
    fn make(options: RingOptions, listener: OwnedFd, bell: Bell) -> Self {
        Ring::new(options, Some(listener), bell).expect("io_uring is there")
    }
}

/// Of two places each, so that two of three clients are on different ones.
impl Real for Rings {
    fn make(options: RingOptions, listener: OwnedFd, bell: Bell) -> Self {
        let table = RingOptions { connections_max: 2, ..options };
        let rings = CONNECTIONS.div_ceil(table.connections_max) as u8;
        Rings::new(table, rings, Some(listener), bell).expect("io_uring is there")
    }
}

/// A ring whose connections are all at rest.
struct Resting(Ring);

impl Real for Resting {
    fn make(options: RingOptions, listener: OwnedFd, bell: Bell) -> Self {
        Self(Ring::make(options, listener, bell))
    }
}

impl Io for Resting {
    fn turn(&mut self, wait: Wait) -> std::io::Result<()> {
        self.0.turn(wait)
    }

    fn next(&mut self) -> Option<Completion> {
        self.0.next()
    }

    fn bytes(&mut self, chunk: &shard::Chunk) -> &mut [u8] {
        self.0.bytes(chunk)
    }

    fn recycle(&mut self, chunk: shard::Chunk) {
        self.0.recycle(chunk);
    }

    fn accept(&mut self) {
        self.0.accept();
    }

    fn stop_accepting(&mut self) {
        self.0.stop_accepting();
    }

    fn receive(&mut self, connection: ConnectionId) {
        self.0.rest(connection);
    }

    fn rest(&mut self, connection: ConnectionId) {
        self.0.rest(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.0.pause(connection);
    }

    fn send(&mut self, connection: ConnectionId, buffer: SendBuffer) {
        self.0.send(connection, buffer);
    }

    fn shutdown_write(&mut self, connection: ConnectionId) {
        self.0.shutdown_write(connection);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.0.close(connection);
    }
}

impl Real for Portable {
    fn make(options: RingOptions, listener: OwnedFd, bell: Bell) -> Self {
        Portable::new(options, Some(listener), &bell).expect("epoll is there")
    }
}

impl<I: Real> RealPeers<I> {
    fn new() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (address, mut listeners) = shard::sockets::listen(any, 1).expect("loopback can listen");
        let listener = listeners.remove(0);
        SockRef::from(&listener).set_send_buffer_size(64 << 10).expect("it is a socket");
        let mut options = RingOptions::new(ShardId(0), CONNECTIONS);
        options.buffers_count = BUFFERS;
        options.buffer_bytes = BUFFER_BYTES as u32;
        let bell = Bell::new().expect("an eventfd");
        Self { io: I::make(options, listener, bell), address, peers: Vec::new() }
    }

    fn stream(&mut self, peer: usize) -> &mut TcpStream {
        self.peers[peer].as_mut().expect("the peer is there")
    }
}

impl<I: Real> Peers for RealPeers<I> {
    type Io = I;

    fn io(&mut self) -> &mut I {
        &mut self.io
    }

    fn connect(&mut self) -> usize {
        let stream = TcpStream::connect(self.address).ok();
        if let Some(stream) = &stream {
            stream.set_nonblocking(true).expect("a socket");
            stream.set_nodelay(true).expect("a socket");
            let _ = SockRef::from(stream).set_recv_buffer_size(64 << 10);
        }
        self.peers.push(stream);
        self.peers.len() - 1
    }

    fn address(&self, peer: usize) -> Option<SocketAddr> {
        self.peers[peer].as_ref().and_then(|stream| stream.local_addr().ok())
    }

    fn write(&mut self, peer: usize, bytes: &[u8]) {
        self.stream(peer).write_all(bytes).expect("small writes fit the socket's buffer");
    }

    fn read(&mut self, peer: usize) -> Read {
        let mut bytes = vec![0; 64 << 10];
        let Some(stream) = &mut self.peers[peer] else { return Read::Ended(End::Reset) };
        match stream.read(&mut bytes) {
            Ok(0) => Read::Ended(End::Eof),
            Ok(count) => Read::Bytes(bytes[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::Ended(End::Reset),
        }
    }

    fn shutdown_write(&mut self, peer: usize) {
        self.stream(peer).shutdown(Shutdown::Write).expect("connected");
    }

    fn reset(&mut self, peer: usize) {
        let stream = self.peers[peer].take().expect("the peer is there");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    fn pass_time(&mut self) {}
}

struct SimPeers {
    io: SimIo,
    clock: SimClock,
    network: SharedNetwork,
    peers: Vec<SocketId>,
}

impl SimPeers {
    fn new(seed: u64) -> Self {
        let (clock, mut random) = (SimClock::default(), Random::new(seed));
        let mut network = Network::new(clock.clone(), random.fork(), 1);
        network.weather.delay_max = Duration::from_millis(3);
        network.weather.short_sends_percent = 20;
        let network = Rc::new(RefCell::new(network));
        let options = SimIoOptions {
            shard: ShardId(0),
            connections_max: CONNECTIONS,
            buffers_count: BUFFERS,
            buffer_bytes: BUFFER_BYTES,
            delay_max: Duration::from_millis(5),
        };
        let io = SimIo::new(options, clock.clone(), network.clone(), random.fork());
        Self { io, clock, network, peers: Vec::new() }
    }
}

impl Peers for SimPeers {
    type Io = SimIo;

    fn io(&mut self) -> &mut SimIo {
        &mut self.io
    }

    fn connect(&mut self) -> usize {
        self.peers.push(self.network.borrow_mut().connect(0, 64 << 10));
        self.peers.len() - 1
    }

    fn address(&self, peer: usize) -> Option<SocketAddr> {
        Some(self.network.borrow().address(self.peers[peer]))
    }

    fn write(&mut self, peer: usize, bytes: &[u8]) {
        self.network.borrow_mut().write(self.peers[peer], bytes);
    }

    fn read(&mut self, peer: usize) -> Read {
        self.network.borrow_mut().read(self.peers[peer], 64 << 10)
    }

    fn shutdown_write(&mut self, peer: usize) {
        self.network.borrow_mut().shutdown_write(self.peers[peer]);
    }

    fn reset(&mut self, peer: usize) {
        self.network.borrow_mut().reset(self.peers[peer]);
    }

    fn pass_time(&mut self) {
        self.clock.advance(Duration::from_millis(1));
    }
}

/// What a test saw of a ring, and a guard over what must never be seen.
struct Seen {
    accepted: Vec<(ConnectionId, Option<SocketAddr>)>,
    received: Vec<u8>,
    ends: Vec<ReceiveEnd>,
    sent: Vec<(bool, u32, SendBuffer)>,
    closed: Vec<ConnectionId>,
    accept_ended: u32,
    /// Connections that were closed by us: nothing but `Sent` and `Closed` may follow.
    closing: Vec<ConnectionId>,
    chunks: VecDeque<shard::Chunk>,
    keeps_chunks: bool,
}

/// Turns that any promise may take to be kept.
const TURNS_MAX: u32 = 2000;

struct Bench<P: Peers> {
    peers: P,
    seen: Seen,
}

impl<P: Peers> Bench<P> {
    fn new(peers: P) -> Self {
        let seen = Seen {
            accepted: Vec::new(),
            received: Vec::new(),
            ends: Vec::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            accept_ended: 0,
            closing: Vec::new(),
            chunks: VecDeque::new(),
            keeps_chunks: false,
        };
        let mut bench = Self { peers, seen };
        bench.peers.io().accept();
        // The ring must be listening before the first peer comes.
        bench.turn();
        bench
    }

    fn turn(&mut self) {
        self.peers.pass_time();
        let io = self.peers.io();
        io.turn(Wait::AtMost(Duration::from_millis(2))).expect("the ring works");
        while let Some(completion) = io.next() {
            self.seen.take(completion, io);
        }
    }

    fn until(&mut self, what: &str, mut is_done: impl FnMut(&mut P, &mut Seen) -> bool) {
        for _ in 0..TURNS_MAX {
            if is_done(&mut self.peers, &mut self.seen) {
                return;
            }
            self.turn();
        }
        panic!("it never happened: {what}");
    }

    /// Some turns in which nothing is expected.
    fn idle(&mut self) {
        (0..20).for_each(|_| self.turn());
    }

    fn accept(&mut self) -> (usize, ConnectionId) {
        let before = self.seen.accepted.len();
        let peer = self.peers.connect();
        self.until("accepted", |_, seen| seen.accepted.len() > before);
        (peer, self.seen.accepted[before].0)
    }

    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.peers.io().send(connection, SendBuffer::owned(bytes.to_vec()));
    }

    /// Sends all of `bytes` while `peer` reads, whatever pieces the ring takes. Returns what was
    /// read.
    fn send_all(&mut self, peer: usize, connection: ConnectionId, bytes: &[u8]) -> Vec<u8> {
        let (mut taken, mut read) = (0, Vec::new());
        while taken < bytes.len() {
            let before = self.seen.sent.len();
            self.send(connection, &bytes[taken..]);
            self.until("sent", |peers, seen| {
                read_into(peers, peer, &mut read);
                seen.sent.len() > before
            });
            let (is_ok, count, buffer) = self.seen.sent.pop().expect("it was just sent");
            assert!(is_ok);
            assert!(count > 0);
            assert_eq!(buffer.as_slice(), &bytes[taken..], "the bytes come back, not advanced");
            taken += count as usize;
        }
        self.until("read", |peers, _| {
            read_into(peers, peer, &mut read);
            read.len() >= bytes.len()
        });
        read
    }

    fn close(&mut self, connection: ConnectionId) {
        self.peers.io().close(connection);
        self.seen.closing.push(connection);
    }

    fn until_closed(&mut self, connection: ConnectionId) {
        self.until("closed", |_, seen| seen.closed.contains(&connection));
        self.idle();
    }
}

fn read_into<P: Peers>(peers: &mut P, peer: usize, into: &mut Vec<u8>) {
    while let Read::Bytes(bytes) = peers.read(peer) {
        into.extend_from_slice(&bytes);
    }
}

impl Seen {
    fn take(&mut self, completion: Completion, io: &mut impl Io) {
        let about = match &completion {
            Completion::Accepted { connection, .. }
            | Completion::Received { connection, .. }
            | Completion::ReceiveEnded { connection, .. }
            | Completion::Sent { connection, .. }
            | Completion::Closed { connection } => Some(*connection),
            Completion::AcceptEnded(_) => None,
        };
        if let Some(about) = about {
            assert!(!self.closed.contains(&about), "{completion:?} after Closed");
            let may_follow =
                matches!(completion, Completion::Sent { .. } | Completion::Closed { .. });
            assert!(may_follow || !self.closing.contains(&about), "{completion:?} after close");
        }
        match completion {
            Completion::Accepted { connection, peer } => self.accepted.push((connection, peer)),
            Completion::Received { chunk, .. } => {
                assert!(chunk.bytes_count() > 0);
                self.received.extend_from_slice(io.bytes(&chunk));
                if self.keeps_chunks {
                    self.chunks.push_back(chunk);
                } else {
                    io.recycle(chunk);
                }
            }
            Completion::ReceiveEnded { end, .. } => self.ends.push(end),
            Completion::Sent { result, buffer, .. } => {
                self.sent.push((result.is_ok(), result.unwrap_or(0), buffer));
            }
            Completion::Closed { connection } => self.closed.push(connection),
            Completion::AcceptEnded(_) => self.accept_ended += 1,
        }
    }
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn a_client_is_accepted_under_its_address<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    let (_, address) = bench.seen.accepted[0];
    assert_eq!(address, bench.peers.address(peer));
    assert_eq!(connection.shard(), ShardId(0));
    bench.peers.write(peer, b"early");
    bench.idle();
    assert!(bench.seen.received.is_empty(), "nothing is received before `receive`");
    bench.peers.io().receive(connection);
    bench.until("received", |_, seen| seen.received == b"early");
}

fn receiving_goes_on_until_the_end<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    let bytes = pattern(5000);
    for piece in bytes.chunks(700) {
        bench.peers.write(peer, piece);
        bench.turn();
    }
    bench.peers.shutdown_write(peer);
    bench.until("the end", |_, seen| !seen.ends.is_empty());
    assert_eq!(bench.seen.received, bytes);
    assert_eq!(bench.seen.ends, [ReceiveEnd::Eof]);
    // Half closed: the other direction works.
    assert_eq!(bench.send_all(peer, connection, b"answer"), b"answer");
    assert_eq!(bench.seen.ends.len(), 1, "it ends once");
}

fn a_pause_holds_bytes_back<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    bench.peers.write(peer, b"one");
    bench.until("one", |_, seen| seen.received == b"one");
    bench.peers.io().pause(connection);
    bench.idle();
    bench.peers.write(peer, b"two");
    bench.idle();
    assert_eq!(bench.seen.received, b"one");
    bench.peers.io().receive(connection);
    bench.until("two", |_, seen| seen.received == b"onetwo");
    // A pause that is taken back at once changes nothing.
    bench.peers.io().pause(connection);
    bench.peers.io().receive(connection);
    bench.peers.write(peer, b"three");
    bench.until("three", |_, seen| seen.received == b"onetwothree");
}

fn who_rests_is_heard_as_who_does_not<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    let bytes = pattern(20_000);
    for (round, piece) in bytes.chunks(97).enumerate() {
        // From one to the other with nothing on its way, with something, and twice in a turn.
        if round % 3 != 0 {
            bench.peers.io().rest(connection);
        }
        if round % 2 == 0 {
            bench.turn();
        }
        if round % 3 != 1 {
            bench.peers.io().receive(connection);
        }
        bench.peers.write(peer, piece);
        if round % 5 == 0 {
            bench.peers.io().pause(connection);
            bench.turn();
        }
        bench.turn();
    }
    bench.peers.io().rest(connection);
    bench.until("all", |_, seen| seen.received.len() == bytes.len());
    assert!(bench.seen.received == bytes, "nothing is lost, repeated or out of order");
    bench.peers.shutdown_write(peer);
    bench.until("the end", |_, seen| !seen.ends.is_empty());
    assert_eq!(bench.seen.ends, [ReceiveEnd::Eof]);
    bench.close(connection);
    bench.until_closed(connection);
}

fn a_reset_is_a_failure<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    bench.idle();
    bench.peers.reset(peer);
    bench.until("the end", |_, seen| !seen.ends.is_empty());
    assert!(matches!(bench.seen.ends[0], ReceiveEnd::Failed(_)), "{:?}", bench.seen.ends);
    bench.send(connection, b"to nobody");
    bench.until("the send fails", |_, seen| seen.sent.len() == 1);
    assert!(!bench.seen.sent[0].0);
    assert_eq!(bench.seen.sent[0].2.as_slice(), b"to nobody");
    bench.close(connection);
    bench.until_closed(connection);
}

fn sends_arrive_whole_and_in_order<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    let bytes = pattern(300_000);
    assert!(bench.send_all(peer, connection, &bytes) == bytes);
    let shared: std::sync::Arc<[u8]> = b"-shared-".as_slice().into();
    let part = SendBuffer::Shared { bytes: shared, start: 1, end: 7 };
    bench.peers.io().send(connection, part);
    let mut read = Vec::new();
    let mut taken = 0;
    bench.until("shared", |peers, seen| {
        if let Some((_, count, mut rest)) = seen.sent.pop() {
            taken += count;
            rest.advance(count);
            if rest.bytes_count() > 0 {
                peers.io().send(connection, rest);
            }
        }
        read_into(peers, peer, &mut read);
        taken == 6 && read.len() == 6
    });
    assert_eq!(read, b"shared");
}

fn a_reader_that_stalls_blocks_its_send_only<P: Peers>(bench: &mut Bench<P>) {
    let (slow, to_slow) = bench.accept();
    let (quick, to_quick) = bench.accept();
    let bytes = pattern(LARGE);
    bench.send(to_slow, &bytes);
    bench.idle();
    let short = bench.seen.sent.pop();
    let sent = short.as_ref().map_or(0, |(_, count, _)| *count as usize);
    assert!(sent < LARGE, "no socket holds that much");
    if sent > 0 {
        bench.send(to_slow, &bytes[sent..]);
        bench.idle();
    }
    let before = bench.seen.sent.len();
    assert_eq!(bench.send_all(quick, to_quick, b"quick"), b"quick");
    assert_eq!(bench.seen.sent.len(), before);
    let mut read = Vec::new();
    let mut taken = sent;
    bench.until("all of it", |peers, seen| {
        read_into(peers, slow, &mut read);
        if let Some((is_ok, count, _)) = seen.sent.pop() {
            assert!(is_ok);
            taken += count as usize;
            if taken < LARGE {
                peers.io().send(to_slow, SendBuffer::owned(bytes[taken..].to_vec()));
            }
        }
        read.len() == LARGE
    });
    assert!(read == bytes);
}

fn a_close_while_sending_gives_the_bytes_back<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    let bytes = pattern(LARGE);
    bench.send(connection, &bytes);
    bench.idle();
    let before = bench.seen.sent.len();
    if before > 0 {
        let count = bench.seen.sent[0].1 as usize;
        bench.send(connection, &bytes[count..]);
    }
    bench.close(connection);
    bench.until("closed", |_, seen| seen.closed.contains(&connection));
    assert_eq!(bench.seen.sent.len(), before + 1, "the send is reported once, before Closed");
    bench.idle();
    let mut read = Vec::new();
    let mut last = Read::Nothing;
    bench.until("the peer is told", |peers, _| {
        read_into(peers, peer, &mut read);
        last = peers.read(peer);
        matches!(last, Read::Ended(_))
    });
    assert!(bytes.starts_with(&read));
}

fn a_close_while_receiving_is_silent<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    bench.idle();
    bench.peers.write(peer, b"on its way");
    bench.close(connection);
    bench.until_closed(connection);
    assert!(bench.seen.ends.is_empty());
    bench.until("the peer is told", |peers, _| matches!(peers.read(peer), Read::Ended(_)));
}

fn a_close_among_completions_silences_the_rest<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    bench.idle();
    // More than one completion, of which the first makes us close.
    bench.peers.write(peer, &pattern(BUFFER_BYTES * 3));
    for _ in 0..TURNS_MAX {
        bench.peers.pass_time();
        let (io, seen) = (bench.peers.io(), &mut bench.seen);
        io.turn(Wait::AtMost(Duration::from_millis(2))).expect("the ring works");
        while let Some(completion) = io.next() {
            seen.take(completion, io);
            if seen.closing.is_empty() {
                io.close(connection);
                seen.closing.push(connection);
            }
        }
        if !bench.seen.closing.is_empty() {
            break;
        }
    }
    bench.until_closed(connection);
    assert!(bench.seen.received.len() <= BUFFER_BYTES, "the rest is not reported");
    // No buffer went with it.
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    bench.seen.keeps_chunks = true;
    bench.peers.write(peer, &pattern(BUFFER_BYTES * usize::from(BUFFERS) * 2));
    bench.until("every buffer", |_, seen| seen.chunks.len() == usize::from(BUFFERS));
}

fn a_shutdown_ends_one_direction<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    assert_eq!(bench.send_all(peer, connection, b"last words"), b"last words");
    bench.peers.io().shutdown_write(connection);
    bench.until("eof", |peers, _| peers.read(peer) == Read::Ended(End::Eof));
    bench.peers.write(peer, b"mine too");
    bench.until("received", |_, seen| seen.received == b"mine too");
}

fn a_slot_is_used_again_under_another_generation<P: Peers>(bench: &mut Bench<P>) {
    let mut known: Vec<ConnectionId> = Vec::new();
    for round in 0..12 {
        let (peer, connection) = bench.accept();
        assert!(!known.contains(&connection), "an id names one connection for ever");
        assert!(connection.slot().0 < CONNECTIONS);
        known.push(connection);
        bench.peers.io().receive(connection);
        bench.peers.write(peer, &[round]);
        bench.until("received", |_, seen| seen.received.last() == Some(&round));
        bench.close(connection);
        bench.until_closed(connection);
    }
}

fn receives_wait_for_buffers<P: Peers>(bench: &mut Bench<P>) {
    let pairs: Vec<_> = (0..2).map(|_| bench.accept()).collect();
    pairs.iter().for_each(|(_, connection)| bench.peers.io().receive(*connection));
    bench.seen.keeps_chunks = true;
    let bytes = pattern(BUFFER_BYTES * 3);
    pairs.iter().for_each(|(peer, _)| bench.peers.write(*peer, &bytes));
    bench.until("no buffer is left", |_, seen| seen.chunks.len() == usize::from(BUFFERS));
    bench.idle();
    assert_eq!(bench.seen.chunks.len(), usize::from(BUFFERS));
    assert!(bench.seen.ends.is_empty(), "a shortage is not an end");
    bench.seen.keeps_chunks = false;
    for chunk in std::mem::take(&mut bench.seen.chunks) {
        bench.peers.io().recycle(chunk);
    }
    bench.until("all of it", |_, seen| seen.received.len() == 2 * bytes.len());
}

fn a_connection_may_close_while_it_waits_for_buffers<P: Peers>(bench: &mut Bench<P>) {
    let pairs: Vec<_> = (0..2).map(|_| bench.accept()).collect();
    pairs.iter().for_each(|(_, connection)| bench.peers.io().receive(*connection));
    bench.seen.keeps_chunks = true;
    pairs.iter().for_each(|(peer, _)| bench.peers.write(*peer, &pattern(BUFFER_BYTES * 8)));
    bench.until("no buffer is left", |_, seen| seen.chunks.len() == usize::from(BUFFERS));
    bench.idle();
    pairs.iter().for_each(|(_, connection)| bench.close(*connection));
    pairs.iter().for_each(|(_, connection)| bench.until_closed(*connection));
    for chunk in std::mem::take(&mut bench.seen.chunks) {
        bench.peers.io().recycle(chunk);
    }
    bench.seen.keeps_chunks = false;
    let (peer, connection) = bench.accept();
    bench.peers.io().receive(connection);
    let before = bench.seen.received.len();
    bench.peers.write(peer, b"next");
    bench.until("received", |_, seen| seen.received.len() == before + 4);
}

fn a_full_table_ends_accepting<P: Peers>(bench: &mut Bench<P>) {
    let pairs: Vec<_> = (0..CONNECTIONS).map(|_| bench.accept()).collect();
    bench.until("accepting ended", |_, seen| seen.accept_ended == 1);
    let waiting = bench.peers.connect();
    bench.idle();
    assert!(matches!(bench.peers.read(waiting), Read::Nothing), "it waits in the backlog");
    bench.peers.io().accept();
    bench.until("accepting ended again", |_, seen| seen.accept_ended == 2);
    bench.close(pairs[1].1);
    bench.until_closed(pairs[1].1);
    bench.peers.io().accept();
    bench.until("accepted", |_, seen| seen.accepted.len() > CONNECTIONS as usize);
    let connection = bench.seen.accepted[CONNECTIONS as usize].0;
    assert_eq!(bench.send_all(waiting, connection, b"welcome"), b"welcome");
}

fn stopping_refuses_new_clients_only<P: Peers>(bench: &mut Bench<P>) {
    let (peer, connection) = bench.accept();
    bench.peers.io().stop_accepting();
    bench.idle();
    let late = bench.peers.connect();
    bench.idle();
    assert!(matches!(bench.peers.read(late), Read::Ended(_)));
    assert_eq!(bench.seen.accepted.len(), 1);
    bench.peers.io().receive(connection);
    bench.peers.write(peer, b"still here");
    bench.until("received", |_, seen| seen.received == b"still here");
}

const SEEDS: u64 = 200;

macro_rules! promises {
    ($($name:ident)*) => {
        mod real {
            $( #[test] fn $name() {
                super::$name(&mut super::Bench::new(super::RealPeers::<super::Ring>::new()));
            } )*
        }
        mod real_in_several_tables {
            $( #[test] fn $name() {
                super::$name(&mut super::Bench::new(super::RealPeers::<super::Rings>::new()));
            } )*
        }
        mod real_at_rest {
            $( #[test] fn $name() {
                super::$name(&mut super::Bench::new(super::RealPeers::<super::Resting>::new()));
            } )*
        }
        mod portable {
            $( #[test] fn $name() {
                super::$name(&mut super::Bench::new(super::RealPeers::<super::Portable>::new()));
            } )*
        }
        mod fake {
            $( #[test] fn $name() {
                for seed in 0..super::SEEDS {
                    super::$name(&mut super::Bench::new(super::SimPeers::new(seed)));
                }
            } )*
        }
    };
}

promises! {
    a_client_is_accepted_under_its_address
    receiving_goes_on_until_the_end
    a_pause_holds_bytes_back
    who_rests_is_heard_as_who_does_not
    a_reset_is_a_failure
    sends_arrive_whole_and_in_order
    a_close_while_sending_gives_the_bytes_back
    a_close_while_receiving_is_silent
    a_close_among_completions_silences_the_rest
    a_shutdown_ends_one_direction
    a_slot_is_used_again_under_another_generation
    receives_wait_for_buffers
    a_connection_may_close_while_it_waits_for_buffers
    a_full_table_ends_accepting
    stopping_refuses_new_clients_only
    a_reader_that_stalls_blocks_its_send_only
}
