//! Goal: a client that does not read costs its budget and no more, and nobody else notices.
//! Method: one of two subscribers takes nothing while publications go on, under each policy.

mod support;

use std::sync::Arc;

use gateway::config::GatewayConfig;
use gateway::engine::{DropReason, Event};
use protocol::channels::{ChannelOptions, SlowConsumer};
use protocol::link::{ClientId, FromRouter, Member};
use support::{Bench, insecure, open_channels};

const BUDGET: u32 = 8192;

fn bench(slow_consumer: SlowConsumer) -> Bench {
    let config = insecure(ChannelOptions { slow_consumer, ..open_channels() });
    Bench::new(GatewayConfig { outbox_bytes_max: BUDGET, ..config })
}

/// Two subscribers, of which the first takes nothing any more, and 1000 publications.
fn publish_past(bench: &mut Bench) -> [protocol::ids::ConnectionId; 2] {
    let slow = bench.subscribed("room", 0);
    let quick = bench.subscribed("room", 0);
    bench.stalled.push(slow);
    for offset in 1..=1000 {
        bench.publish("room", offset, &format!("number {offset}"));
        let waiting = bench.shard.counters().outbox_bytes;
        assert!(waiting <= u64::from(BUDGET), "{waiting} bytes wait");
    }
    let texts = bench.texts(quick);
    assert_eq!(texts.len(), 1000, "the quick one has them all");
    [slow, quick]
}

#[test]
fn disconnect_closes_with_3008() {
    let mut bench = bench(SlowConsumer::Disconnect);
    let [slow, _] = publish_past(&mut bench);
    assert_eq!(bench.shard.counters().sessions_now, 1, "its session ended at once");
    bench.stalled.clear();
    bench.turn();
    assert_eq!(bench.texts(slow).last().map(String::as_str), Some("close 3008"));
}

#[test]
fn conflate_keeps_the_newest() {
    let mut bench = bench(SlowConsumer::Conflate);
    let [slow, _] = publish_past(&mut bench);
    bench.stalled.clear();
    bench.turn();
    let texts = bench.texts(slow);
    assert!(texts.len() <= 100, "not {} of 1000: half a budget is about 80", texts.len());
    assert!(texts.last().expect("the newest").contains("number 1000"), "{texts:?}");
    let left_out = bench.shard.counters().drops.count(DropReason::Conflated);
    assert_eq!(left_out as usize, 1000 - texts.len(), "what is left out is counted");
}

#[test]
fn drop_tells_of_the_gap() {
    let mut bench = bench(SlowConsumer::Drop);
    let [slow, _] = publish_past(&mut bench);
    bench.stalled.clear();
    bench.turn();
    let texts = bench.texts(slow);
    let (last, before) = texts.split_last().expect("it was told");
    assert!(last.contains(r#""unsubscribe":{"code":2500"#), "{last}");
    for (index, text) in before.iter().enumerate() {
        assert!(text.contains(&format!(r#""offset":{}}}"#, index + 1)), "a hole before the notice");
    }
    assert_eq!(bench.shard.counters().subscriptions, 1);
    let left_out = bench.shard.counters().drops.count(DropReason::SlowConsumer);
    assert!(left_out >= 1, "what is left out is counted");
}

/// A member, as the router names it.
fn member(number: u32) -> Arc<Member> {
    let user = format!("user{number}").as_str().into();
    let client = ClientId(number.into());
    Arc::new(Member { user, client, connection_info: None, channel_info: None })
}

#[test]
fn a_join_that_was_left_out_is_a_gap_too() {
    let options = ChannelOptions {
        slow_consumer: SlowConsumer::Drop,
        join_leave: true,
        force_push_join_leave: true,
        ..open_channels()
    };
    let mut bench = Bench::new(GatewayConfig { outbox_bytes_max: BUDGET, ..insecure(options) });
    let slow = bench.subscribed("room", 0);
    bench.stalled.push(slow);
    for number in 0..1000 {
        let (channel, member) = ("room".into(), member(number));
        bench.tell(Event::FromRouter(FromRouter::Join { channel, member }));
    }
    bench.stalled.clear();
    bench.turn();
    let texts = bench.texts(slow);
    let last = texts.last().expect("it was told");
    assert!(last.contains(r#""unsubscribe":{"code":2500"#), "{last}");
}

#[test]
fn joins_that_were_lost_on_the_way_end_the_subscriptions_that_hear_them() {
    let options =
        ChannelOptions { join_leave: true, force_push_join_leave: true, ..open_channels() };
    let mut bench = Bench::new(insecure(options));
    let client = bench.subscribed("room", 0);
    bench.tell(Event::FromRouter(FromRouter::PresenceLagged { channel: "room".into() }));
    let texts = bench.texts(client);
    assert!(texts[0].contains(r#""unsubscribe":{"code":2500"#), "{texts:?}");
}
