//! Goal: one connection takes no more memory than its budget, however it grows, and what it took is
//! given back.
//! Method: a small budget; each way of growing alone and two together; the shard's own count of its
//! bytes before and after a crowd.

mod support;

use gateway::config::GatewayConfig;
use gateway::engine::{Event, MemoryBytes, MemoryKind};
use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use support::{Bench, insecure, open_channels};

const BUDGET: u32 = 128 * 1024;

fn bench(config: GatewayConfig) -> Bench {
    Bench::new(GatewayConfig { memory_bytes_max: BUDGET, ..config })
}

fn closed_for_memory(bench: &Bench) -> u64 {
    bench.shard.counters().closes[CloseReason::MemoryLimit.index()]
}

fn holds(bench: &mut Bench, connection: ConnectionId, bytes_count: u32) {
    bench.tell(Event::Holds { connection, bytes_count });
}

#[test]
fn what_waits_for_a_client_counts() {
    let mut bench = bench(insecure(open_channels()));
    let slow = bench.subscribed("room", 0);
    let quick = bench.subscribed("room", 0);
    bench.stalled.push(slow);
    let text = "x".repeat(1000);
    for offset in 1..=200 {
        bench.publish("room", offset, &text);
        let waiting = bench.shard.memory().of(MemoryKind::Outbox);
        assert!(waiting <= 2 * u64::from(BUDGET), "{waiting} bytes wait");
    }
    assert_eq!(closed_for_memory(&bench), 1);
    assert_eq!(bench.texts(quick).len(), 200, "nobody else notices");
    bench.stalled.clear();
    bench.turn();
    assert_eq!(bench.texts(slow).last().map(String::as_str), Some("close 4008"));
}

#[test]
fn an_unfinished_message_counts() {
    let mut bench = bench(insecure(open_channels()));
    let connection = bench.connected();
    holds(&mut bench, connection, BUDGET / 2);
    assert_eq!(closed_for_memory(&bench), 0);
    holds(&mut bench, connection, BUDGET + 1);
    assert_eq!(bench.texts(connection), ["close 4008"]);
    assert_eq!(closed_for_memory(&bench), 1);
}

#[test]
fn the_body_of_a_request_counts() {
    let mut bench = bench(insecure(open_channels()));
    let connection = bench.accept();
    let head = "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n";
    bench.request(connection, head);
    holds(&mut bench, connection, BUDGET);
    assert!(bench.cut.is_empty());
    holds(&mut bench, connection, BUDGET + 1);
    assert_eq!((bench.cut.as_slice(), closed_for_memory(&bench)), (&[connection][..], 1));
}

#[test]
fn subscriptions_count() {
    let mut bench = bench(GatewayConfig { channels_max: 10_000, ..insecure(open_channels()) });
    let connection = bench.connected();
    let most = BUDGET as usize / gateway::limits::SUBSCRIPTION_BYTES;
    for number in 0..most {
        assert_eq!(closed_for_memory(&bench), 0, "at {number} of {most}");
        let id = number + 2;
        bench.say(connection, &format!(r#"{{"id":{id},"subscribe":{{"channel":"c{number}"}}}}"#));
        if bench.to_router.is_empty() {
            break;
        }
        bench.grant(0);
    }
    bench.say(connection, r#"{"id":9999,"subscribe":{"channel":"one too many"}}"#);
    assert_eq!(closed_for_memory(&bench), 1);
    assert_eq!(bench.texts(connection).last().map(String::as_str), Some("close 4008"));
    assert_eq!(bench.shard.counters().subscriptions, 0);
}

#[test]
fn two_ways_together_count_together() {
    let mut bench = bench(insecure(open_channels()));
    let slow = bench.subscribed("room", 0);
    bench.stalled.push(slow);
    let text = "x".repeat(1000);
    (1..=70).for_each(|offset| bench.publish("room", offset, &text));
    assert_eq!(closed_for_memory(&bench), 0, "each alone is within the budget");
    holds(&mut bench, slow, BUDGET / 2);
    assert_eq!(closed_for_memory(&bench), 1);
}

/// Users with subscriptions, some alone and some together, come and leave.
fn crowd(bench: &mut Bench, count: usize) -> [MemoryBytes; 2] {
    let connections: Vec<ConnectionId> = (0..count)
        .map(|number| {
            let connection = bench.subscribed("room", 0);
            let own = format!(r#"{{"id":3,"subscribe":{{"channel":"own{number}"}}}}"#);
            bench.say(connection, &own);
            bench.grant(0);
            connection
        })
        .collect();
    let there = bench.shard.memory();
    for connection in connections {
        bench.tell(Event::ReceiveEnded { connection, has_failed: true });
    }
    bench.to_router.clear();
    [there, bench.shard.memory()]
}

#[test]
fn what_clients_took_is_given_back() {
    let mut bench = Bench::new(insecure(open_channels()));
    let before = bench.shard.memory();
    let [first_there, first_left] = crowd(&mut bench, 200);
    let [second_there, second_left] = crowd(&mut bench, 200);
    for kind in MemoryKind::ALL {
        let grown = [first_there.of(kind) - before.of(kind), second_there.of(kind)];
        let name = kind.label();
        match kind {
            // The bench gives no place out twice.
            MemoryKind::Slot | MemoryKind::Timers => {
                assert!(second_left.of(kind) > first_left.of(kind), "{name}");
                continue;
            }
            MemoryKind::Identity | MemoryKind::Subscriptions => {
                assert!(grown[0] > 200 * 64, "{name}: {grown:?}");
                assert_eq!(first_there.of(kind), second_there.of(kind), "{name}");
            }
            _ => {}
        }
        assert_eq!(first_left.of(kind), second_left.of(kind), "{name} after each crowd");
    }
    assert_eq!(second_left.of(MemoryKind::Identity), before.of(MemoryKind::Identity));
    assert_eq!(second_left.of(MemoryKind::Requests), 0);
}
