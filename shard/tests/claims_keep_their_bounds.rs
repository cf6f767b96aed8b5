//! Goal: a table of claims counts exactly, forgets in time, and says when it is full.
//! Method: one thread for the rules; four threads on few keys for the sum of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shard::claims::{Allowance, Claim, Claims, Meter, PLACES_PER_BUCKET, Pace, Refusal};

const fn at_most(claims_max: u32) -> Allowance {
    Allowance { claims_max, pace: None }
}

#[test]
fn a_key_has_as_many_claims_as_it_may() {
    let claims: Claims = Claims::new(1000, 42);
    let mut held: Vec<Claim> = Vec::new();
    for _ in 0..3 {
        held.push(claims.claim(5, at_most(3), 1).unwrap());
    }
    assert_eq!(claims.claim(5, at_most(3), 1), Err(Refusal::TooMany));
    held.push(claims.claim(5, at_most(4), 1).expect("a larger limit holds at once"));
    assert_eq!(claims.claim(5, at_most(2), 1), Err(Refusal::TooMany));
    held.push(claims.claim(6, at_most(1), 1).expect("another key is another count"));
    held.into_iter().for_each(|claim| claims.release(claim));
    assert!(claims.claim(5, at_most(1), 1).is_ok());
}

#[test]
fn a_rate_has_a_burst_and_says_when_to_come_back() {
    let claims: Claims = Claims::new(1000, 42);
    let pace = Pace { interval_ns: 100, tolerance_ns: 200 };
    let allowance = Allowance { claims_max: 9, pace: Some(pace) };
    let mut made: Vec<Claim> = Vec::new();
    (0..3).for_each(|_| made.push(claims.claim(5, allowance, 1_000).unwrap()));
    assert_eq!(made.len(), 3);
    assert_eq!(claims.claim(5, allowance, 1_000), Err(Refusal::TooFast { wait_ns: 100 }));
    assert_eq!(claims.claim(5, allowance, 1_099), Err(Refusal::TooFast { wait_ns: 1 }));
    made.push(claims.claim(5, allowance, 1_100).unwrap());
    // What was refused for its rate holds no claim.
    (0..5).for_each(|_| made.push(claims.claim(5, at_most(9), 1_100).unwrap()));
    assert_eq!(claims.claim(5, at_most(9), 1_100), Err(Refusal::TooMany));
    made.into_iter().for_each(|claim| claims.release(claim));
}

#[test]
fn a_full_table_says_so_and_forgets_who_is_gone() {
    let claims: Claims = Claims::new(PLACES_PER_BUCKET as u32, 42);
    assert_eq!(claims.capacity(), PLACES_PER_BUCKET);
    let pace = Some(Pace { interval_ns: 1_000, tolerance_ns: 0 });
    let mut held = BTreeMap::new();
    for key in 0..PLACES_PER_BUCKET as u64 {
        let allowance = Allowance { claims_max: 1, pace };
        held.insert(key, claims.claim(key, allowance, 1).unwrap());
    }
    assert_eq!(claims.claim(99, at_most(1), 1), Err(Refusal::NoPlace));
    claims.release(held.remove(&3).unwrap());
    assert_eq!(claims.claim(99, at_most(1), 1_000), Err(Refusal::NoPlace), "3's rate is known");
    let stranger = claims.claim(99, at_most(1), 1_001).unwrap();
    assert_eq!(claims.claim(3, at_most(1), 1_001), Err(Refusal::NoPlace));
    claims.release(stranger);
    held.into_values().for_each(|claim| claims.release(claim));
    // All places are free again.
    for key in 200..200 + PLACES_PER_BUCKET as u64 {
        assert!(claims.claim(key, at_most(1), 2_000).is_ok(), "{key}");
    }
}

#[test]
fn half_full_nearly_every_key_has_a_place() {
    let claims: Claims = Claims::new(1 << 16, 42);
    let keys = 0..claims.capacity() as u64 / 2;
    let made = keys.clone().filter_map(|key| claims.claim(key << 7, at_most(1), 1).ok()).count();
    let missing = keys.end as usize - made;
    assert!(missing * 1_000 < keys.end as usize, "{missing} of {} have none", keys.end);
}

#[test]
fn the_process_shares_a_meter() {
    let meter = Arc::new(Meter::default());
    let pace = Pace { interval_ns: 1_000_000, tolerance_ns: 99_000_000 };
    let admitted: usize = std::thread::scope(|scope| {
        let count = || (0..1000).filter(|_| meter.admit(pace, 1).is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100);
}

#[test]
fn threads_never_hold_more_than_the_limit_and_leave_nothing() {
    const KEYS: u64 = 40;
    const LIMIT: u32 = 3;
    const ROUNDS: u64 = 20_000;
    // One bucket, more keys than places: places change their keys all the time.
    let claims: Claims = Claims::new(1, 7);
    let held: Vec<AtomicI64> = (0..KEYS).map(|_| AtomicI64::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (claims, held) = (&claims, &held);
            scope.spawn(move || {
                let mut mine: Vec<(u64, Claim)> = Vec::new();
                for round in 0..ROUNDS {
                    let key = (round * 7 + thread * 13) % KEYS;
                    if let Ok(claim) = claims.claim(key, at_most(LIMIT), round) {
                        let count = held[key as usize].fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(count <= i64::from(LIMIT), "{count} claims on {key}");
                        mine.push((key, claim));
                    }
                    if mine.len() > 5 {
                        let (key, claim) = mine.remove((round % 5) as usize);
                        held[key as usize].fetch_sub(1, Ordering::SeqCst);
                        claims.release(claim);
                    }
                }
                for (key, claim) in mine {
                    held[key as usize].fetch_sub(1, Ordering::SeqCst);
                    claims.release(claim);
                }
            });
        }
    });
    for key in 1_000..1_000 + PLACES_PER_BUCKET as u64 {
        assert!(claims.claim(key, at_most(1), ROUNDS).is_ok(), "place of {key}");
    }
}
