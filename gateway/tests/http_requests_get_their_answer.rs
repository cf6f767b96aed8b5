//! Goal: a request that arrived whole is answered, whatever else happens to its connection; one
//! that never came gets no answer.
//! Method: the service is the test, the clock is moved by hand.

mod support;

use std::time::Duration;

use gateway::engine::Event;
use protocol::ids::ConnectionId;
use support::{Bench, insecure, open_channels};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn bench() -> Bench {
    Bench::new(insecure(open_channels()))
}

/// A connection whose request is with the service.
fn asked(bench: &mut Bench) -> ConnectionId {
    let connection = bench.accept();
    ask(bench, connection);
    connection
}

fn ask(bench: &mut Bench, connection: ConnectionId) {
    bench.request(connection, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    bench.tell(Event::RequestComplete { connection });
}

fn answer(bench: &mut Bench, connection: ConnectionId) {
    bench.tell(Event::Response { connection, bytes: ANSWER, is_last: false });
    bench.tell(Event::ReadOn { connection });
}

#[test]
fn a_drain_waits_for_the_answer() {
    let mut bench = bench();
    let asking = asked(&mut bench);
    let idle = asked(&mut bench);
    answer(&mut bench, idle);
    bench.tell(Event::Drain { over: Duration::ZERO });
    bench.pass(Duration::from_secs(8));
    assert_eq!(bench.cut, [idle], "nothing was owed to it");
    assert!(!bench.shard.is_drained());
    answer(&mut bench, asking);
    assert!(bench.response(asking).ends_with("ok"));
    bench.pass(Duration::from_secs(6));
    assert!(bench.shard.is_drained(), "and then it is closed");
}

#[test]
fn a_client_that_ends_its_side_is_answered() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    bench.tell(Event::ReceiveEnded { connection, has_failed: false });
    assert!(bench.cut.is_empty(), "it waits for its answer");
    answer(&mut bench, connection);
    assert!(bench.response(connection).ends_with("ok"));
    assert_eq!(bench.cut, [connection], "nothing more can come");
}

#[test]
fn a_client_that_ends_its_side_gets_what_is_queued() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    bench.stalled.push(connection);
    answer(&mut bench, connection);
    bench.tell(Event::ReceiveEnded { connection, has_failed: false });
    assert!(bench.cut.is_empty(), "the answer is still on its way");
    bench.stalled.clear();
    bench.turn();
    assert!(bench.response(connection).ends_with("ok"));
    assert_eq!(bench.cut, [connection]);
}

#[test]
fn an_answer_larger_than_the_queue_is_sent() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    let bytes = vec![b'a'; 3 << 20];
    bench.tell(Event::Response { connection, bytes: &bytes, is_last: false });
    assert_eq!(bench.response(connection).len(), bytes.len());
    assert!(bench.cut.is_empty());
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    answer(&mut bench, connection);
    assert!(bench.response(connection).ends_with("ok"));
    bench.pass(Duration::from_secs(66));
    assert_eq!(bench.response(connection), "", "nobody asked");
    assert_eq!(bench.cut, [connection]);
}

#[test]
fn a_second_request_that_does_not_end_is_answered_with_408() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    answer(&mut bench, connection);
    bench.response(connection);
    bench.pass(Duration::from_secs(58));
    bench.tell(Event::Unfinished { connection, is_unfinished: true });
    bench.pass(Duration::from_millis(4800));
    assert_eq!(bench.response(connection), "", "it has five seconds, like the first one");
    bench.pass(Duration::from_millis(400));
    assert!(bench.response(connection).starts_with("HTTP/1.1 408"));
}

#[test]
fn a_service_that_does_not_answer_is_answered_for() {
    let mut bench = bench();
    let connection = asked(&mut bench);
    bench.pass(Duration::from_secs(61));
    assert!(bench.response(connection).starts_with("HTTP/1.1 504"));
}

#[test]
fn closing_has_one_deadline() {
    let mut bench = bench();
    let connection = bench.subscribed("room", 0);
    bench.stalled.push(connection);
    for offset in 1..=200 {
        bench.publish("room", offset, &"a".repeat(4000));
    }
    bench.tell(Event::Drain { over: Duration::ZERO });
    // It takes a piece every second, and would do so for longer than a client is waited for.
    for _ in 0..7 {
        bench.complete(connection);
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.cut, [connection]);
}
