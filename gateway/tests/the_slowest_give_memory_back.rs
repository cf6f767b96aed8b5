//! Goal: near the limit of memory nobody new is let in; beyond it those who hold most are closed,
//! no more than is owed and some a turn, and who holds little is never among them.
//! Method: one shard on a bench, told levels; some of its clients take nothing.

mod support;

use std::time::Duration;

use gateway::engine::{Event, MemoryLevel, UpgradeRefusal};
use gateway::limits::{
    SHED_BYTES_MIN, SHED_CLOSES_PER_TURN, SHED_LINGER_TIMEOUT, SHED_UNFINISHED_AGE,
};
use protocol::channels::ChannelOptions;
use protocol::close::CloseReason;
use protocol::ids::ConnectionId;
use support::{Bench, UPGRADE, insecure};

const MIB: u64 = 1 << 20;

fn bench() -> Bench {
    Bench::new(insecure(ChannelOptions::default()))
}

fn told(bench: &mut Bench, level: MemoryLevel, owed_bytes: u64) {
    bench.tell(Event::Memory { level, owed_bytes });
}

/// A client that takes nothing, for whom at least so many bytes wait.
fn slow(bench: &mut Bench, name: &str, bytes_count: usize) -> ConnectionId {
    let client = bench.subscribed(name, 0);
    bench.stalled.push(client);
    bench.publish(name, 1, "what the kernel has");
    bench.publish(name, 2, &"x".repeat(bytes_count));
    client
}

fn closed(bench: &Bench) -> u64 {
    bench.shard.counters().closes[CloseReason::Overloaded.index()]
}

/// What a client is told once it reads again.
fn reads(bench: &mut Bench, client: ConnectionId) -> Vec<String> {
    bench.stalled.retain(|one| *one != client);
    bench.turn();
    bench.texts(client)
}

#[test]
fn nobody_new_is_let_in_and_nobody_is_closed() {
    let mut bench = bench();
    let client = bench.connected();
    let slow = slow(&mut bench, "slow", 100_000);
    told(&mut bench, MemoryLevel::Refusing, 0);
    let newcomer = bench.accept();
    bench.request(newcomer, UPGRADE);
    let answer = bench.response(newcomer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("Retry-After: "), "{answer}");
    let refused = bench.shard.counters().upgrades_refused;
    assert_eq!(refused[UpgradeRefusal::Memory as usize], 1);
    assert_eq!(closed(&bench), 0);
    assert!(bench.shard.is_open(client) && bench.shard.is_open(slow));
    told(&mut bench, MemoryLevel::Normal, 0);
    bench.upgraded();
}

#[test]
fn the_slowest_go_first_and_no_more_than_is_owed() {
    let mut bench = bench();
    let clients = [60_000, 300_000, 100_000, 200_000]
        .map(|count| slow(&mut bench, &format!("room{count}"), count));
    let quick = bench.subscribed("quick", 0);
    told(&mut bench, MemoryLevel::Shedding, 400_000);
    assert_eq!(closed(&bench), 2);
    assert!(bench.shard.counters().outbox_bytes < 200_000, "their queues are gone at once");
    let ends = clients.map(|client| reads(&mut bench, client).pop());
    let is_closed = ends.map(|end| end.as_deref() == Some("close 3011"));
    assert_eq!(is_closed, [false, true, false, true]);
    bench.publish("quick", 1, "still here");
    assert!(bench.texts(quick)[0].contains("still here"));
}

#[test]
fn who_holds_little_is_kept_whatever_is_owed() {
    let mut bench = bench();
    let little = slow(&mut bench, "little", SHED_BYTES_MIN as usize / 2);
    let idle = bench.connected();
    told(&mut bench, MemoryLevel::Shedding, u64::MAX);
    assert_eq!(closed(&bench), 0);
    assert!(!bench.shard.has_work(), "there is nobody to look for any more");
    assert!(bench.shard.is_open(little) && bench.shard.is_open(idle));
}

#[test]
fn an_unfinished_message_counts_as_the_largest() {
    let mut bench = bench();
    let [writer, quiet] = [bench.connected(), bench.connected()];
    bench.tell(Event::Unfinished { connection: writer, is_unfinished: true });
    told(&mut bench, MemoryLevel::Shedding, 1);
    assert_eq!(closed(&bench), 0, "anybody may be in the middle of a frame");
    bench.pass(SHED_UNFINISHED_AGE);
    told(&mut bench, MemoryLevel::Shedding, 1);
    assert_eq!(reads(&mut bench, writer), ["close 3011"]);
    assert!(reads(&mut bench, quiet).is_empty());
}

#[test]
fn a_turn_closes_a_bounded_number() {
    let mut bench = bench();
    let count = SHED_CLOSES_PER_TURN as u64 * 2 + 1;
    for number in 0..count {
        slow(&mut bench, &format!("room{number}"), 50_000);
    }
    let memory = Event::Memory { level: MemoryLevel::Shedding, owed_bytes: MIB * 1000 };
    bench.shard.handle(memory, bench.now);
    let mut after = Vec::new();
    while bench.shard.has_work() && after.len() < 10 {
        bench.shard.tick(bench.now);
        after.push(closed(&bench));
        while bench.shard.poll_action().is_some() {}
    }
    let step = SHED_CLOSES_PER_TURN as u64;
    assert_eq!(after[..4], [0, step, 2 * step, count], "the first turn searches");
}

#[test]
fn who_never_reads_the_close_is_gone_soon() {
    let mut bench = bench();
    let slow = slow(&mut bench, "slow", 100_000);
    told(&mut bench, MemoryLevel::Shedding, 1);
    assert!(!bench.cut.contains(&slow));
    bench.pass(SHED_LINGER_TIMEOUT + Duration::from_millis(200));
    assert!(bench.cut.contains(&slow));
    assert_eq!(bench.shard.counters().outbox_bytes, 0);
}

#[test]
fn it_ends_with_the_level() {
    let mut bench = bench();
    let slow = slow(&mut bench, "slow", 100_000);
    let memory = Event::Memory { level: MemoryLevel::Shedding, owed_bytes: MIB };
    bench.shard.handle(memory, bench.now);
    assert!(bench.shard.has_work());
    told(&mut bench, MemoryLevel::Refusing, 0);
    assert_eq!(closed(&bench), 0);
    assert!(bench.shard.is_open(slow));
}
