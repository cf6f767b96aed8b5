//! Goal: without a free descriptor accepting ends with the kernel's error, nobody is lost, and it
//! goes on when asked again.
//! Method: the portable driver below a lowered RLIMIT_NOFILE, alone in its process.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use protocol::ids::ShardId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shard::lanes::Bell;
use shard::{Completion, Errno, Io as _, Portable, RingOptions, Wait};

const CLIENTS: usize = 10;
const ROOM: usize = 3;

/// Turns until accepting has ended or everybody is in.
fn accept(io: &mut Portable, accepted: &mut usize) -> Option<Errno> {
    io.accept();
    for _ in 0..100 {
        io.turn(Wait::AtMost(Duration::from_millis(10))).expect("a turn does not fail");
        while let Some(completion) = io.next() {
            match completion {
                Completion::Accepted { .. } => *accepted += 1,
                Completion::AcceptEnded(errno) => return Some(errno),
                other => panic!("not expected: {other:?}"),
            }
        }
        if *accepted == CLIENTS {
            return None;
        }
    }
    panic!("{accepted} of {CLIENTS} were accepted, and accepting did not end");
}

#[test]
fn accepting_ends_and_goes_on() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let (address, mut listeners) = shard::sockets::listen(any, 1).expect("loopback can listen");
    let bell = Bell::new().expect("an eventfd");
    let options = RingOptions::new(ShardId(0), 1000);
    let mut io = Portable::new(options, listeners.pop(), &bell).expect("epoll is there");
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    // The lowest free numbers are given out first: below the last of these there is room for ROOM.
    let probes: Vec<_> = (0..ROOM).map(|_| Bell::new().expect("an eventfd")).collect();
    let last = probes.iter().map(AsRawFd::as_raw_fd).max().expect("there are some");
    drop(probes);
    let before = getrlimit(Resource::Nofile);
    let limited = Rlimit { current: Some(last as u64 + 1), maximum: before.maximum };
    setrlimit(Resource::Nofile, limited).expect("a limit may be lowered");
    let mut accepted = 0;
    assert_eq!(accept(&mut io, &mut accepted), Some(Errno(libc::EMFILE)));
    assert_eq!(accepted, ROOM);
    setrlimit(Resource::Nofile, before).expect("what was allowed before");
    assert_eq!(accept(&mut io, &mut accepted), None);
    assert_eq!(accepted, clients.len());
}
