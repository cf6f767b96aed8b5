//! Goal: the portable driver sleeps no longer than it may, wakes for its bell, and lets no
//! connection take a whole turn, accepting included.
//! Method: the driver with real sockets; what all drivers promise alike is in the conformance
//! tests.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use protocol::ids::{ConnectionId, ShardId};
use shard::lanes::Bell;
use shard::limits::{ACCEPTS_PER_TURN, RECEIVES_PER_TURN};
use shard::{Completion, Io as _, Portable, RingOptions, Wait};

const BUFFER_BYTES: usize = 64;
const LONG: Wait = Wait::AtMost(Duration::from_secs(20));
const SHORT: Wait = Wait::AtMost(Duration::from_millis(20));

struct Bench {
    io: Portable,
    address: SocketAddr,
    bell: Bell,
}

impl Bench {
    fn new(connections_max: u32) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (address, mut listeners) = shard::sockets::listen(any, 1).expect("loopback can listen");
        let mut options = RingOptions::new(ShardId(0), connections_max + 1);
        options.buffer_bytes = BUFFER_BYTES as u32;
        let bell = Bell::new().expect("an eventfd");
        let io = Portable::new(options, listeners.pop(), &bell).expect("epoll is there");
        Self { io, address, bell }
    }

    /// One turn; the connections that were accepted, and chunks with their connections.
    fn turn(&mut self, wait: Wait) -> (Vec<ConnectionId>, Vec<ConnectionId>) {
        self.io.turn(wait).expect("a turn does not fail");
        let (mut accepted, mut received) = (Vec::new(), Vec::new());
        while let Some(completion) = self.io.next() {
            match completion {
                Completion::Accepted { connection, .. } => accepted.push(connection),
                Completion::Received { connection, chunk } => {
                    received.push(connection);
                    self.io.recycle(chunk);
                }
                other => panic!("not expected: {other:?}"),
            }
        }
        (accepted, received)
    }
}

#[test]
fn a_bell_ends_the_sleep_each_time() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        let bell = bench.bell.clone();
        bell.announce_sleep();
        let ringer = std::thread::spawn(move || bell.ring());
        let began = Instant::now();
        bench.turn(LONG);
        assert!(began.elapsed() < Duration::from_secs(10), "the bell was not heard");
        ringer.join().expect("it only rings");
    }
    // And when nobody rings, the sleep is as long as allowed.
    let began = Instant::now();
    bench.turn(SHORT);
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_loud_connection_leaves_room_for_others_in_each_turn() {
    let mut bench = Bench::new(2);
    bench.io.accept();
    let mut loud = TcpStream::connect(bench.address).expect("it listens");
    let mut quiet = TcpStream::connect(bench.address).expect("it listens");
    let mut connections = Vec::new();
    while connections.len() < 2 {
        connections.extend(bench.turn(LONG).0);
    }
    let chunks = RECEIVES_PER_TURN * 10;
    loud.write_all(&vec![1; BUFFER_BYTES * chunks]).expect("it fits the socket's buffer");
    quiet.write_all(b"hello").expect("it fits");
    connections.iter().for_each(|connection| bench.io.receive(*connection));
    let (mut of_loud, mut quiet_at) = (0, None);
    for turn in 0..chunks {
        let (_, received) = bench.turn(SHORT);
        let loud_now = received.iter().filter(|one| **one == connections[0]).count();
        assert!(loud_now <= RECEIVES_PER_TURN * 2, "{loud_now} chunks in one turn");
        of_loud += loud_now;
        if received.contains(&connections[1]) {
            quiet_at.get_or_insert(turn);
        }
        if of_loud == chunks {
            break;
        }
    }
    assert_eq!(of_loud, chunks);
    assert!(quiet_at.is_some_and(|turn| turn < 2), "{quiet_at:?}");
}

#[test]
fn many_clients_at_once_are_let_in_over_several_turns() {
    let count = ACCEPTS_PER_TURN + 10;
    let mut bench = Bench::new(count as u32);
    let clients: Vec<_> =
        (0..count).map(|_| TcpStream::connect(bench.address).expect("it listens")).collect();
    bench.io.accept();
    let mut accepted = 0;
    let mut most = 0;
    while accepted < clients.len() {
        let (now, _) = bench.turn(LONG);
        most = most.max(now.len());
        accepted += now.len();
    }
    assert!(most <= ACCEPTS_PER_TURN * 2, "{most} in one turn");
    assert_eq!(bench.io.connections_count(), count as u32);
}
