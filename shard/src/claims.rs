//! What many shards count together about the same key: a fixed table of atomics.
//!
//! Owns: for each key in use how many claims are held on it, and when its rate allows the next one.
//! Never: waits for another thread, grows, or mistakes one key for another.
//! Invariant: a key is in at most one place, and a place with a claim keeps its key.
//!
//! ```text
//!  key ─hash, seed─► bucket: guard │ place 0 │ … │ place 15
//!                                      │
//!             state: generation 31 bits, changing 1 bit, claims 32 bits │ key │ next arrival
//! ```
//!
//! Claims on a key that is there are one compare-and-set on its state. The generation changes with
//! the key, so that a claim on a place that meanwhile got another key fails and is tried again.
//! Only a key that is not there needs the guard of its bucket, so that two threads cannot put it
//! into two places. Who finds the guard taken looks again, and gives up after
//! [`GUARD_TRIES_MAX`]: nobody waits for a thread that does not run.
//!
//! A place is free for another key when nothing is claimed and the rate has forgotten its key.

use core::num::NonZeroU32;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Places of a bucket. With half as many keys as places, one bucket in 270 has more than that.
pub const PLACES_PER_BUCKET: usize = 16;
/// How often a claim that finds a bucket being changed looks again before it is given up.
pub const GUARD_TRIES_MAX: u32 = 64;

/// A table of claims, shared by all shards.
#[derive(Debug)]
pub struct Claims<const PLACES: usize = PLACES_PER_BUCKET> {
    buckets: Box<[Bucket<PLACES>]>,
    seed: u64,
}

/// A rate as the generic cell rate algorithm has it (ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds from one arrival to the next in the long run.
    pub interval_ns: u64,
    /// How much earlier than that one may come, in nanoseconds: room for several at once.
    pub tolerance_ns: u64,
}

/// What a key may have.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Claims at once.
    pub claims_max: u32,
    /// New ones.
    pub pace: Option<Pace>,
}

/// One held claim, to be given back with [`Claims::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claim that is not released is held for ever"]
pub struct Claim(NonZeroU32);

/// Why a claim was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many are held as may be.
    TooMany,
    /// The next one may come in so many nanoseconds.
    TooFast {
        /// From now.
        wait_ns: u64,
    },
    /// There is no place for a further key. The key is not counted at all.
    NoPlace,
}

/// When the next arrival is due, counted by all who share it.
#[derive(Debug, Default)]
pub struct Meter {
    theoretical_arrival_ns: AtomicU64,
}

impl Meter {
    /// Counts one arrival at `now_ns`.
    ///
    /// # Errors
    ///
    /// It comes too early by so many nanoseconds, and was not counted.
    pub fn admit(&self, pace: Pace, now_ns: u64) -> Result<(), u64> {
        // Relaxed: the number stands for itself, nothing is read because of it.
        let mut due = self.theoretical_arrival_ns.load(Ordering::Relaxed);
        loop {
            let earliest = due.saturating_sub(pace.tolerance_ns);
            if earliest > now_ns {
                return Err(earliest - now_ns);
            }
            let next = due.max(now_ns).saturating_add(pace.interval_ns);
            let changed = self.theoretical_arrival_ns.compare_exchange_weak(
                due,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match changed {
                Ok(_) => return Ok(()),
                Err(other) => due = other,
            }
        }
    }

    /// Takes an arrival back that was counted.
    fn take_back(&self, pace: Pace) {
        // It added this much, and others only added since, or took back what they had added.
        self.theoretical_arrival_ns.fetch_sub(pace.interval_ns, Ordering::Relaxed);
    }

    /// Would a first arrival be treated as this next one?
    fn has_forgotten(&self, now_ns: u64) -> bool {
        self.theoretical_arrival_ns.load(Ordering::Relaxed) <= now_ns
    }

    fn forget(&self) {
        self.theoretical_arrival_ns.store(0, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Bucket<const PLACES: usize> {
    guard: AtomicBool,
    places: [Place; PLACES],
}

#[derive(Debug, Default)]
struct Place {
    state: AtomicU64,
    key: AtomicU64,
    meter: Meter,
}

impl<const PLACES: usize> Claims<PLACES> {
    /// A table for `keys_max` keys, rounded up so that the number of buckets is a power of two,
    /// each key 24 bytes. `seed` is random, so that nobody can choose keys that meet in one bucket.
    pub fn new(keys_max: u32, seed: u64) -> Self {
        let buckets_count = (keys_max as usize).div_ceil(PLACES).next_power_of_two();
        let bucket = || Bucket {
            guard: AtomicBool::new(false),
            places: core::array::from_fn(|_| Place::default()),
        };
        Self { buckets: (0..buckets_count).map(|_| bucket()).collect(), seed }
    }

    /// Keys that have a place.
    pub fn capacity(&self) -> usize {
        self.buckets.len() * PLACES
    }

    /// Claims `key`, until the claim is released or withdrawn.
    ///
    /// While a claim is refused for its rate it counts against the limit, and until it is withdrawn
    /// against the rate as well, so that of claims at the very same time one may be refused that
    /// alone would not have been; never is one too many made.
    ///
    /// # Errors
    ///
    /// Why not. Nothing is held then, and nothing counted.
    pub fn claim(&self, key: u64, allowance: Allowance, now_ns: u64) -> Result<Claim, Refusal> {
        let bucket_index = self.bucket_of(key);
        let bucket = &self.buckets[bucket_index];
        let place_index = bucket.hold(key, allowance.claims_max, now_ns)?;
        let place = &bucket.places[place_index];
        if let Some(pace) = allowance.pace
            && let Err(wait_ns) = place.meter.admit(pace, now_ns)
        {
            place.give_back();
            return Err(Refusal::TooFast { wait_ns });
        }
        let number = (bucket_index * PLACES + place_index) as u32;
        Ok(Claim(NonZeroU32::MIN.saturating_add(number)))
    }

    /// Gives a claim back.
    pub fn release(&self, claim: Claim) {
        self.place_of(&claim).give_back();
    }

    /// Gives a claim back as if it had not been made: neither held nor, if it was made with a
    /// `pace`, an arrival.
    pub fn withdraw(&self, claim: Claim, pace: Option<Pace>) {
        let place = self.place_of(&claim);
        if let Some(pace) = pace {
            place.meter.take_back(pace);
        }
        place.give_back();
    }

    fn place_of(&self, claim: &Claim) -> &Place {
        let number = claim.0.get() as usize - 1;
        &self.buckets[number / PLACES].places[number % PLACES]
    }

    fn bucket_of(&self, key: u64) -> usize {
        // The mixer of SplitMix64, whose every output bit depends on every bit of key and seed.
        let mut hash = key ^ self.seed;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        hash as usize & (self.buckets.len() - 1)
    }
}

impl<const PLACES: usize> Bucket<PLACES> {
    /// Adds one to the claims of `key`, in the place it has or gets.
    fn hold(&self, key: u64, claims_max: u32, now_ns: u64) -> Result<usize, Refusal> {
        for _ in 0..GUARD_TRIES_MAX {
            if let Some(index) = self.hold_known(key, claims_max)? {
                return Ok(index);
            }
            let guard =
                self.guard.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            if guard.is_ok() {
                let held = self.hold_guarded(key, claims_max, now_ns);
                self.guard.store(false, Ordering::Release);
                return held;
            }
            crate::sync::spin_loop();
        }
        Err(Refusal::NoPlace)
    }

    /// Nobody else puts a key in meanwhile.
    fn hold_guarded(&self, key: u64, claims_max: u32, now_ns: u64) -> Result<usize, Refusal> {
        // Another thread may have put it in before the guard was taken.
        if let Some(index) = self.hold_known(key, claims_max)? {
            return Ok(index);
        }
        let taken = self.places.iter().position(|place| place.take_over(key, now_ns));
        taken.ok_or(Refusal::NoPlace)
    }

    fn hold_known(&self, key: u64, claims_max: u32) -> Result<Option<usize>, Refusal> {
        for (index, place) in self.places.iter().enumerate() {
            match place.hold(key, claims_max) {
                Held::Yes => return Ok(Some(index)),
                Held::Full => return Err(Refusal::TooMany),
                Held::Stranger => {}
            }
        }
        Ok(None)
    }
}

/// What became of one more claim on a place.
enum Held {
    /// It is made.
    Yes,
    /// The place has the key, and as many as may be.
    Full,
    /// The place has another key, or is just getting one.
    Stranger,
}

impl Place {
    fn hold(&self, key: u64, claims_max: u32) -> Held {
        // Acquire: who sees this generation sees its key.
        let mut state = State(self.state.load(Ordering::Acquire));
        // A key that is newer than the state is no danger: then the state has changed, and the
        // exchange below fails.
        while state.has_key() && self.key.load(Ordering::Relaxed) == key {
            if state.claims_count() >= claims_max {
                return Held::Full;
            }
            let more = state.0 + 1;
            let changed = self.state.compare_exchange_weak(
                state.0,
                more,
                Ordering::Acquire,
                Ordering::Acquire,
            );
            match changed {
                Ok(_) => return Held::Yes,
                Err(other) => state = State(other),
            }
        }
        Held::Stranger
    }

    /// Takes a free place for `key`, with one claim on it. The guard of the bucket is held.
    fn take_over(&self, key: u64, now_ns: u64) -> bool {
        let state = State(self.state.load(Ordering::Relaxed));
        if state.claims_count() > 0 || !self.meter.has_forgotten(now_ns) {
            return false;
        }
        let changing = state.changing();
        // Acquire: the meter is as the last holder left it.
        let exchanged =
            self.state.compare_exchange(state.0, changing.0, Ordering::Acquire, Ordering::Relaxed);
        if exchanged.is_err() {
            return false;
        }
        // It may have had a holder between the first look and the exchange; from here on none.
        if !self.meter.has_forgotten(now_ns) {
            self.state.store(state.0, Ordering::Release);
            return false;
        }
        self.key.store(key, Ordering::Relaxed);
        self.meter.forget();
        self.state.store(changing.changed().0, Ordering::Release);
        true
    }

    fn give_back(&self) {
        // Release: who takes the place over sees what was done to the meter.
        let before = State(self.state.fetch_sub(1, Ordering::Release));
        assert!(before.claims_count() > 0, "every claim is given back once");
    }
}

/// Generation, whether the key is being changed, and claims.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    const CHANGING: u64 = 1 << 32;
    const GENERATION: u64 = 1 << 33;

    fn claims_count(self) -> u32 {
        self.0 as u32
    }

    /// Generation zero never had one.
    fn has_key(self) -> bool {
        self.0 & Self::CHANGING == 0 && self.0 >= Self::GENERATION
    }

    fn changing(self) -> Self {
        Self(self.0 | Self::CHANGING)
    }

    /// The next generation, with one claim. Behind the last one comes the first, not zero.
    fn changed(self) -> Self {
        let next = (self.0 & !Self::CHANGING).wrapping_add(Self::GENERATION);
        Self(next.max(Self::GENERATION) + 1)
    }
}
