//! Goal: a durable channel goes on, and says nothing untrue, after a crowd that came at once, a
//! reload between any two steps, and a log or store that is late.
//! Method: one partition over a log and a store that are lists, moved by hand.

mod durable_support;

use std::time::Duration;

use durable_support::{Bench, HERE, connection, options};
use protocol::channels::Durability;
use protocol::client::ErrorCode;
use protocol::link::{
    Answer, Content, FromRouter, PublishRequest, ReplyTo, Request, SubscribeRequest, ToRouter,
    Visibility,
};
use router::limits::{HELD_PER_CHANNEL_MAX, IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_TTL};

/// A gateway subscribes, as opposed to the calls of [`Bench::ask`].
fn subscribe(bench: &mut Bench, slot: u32) {
    let connection = connection(slot);
    let request = Request::Subscribe(Box::new(SubscribeRequest {
        connection,
        member: None,
        visibility: Visibility::default(),
        recover: None,
        bytes_max: 1 << 20,
    }));
    send(bench, ReplyTo::Subscription { connection, command: 1 }, request);
}

fn unsubscribe(bench: &mut Bench, slot: u32) {
    let request = Request::Unsubscribe { connection: connection(slot) };
    send(bench, ReplyTo::Nobody, request);
}

fn send(bench: &mut Bench, reply_to: ReplyTo, request: Request) {
    let message = ToRouter { channel: "room".into(), reply_to, request };
    bench.partition.handle(HERE, message, bench.now);
    bench.drain();
}

#[test]
fn a_crowd_that_comes_before_the_channel_is_loaded_is_served() {
    let mut bench = Bench::new(options(Durability::Log));
    let count = HELD_PER_CHANNEL_MAX as u32;
    (0..count + 6).for_each(|slot| subscribe(&mut bench, slot));
    let is_refusal =
        |told: &&FromRouter| matches!(told, FromRouter::Reply(reply) if reply.result.is_err());
    assert_eq!(bench.told.iter().filter(is_refusal).count(), 6);
    // The end follows every subscription that reached the partition.
    (count..count + 6).for_each(|slot| unsubscribe(&mut bench, slot));
    bench.answer_store();
    let call = bench.publish("1", None);
    bench.sync();
    assert_eq!(bench.position(call).offset, 1, "nothing is held any more");
}

#[test]
fn a_repeat_that_comes_behind_the_deadline_is_answered() {
    let mut bench = Bench::new(options(Durability::Store));
    let first = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.error(first), ErrorCode::Internal);
    let again = bench.publish("1", Some("key"));
    assert_eq!(bench.error(again), ErrorCode::Internal, "at once: nobody knows yet");
    bench.store();
    let again = bench.publish("1", Some("key"));
    assert_eq!(bench.position(again).offset, 1);
}

#[test]
fn a_reload_that_takes_the_history_away_leaves_no_offsets_behind() {
    let mut bench = Bench::new(options(Durability::Log));
    bench.publish("1", None);
    bench.answer_store();
    bench.sync();
    subscribe(&mut bench, 1);
    bench.publish("2", None);
    bench.set_options(options(Durability::None));
    bench.told.clear();
    // While an entry is on its way the channel stays what it was, and says so.
    subscribe(&mut bench, 2);
    let position = bench.told.iter().find_map(|told| match told {
        FromRouter::Reply(reply) => match &reply.result {
            Ok(Answer::Subscribed(subscribed)) => Some(subscribed.position.offset),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(position, Some(1));
    bench.sync();
    assert_eq!(bench.delivered(), ["2"]);
    bench.store();
    bench.publish("3", None);
    let offsets: Vec<u64> = bench
        .told
        .iter()
        .filter_map(|told| match told {
            FromRouter::Publication { publication, .. } => Some(publication.offset),
            _ => None,
        })
        .collect();
    assert_eq!(offsets, [0], "without history there are no offsets");
}

#[test]
fn a_key_counts_once_while_the_store_is_far_behind() {
    let mut bench = Bench::new(options(Durability::Log));
    let call = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    let first = bench.position(call);
    let mut refused = 0;
    for number in 0..IDEMPOTENCY_KEYS_MAX + 3 {
        let call = bench.publish("2", Some(&format!("other {number}")));
        bench.answer_store();
        refused += u32::from(matches!(bench.answers.remove(&call), Some(Err(_))));
        bench.sync();
    }
    assert_eq!(refused, 4, "rather than to forget a key that nobody else knows");
    let again = bench.publish("1", Some("key"));
    assert_eq!(bench.position(again), first);
    bench.store();
    let call = bench.publish("3", Some("another"));
    bench.answer_store();
    bench.sync();
    assert!(bench.position(call).offset > first.offset, "the store has them now");
}

#[test]
fn an_epoch_from_before_does_not_come_back() {
    let mut bench = Bench::new(options(Durability::Log));
    let call = bench.publish("1", None);
    bench.answer_store();
    bench.sync();
    bench.store();
    let since = bench.position(call);
    bench.set_options(options(Durability::Memory));
    (2..5).for_each(|number| _ = bench.publish(&number.to_string(), None));
    bench.set_options(options(Durability::Log));
    let call = bench.subscribe(9, None);
    bench.answer_store();
    bench.subscribed(call);
    bench.sync();
    bench.store();
    unsubscribe(&mut bench, 9);
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.partition.counters().channels, 0, "it is only in the store");
    let call = bench.subscribe(3, Some(since));
    bench.answer_store();
    assert!(!bench.subscribed(call).recovered, "three publications were missed");
}

#[test]
fn keys_of_memory_push_out_no_key_that_only_the_log_has() {
    let mut bench = Bench::new(options(Durability::Log));
    let first = bench.publish("0", Some("other"));
    bench.answer_store();
    bench.sync();
    bench.store();
    bench.position(first);
    // From here on memory alone says whether a key is new.
    bench.pass(IDEMPOTENCY_TTL);
    let call = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    let position = bench.position(call);
    for number in 0..IDEMPOTENCY_KEYS_MAX {
        bench.ask(Request::Publish(Box::new(PublishRequest {
            content: Content::classify(b"x"),
            publisher: None,
            tags: None,
            skip_history: true,
            idempotency_key: Some(format!("memory {number}").into()),
        })));
    }
    let again = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(again), position, "it counts once");
}
