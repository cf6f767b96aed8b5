//! Published keys are fetched as often as needed and no more, whatever tokens name.
//!
//! Goal: row B3 of the reliability plan. Method: a cache, a clock that the test moves, and an
//! issuer that answers what the test says.

mod token_support;

use core::time::Duration;
use std::sync::Arc;

use gateway::auth::{
    FetchFailed, FetchId, Fetched, JwksAction, JwksCache, JwksPolicy, KeySet, KeySetFault,
    UnknownKey,
};
use protocol::time::Moment;
use token_support::jwks;

fn at(seconds: u64) -> Moment {
    Moment::from_millis(1_000_000 + seconds * 1000)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy() -> JwksPolicy {
    JwksPolicy {
        refresh_interval: seconds(600),
        fetch_interval_min: seconds(10),
        fetch_timeout: seconds(5),
        unknown_for: seconds(60),
        stale_for: seconds(3600),
    }
}

/// The fetch that the cache wants; there is exactly one.
fn fetch(cache: &mut JwksCache) -> FetchId {
    match (cache.poll_action(), cache.poll_action()) {
        (Some(JwksAction::Fetch(id)), None) => id,
        other => panic!("one fetch is wanted, not {other:?}"),
    }
}

fn installed(cache: &mut JwksCache) -> Arc<KeySet> {
    match (cache.poll_action(), cache.poll_action()) {
        (Some(JwksAction::Install(set)), None) => set,
        other => panic!("one key set is wanted, not {other:?}"),
    }
}

/// A cache that has fetched at second zero.
fn loaded() -> JwksCache {
    let mut cache = JwksCache::new(policy(), at(0));
    let id = fetch(&mut cache);
    let outcome = cache.fetched(id, Ok(jwks().as_bytes()), at(0));
    assert_eq!(outcome, Fetched::Installed { keys: 4, skipped: 0 });
    assert_eq!(installed(&mut cache).len(), 4);
    cache
}

#[test]
fn the_first_fetch_is_due_at_once_and_then_once_per_interval() {
    let mut cache = loaded();
    assert_eq!(cache.next_deadline(), at(600));
    cache.tick(at(599));
    assert!(cache.poll_action().is_none());
    cache.tick(at(600));
    let id = fetch(&mut cache);
    assert_eq!(cache.next_deadline(), at(605));
    cache.fetched(id, Ok(jwks().as_bytes()), at(601));
    assert_eq!(installed(&mut cache).len(), 4);
    assert_eq!(cache.next_deadline(), at(1201));
}

#[test]
fn a_storm_of_unknown_keys_causes_one_fetch_per_interval() {
    let mut cache = loaded();
    let before = cache.fetches_count();
    let mut waiting = 0;
    // 10,000 different key ids in 100 seconds; the issuer answers after 300 ms.
    let mut answer_at: Option<(FetchId, Moment)> = None;
    let mut starts: Vec<Moment> = Vec::new();
    for number in 0..10_000_u64 {
        let now = at(1) + Duration::from_millis(number * 10);
        if let Some((id, _)) = answer_at.take_if(|(_, due)| *due <= now) {
            cache.fetched(id, Ok(jwks().as_bytes()), now);
        }
        if cache.unknown_key(&format!("unknown {number}"), now) == UnknownKey::Pending {
            waiting += 1;
        }
        while let Some(action) = cache.poll_action() {
            if let JwksAction::Fetch(id) = action {
                assert!(answer_at.is_none(), "one fetch at a time");
                answer_at = Some((id, now + Duration::from_millis(300)));
                starts.push(now);
            }
        }
    }
    assert_eq!(cache.fetches_count() - before, 10, "100 seconds hold ten intervals");
    assert!(starts.windows(2).all(|pair| pair[1].since(pair[0]) >= seconds(10)));
    assert!(waiting <= 10 * 31, "tokens wait only while a fetch is in flight: {waiting}");
}

#[test]
fn a_storm_of_one_unknown_key_is_answered_from_memory() {
    let mut cache = loaded();
    assert_eq!(cache.unknown_key("x", at(20)), UnknownKey::Pending);
    let id = fetch(&mut cache);
    cache.fetched(id, Ok(jwks().as_bytes()), at(20));
    installed(&mut cache);
    for second in 20..80 {
        assert_eq!(cache.unknown_key("x", at(second)), UnknownKey::Refused, "{second}");
        assert!(cache.poll_action().is_none());
    }
    assert_eq!(cache.unknown_key("x", at(80)), UnknownKey::Pending);
    fetch(&mut cache);
}

#[test]
fn a_key_that_appears_is_found() {
    let mut cache = JwksCache::new(policy(), at(0));
    let id = fetch(&mut cache);
    let old = jwks().replace(r#""kid":"e""#, r#""kid":"old""#);
    cache.fetched(id, Ok(old.as_bytes()), at(0));
    installed(&mut cache);
    // Too early for a fetch: refused, but not forgotten.
    assert_eq!(cache.unknown_key("e", at(3)), UnknownKey::Refused);
    assert_eq!(cache.next_deadline(), at(10));
    cache.tick(at(10));
    let id = fetch(&mut cache);
    assert_eq!(cache.unknown_key("e", at(10)), UnknownKey::Pending);
    cache.fetched(id, Ok(jwks().as_bytes()), at(11));
    assert!(installed(&mut cache).contains("e"));
    assert_eq!(cache.unknown_key("e", at(11)), UnknownKey::Loaded);
    // The issuer withdrew this one.
    assert_eq!(cache.unknown_key("old", at(12)), UnknownKey::Refused);
}

#[test]
fn the_last_good_keys_are_kept_for_a_bounded_time() {
    let mut cache = loaded();
    let mut now = 600;
    let mut fetches = Vec::new();
    let dropped_at = loop {
        cache.tick(at(now));
        let mut is_dropped = false;
        while let Some(action) = cache.poll_action() {
            match action {
                JwksAction::Fetch(id) => {
                    fetches.push(now);
                    assert_eq!(cache.fetched(id, Err(FetchFailed), at(now)), Fetched::Failed);
                }
                JwksAction::Install(set) => {
                    assert!(set.is_empty());
                    is_dropped = true;
                }
            }
        }
        if is_dropped {
            break now;
        }
        assert_eq!(cache.keys().map(|set| set.len()), Some(4), "{now}");
        now += 1;
    };
    assert_eq!(dropped_at, 600 + 3600);
    assert!(cache.keys().is_none());
    // Ten seconds, doubled after each failure, at most the refresh interval.
    let gaps: Vec<u64> = fetches.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..7], [10, 20, 40, 80, 160, 320, 600]);
    assert!(gaps[7..].iter().all(|gap| *gap == 600));
    assert_eq!(usize::try_from(cache.failures_in_row()), Ok(fetches.len()));
    // It recovers.
    now = fetches[fetches.len() - 1] + 600;
    cache.tick(at(now));
    let id = fetch(&mut cache);
    cache.fetched(id, Ok(jwks().as_bytes()), at(now));
    assert_eq!(installed(&mut cache).len(), 4);
    assert_eq!(cache.failures_in_row(), 0);
}

#[test]
fn unknown_keys_do_not_hurry_a_failing_issuer() {
    let mut cache = loaded();
    cache.tick(at(600));
    for now in [600, 610, 630] {
        cache.tick(at(now));
        let id = fetch(&mut cache);
        cache.fetched(id, Err(FetchFailed), at(now));
    }
    for now in 631..670 {
        assert_eq!(cache.unknown_key(&format!("x{now}"), at(now)), UnknownKey::Refused);
        assert!(cache.poll_action().is_none(), "{now}");
    }
    assert_eq!(cache.unknown_key("x", at(670)), UnknownKey::Pending);
    fetch(&mut cache);
}

#[test]
fn a_bad_document_does_not_replace_a_good_one() {
    let mut cache = loaded();
    for (now, document) in [(600, &b"<html>301 Moved</html>"[..]), (610, b"{\"keys\":[]}")] {
        cache.tick(at(now));
        let id = fetch(&mut cache);
        let outcome = cache.fetched(id, Ok(document), at(now));
        assert!(matches!(outcome, Fetched::Refused(_)), "{outcome:?}");
        assert!(cache.poll_action().is_none());
        assert_eq!(cache.keys().map(|set| set.len()), Some(4));
    }
    cache.tick(at(630));
    let id = fetch(&mut cache);
    let huge = vec![b' '; 10 << 20];
    let refused = Fetched::Refused(KeySetFault::TooLarge { bytes: huge.len() });
    assert_eq!(cache.fetched(id, Ok(&huge), at(630)), refused);
}

#[test]
fn a_fetch_without_an_answer_is_given_up_and_its_late_answer_ignored() {
    let mut cache = JwksCache::new(policy(), at(0));
    let lost = fetch(&mut cache);
    cache.tick(at(4));
    assert!(cache.poll_action().is_none());
    cache.tick(at(5));
    assert_eq!(cache.failures_in_row(), 1);
    assert_eq!(cache.fetched(lost, Ok(jwks().as_bytes()), at(6)), Fetched::Late);
    assert!(cache.keys().is_none());
    assert_eq!(cache.next_deadline(), at(15));
    cache.tick(at(15));
    let id = fetch(&mut cache);
    assert_eq!(cache.fetched(lost, Ok(jwks().as_bytes()), at(15)), Fetched::Late);
    cache.fetched(id, Ok(jwks().as_bytes()), at(16));
    assert_eq!(cache.fetched(id, Ok(jwks().as_bytes()), at(16)), Fetched::Late);
    assert_eq!(installed(&mut cache).len(), 4);
}

#[test]
fn no_policy_makes_it_fetch_without_pause() {
    let zero = Duration::ZERO;
    let hasty = JwksPolicy {
        refresh_interval: zero,
        fetch_interval_min: zero,
        fetch_timeout: seconds(5),
        unknown_for: zero,
        stale_for: zero,
    };
    let mut cache = JwksCache::new(hasty, at(0));
    for number in 0..1000 {
        let now = at(0) + Duration::from_millis(number * 10);
        cache.unknown_key(&format!("{number}"), now);
        while let Some(action) = cache.poll_action() {
            if let JwksAction::Fetch(id) = action {
                cache.fetched(id, Ok(jwks().as_bytes()), now);
            }
        }
    }
    assert!(cache.fetches_count() <= 10, "{}", cache.fetches_count());
}

#[test]
fn key_ids_that_are_too_long_are_not_remembered() {
    let mut cache = loaded();
    assert_eq!(cache.unknown_key(&"x".repeat(256), at(100)), UnknownKey::Refused);
    assert!(cache.poll_action().is_none());
}
