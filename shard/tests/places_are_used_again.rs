//! Goal: what is kept for each place of a table is bounded by how many connections there are at
//! once, not by how many there were.
//! Method: clients who come and go in waves, on a real ring.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use protocol::ids::{ConnectionId, ShardId};
use shard::lanes::Bell;
use shard::ring::{Ring, RingOptions};
use shard::{Completion, Io, Wait};

const WAVES: usize = 20;
const CLIENTS: u32 = 100;
/// One wave, one more that came while the last one went, and how far the kernel may stray.
const PLACES_MAX: u32 = 2 * CLIENTS + shard::limits::PLACES_STRAYED;

fn turn(ring: &mut Ring, mut take: impl FnMut(Completion)) {
    ring.turn(Wait::AtMost(Duration::from_millis(5))).expect("the ring works");
    while let Some(completion) = ring.next() {
        take(completion);
    }
}

/// The places of so many clients who come, before they all go.
fn wave(ring: &mut Ring, address: SocketAddr) -> Vec<ConnectionId> {
    let mut clients = Vec::new();
    let mut came = Vec::new();
    while came.len() < CLIENTS as usize {
        if clients.len() < CLIENTS as usize {
            clients.push(TcpStream::connect(address).expect("the listener is there"));
        }
        turn(ring, |completion| {
            if let Completion::Accepted { connection, .. } = completion {
                came.push(connection);
            }
        });
    }
    came.iter().for_each(|connection| ring.close(*connection));
    let mut closed = 0;
    while closed < came.len() {
        turn(ring, |completion| {
            closed += usize::from(matches!(completion, Completion::Closed { .. }));
        });
    }
    came
}

/// A ring that accepts, and where.
fn listening(connections_max: u32) -> (Ring, SocketAddr) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let (address, mut listeners) = shard::sockets::listen(any, 1).expect("loopback can listen");
    let options = RingOptions::new(ShardId(0), connections_max);
    let bell = Bell::new().expect("an eventfd");
    let mut ring = Ring::new(options, Some(listeners.remove(0)), bell).expect("io_uring is there");
    ring.accept();
    (ring, address)
}

fn places(connections_max: u32) -> u32 {
    let (mut ring, address) = listening(connections_max);
    let waves = (0..WAVES).flat_map(|_| wave(&mut ring, address));
    1 + waves.map(|connection| connection.slot().0).max().expect("clients came")
}

#[test]
fn where_one_operation_accepts_all() {
    let places = places(10_000);
    assert!(places <= PLACES_MAX, "{places} places for {CLIENTS} connections at once");
}

#[test]
fn where_clients_are_accepted_one_by_one() {
    let places = places(4_000);
    assert!(places <= PLACES_MAX, "{places} places for {CLIENTS} connections at once");
}

#[test]
fn where_some_come_and_others_go_in_every_turn() {
    const CHANGES: usize = 40;
    let (mut ring, address) = listening(10_000);
    let mut clients: Vec<TcpStream> = Vec::new();
    let (mut here, mut places): (Vec<ConnectionId>, u32) = (Vec::new(), 0);
    let (mut asked, mut went) = (0, 0);
    for _ in 0..10 * WAVES {
        let missing = CLIENTS as usize + CHANGES + went - asked;
        asked += missing;
        clients.extend((0..missing).map(|_| TcpStream::connect(address).expect("it listens")));
        if clients.len() > 2000 {
            clients.drain(..1000);
        }
        // Those who came first go, in the turn in which others come.
        let gone = here.len().min(CHANGES);
        went += gone;
        here.drain(..gone).for_each(|connection| ring.close(connection));
        turn(&mut ring, |completion| {
            if let Completion::Accepted { connection, .. } = completion {
                places = places.max(1 + connection.slot().0);
                here.push(connection);
            }
        });
    }
    assert!(places <= PLACES_MAX, "{places} places for {CLIENTS} and some connections at once");
}
