//! Publications that were asked for twice and are ordered once.
//!
//! Owns: per channel and key, where the publication was put, for [`IDEMPOTENCY_TTL`].
//! Invariant: `order` names every key of `results` once, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::link::Position;
use protocol::time::Moment;

use crate::limits::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_TTL};

type Key = (Arc<str>, Box<str>);

/// When a key was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyTime {
    pub(super) now: Moment,
    /// How long before that.
    pub(super) age_ms: u64,
    /// The log entry that has it; zero if none has.
    pub(super) sequence: u64,
}

#[derive(Debug, Default)]
pub(super) struct IdempotencyKeys {
    results: HashMap<Key, Position, foldhash::fast::RandomState>,
    /// With the sequence of the log entry that has the key; zero if none has.
    order: VecDeque<(Moment, Key, u64)>,
    forgotten_early: u64,
    /// Until then there may be keys that are remembered elsewhere and not here.
    incomplete_until: Option<Moment>,
}

impl IdempotencyKeys {
    /// Where the publication with this key was put, if it was.
    pub(super) fn find(&self, channel: &Arc<str>, key: &str) -> Option<&Position> {
        self.results.get(&(channel.clone(), Box::from(key)))
    }

    /// Remembers where a publication was put. Without room the oldest key goes; one that no log has
    /// goes itself if the oldest is not in the store, which has everything up to `stored`.
    pub(super) fn remember(
        &mut self,
        channel: Arc<str>,
        key: &str,
        position: Position,
        at: KeyTime,
        stored: u64,
    ) {
        if self.order.len() >= IDEMPOTENCY_KEYS_MAX {
            if at.sequence == 0 && self.order.front().is_some_and(|(.., last)| *last > stored) {
                self.forgotten_early += 1;
                return;
            }
            if let Some((since, ..)) = self.order.front() {
                self.incomplete_until = self.incomplete_until.max(Some(*since + IDEMPOTENCY_TTL));
            }
            self.forget_oldest();
            self.forgotten_early += 1;
        }
        let key = (channel, Box::from(key));
        let since = Moment::from_millis(at.now.as_millis().saturating_sub(at.age_ms));
        self.order.push_back((since, key.clone(), at.sequence));
        self.results.insert(key, position);
    }

    /// Can another key be remembered, beside `pending_count` that will be, without forgetting one
    /// that the store does not have?
    pub(super) fn has_room(&self, pending_count: usize, stored: u64) -> bool {
        let beyond = (self.order.len() + pending_count + 1).saturating_sub(IDEMPOTENCY_KEYS_MAX);
        beyond == 0 || self.order.get(beyond - 1).is_some_and(|(.., last)| *last <= stored)
    }

    /// True if a key that is not here is new. From the first question on, because an earlier run
    /// may have left keys in the store.
    pub(super) fn is_complete(&mut self, now: Moment) -> bool {
        now >= *self.incomplete_until.get_or_insert(now + IDEMPOTENCY_TTL)
    }

    /// Forgets what is older than [`IDEMPOTENCY_TTL`].
    pub(super) fn expire(&mut self, now: Moment) {
        let is_old = |since: Moment| now.since(since) >= IDEMPOTENCY_TTL;
        while self.order.front().is_some_and(|(since, ..)| is_old(*since)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key, _)) = self.order.pop_front() {
            self.results.remove(&key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Keys that were forgotten before their time, for want of room.
    pub(super) fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn keys_are_per_channel_and_expire() {
        let mut keys = IdempotencyKeys::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let position = Position { offset: 7, epoch: "e".into() };
        keys.remember(one.clone(), "k", position.clone(), KeyTime::default(), 0);
        assert_eq!(keys.find(&one, "k"), Some(&position));
        assert_eq!(keys.find(&other, "k"), None);
        keys.expire(Moment::ZERO + (IDEMPOTENCY_TTL - Duration::from_millis(1)));
        assert!(keys.find(&one, "k").is_some());
        keys.expire(Moment::ZERO + IDEMPOTENCY_TTL);
        assert!(keys.find(&one, "k").is_none());
    }

    #[test]
    fn an_earlier_run_may_have_left_keys() {
        let mut keys = IdempotencyKeys::default();
        assert!(!keys.is_complete(Moment::ZERO));
        assert!(keys.is_complete(Moment::ZERO + IDEMPOTENCY_TTL));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let mut keys = IdempotencyKeys::default();
        let channel: Arc<str> = "c".into();
        for number in 0..=IDEMPOTENCY_KEYS_MAX {
            let key = number.to_string();
            keys.remember(channel.clone(), &key, Position::default(), KeyTime::default(), 0);
        }
        assert_eq!(keys.results.len(), IDEMPOTENCY_KEYS_MAX);
        assert_eq!(keys.forgotten_early(), 1);
        assert!(!keys.is_complete(Moment::ZERO + (IDEMPOTENCY_TTL - Duration::from_millis(1))));
        assert!(keys.is_complete(Moment::ZERO + IDEMPOTENCY_TTL));
        assert!(keys.find(&channel, "0").is_none(), "the oldest went");
    }
}
