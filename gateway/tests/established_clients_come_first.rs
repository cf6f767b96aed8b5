//! Goal: when everybody comes at once, who is connected is served between them.
//! Method: a shard with many connects in one turn; a verifier that counts its checks.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway::engine::{ConnectClaims, Event, SubscribeTokenClaims, TokenRefusal, TokenVerifier};
use gateway::limits::CONNECTS_PER_TURN;
use protocol::ids::{ConnectionId, ShardId, home_of};
use protocol::websocket::Message;
use support::{Bench, insecure, open_channels};

/// Counts; the user is the token.
#[derive(Debug, Default)]
struct Counts(AtomicUsize);

impl TokenVerifier for Counts {
    fn connection(&self, token: &str, _: u64) -> Result<ConnectClaims, TokenRefusal> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectClaims { user: token.to_owned(), ..ConnectClaims::default() })
    }

    fn subscription(&self, _: &str, _: u64) -> Result<SubscribeTokenClaims, TokenRefusal> {
        Err(TokenRefusal::Invalid)
    }
}

/// A user of this shard, of whom there are many.
fn user(number: usize) -> String {
    let names = (0..).map(|attempt| format!("user{number}-{attempt}"));
    names.into_iter().find(|name| home_of(name, 2) == ShardId(0)).expect("half of them are")
}

/// What a client says, without the turn that would follow.
fn say_within_the_turn(bench: &mut Bench, connection: ConnectionId, text: &str) {
    let event = Event::Message { connection, message: Message::Text(text) };
    bench.shard.handle(event, bench.now);
}

fn connect(number: usize) -> String {
    format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, user(number))
}

/// A bench where so many clients said `connect` in one turn.
fn crowd(count: usize) -> (Bench, Vec<ConnectionId>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::clone(&counts) as _);
    let crowd: Vec<ConnectionId> = (0..count).map(|_| bench.upgraded()).collect();
    for (number, connection) in crowd.iter().enumerate() {
        say_within_the_turn(&mut bench, *connection, &connect(number));
    }
    (bench, crowd, counts)
}

#[test]
fn a_turn_checks_so_many_tokens_and_no_more() {
    let (mut bench, crowd, counts) = crowd(3 * CONNECTS_PER_TURN);
    assert_eq!(counts.0.load(Ordering::Relaxed), CONNECTS_PER_TURN, "in the turn of all");
    assert_eq!(bench.shard.counters().connects_waiting as usize, 2 * CONNECTS_PER_TURN);
    assert!(bench.shard.has_work(), "the next turn does not sleep");
    bench.shard.tick(bench.now);
    assert_eq!(counts.0.load(Ordering::Relaxed), 2 * CONNECTS_PER_TURN, "in the next");
    bench.turn();
    assert_eq!(counts.0.load(Ordering::Relaxed), 3 * CONNECTS_PER_TURN, "each once");
    assert_eq!(bench.shard.counters().connects_waiting, 0);
    for connection in crowd {
        let texts = bench.texts(connection);
        assert!(texts.len() == 1 && texts[0].contains(r#""connect":"#), "{texts:?}");
    }
}

#[test]
fn who_is_connected_is_answered_before_the_crowd() {
    let counts = Arc::new(Counts::default());
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::clone(&counts) as _);
    let here = bench.upgraded();
    bench.say(here, &connect(1000));
    bench.texts(here);
    let crowd: Vec<ConnectionId> = (0..200).map(|_| bench.upgraded()).collect();
    for (number, connection) in crowd.iter().enumerate() {
        say_within_the_turn(&mut bench, *connection, &connect(number));
    }
    say_within_the_turn(&mut bench, here, r#"{"id":2,"ping":{}}"#);
    let sends = std::iter::from_fn(|| bench.shard.next_send());
    let answered: Vec<ConnectionId> = sends.map(|(connection, _)| connection).collect();
    assert!(answered.contains(&here), "in the turn in which it asked");
    assert_eq!(answered.len(), CONNECTS_PER_TURN + 1, "and some of the crowd");
}

#[test]
fn what_came_behind_a_waiting_connect_keeps_its_order() {
    let counts = Arc::new(Counts::default());
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::clone(&counts) as _);
    let crowd: Vec<ConnectionId> = (0..CONNECTS_PER_TURN + 1).map(|_| bench.upgraded()).collect();
    let last = *crowd.last().expect("one more than a turn checks");
    for (number, connection) in crowd.iter().enumerate() {
        let behind = format!("{}\n{{\"id\":2,\"ping\":{{}}}}", connect(number));
        say_within_the_turn(&mut bench, *connection, &behind);
    }
    say_within_the_turn(&mut bench, last, r#"{"id":3,"ping":{}}"#);
    bench.turn();
    let texts = bench.texts(last);
    assert_eq!(texts.len(), 3, "{texts:?}");
    for (text, number) in texts.iter().zip(1..) {
        assert!(text.contains(&format!(r#""id":{number}"#)), "{texts:?}");
    }
}

#[test]
fn who_leaves_while_waiting_takes_no_check() {
    let (mut bench, crowd, counts) = crowd(2 * CONNECTS_PER_TURN);
    for connection in &crowd[CONNECTS_PER_TURN..] {
        let event = Event::ReceiveEnded { connection: *connection, has_failed: true };
        bench.shard.handle(event, bench.now);
    }
    bench.turn();
    assert_eq!(counts.0.load(Ordering::Relaxed), CONNECTS_PER_TURN);
    assert_eq!(bench.shard.counters().connects_waiting, 0);
    assert_eq!(bench.shard.counters().sessions_now as usize, CONNECTS_PER_TURN);
}

#[test]
fn a_ping_while_waiting_is_answered() {
    let counts = Arc::new(Counts::default());
    let mut bench = Bench::with_tokens(insecure(open_channels()), Arc::clone(&counts) as _);
    let crowd: Vec<ConnectionId> = (0..CONNECTS_PER_TURN + 1).map(|_| bench.upgraded()).collect();
    for (number, connection) in crowd.iter().enumerate() {
        say_within_the_turn(&mut bench, *connection, &connect(number));
    }
    let last = *crowd.last().expect("one more than a turn checks");
    let event = Event::Message { connection: last, message: Message::Ping(b"there?") };
    bench.shard.handle(event, bench.now);
    bench.turn();
    let texts = bench.texts(last);
    assert!(texts.len() == 2 && texts.contains(&"there?".to_owned()), "{texts:?}");
    assert_eq!(bench.shard.counters().outbox_bytes, 0, "and nothing is counted for ever");
}
