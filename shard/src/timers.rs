//! One timer per connection, in a hashed wheel.
//!
//! Owns: for each key (the slot of a connection) at most one deadline.
//! Never: reads a clock, allocates per timer.
//! Cost: set, clear and expire are constant; a timer far in the future is looked at once per
//! revolution.
//! Invariant: a key is in the list of exactly the bucket `deadline % BUCKETS`, or in none.
//!
//! Scheme 6 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987).

use core::time::Duration;

use protocol::time::Moment;

/// One tick is 2^26 ns, about 67 ms: the precision of every timer.
const TICK_SHIFT: u32 = 26;
/// Buckets of the wheel; a revolution takes about 69 s.
const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;
/// In place of a deadline: the timer has expired and waits to be taken.
const EXPIRED: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    /// In ticks; `NONE` if the timer is not set.
    deadline: u32,
}

impl Node {
    const UNSET: Self = Self { next: NONE, previous: NONE, deadline: NONE };
}

/// Bytes of one timer, set or not.
pub const TIMER_BYTES: usize = size_of::<Node>();

/// Deadlines by key.
#[derive(Debug)]
pub struct TimerWheel {
    nodes: Vec<Node>,
    heads: Box<[u32; BUCKETS]>,
    /// One bit per bucket that has timers.
    occupied: [u64; BUCKETS / 64],
    /// The tick up to which everything has expired.
    current: u32,
    expired: Vec<u32>,
    set_count: usize,
}

fn tick_of(moment: Moment) -> u32 {
    (moment.as_nanos() >> TICK_SHIFT).min(u64::from(EXPIRED - 1)) as u32
}

impl TimerWheel {
    /// A wheel that has expired everything before `now`.
    pub fn new(now: Moment) -> Self {
        Self {
            nodes: Vec::new(),
            heads: Box::new([NONE; BUCKETS]),
            occupied: [0; BUCKETS / 64],
            current: tick_of(now),
            expired: Vec::new(),
            set_count: 0,
        }
    }

    /// Bytes of memory that the wheel takes.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
            + size_of::<[u32; BUCKETS]>()
            + self.expired.capacity() * size_of::<u32>()
    }

    /// Sets the timer of `key`, in place of what it was set to. It fires at the first tick not
    /// before `at`.
    pub fn set(&mut self, key: u32, at: Moment) {
        self.clear(key);
        if self.nodes.len() <= key as usize {
            self.nodes.resize(key as usize + 1, Node::UNSET);
        }
        let deadline =
            tick_of(at + Duration::from_nanos((1 << TICK_SHIFT) - 1)).max(self.current + 1);
        let bucket = deadline as usize % BUCKETS;
        let head = self.heads[bucket];
        self.nodes[key as usize] = Node { next: head, previous: NONE, deadline };
        if head != NONE {
            self.nodes[head as usize].previous = key;
        }
        self.heads[bucket] = key;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.set_count += 1;
    }

    /// Clears the timer of `key`. One that has expired and was not taken is cleared too.
    pub fn clear(&mut self, key: u32) {
        let Some(&node) = self.nodes.get(key as usize) else { return };
        match node.deadline {
            NONE => {}
            // Its place in `expired` is passed over, now that the node says it is not set.
            EXPIRED => self.nodes[key as usize] = Node::UNSET,
            _ => self.unlink(key, node),
        }
    }

    fn unlink(&mut self, key: u32, node: Node) {
        let bucket = node.deadline as usize % BUCKETS;
        if node.previous == NONE {
            self.heads[bucket] = node.next;
            if node.next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        self.nodes[key as usize] = Node::UNSET;
        self.set_count -= 1;
    }

    /// A key whose time has come, until `None`. Its timer is no longer set.
    pub fn pop_expired(&mut self, now: Moment) -> Option<u32> {
        if let Some(key) = self.take_expired() {
            return Some(key);
        }
        let target = tick_of(now);
        if target <= self.current {
            return None;
        }
        // After a long sleep one revolution visits every bucket.
        let first = self.current + 1;
        let last = target.min(first.saturating_add(BUCKETS as u32 - 1));
        for tick in first..=last {
            self.expire_bucket(tick as usize % BUCKETS, target);
        }
        self.current = target;
        self.take_expired()
    }

    fn take_expired(&mut self) -> Option<u32> {
        while let Some(key) = self.expired.pop() {
            if self.nodes[key as usize].deadline == EXPIRED {
                self.nodes[key as usize] = Node::UNSET;
                return Some(key);
            }
        }
        None
    }

    fn expire_bucket(&mut self, bucket: usize, target: u32) {
        let mut key = self.heads[bucket];
        while key != NONE {
            let node = self.nodes[key as usize];
            if node.deadline <= target {
                self.unlink(key, node);
                self.nodes[key as usize].deadline = EXPIRED;
                self.expired.push(key);
            }
            key = node.next;
        }
    }

    /// When [`TimerWheel::pop_expired`] is worth calling again: not later than the earliest
    /// deadline.
    pub fn next_deadline(&self) -> Option<Moment> {
        if !self.expired.is_empty() {
            return Some(Moment::ZERO);
        }
        if self.set_count == 0 {
            return None;
        }
        let first = (self.current + 1) as usize % BUCKETS;
        let distance = self.distance_to_occupied(first)?;
        let tick = u64::from(self.current) + 1 + distance as u64;
        Some(Moment::from_nanos(tick << TICK_SHIFT))
    }

    /// Buckets from `first` to the next occupied one, in the order of time.
    fn distance_to_occupied(&self, first: usize) -> Option<usize> {
        let words = self.occupied.len();
        let mut word = first / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (first % 64));
        for _ in 0..=words {
            if bits != 0 {
                let bucket = word * 64 + bits.trailing_zeros() as usize;
                return Some((bucket + BUCKETS - first) % BUCKETS);
            }
            word = (word + 1) % words;
            bits = self.occupied[word];
        }
        None
    }

    /// Timers that are set.
    pub fn set_count(&self) -> usize {
        self.set_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn drain(wheel: &mut TimerWheel, now: Moment) -> Vec<u32> {
        let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.pop_expired(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn timers_fire_once_and_not_early() {
        let mut wheel = TimerWheel::new(Moment::ZERO);
        wheel.set(1, Moment::from_millis(1000));
        wheel.set(2, Moment::from_millis(200_000));
        wheel.set(3, Moment::from_millis(1000));
        wheel.clear(3);
        assert!(drain(&mut wheel, Moment::from_millis(999)).is_empty());
        assert_eq!(drain(&mut wheel, Moment::from_millis(1100)), [1]);
        assert!(drain(&mut wheel, Moment::from_millis(199_999)).is_empty());
        assert_eq!(drain(&mut wheel, Moment::from_millis(200_100)), [2]);
        assert_eq!(wheel.set_count(), 0);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn agrees_with_a_sorted_map_on_random_operations() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut wheel = TimerWheel::new(Moment::ZERO);
        let mut model = BTreeMap::<u32, Moment>::new();
        let mut now_ms = 0;
        for _ in 0..200_000 {
            let key = next(64) as u32;
            match next(8) {
                0..=4 => {
                    let at = Moment::from_millis(now_ms + next(150_000));
                    wheel.set(key, at);
                    model.insert(key, at);
                }
                5 => {
                    wheel.clear(key);
                    model.remove(&key);
                }
                _ => {
                    now_ms += next(20_000);
                    let now = Moment::from_millis(now_ms);
                    if let Some(wake) = wheel.next_deadline() {
                        let earliest = model.values().min().unwrap();
                        let late = Duration::from_nanos(1 << TICK_SHIFT);
                        assert!(wake <= *earliest + late, "asked to be woken too late");
                    }
                    for key in drain(&mut wheel, now) {
                        let at = model.remove(&key).expect("only set timers fire");
                        assert!(at <= now, "fired early");
                    }
                    let late =
                        model.values().filter(|at| now.since(**at) > Duration::from_millis(68));
                    assert_eq!(late.count(), 0, "fired late");
                }
            }
            assert_eq!(wheel.set_count(), model.len());
        }
    }
}
