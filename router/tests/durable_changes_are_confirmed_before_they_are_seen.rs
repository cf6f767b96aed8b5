//! Goal: at `log` and `store` nothing is acknowledged, delivered or shown in history before its
//! level is reached, and what fails leaves no trace.
//! Method: one partition over a log and a store that are lists, moved by hand.

mod durable_support;

use std::sync::Arc;
use std::time::Duration;

use durable_support::{Bench, options, text};
use protocol::channels::{ChannelOptions, Durability};
use protocol::client::ErrorCode;
use protocol::link::{HistoryRequest, Position, Request, StoreAnswer, StoreQuestion};
use router::limits::{PUBLISH_TIMEOUT, TICK};

fn everything() -> HistoryRequest {
    HistoryRequest { limit: -1, ..HistoryRequest::default() }
}

/// A loaded channel with one subscriber.
fn listened(durability: Durability) -> Bench {
    let mut bench = Bench::new(options(durability));
    let call = bench.subscribe(1, None);
    bench.answer_store();
    bench.subscribed(call);
    bench
}

#[test]
fn log_waits_for_the_sync() {
    let mut bench = listened(Durability::Log);
    let call = bench.publish("1", None);
    assert!(bench.answers.is_empty());
    assert!(bench.delivered().is_empty());
    assert!(bench.history(everything()).is_empty());
    bench.sync();
    assert_eq!(bench.position(call).offset, 1);
    assert_eq!(bench.delivered(), ["1"]);
    assert_eq!(bench.history(everything()).len(), 1);
}

#[test]
fn store_waits_for_the_store() {
    let mut bench = listened(Durability::Store);
    let call = bench.publish("1", None);
    bench.sync();
    assert!(bench.answers.is_empty());
    assert!(bench.delivered().is_empty());
    assert!(bench.history(everything()).is_empty());
    bench.store();
    assert_eq!(bench.position(call).offset, 1);
    assert_eq!(bench.delivered(), ["1"]);
}

#[test]
fn after_a_change_of_level_the_order_stays() {
    let mut bench = listened(Durability::Store);
    bench.publish("1", None);
    bench.set_options(options(Durability::Log));
    bench.publish("2", None);
    bench.sync();
    assert!(bench.delivered().is_empty(), "2 does not overtake 1");
    bench.store();
    assert_eq!(bench.delivered(), ["1", "2"]);
    bench.publish("3", None);
    bench.sync();
    assert_eq!(bench.delivered(), ["3"]);
}

#[test]
fn a_failed_log_refuses_and_gives_the_places_back() {
    let mut bench = listened(Durability::Log);
    let kept = bench.publish("1", None);
    bench.sync();
    let lost: Vec<u64> = ["2", "3"].map(|one| bench.publish(one, Some(one))).to_vec();
    bench.answer_store();
    bench.fail(false);
    assert_eq!(bench.position(kept).offset, 1);
    for call in lost {
        assert_eq!(bench.error(call), ErrorCode::Internal);
    }
    let call = bench.publish("4", None);
    assert_eq!(bench.error(call), ErrorCode::Internal, "not while it fails");
    bench.partition.log_available();
    let call = bench.publish("2", Some("2"));
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(call).offset, 2, "its place was free, and its key too");
    assert_eq!(bench.delivered(), ["1", "2"]);
}

#[test]
fn a_full_log_refuses_and_leaves_no_hole() {
    let mut bench = listened(Durability::Log);
    bench.has_room = false;
    let call = bench.publish("1", None);
    assert_eq!(bench.error(call), ErrorCode::Internal);
    bench.has_room = true;
    let call = bench.publish("2", None);
    bench.sync();
    assert_eq!(bench.position(call).offset, 1);
}

#[test]
fn a_key_counts_once_whatever_happened_between() {
    let mut bench = listened(Durability::Log);
    let first = bench.publish("1", Some("key"));
    bench.answer_store();
    let repeat = bench.publish("1", Some("key"));
    bench.sync();
    let position = bench.position(first);
    assert_eq!(bench.position(repeat), position, "a repeat of what is on its way waits with it");
    bench.restart();
    let call = bench.publish("1", Some("key"));
    bench.answer_store();
    assert_eq!(bench.position(call), position, "known from the log");
    bench.store();
    bench.restart();
    let call = bench.publish("1", Some("key"));
    bench.answer_store();
    assert_eq!(bench.position(call), position, "known from the store");
    assert_eq!(bench.log.len(), 1);
}

#[test]
fn order_holds_behind_a_key_that_the_store_is_asked_for() {
    let mut bench = listened(Durability::Log);
    bench.publish("1", Some("key"));
    bench.publish("2", None);
    bench.publish("3", Some("other"));
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.delivered(), ["1", "2", "3"]);
}

/// A channel of 600 publications behind a restart, and its epoch. Connection 1 listens.
fn restarted_behind_600() -> (Bench, Arc<str>) {
    let mut bench = listened(Durability::Log);
    (1..=600).for_each(|number| _ = bench.publish(&number.to_string(), None));
    bench.sync();
    bench.store();
    bench.restart();
    let call = bench.subscribe(1, None);
    bench.answer_store();
    let epoch = bench.subscribed(call).position.epoch;
    (bench, epoch)
}

#[test]
fn a_restart_keeps_epoch_offsets_and_content() {
    let mut bench = listened(Durability::Log);
    let calls: Vec<u64> =
        (1..=600).map(|number| bench.publish(&number.to_string(), None)).collect();
    bench.sync();
    let first = bench.position(calls[0]);
    bench.store();
    (601..=650).for_each(|number| _ = bench.publish(&number.to_string(), None));
    bench.sync();
    bench.publish("lost", None);
    bench.restart();
    let texts: Vec<String> = bench.history(everything()).iter().map(|one| text(one)).collect();
    assert!(texts.iter().eq((1..=650).map(|number| number.to_string()).collect::<Vec<_>>().iter()));
    let call = bench.subscribe(2, Some(first.clone()));
    bench.answer_store();
    let subscribed = bench.subscribed(call);
    assert!(subscribed.recovered, "window and store together");
    assert_eq!(subscribed.publications.len(), 649);
    assert_eq!(subscribed.position, Position { offset: 650, epoch: first.epoch });
}

#[test]
fn publications_during_a_deep_recovery_are_in_it_or_behind_it() {
    let (mut bench, epoch) = restarted_behind_600();
    let call = bench.subscribe(2, Some(Position { offset: 0, epoch }));
    // So many that the window lets go of what the question began behind.
    for number in 601..=1000 {
        bench.publish(&number.to_string(), None);
        bench.sync();
        bench.store();
    }
    bench.answer_store();
    let subscribed = bench.subscribed(call);
    assert!(subscribed.recovered);
    let offsets: Vec<u64> = subscribed.publications.iter().map(|one| one.offset).collect();
    assert!(offsets.iter().copied().eq(1..=1000), "{} of 1000", offsets.len());
}

#[test]
fn pages_go_both_ways_across_window_and_store() {
    let mut bench = listened(Durability::Log);
    (1..=600).for_each(|number| _ = bench.publish(&number.to_string(), None));
    bench.sync();
    bench.store();
    bench.publish("601", None);
    bench.sync();
    let page = |bench: &mut Bench, since: Option<u64>, limit, reverse| -> Vec<u64> {
        let since = since.map(|offset| Position { offset, epoch: "".into() });
        let request = HistoryRequest { limit, since, reverse, bytes_max: 0 };
        bench.history(request).iter().map(|one| one.offset).collect()
    };
    assert_eq!(page(&mut bench, None, 3, false), [1, 2, 3]);
    assert_eq!(page(&mut bench, Some(598), 3, false), [599, 600, 601]);
    assert_eq!(page(&mut bench, None, 2, true), [601, 600]);
    let all = page(&mut bench, None, 1000, true);
    assert!(all.iter().copied().eq((1..=601).rev()), "{} of 601", all.len());
    let across = page(&mut bench, Some(300), 200, false);
    assert!(across.iter().copied().eq(301..=500));
    assert_eq!(page(&mut bench, Some(3), 10, true), [2, 1]);
}

#[test]
fn removed_history_stays_removed() {
    let mut bench = listened(Durability::Log);
    (1..=5).for_each(|number| _ = bench.publish(&number.to_string(), None));
    bench.sync();
    let call = bench.ask(Request::HistoryRemove);
    assert!(!bench.answers.contains_key(&call), "not before it is in the log");
    bench.sync();
    assert!(bench.answers.contains_key(&call));
    assert!(bench.history(everything()).is_empty());
    let call = bench.publish("6", None);
    bench.sync();
    assert_eq!(bench.position(call).offset, 6, "the position stays");
    bench.restart();
    let texts: Vec<String> = bench.history(everything()).iter().map(|one| text(one)).collect();
    assert_eq!(texts, ["6"]);
    bench.store();
    bench.restart();
    let texts: Vec<String> = bench.history(everything()).iter().map(|one| text(one)).collect();
    assert_eq!(texts, ["6"]);
}

#[test]
fn another_level_of_durability_is_another_epoch() {
    let mut bench = listened(Durability::Log);
    let call = bench.publish("1", None);
    bench.sync();
    bench.store();
    let durable = bench.position(call);
    bench.set_options(options(Durability::Memory));
    let call = bench.publish("2", None);
    let volatile = bench.position(call);
    assert_ne!(volatile.epoch, durable.epoch);
    assert_eq!(volatile.offset, 2, "gateways know the offset");
    bench.set_options(options(Durability::Log));
    let call = bench.publish("3", None);
    bench.sync();
    let again = bench.position(call);
    assert_ne!(again.epoch, volatile.epoch);
    assert_ne!(again.epoch, durable.epoch);
    let call = bench.subscribe(2, Some(durable));
    bench.answer_store();
    assert!(!bench.subscribed(call).recovered);
}

#[test]
fn a_store_that_does_not_answer_refuses_and_nothing_else() {
    let mut bench = Bench::new(options(Durability::Log));
    let calls = [bench.subscribe(1, None), bench.publish("1", None)];
    bench.fail_store();
    for call in calls {
        assert_eq!(bench.error(call), ErrorCode::Internal);
    }
    // The end of what was refused comes late, and must not end what came meanwhile.
    let call = bench.subscribe(2, None);
    bench.answer_store();
    bench.subscribed(call);
    bench.ask(Request::Unsubscribe { connection: durable_support::connection(1) });
    bench.publish("2", None);
    bench.sync();
    assert_eq!(bench.delivered(), ["2"], "the other one still listens");
}

#[test]
fn a_subscription_that_ends_while_the_store_is_asked_leaves_nothing() {
    let (mut bench, epoch) = restarted_behind_600();
    bench.ask(Request::Unsubscribe { connection: durable_support::connection(1) });
    let call = bench.subscribe(2, Some(Position { offset: 0, epoch }));
    bench.ask(Request::Unsubscribe { connection: durable_support::connection(2) });
    bench.answer_store();
    assert!(matches!(bench.answers.remove(&call), Some(Err(_))), "answered, and refused");
    bench.publish("601", None);
    bench.sync();
    assert!(bench.delivered().is_empty(), "nobody listens");
}

#[test]
fn what_nobody_confirms_in_time_is_answered_and_may_still_come() {
    let mut bench = listened(Durability::Log);
    let call = bench.publish("1", None);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.error(call), ErrorCode::Internal);
    bench.sync();
    assert_eq!(bench.delivered(), ["1"]);
    assert!(bench.answers.is_empty(), "it is not answered twice");
}

#[test]
fn an_idle_channel_leaves_memory_and_comes_back() {
    let mut bench = Bench::new(options(Durability::Log));
    bench.publish("1", None);
    bench.answer_store();
    bench.sync();
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.partition.counters().channels, 1, "the store does not have it");
    bench.store();
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.partition.counters().channels, 0);
    assert_eq!(bench.history(everything()).len(), 1);
}

#[test]
fn what_is_not_durable_notices_nothing() {
    let mut bench = Bench::new(ChannelOptions { ..options(Durability::Memory) });
    bench.fail(false);
    let call = bench.publish("1", None);
    assert_eq!(bench.position(call).offset, 1);
}

#[test]
fn a_silent_store_holds_nobody_longer_than_a_silent_log() {
    let mut bench = Bench::new(options(Durability::Log));
    let (publication, subscription) = (bench.publish("a", None), bench.subscribe(1, None));
    bench.pass(PUBLISH_TIMEOUT - TICK);
    assert!(bench.answers.is_empty(), "the store has time until then");
    bench.pass(TICK);
    assert_eq!(bench.error(publication), ErrorCode::Internal);
    assert_eq!(bench.error(subscription), ErrorCode::Internal);
    bench.answer_store();
    assert!(bench.log.is_empty(), "what was refused does not come after all");
    let later = bench.publish("b", None);
    bench.sync();
    assert_eq!(bench.position(later).offset, 1);
}

#[test]
fn a_silent_store_holds_no_key() {
    let mut bench = Bench::new(options(Durability::Log));
    let first = bench.publish("a", None);
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(first).offset, 1);
    bench.restart();
    let other = bench.publish("a", None);
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(other).offset, 2);
    let (keyed, behind) = (bench.publish("k", Some("key")), bench.publish("c", None));
    bench.pass(PUBLISH_TIMEOUT);
    assert_eq!(bench.error(keyed), ErrorCode::Internal);
    assert_eq!(bench.error(behind), ErrorCode::Internal);
    // Whether the key is new is not known before; then it counts once, whoever asks.
    let again = bench.publish("k", Some("key"));
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(again).offset, 3);
    assert_eq!(bench.log.len(), 3);
}

#[test]
fn a_silent_store_ends_recoveries_and_pages_with_an_error() {
    let (mut bench, epoch) = restarted_behind_600();
    let since = Position { offset: 0, epoch };
    let recovery = bench.subscribe(2, Some(since.clone()));
    let page = bench.ask(Request::History(Box::new(everything())));
    bench.pass(PUBLISH_TIMEOUT - TICK);
    assert!(bench.answers.is_empty(), "the store has time until then");
    bench.pass(TICK);
    assert_eq!(bench.error(recovery), ErrorCode::Internal);
    assert_eq!(bench.error(page), ErrorCode::Internal);
    bench.answer_store();
    assert!(bench.answers.is_empty(), "nobody is answered twice");
    let again = bench.subscribe(2, Some(since));
    bench.answer_store();
    assert_eq!(bench.subscribed(again).publications.len(), 600);
}

#[test]
fn a_recovery_from_the_store_keeps_up_with_those_who_publish() {
    let (mut bench, epoch) = restarted_behind_600();
    let call = bench.subscribe(2, Some(Position { offset: 20, epoch }));
    // Each answer of the store comes behind another publication, which moves the window.
    for number in 601..=610 {
        let Some((read, channel, question)) = bench.questions.pop_front() else { break };
        let StoreQuestion::Page { above, below, .. } = &question else { panic!("{question:?}") };
        let (_, all) = bench.stored(&channel);
        let page = all.into_iter().filter(|one| (above + 1..*below).contains(&one.offset));
        let answer = StoreAnswer::Page(page.collect());
        bench.publish(&number.to_string(), None);
        bench.sync();
        bench.store();
        bench.partition.store_answered(read, Ok(answer), bench.now);
        bench.drain();
    }
    let subscribed = bench.subscribed(call);
    assert!(subscribed.recovered);
    let offsets: Vec<u64> = subscribed.publications.iter().map(|one| one.offset).collect();
    assert!(offsets.iter().copied().eq(21..=subscribed.position.offset));
}
