//! Goal: however threads meet in the table, a key has one count, its limit holds, and no place that
//! is claimed changes its key.
//! Method: loom runs the interleavings of two threads on the very source of `Claims`, in a table
//! small enough that they meet.

#[path = "../src/claims.rs"]
#[expect(unreachable_pub, dead_code, reason = "it is public in its own crate")]
mod claims;

mod sync {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}

use claims::{Allowance, Claims, Pace, Refusal};
use loom::sync::Arc;

/// Two places, one bucket.
fn table() -> Arc<Claims<2>> {
    Arc::new(Claims::new(2, 0))
}

const ONE: Allowance = Allowance { claims_max: 1, pace: None };
const SLOW: Pace = Pace { interval_ns: 1_000, tolerance_ns: 0 };

#[test]
fn of_two_first_claims_on_a_key_one_is_made() {
    loom::model(|| {
        let here = table();
        let there = here.clone();
        let other = loom::thread::spawn(move || there.claim(7, ONE, 1));
        let mine = here.claim(7, ONE, 1);
        let theirs = other.join().unwrap();
        let made = [&mine, &theirs].into_iter().filter(|claim| claim.is_ok()).count();
        // Who found the bucket being changed all the time gives up; nobody gets one too many.
        let gave_up = [&mine, &theirs].into_iter().any(|one| *one == Err(Refusal::NoPlace));
        assert!(made == 1, "{mine:?} {theirs:?}, gave up: {gave_up}");
        for claim in [mine, theirs].into_iter().flatten() {
            here.release(claim);
        }
        let again = here.claim(7, ONE, 1).expect("everything was given back");
        assert_eq!(here.claim(7, ONE, 1), Err(Refusal::TooMany));
        here.release(again);
    });
}

#[test]
fn a_place_that_is_claimed_keeps_its_key() {
    loom::model(|| {
        let here = Arc::new(Claims::<1>::new(1, 0));
        let first = here.claim(7, ONE, 1).unwrap();
        here.release(first);
        let there = here.clone();
        // The one place is that of 7, and free: either 7 is claimed again, or 8 takes it over.
        let other = loom::thread::spawn(move || there.claim(8, ONE, 1));
        let mine = here.claim(7, ONE, 1);
        let theirs = other.join().unwrap();
        let made = [&mine, &theirs].into_iter().filter(|claim| claim.is_ok()).count();
        assert!(made == 1, "{mine:?} {theirs:?}");
        let (held, foreign) = if mine.is_ok() { (7, 8) } else { (8, 7) };
        assert_eq!(here.claim(held, ONE, 1), Err(Refusal::TooMany));
        assert_eq!(here.claim(foreign, ONE, 1), Err(Refusal::NoPlace));
    });
}

#[test]
fn a_place_that_had_another_key_meanwhile_is_noticed() {
    loom::model(|| {
        let here = Arc::new(Claims::<1>::new(1, 0));
        let first = here.claim(7, ONE, 1).unwrap();
        here.release(first);
        let there = here.clone();
        // Behind this the place is as free as before, but it is that of 8.
        let other = loom::thread::spawn(move || {
            let claim = there.claim(8, ONE, 1);
            claim.into_iter().for_each(|claim| there.release(claim));
        });
        let mine = here.claim(7, ONE, 1);
        other.join().unwrap();
        match mine {
            Ok(claim) => {
                assert_eq!(here.claim(7, ONE, 1), Err(Refusal::TooMany));
                assert_eq!(here.claim(8, ONE, 1), Err(Refusal::NoPlace));
                here.release(claim);
            }
            Err(refusal) => assert_eq!(refusal, Refusal::NoPlace),
        }
        assert!(here.claim(7, ONE, 1).is_ok(), "everything was given back");
    });
}

/// Claims 7 at a slow rate and gives that back; true if it was admitted.
fn come_and_go(claims: &Claims<1>) -> bool {
    let paced = Allowance { claims_max: 9, pace: Some(SLOW) };
    claims.claim(7, paced, 1).map(|claim| claims.release(claim)).is_ok()
}

#[test]
fn a_rate_is_shared_by_threads() {
    loom::model(|| {
        let here = Arc::new(Claims::<1>::new(1, 0));
        let there = here.clone();
        let other = loom::thread::spawn(move || come_and_go(&there));
        let mine = come_and_go(&here);
        assert!(mine ^ other.join().unwrap(), "one at a time");
        let paced = Allowance { claims_max: 9, pace: Some(SLOW) };
        assert_eq!(here.claim(7, paced, 500), Err(Refusal::TooFast { wait_ns: 501 }));
        assert!(here.claim(7, paced, 1_001).is_ok());
    });
}

#[test]
fn a_place_whose_rate_is_used_meanwhile_is_not_taken_over() {
    loom::model(|| {
        let here = Arc::new(Claims::<1>::new(1, 0));
        let first = here.claim(7, ONE, 1).unwrap();
        here.release(first);
        let there = here.clone();
        // All of it may happen while 8 looks: the place is then as free as before, but 7 has come.
        let other = loom::thread::spawn(move || come_and_go(&there));
        let theirs = here.claim(8, ONE, 1);
        let came = other.join().unwrap();
        assert!(came ^ theirs.is_ok(), "7 came: {came}, 8: {theirs:?}");
    });
}

#[test]
fn who_withdraws_has_used_up_nothing() {
    loom::model(|| {
        let here = Arc::new(Claims::<1>::new(1, 0));
        let there = here.clone();
        let paced = Allowance { claims_max: 9, pace: Some(SLOW) };
        let other = loom::thread::spawn(move || {
            let claim = there.claim(7, paced, 1);
            claim.into_iter().for_each(|claim| there.withdraw(claim, Some(SLOW)));
        });
        let mine = come_and_go(&here);
        other.join().unwrap();
        match here.claim(7, paced, 1) {
            Ok(_) => assert!(!mine, "the rate of who came was forgotten"),
            Err(refusal) => {
                assert!(mine, "who withdrew was counted");
                assert_eq!(refusal, Refusal::TooFast { wait_ns: 1_000 });
            }
        }
    });
}
