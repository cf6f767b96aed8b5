//! Goal: a client is watched with little memory while it sends little, and received from with
//! little work while it sends much; neither a pong nor a request makes the difference.
//! Method: the engine alone, told of pieces as a pump tells it.

mod support;

use gateway::config::GatewayConfig;
use gateway::engine::{Action, Event};
use gateway::limits::{COOL_ARRIVALS, HOT_ARRIVALS};
use protocol::ids::ConnectionId;
use support::Bench;

/// What the engine wanted done about receiving.
fn wanted(bench: &mut Bench) -> Vec<&'static str> {
    std::mem::take(&mut bench.receiving)
        .into_iter()
        .map(|action| match action {
            Action::Receive(_) => "receive",
            Action::Rest(_) => "rest",
            _ => "pause",
        })
        .collect()
}

fn bench() -> Bench {
    Bench::new(GatewayConfig { insecure: true, ..GatewayConfig::default() })
}

fn say(bench: &mut Bench, client: ConnectionId, text: &str) {
    bench.shard.arrived(client);
    bench.say(client, text);
}

/// Sends so many commands.
fn talk(bench: &mut Bench, client: ConnectionId, count: u8) {
    for id in 0..count {
        say(bench, client, &format!(r#"{{"id":{},"ping":{{}}}}"#, u32::from(id) + 10));
    }
}

/// Until the next ping was sent, and answered.
fn ping(bench: &mut Bench, client: ConnectionId) {
    bench.texts(client);
    for _ in 0..600 {
        bench.pass(std::time::Duration::from_millis(100));
        if bench.texts(client).iter().any(|text| text == "{}") {
            return say(bench, client, "{}");
        }
    }
    panic!("no ping within a minute");
}

#[test]
fn who_sends_nothing_but_pongs_stays_at_rest() {
    let mut bench = bench();
    let client = bench.connected();
    assert_eq!(wanted(&mut bench), ["rest"], "from the first moment on");
    for _ in 0..2 * HOT_ARRIVALS {
        ping(&mut bench, client);
    }
    assert!(wanted(&mut bench).is_empty());
}

#[test]
fn who_sends_much_is_hot_until_a_quiet_time_between_two_pings() {
    let mut bench = bench();
    let client = bench.connected();
    ping(&mut bench, client);
    wanted(&mut bench);
    talk(&mut bench, client, HOT_ARRIVALS);
    assert!(wanted(&mut bench).is_empty());
    talk(&mut bench, client, 1);
    assert_eq!(wanted(&mut bench), ["receive"]);
    assert_eq!(bench.shard.counters().connections_hot, 1);
    talk(&mut bench, client, 3 * HOT_ARRIVALS);
    assert!(wanted(&mut bench).is_empty(), "once");
    ping(&mut bench, client);
    assert!(wanted(&mut bench).is_empty(), "it sent much before that ping");
    talk(&mut bench, client, COOL_ARRIVALS + 1);
    ping(&mut bench, client);
    assert!(wanted(&mut bench).is_empty(), "and enough before this one");
    talk(&mut bench, client, COOL_ARRIVALS);
    ping(&mut bench, client);
    assert_eq!(wanted(&mut bench), ["rest"]);
    assert_eq!(bench.shard.counters().connections_hot, 0);
    ping(&mut bench, client);
    assert!(wanted(&mut bench).is_empty(), "once");
    talk(&mut bench, client, HOT_ARRIVALS + 1);
    assert_eq!(wanted(&mut bench), ["receive"], "and back");
    bench.tell(Event::ReceiveEnded { connection: client, has_failed: true });
    assert_eq!(bench.shard.counters().connections_hot, 0, "who is gone is not counted");
}

#[test]
fn requests_never_take_a_pause_back() {
    let mut bench = bench();
    let client = bench.accept();
    for _ in 0..=u8::MAX {
        bench.shard.arrived(client);
        bench.turn();
    }
    assert_eq!(wanted(&mut bench), ["rest"]);
}
