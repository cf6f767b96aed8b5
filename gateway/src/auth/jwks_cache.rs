//! When published keys are fetched.
//!
//! Owns: the newest good key set, the fetch in flight, and which key ids are known to be unknown.
//! Never: fetches. Whoever owns it carries out [`JwksAction`]s and tells what came of them.
//! Invariant: at most one fetch is in flight, and two fetches start at least the interval apart,
//! whatever tokens name.
//!
//! ```text
//!          refresh is due, or a token names an unknown key (and the interval has passed)
//!   idle ────────────────────────────────────────────────────────────────────────────► in flight
//!    ▲                                                                                       │
//!    ├── good document: install it, remember asked key ids that it lacks as unknown ─────────┤
//!    └── bad document, failure, no answer in time: keep the last good set, wait longer ──────┘
//!
//!   no good document for refresh + stale time: install the empty set, every token is refused.
//! ```

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use protocol::time::Moment;

use super::jwks::{KeySet, KeySetFault};
use super::limits;

/// Times of a [`JwksCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwksPolicy {
    /// Fetch again after this time. Default: 10 minutes.
    pub refresh_interval: Duration,
    /// Shortest time between two fetches. Default: 10 seconds; less than one second counts as one.
    pub fetch_interval_min: Duration,
    /// A fetch without an answer counts as failed. Default: 5 seconds.
    pub fetch_timeout: Duration,
    /// A key id that a good set lacked is not asked for again. Default: 1 minute.
    pub unknown_for: Duration,
    /// Use a set this long after it should have been refreshed. Default: 6 hours. A key that the
    /// issuer withdraws while it cannot be reached stays good that long.
    pub stale_for: Duration,
}

impl Default for JwksPolicy {
    fn default() -> Self {
        Self {
            refresh_interval: limits::JWKS_REFRESH_INTERVAL_DEFAULT,
            fetch_interval_min: limits::JWKS_FETCH_INTERVAL_MIN_DEFAULT,
            fetch_timeout: limits::JWKS_FETCH_TIMEOUT_DEFAULT,
            unknown_for: limits::JWKS_UNKNOWN_FOR_DEFAULT,
            stale_for: limits::JWKS_STALE_FOR_DEFAULT,
        }
    }
}

/// Names one fetch, so that a late answer is not taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchId(u64);

/// What the owner has to do.
#[derive(Clone, Debug)]
pub enum JwksAction {
    /// Fetch the document, at most 256 KiB of it, and call [`JwksCache::fetched`].
    Fetch(FetchId),
    /// Give every shard a verifier with these keys. An empty set: the last good one is too old.
    Install(Arc<KeySet>),
}

/// What becomes of a token whose key is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    /// The key was loaded meanwhile: check the token again.
    Loaded,
    /// A fetch is in flight: check the token again after it, once.
    Pending,
    /// Refuse the token.
    Refused,
}

/// The fetch got no document; whoever fetched knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFailed;

/// What came of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// New keys are installed.
    Installed {
        /// Usable ones.
        keys: usize,
        /// Left out ones; [`KeySet::skipped`] says why.
        skipped: usize,
    },
    /// The document was refused; the last good set stays.
    Refused(KeySetFault),
    /// There was none; the last good set stays.
    Failed,
    /// This fetch was given up before; nothing changed.
    Late,
}

/// Decides when to fetch published keys.
#[derive(Debug)]
pub struct JwksCache {
    policy: JwksPolicy,
    /// The newest good set, and since when.
    good: Option<(Arc<KeySet>, Moment)>,
    in_flight: Option<(FetchId, Moment)>,
    fetches_count: u64,
    failures_in_row: u32,
    /// When the next fetch is wanted without anybody asking.
    refresh_at: Moment,
    /// No fetch before this.
    earliest_at: Moment,
    /// Key ids that the fetch in flight, or else the next one, is for.
    asked: BTreeSet<String>,
    /// A key was asked for since the last fetch began.
    is_wanted: bool,
    /// Key ids that a good set lacked, and until when that is believed.
    unknown: BTreeMap<String, Moment>,
    actions: VecDeque<JwksAction>,
}

impl JwksCache {
    /// A cache without keys, whose first fetch is due at once.
    pub fn new(policy: JwksPolicy, now: Moment) -> Self {
        let fetch_interval_min = policy.fetch_interval_min.max(limits::JWKS_FETCH_INTERVAL_FLOOR);
        let mut cache = Self {
            policy: JwksPolicy { fetch_interval_min, ..policy },
            good: None,
            in_flight: None,
            fetches_count: 0,
            failures_in_row: 0,
            refresh_at: now,
            earliest_at: now,
            asked: BTreeSet::new(),
            is_wanted: false,
            unknown: BTreeMap::new(),
            actions: VecDeque::new(),
        };
        cache.tick(now);
        cache
    }

    /// A token names a key that its verifier does not have.
    pub fn unknown_key(&mut self, key_id: &str, now: Moment) -> UnknownKey {
        self.tick(now);
        if self.good.as_ref().is_some_and(|(set, _)| set.contains(key_id)) {
            return UnknownKey::Loaded;
        }
        let is_known_unknown = self.unknown.get(key_id).is_some_and(|until| now < *until);
        if is_known_unknown || key_id.len() > limits::KEY_ID_BYTES_MAX {
            return UnknownKey::Refused;
        }
        if self.in_flight.is_none() {
            self.is_wanted = true;
            self.tick(now);
        }
        if self.asked.len() < limits::UNKNOWN_KEYS_MAX {
            self.asked.insert(key_id.to_owned());
        }
        // Between two fetches nobody waits: a storm would hold a connection for each token.
        if self.in_flight.is_some() { UnknownKey::Pending } else { UnknownKey::Refused }
    }

    /// A fetch has ended.
    pub fn fetched(
        &mut self,
        id: FetchId,
        document: Result<&[u8], FetchFailed>,
        now: Moment,
    ) -> Fetched {
        if self.in_flight.is_none_or(|(in_flight, _)| in_flight != id) {
            return Fetched::Late;
        }
        let outcome = match document.map(KeySet::parse) {
            Ok(Ok(set)) => self.install(set, now),
            Ok(Err(fault)) => {
                self.fail(now);
                Fetched::Refused(fault)
            }
            Err(FetchFailed) => {
                self.fail(now);
                Fetched::Failed
            }
        };
        self.tick(now);
        outcome
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        if self.in_flight.is_some_and(|(_, since)| since + self.policy.fetch_timeout <= now) {
            self.fail(now);
        }
        if self.stale_at().is_some_and(|at| at <= now) {
            self.good = None;
            self.actions.push_back(JwksAction::Install(Arc::new(KeySet::default())));
        }
        if self.in_flight.is_none() && self.next_fetch_at() <= now {
            let id = FetchId(self.fetches_count);
            self.fetches_count += 1;
            self.in_flight = Some((id, now));
            self.earliest_at = now + self.policy.fetch_interval_min;
            self.is_wanted = false;
            self.actions.push_back(JwksAction::Fetch(id));
        }
    }

    /// One thing to do.
    pub fn poll_action(&mut self) -> Option<JwksAction> {
        self.actions.pop_front()
    }

    /// When to call [`Self::tick`].
    pub fn next_deadline(&self) -> Moment {
        let fetch = match self.in_flight {
            Some((_, since)) => since + self.policy.fetch_timeout,
            None => self.next_fetch_at(),
        };
        self.stale_at().map_or(fetch, |stale| stale.min(fetch))
    }

    /// The newest good keys.
    pub fn keys(&self) -> Option<&Arc<KeySet>> {
        self.good.as_ref().map(|(set, _)| set)
    }

    /// Fetches that were begun, for a counter.
    pub fn fetches_count(&self) -> u64 {
        self.fetches_count
    }

    /// Failed fetches since the last good one.
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    fn install(&mut self, set: KeySet, now: Moment) -> Fetched {
        let outcome = Fetched::Installed { keys: set.len(), skipped: set.skipped().len() };
        self.in_flight = None;
        self.failures_in_row = 0;
        self.refresh_at = now + self.policy.refresh_interval;
        self.unknown.retain(|_, until| now < *until);
        for key_id in core::mem::take(&mut self.asked) {
            if !set.contains(&key_id) && self.unknown.len() < limits::UNKNOWN_KEYS_MAX {
                self.unknown.insert(key_id, now + self.policy.unknown_for);
            }
        }
        let set = Arc::new(set);
        self.good = Some((Arc::clone(&set), now));
        self.actions.push_back(JwksAction::Install(set));
        outcome
    }

    /// Waits twice as long after each failure, up to the refresh interval.
    fn fail(&mut self, now: Moment) {
        let doublings = self.failures_in_row.min(limits::JWKS_BACKOFF_DOUBLINGS_MAX);
        let shortest = self.policy.fetch_interval_min;
        let longest = self.policy.refresh_interval.max(shortest);
        self.in_flight = None;
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.earliest_at = now + shortest.saturating_mul(1 << doublings).min(longest);
        self.refresh_at = self.earliest_at;
        self.asked.clear();
    }

    fn next_fetch_at(&self) -> Moment {
        if self.is_wanted { self.earliest_at } else { self.refresh_at.max(self.earliest_at) }
    }

    fn stale_at(&self) -> Option<Moment> {
        let good_for = self.policy.refresh_interval.saturating_add(self.policy.stale_for);
        self.good.as_ref().map(|(_, since)| *since + good_for)
    }
}
