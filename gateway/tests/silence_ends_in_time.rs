//! Goal: whoever does not do what it should in time is closed, with the reason for it.
//! Method: the clock is moved by hand; nothing else happens.

mod support;

use std::time::Duration;

use gateway::config::GatewayConfig;
use gateway::engine::Event;
use protocol::websocket::Message;
use support::{Bench, insecure, open_channels};

fn bench() -> Bench {
    Bench::new(insecure(open_channels()))
}

#[test]
fn half_a_request_is_answered_with_408() {
    let mut bench = bench();
    let connection = bench.accept();
    bench.pass(Duration::from_secs(3));
    bench.tell(Event::Unfinished { connection, is_unfinished: true });
    bench.pass(Duration::from_millis(1800));
    assert_eq!(bench.response(connection), "");
    bench.pass(Duration::from_millis(400));
    assert!(bench.response(connection).starts_with("HTTP/1.1 408"));
}

#[test]
fn no_request_is_not_answered() {
    let mut bench = bench();
    let connection = bench.accept();
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.response(connection), "");
    assert_eq!(bench.cut, [connection]);
}

#[test]
fn no_connect_is_stale() {
    let mut bench = bench();
    let connection = bench.upgraded();
    bench.pass(Duration::from_millis(9800));
    assert!(bench.texts(connection).is_empty());
    bench.pass(Duration::from_millis(400));
    assert_eq!(bench.texts(connection), ["close 3502"]);
}

#[test]
fn a_ping_that_is_not_answered_closes() {
    let mut bench = bench();
    let silent = bench.connected();
    let answering = bench.connected();
    for _ in 0..600 {
        bench.pass(Duration::from_millis(100));
        if bench.texts(answering).contains(&"{}".to_owned()) {
            bench.say(answering, "{}");
        }
    }
    let texts = bench.texts(silent);
    assert_eq!(texts, ["{}", "close 3012"], "one ping, then the close");
    assert!(bench.cut.contains(&silent));
    assert!(!bench.cut.contains(&answering));
}

#[test]
fn a_send_without_progress_is_slow() {
    let mut bench = bench();
    let connection = bench.subscribed("room", 0);
    bench.stalled.push(connection);
    bench.publish("room", 1, "in flight");
    bench.publish("room", 2, "waits");
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.shard.counters().sessions_now, 1);
    bench.pass(Duration::from_millis(1200));
    assert_eq!(bench.shard.counters().sessions_now, 0, "its session ended");
    // It does not take the close frame either; what it holds is given back in time.
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.cut, [connection]);
    assert_eq!(bench.shard.counters().outbox_bytes, 0);
}

#[test]
fn a_message_without_an_end_is_refused() {
    let mut bench = bench();
    let connection = bench.connected();
    bench.tell(Event::Unfinished { connection, is_unfinished: true });
    for _ in 0..31 {
        bench.pass(Duration::from_secs(1));
        bench.tell(Event::Message { connection, message: Message::Text("{}") });
    }
    let texts = bench.texts(connection);
    assert_eq!(texts.last().map(String::as_str), Some("close 1008"), "{texts:?}");
}

#[test]
fn floods_of_control_frames_are_cut_off() {
    let mut bench = bench();
    let connection = bench.connected();
    for _ in 0..1000 {
        bench.tell(Event::Message { connection, message: Message::Ping(b"x") });
    }
    let texts = bench.texts(connection);
    assert!(texts.len() <= 200, "{} answers", texts.len());
    assert_eq!(texts.last().map(String::as_str), Some("close 1008"));
}

#[test]
fn pings_can_be_switched_off() {
    let config = insecure(open_channels());
    let mut bench = Bench::new(GatewayConfig { ping_interval: Duration::ZERO, ..config });
    let connection = bench.connected();
    bench.pass(Duration::from_secs(120));
    assert!(bench.texts(connection).is_empty());
}
