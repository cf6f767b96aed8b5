//! Goal: whatever lanes, sockets, clients and the scheduler do, no client sees a wrong thing, and
//! in the end everything is quiet and adds up.
//! Method: many worlds, each decided by a seed, with every kind of fault; see `world::quiet` for
//! the end.
//!
//! `RINGWAY_SIM_SEEDS` says how many seeds, `RINGWAY_SIM_FIRST` where to start,
//! `RINGWAY_SIM_EVENTS` how long faults go on; with `RINGWAY_SIM_TELL=1` everything is told as it
//! happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use world::faults::{CORNERS, KINDS};
use world::world::{Outcome, Plan, run};

const SEEDS_DEFAULT: u64 = 500;
const EVENTS_DEFAULT: u64 = 10_000;
/// Every kind of fault must be in so many of a hundred seeds.
const PERCENT_MIN: u64 = 10;
/// Below this many seeds the shares of faults say nothing.
const SEEDS_FOR_SHARES_MIN: u64 = 100;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn plan(seed: u64) -> Plan {
    let is_told = variable("RINGWAY_SIM_TELL", 0) > 0;
    Plan { seed, events: variable("RINGWAY_SIM_EVENTS", EVENTS_DEFAULT), plant: None, is_told }
}

/// Runs seeds on every core, until one fails.
fn run_all(first: u64, count: u64) -> Vec<(u64, Outcome)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| run(plan(seed)));
                    let outcome = outcome.unwrap_or_else(|_| {
                        println!("seed {seed} panicked; replay it: {}", replay(seed));
                        std::process::exit(101);
                    });
                    failed.fetch_or(outcome.violation.is_some(), Ordering::Relaxed);
                    outcomes.lock().expect("nobody panics with it").push((seed, outcome));
                }
            });
        }
    });
    outcomes.into_inner().expect("nobody panics with it")
}

fn replay(seed: u64) -> String {
    format!(
        "RINGWAY_SIM_FIRST={seed} RINGWAY_SIM_SEEDS=1 RINGWAY_SIM_EVENTS={} \
         cargo test -p world --test simulation no_seed -- --nocapture",
        plan(seed).events
    )
}

#[test]
fn no_seed_finds_anything() {
    let first = variable("RINGWAY_SIM_FIRST", 1);
    let count = variable("RINGWAY_SIM_SEEDS", SEEDS_DEFAULT);
    let began = Instant::now();
    let outcomes = run_all(first, count);
    for (seed, outcome) in &outcomes {
        if let Some(violation) = &outcome.violation {
            panic!("seed {seed}: {violation}\nreplay it: {}", replay(*seed));
        }
    }
    let events: u64 = outcomes.iter().map(|(_, outcome)| outcome.events).sum();
    let time: f64 = outcomes.iter().map(|(_, outcome)| outcome.time.as_secs_f64()).sum();
    println!("{count} seeds, {events} events, {time:.0} s simulated in {:.1?}", began.elapsed());
    let mut rare = Vec::new();
    for kind in KINDS {
        let hit = outcomes.iter().filter(|(_, outcome)| outcome.faults.count(kind) > 0).count();
        let percent = hit as u64 * 100 / count.max(1);
        println!("{percent:4} % of seeds: {kind}");
        let is_enough = if CORNERS.contains(&kind) { hit > 0 } else { percent >= PERCENT_MIN };
        if !is_enough {
            rare.push(kind);
        }
    }
    let counts = count >= SEEDS_FOR_SHARES_MIN;
    assert!(!counts || rare.is_empty(), "faults that happen too rarely to be tested: {rare:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 1..=4 {
        let plan = Plan { events: 3000, ..plan(seed) };
        let (one, other) = (run(plan), run(plan));
        assert_eq!(one.trace, other.trace, "seed {seed} ran in two ways");
        assert_eq!(one.time, other.time);
    }
}
