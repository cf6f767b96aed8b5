//! What a claim costs: nanoseconds for one and its release, and bytes of the table.
//!
//! Run: `cargo bench -p shard --bench claims`. The best of several rounds is said, because other
//! programs only ever add.

use std::hint::black_box;
use std::time::Instant;

use shard::claims::{Allowance, Claims, Pace, Refusal};

const ROUNDS: u32 = 20;
const CLAIMS: u64 = 200_000;
const PACE: Pace = Pace { interval_ns: 1, tolerance_ns: u64::MAX / 4 };
const BOTH: Allowance = Allowance { claims_max: u32::MAX - 1, pace: Some(PACE) };

fn main() {
    for keys_max in [1 << 14, 1 << 18, 1 << 20] {
        let bytes = resident_bytes();
        let claims: Claims = Claims::new(keys_max, 42);
        let bytes = resident_bytes().saturating_sub(bytes);
        println!("{keys_max} keys: {} KiB, {:.1} bytes each", bytes / 1024, {
            bytes as f64 / f64::from(keys_max)
        });
        one_thread(&claims, u64::from(keys_max) / 2);
    }
    let claims: Claims = Claims::new(1 << 18, 42);
    let alone = best(|| come_and_go(&claims, |_| 7));
    let beside = best(|| with_neighbour(&claims));
    println!("one address: {alone:.0} ns; the same address from two threads: {beside:.0} ns");
}

/// Half of the places are in use, as many as are meant to be.
fn one_thread(claims: &Claims, keys: u64) {
    let scattered = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
    let held: Vec<_> = (0..keys).filter_map(|key| claims.claim(key, BOTH, 1).ok()).collect();
    println!("  {} of {keys} addresses found a place", held.len());
    let known = best(|| come_and_go(claims, scattered));
    let one = Allowance { claims_max: 1, pace: None };
    let refused = best(|| {
        for number in 0..CLAIMS {
            let outcome = claims.claim(scattered(number), one, 1);
            assert_eq!(black_box(outcome), Err(Refusal::TooMany));
        }
    });
    held.into_iter().for_each(|claim| claims.release(claim));
    // Every place is free again, and each key in turn takes over another's.
    let mut fresh = keys;
    let new = best(|| {
        for _ in 0..CLAIMS {
            fresh += 1;
            let allowance = Allowance { pace: None, ..BOTH };
            match claims.claim(fresh << 20, allowance, u64::MAX / 2) {
                Ok(claim) => claims.release(claim),
                Err(refusal) => assert_eq!(refusal, Refusal::NoPlace),
            }
        }
    });
    println!("  known: {known:.0} ns; refused: {refused:.0} ns; new: {new:.0} ns");
}

fn come_and_go(claims: &Claims, key_of: impl Fn(u64) -> u64) {
    for number in 0..CLAIMS {
        match claims.claim(key_of(number), BOTH, 1) {
            Ok(claim) => claims.release(claim),
            Err(refusal) => assert_eq!(refusal, Refusal::NoPlace),
        }
    }
}

fn with_neighbour(claims: &Claims) {
    std::thread::scope(|scope| {
        scope.spawn(|| come_and_go(claims, |_| 7));
        come_and_go(claims, |_| 7);
    });
}

/// Nanoseconds for each of the claims of one call, in the best round.
fn best(mut act: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        act();
        started.elapsed().as_nanos() as f64 / CLAIMS as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let resident: u64 = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    resident * 4096
}
