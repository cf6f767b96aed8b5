//! Goal: what a durable channel stored before its namespace was something else for a while is over,
//! wherever it is found; nothing that was acknowledged since is lost with it, whenever the process
//! ends; and a key still counts once.
//! Method: one partition over a log and a store that are lists, moved by hand; options as a data
//! directory stamps them.

mod durable_support;

use std::time::Duration;

use durable_support::{Bench, options, text};
use protocol::channels::{ChannelOptions, Durability};
use protocol::link::{HistoryRequest, Position};
use router::limits::IDEMPOTENCY_TTL;

fn durable(generation: u64) -> ChannelOptions {
    ChannelOptions { generation, ..options(Durability::Log) }
}

fn memory() -> ChannelOptions {
    options(Durability::Memory)
}

/// Publishes, until it is acknowledged; where it was put.
fn publish(bench: &mut Bench, payload: &str) -> Position {
    let call = bench.publish(payload, None);
    bench.answer_store();
    bench.sync();
    bench.position(call)
}

/// What a client hears that comes back with a position: `None`, that it is gone.
fn come_back(bench: &mut Bench, since: &Position) -> Option<Vec<String>> {
    let call = bench.subscribe(9, Some(since.clone()));
    bench.answer_store();
    let subscribed = bench.subscribed(call);
    let publications = subscribed.publications.iter().map(|one| text(one));
    subscribed.recovered.then(|| publications.collect())
}

fn all(bench: &mut Bench) -> Vec<String> {
    let request = HistoryRequest { limit: -1, ..HistoryRequest::default() };
    bench.history(request).iter().map(|one| text(one)).collect()
}

fn restart_as(bench: &mut Bench, options: ChannelOptions) {
    bench.set_options(options);
    bench.restart();
}

#[test]
fn a_restart_without_durability_ends_a_generation() {
    for are_stored in [true, false] {
        let mut bench = Bench::new(durable(0));
        let before = ["1", "2", "3"].map(|payload| publish(&mut bench, payload))[2].clone();
        assert!(!before.epoch.contains('.'), "as it was before there were generations");
        if are_stored {
            bench.store();
        }
        restart_as(&mut bench, memory());
        bench.store();
        let call = bench.publish("lost", None);
        assert_ne!(bench.position(call).epoch, before.epoch);
        restart_as(&mut bench, durable(1));
        assert_eq!(come_back(&mut bench, &before), None, "a publication was missed");
        assert!(all(&mut bench).is_empty(), "nor is there a history with a hole in it");
        let since = publish(&mut bench, "4");
        assert!(since.epoch.ends_with(".1") && since.offset == before.offset + 1, "{since:?}");
        assert_eq!(come_back(&mut bench, &before), None);
        publish(&mut bench, "5");
        restart_as(&mut bench, durable(1));
        assert_eq!(come_back(&mut bench, &since), Some(vec!["5".to_owned()]), "no break");
        assert_eq!(come_back(&mut bench, &before), None);
        assert_eq!(all(&mut bench), ["4", "5"]);
    }
}

#[test]
fn an_end_between_any_two_steps_loses_nothing_of_the_new_generation() {
    // Three entries of generation 0, one that begins generation 1, two publications in it.
    let entries = 6;
    let mut acknowledged = 0;
    for synced in 3..=entries {
        for stored in 0..=synced {
            let mut bench = Bench::new(durable(0));
            let before = ["1", "2", "3"].map(|payload| publish(&mut bench, payload))[2].clone();
            bench.progress.stored = stored.min(3);
            bench.tell_progress();
            restart_as(&mut bench, durable(1));
            let calls = ["4", "5"].map(|payload| {
                let call = bench.publish(payload, None);
                bench.answer_store();
                call
            });
            assert_eq!(bench.log.len() as u64, entries);
            bench.progress.synced = synced;
            bench.progress.stored = stored;
            bench.tell_progress();
            let answered = calls.map(|call| bench.answers.contains_key(&call));
            assert_eq!(answered, [synced >= 5, synced >= 6]);
            acknowledged += answered.iter().filter(|is| **is).count();
            let first = answered[0].then(|| bench.position(calls[0]));
            bench.restart();
            assert_eq!(come_back(&mut bench, &before), None, "{synced} synced, {stored} stored");
            let kept = &["4", "5"][..synced.saturating_sub(4) as usize];
            assert_eq!(all(&mut bench), kept, "{synced} synced, {stored} stored");
            let next = publish(&mut bench, "6");
            assert_eq!(next.offset, 4 + kept.len() as u64, "offsets go on");
            if let Some(first) = first {
                let rest = if synced >= 6 { vec!["5", "6"] } else { vec!["6"] };
                let rest = rest.into_iter().map(str::to_owned).collect();
                assert_eq!(come_back(&mut bench, &first), Some(rest));
            }
        }
    }
    assert_eq!(acknowledged, 6 + 2 * 7, "of one ending, then of the other");
}

#[test]
fn a_key_of_the_old_generation_counts_once_before_the_store_has_it() {
    for durability in [Durability::Log, Durability::Store] {
        let stamped = |generation| ChannelOptions { durability, ..durable(generation) };
        let mut bench = Bench::new(stamped(0));
        bench.publish("1", Some("key"));
        bench.answer_store();
        bench.sync();
        let epoch = bench.log[0].epoch.clone();
        restart_as(&mut bench, stamped(1));
        bench.publish("2", None);
        bench.sync();
        // Both epochs are in the log alone now.
        restart_as(&mut bench, stamped(1));
        let entries = bench.log.len();
        let again = bench.publish("1", Some("key"));
        bench.answer_store();
        assert_eq!(bench.log.len(), entries, "it is in the log already");
        if durability == Durability::Store {
            assert!(!bench.answers.contains_key(&again), "the store has not");
            bench.store();
        }
        assert_eq!(bench.position(again), Position { offset: 1, epoch });
        bench.store();
        assert_eq!(all(&mut bench), ["2"]);
    }
}

#[test]
fn a_busy_channel_changes_its_epoch_at_once() {
    let mut bench = Bench::new(durable(0));
    let before = publish(&mut bench, "1");
    let call = bench.subscribe(1, None);
    bench.subscribed(call);
    let on_its_way = bench.publish("2", None);
    bench.set_options(memory());
    let in_between = bench.publish("3", None);
    bench.set_options(durable(1));
    let first = bench.publish("4", None);
    bench.delivered();
    bench.sync();
    assert_eq!(bench.delivered(), ["2", "3", "4"], "nothing is lost on the way");
    for (call, offset) in [(on_its_way, 2), (in_between, 3)] {
        let epoch = before.epoch.clone();
        assert_eq!(bench.position(call), Position { offset, epoch }, "where the log has it");
    }
    let since = bench.position(first);
    assert!(since.epoch.ends_with(".1") && since.offset == 4, "{since:?}");
    assert_eq!(all(&mut bench), ["4"]);
    publish(&mut bench, "5");
    bench.store();
    bench.restart();
    assert_eq!(come_back(&mut bench, &since), Some(vec!["5".to_owned()]));
    assert_eq!(come_back(&mut bench, &before), None);
}

#[test]
fn what_was_held_goes_by_the_newer_rules() {
    // Held until the channel is loaded.
    let mut bench = Bench::new(durable(0));
    publish(&mut bench, "1");
    bench.store();
    bench.restart();
    let held = bench.publish("2", None);
    bench.set_options(durable(1));
    bench.answer_store();
    bench.sync();
    let since = bench.position(held);
    assert!(since.epoch.ends_with(".1"), "{since:?}");
    // Held until the store says whether its key is new.
    let held = bench.publish("3", Some("key"));
    bench.set_options(durable(2));
    bench.answer_store();
    bench.sync();
    let since = bench.position(held);
    assert!(since.epoch.ends_with(".2"), "{since:?}");
    // Held behind that one.
    let front = bench.publish("4", Some("other"));
    let behind = bench.publish("5", None);
    bench.set_options(durable(3));
    let repeat = bench.questions.pop_front().expect("it asked for the key");
    bench.questions.push_back(repeat);
    bench.answer_store();
    bench.sync();
    for call in [front, behind] {
        let position = bench.position(call);
        assert!(position.epoch.ends_with(".3"), "{position:?}");
    }
    assert_eq!(all(&mut bench), ["4", "5"]);
}

#[test]
fn a_log_without_room_does_not_bring_the_old_epoch_back() {
    let mut bench = Bench::new(durable(0));
    let before = publish(&mut bench, "1");
    bench.store();
    restart_as(&mut bench, durable(1));
    bench.has_room = false;
    assert_eq!(come_back(&mut bench, &before), None);
    let refused = bench.publish("2", None);
    bench.error(refused);
    bench.has_room = true;
    let since = publish(&mut bench, "3");
    assert!(since.epoch.ends_with(".1") && since.offset == 2, "{since:?}");
    assert_eq!(come_back(&mut bench, &before), None);
    bench.store();
    bench.restart();
    assert_eq!(come_back(&mut bench, &since), Some(vec![]));
    assert_eq!(all(&mut bench), ["3"]);
}

#[test]
fn a_page_that_was_asked_for_in_the_old_epoch_is_of_the_new_one() {
    let mut bench = Bench::new(durable(0));
    for number in 0..router::limits::DURABLE_WINDOW_PUBLICATIONS_MAX + 10 {
        bench.publish(&number.to_string(), None);
        bench.answer_store();
    }
    bench.sync();
    bench.store();
    bench.answers.clear();
    publish(&mut bench, "more than the window keeps");
    let request = HistoryRequest { limit: -1, ..HistoryRequest::default() };
    let call = bench.ask(protocol::link::Request::History(Box::new(request)));
    assert_eq!(bench.questions.len(), 1, "the store has the rest");
    bench.set_options(durable(1));
    let since = {
        let call = bench.publish("new", None);
        bench.sync();
        bench.position(call)
    };
    bench.answer_store();
    match bench.answers.remove(&call) {
        Some(Ok(protocol::link::Answer::History { publications, position })) => {
            assert_eq!(position.epoch, since.epoch);
            assert_eq!(publications.len(), 1, "what was acknowledged since, and nothing else");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(all(&mut bench), ["new"]);
}

#[test]
fn a_key_that_is_known_is_answered_from_before() {
    let mut bench = Bench::new(durable(0));
    let call = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    bench.store();
    let before = bench.position(call);
    restart_as(&mut bench, memory());
    restart_as(&mut bench, durable(1));
    let again = bench.publish("1", Some("key"));
    bench.answer_store();
    bench.sync();
    assert_eq!(bench.position(again), before, "the store keeps keys, whatever becomes of epochs");
    bench.pass(IDEMPOTENCY_TTL + Duration::from_secs(1));
    assert!(all(&mut bench).is_empty());
}
