//! Goal: the ledger sees what it is there to see.
//! Method: plant one kind of fault between the server's parts and run seeds until a world notices.

use world::plants::Plant;
use world::world::{Plan, run};

/// A plant that no world notices within so many seeds would slip through.
const SEEDS_MAX: u64 = 20;
const EVENTS: u64 = 4000;

/// What the ledger said of the first world that noticed.
fn caught(plant: Plant, words: &[&str]) {
    let mut said = Vec::new();
    for seed in 1..=SEEDS_MAX {
        let plan = Plan { seed, events: EVENTS, plant: Some(plant), is_told: false };
        let Some(violation) = run(plan).violation else { continue };
        let is_meant = words.iter().any(|word| violation.contains(word));
        said.push(format!("seed {seed}: {violation}"));
        if is_meant {
            println!("{plant:?} was caught by {}", said.last().expect("it was just said"));
            return;
        }
    }
    panic!("{plant:?} was not caught for what it is in {SEEDS_MAX} seeds: {said:#?}");
}

#[test]
fn a_lost_publication() {
    caught(Plant::Lost, &["is at Place"]);
}

#[test]
fn a_duplicated_publication() {
    caught(Plant::Duplicated, &[" follows Some("]);
}

#[test]
fn a_swapped_publication() {
    caught(Plant::Swapped, &[" follows Some("]);
}

#[test]
fn a_phantom_publication() {
    caught(Plant::Phantom, &["nobody published"]);
}

#[test]
fn a_stale_generation() {
    let words = ["the upgrade was answered", "waits for none", "was closed with", " follows Some("];
    caught(Plant::StaleGeneration, &words);
}

#[test]
fn a_lost_wake() {
    caught(Plant::LostWake, &["has mail since"]);
}

#[test]
fn a_double_leave() {
    caught(Plant::DoubleLeave, &["a second leave"]);
}

#[test]
fn an_acknowledgement_before_the_sync() {
    caught(Plant::AcknowledgedEarly, &["was acknowledged before it is in"]);
}

#[test]
fn a_delivery_before_the_sync() {
    caught(Plant::DeliveredEarly, &["was shown before it is in the log"]);
}

#[test]
fn a_checkpoint_ahead_of_its_rows() {
    caught(Plant::CheckpointAhead, &["before it is in the store", "was stored and is not"]);
}

#[test]
fn a_reused_offset() {
    caught(Plant::ReusedOffset, &["holds", "is at Place"]);
}
