//! How near the process is to its limits of memory, measured by a thread of its own and told to
//! the shards.
//!
//! Owns: the files of the kernel that say it, and the level.
//! Never: closes or refuses anybody; the shards do (`gateway/src/engine/shedding.rs`).

mod bounds;
pub(crate) mod proc;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway::driver::{Control, Inspection};
use gateway::engine::MemoryLevel;

use crate::limits::{
    MEMORY_BOUNDS_INTERVAL, MEMORY_HYSTERESIS_PERCENT, MEMORY_INTERVAL, MEMORY_INTERVAL_NEAR,
    MEMORY_URGENCY_MAX,
};
use crate::node::ShardHandle;
use bounds::Bound;

/// What an operator decides about memory (`memory`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes that the process may take (`memory.limit`); `None`: what control groups and the
    /// machine allow.
    pub limit_bytes: Option<u64>,
    /// Percent of the limit from which on nobody new is let in (`memory.refuse_level`). Zero:
    /// never.
    pub refuse_percent: u8,
    /// Percent from which on those who hold most are closed (`memory.shed_level`). Zero: never.
    pub shed_percent: u8,
}

/// What was measured last, for metrics.
#[derive(Debug, Default)]
pub struct MemoryState {
    used_bytes: AtomicU64,
    limit_bytes: AtomicU64,
    level: AtomicU64,
}

impl MemoryState {
    /// Bytes that count against the limit that is nearest.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// That limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// 0: everybody is let in; 1: nobody new is; 2: and who holds most is closed.
    pub fn level(&self) -> u64 {
        self.level.load(Ordering::Relaxed)
    }
}

/// Measures from now on, and tells the shards. Where the limit cannot be found out, a warning says
/// so and nobody is ever refused.
pub fn watch(settings: MemorySettings, shards: Vec<ShardHandle>) -> Arc<MemoryState> {
    let state = Arc::new(MemoryState::default());
    let bounds = match Bound::of_this_process(settings.limit_bytes) {
        Ok(bounds) => bounds,
        Err(error) => {
            tracing::warn!(
                "memory is not watched, because /proc cannot be read ({error}); mount it to have \
                 clients refused before memory runs out"
            );
            return state;
        }
    };
    tell_limits(&bounds);
    let told = vec![MemoryLevel::Normal; shards.len()];
    let held = shards.iter().map(|_| Arc::default()).collect();
    let mut watcher =
        Watcher { settings, bounds, held, shards, told, state: state.clone(), asked: None };
    let mut bounds_at = Instant::now();
    let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        let mut level = MemoryLevel::Normal;
        loop {
            if bounds_at.elapsed() >= MEMORY_BOUNDS_INTERVAL {
                bounds_at = Instant::now();
                watcher.find_bounds();
            }
            level = watcher.measure(level);
            std::thread::sleep(watcher.interval());
        }
    });
    if let Err(error) = thread {
        tracing::warn!("memory is not watched, for want of a thread: {error}; raise `ulimit -u`");
    }
    state
}

/// What one shard's connections held when it last said so.
#[derive(Debug, Default)]
struct Held {
    /// Bytes that waited for clients.
    queued_bytes: AtomicU64,
    connections: AtomicU64,
}

impl Held {
    fn now(&self) -> (u64, u64) {
        (self.queued_bytes.load(Ordering::Relaxed), self.connections.load(Ordering::Relaxed))
    }
}

/// What was asked back while memory became no less.
///
/// Whoever is closed may make the process no smaller: the allocator keeps what it gets back as long
/// as something else lies beside it, and several clients may wait for the same bytes. A process
/// that waits to see what a close was worth is killed meanwhile (docs/decisions/0012), so more is
/// asked with each measurement.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What counted when this began.
    used_bytes: u64,
    /// How many times what is too much is asked.
    urgency: u64,
    /// Since when it is that many times.
    since: Instant,
}

impl Asked {
    /// The first time.
    fn new(used_bytes: u64, now: Instant) -> Self {
        Self { used_bytes, urgency: 1, since: now }
    }

    /// The next time.
    fn again(self, used_bytes: u64, now: Instant) -> Self {
        if used_bytes < self.used_bytes {
            return Self::new(used_bytes, now);
        }
        if now.saturating_duration_since(self.since) < MEMORY_INTERVAL {
            return self;
        }
        let urgency = (self.urgency * 2).min(MEMORY_URGENCY_MAX);
        Self { urgency, since: now, ..self }
    }
}

struct Watcher {
    settings: MemorySettings,
    bounds: Vec<Bound>,
    shards: Vec<ShardHandle>,
    /// By shard.
    held: Vec<Arc<Held>>,
    /// The level that each shard was told last.
    told: Vec<MemoryLevel>,
    state: Arc<MemoryState>,
    /// What was asked back, at [`MemoryLevel::Shedding`].
    asked: Option<Asked>,
}

fn tell_limits(bounds: &[Bound]) {
    for bound in bounds {
        tracing::info!(limit_bytes = bound.bytes, set_by = %bound, "memory limit");
    }
}

impl Watcher {
    /// Limits may have been changed, or the process moved to another group.
    fn find_bounds(&mut self) {
        let Ok(bounds) = Bound::of_this_process(self.settings.limit_bytes) else { return };
        if !bounds.iter().map(Bound::limit).eq(self.bounds.iter().map(Bound::limit)) {
            tell_limits(&bounds);
        }
        self.bounds = bounds;
    }

    /// Measures once; the level from now on.
    fn measure(&mut self, before: MemoryLevel) -> MemoryLevel {
        let nearest = self.bounds.iter().enumerate().filter_map(|(index, bound)| {
            let used_bytes = bound.used_bytes().ok()?;
            Some((permille(used_bytes, bound.bytes), used_bytes, index))
        });
        // A group that is gone, or a file that cannot be read, says nothing: what was, holds.
        let Some((permille, used_bytes, index)) = nearest.max() else { return before };
        let limit_bytes = self.bounds[index].bytes;
        let level = self.settings.level(before, permille);
        self.state.used_bytes.store(used_bytes, Ordering::Relaxed);
        self.state.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        self.state.level.store(level as u64, Ordering::Relaxed);
        if level != before {
            self.announce(before, level, (permille, index));
        }
        if level > MemoryLevel::Normal {
            self.inspect();
        }
        let owed_bytes = if level == MemoryLevel::Shedding {
            self.ask(used_bytes, limit_bytes)
        } else {
            self.asked = None;
            0
        };
        self.tell(level, owed_bytes);
        level
    }

    /// Asks the shards what they hold, for the next measurements. One whose inbox is full holds
    /// what it held.
    fn inspect(&self) {
        for (shard, held) in self.shards.iter().zip(&self.held) {
            let held = held.clone();
            let tell = move |inspection: Inspection| {
                held.queued_bytes.store(inspection.engine.outbox_bytes, Ordering::Relaxed);
                held.connections.store(inspection.engine.connections, Ordering::Relaxed);
            };
            let _ = shard.gateway.send(Control::Inspect(Box::new(tell)));
        }
    }

    /// Bytes that have to be given back.
    fn ask(&mut self, used_bytes: u64, limit_bytes: u64) -> u64 {
        let now = Instant::now();
        let asked = match self.asked {
            Some(before) => before.again(used_bytes, now),
            None => Asked::new(used_bytes, now),
        };
        self.asked = Some(asked);
        self.settings.excess_bytes(used_bytes, limit_bytes).saturating_mul(asked.urgency)
    }

    /// Tells the shards what is new to them.
    fn tell(&mut self, level: MemoryLevel, owed_bytes: u64) {
        let held: Vec<(u64, u64)> = self.held.iter().map(|held| held.now()).collect();
        for (index, owed_bytes) in divide(owed_bytes, &held).into_iter().enumerate() {
            if self.told[index] == level && level < MemoryLevel::Shedding {
                continue;
            }
            // A full inbox is told the next time.
            if self.shards[index].gateway.send(Control::Memory { level, owed_bytes }).is_ok() {
                self.told[index] = level;
            }
        }
    }

    /// Time until the next measurement: less of it where a level may soon be reached.
    fn interval(&self) -> Duration {
        let lowest = match (self.settings.refuse_percent, self.settings.shed_percent) {
            (0, percent) | (percent, _) => u64::from(percent),
        };
        let (used_bytes, limit_bytes) = (self.state.used_bytes(), self.state.limit_bytes());
        let is_near = lowest > 0 && permille(used_bytes, limit_bytes) >= lowest * 10 / 2;
        if is_near { MEMORY_INTERVAL_NEAR } else { MEMORY_INTERVAL }
    }

    fn announce(&self, before: MemoryLevel, level: MemoryLevel, (permille, index): (u64, usize)) {
        let bound = &self.bounds[index];
        let (percent, mib) = (permille / 10, bound.bytes >> 20);
        match level {
            MemoryLevel::Normal => tracing::info!(
                "memory: {percent} % of {mib} MiB ({bound}) are in use: new clients are let in again"
            ),
            MemoryLevel::Refusing if before == MemoryLevel::Shedding => tracing::warn!(
                "memory: {percent} % of {mib} MiB ({bound}) are in use: nobody is closed any more, \
                 new clients are still refused"
            ),
            MemoryLevel::Refusing => tracing::warn!(
                "memory: {percent} % of {mib} MiB ({bound}) are in use: new clients are refused \
                 with 503; raise that limit, or lower client.connection_limit, \
                 client.queue_max_size, history_size or persistence.backlog_max_size"
            ),
            MemoryLevel::Shedding => tracing::warn!(
                "memory: {percent} % of {mib} MiB ({bound}) are in use: clients that hold most are \
                 closed with 3011, too, the slowest first; lower client.queue_max_size, let \
                 namespaces have slow_consumer = \"conflate\" or \"drop\", or raise that limit"
            ),
        }
    }
}

/// What a server may take until new clients are refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Room {
    /// Bytes, beside what counts against the limit now.
    pub(crate) bytes: u64,
    /// Who set the limit.
    pub(crate) set_by: String,
}

impl MemorySettings {
    /// The least that any limit of this process leaves, if /proc says what they are.
    pub(crate) fn room(self) -> Option<Room> {
        let percent = if self.refuse_percent > 0 { self.refuse_percent } else { 100 };
        let room = |bound: Bound| {
            let most_bytes = part(bound.bytes, u64::from(percent), 100);
            let bytes = most_bytes.saturating_sub(bound.used_bytes().ok()?);
            Some(Room { bytes, set_by: bound.to_string() })
        };
        let bounds = Bound::of_this_process(self.limit_bytes).ok()?;
        bounds.into_iter().filter_map(room).min()
    }

    /// The level at so many thousandths of the limit. One that holds already is left a little later
    /// than it is entered.
    fn level(self, before: MemoryLevel, permille: u64) -> MemoryLevel {
        let reaches = |percent: u8, level: MemoryLevel| {
            let slack = if before >= level { MEMORY_HYSTERESIS_PERCENT } else { 0 };
            percent > 0 && permille >= u64::from(percent.saturating_sub(slack)) * 10
        };
        if reaches(self.shed_percent, MemoryLevel::Shedding) {
            MemoryLevel::Shedding
        } else if reaches(self.refuse_percent, MemoryLevel::Refusing) {
            MemoryLevel::Refusing
        } else {
            MemoryLevel::Normal
        }
    }

    /// Bytes above where [`MemoryLevel::Shedding`] is left, at least one.
    fn excess_bytes(self, used_bytes: u64, limit_bytes: u64) -> u64 {
        let percent = u64::from(self.shed_percent.saturating_sub(MEMORY_HYSTERESIS_PERCENT));
        used_bytes.saturating_sub(part(limit_bytes, percent, 100)).max(1)
    }
}

fn permille(used_bytes: u64, limit_bytes: u64) -> u64 {
    part(1000, used_bytes, limit_bytes.max(1))
}

/// `whole * count / all`, which may be large.
fn part(whole: u64, count: u64, all: u64) -> u64 {
    let part = u128::from(whole) * u128::from(count) / u128::from(all);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Divides what is owed among shards that hold so many queued bytes and so many connections each:
/// by what waits for their clients, and only what that does not cover by how many there are.
fn divide(owed_bytes: u64, held: &[(u64, u64)]) -> Vec<u64> {
    let queued: u64 = held.iter().map(|one| one.0).sum();
    let connections: u64 = held.iter().map(|one| one.1).sum();
    if connections == 0 {
        // None has said yet what it holds.
        return vec![owed_bytes / held.len().max(1) as u64; held.len()];
    }
    let by_queue = owed_bytes.min(queued);
    let others = owed_bytes - by_queue;
    let share =
        |one: &(u64, u64)| part(by_queue, one.0, queued.max(1)) + part(others, one.1, connections);
    held.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemoryLevel::{Normal, Refusing, Shedding};

    const SETTINGS: MemorySettings =
        MemorySettings { limit_bytes: None, refuse_percent: 80, shed_percent: 90 };

    #[test]
    fn levels_are_left_later_than_they_are_entered() {
        let mut level = Normal;
        let mut seen = Vec::new();
        for permille in [0, 799, 800, 799, 750, 749, 799, 899, 900, 899, 850, 849, 749, 950, 0] {
            level = SETTINGS.level(level, permille);
            seen.push(level);
        }
        let (n, r, s) = (Normal, Refusing, Shedding);
        assert_eq!(seen, [n, n, r, r, r, n, n, r, s, s, s, r, n, s, n]);
    }

    #[test]
    fn there_is_room_until_new_clients_are_refused() {
        let limit_bytes = Some(1 << 20);
        let limited = MemorySettings { limit_bytes, ..SETTINGS };
        let none = Room { bytes: 0, set_by: "memory.limit".to_owned() };
        assert_eq!(limited.room(), Some(none), "this process takes more than a MiB");
        let room = SETTINGS.room().expect("/proc is there").bytes;
        let more = MemorySettings { refuse_percent: 0, ..SETTINGS }.room().expect("as before");
        assert!(room < more.bytes, "{room} bytes, and {more:?} if nobody is refused");
    }

    #[test]
    fn a_level_of_zero_is_never_reached() {
        let never = MemorySettings { refuse_percent: 0, shed_percent: 0, ..SETTINGS };
        assert_eq!(never.level(Normal, 5000), Normal);
        let only_refusing = MemorySettings { shed_percent: 0, ..SETTINGS };
        assert_eq!(only_refusing.level(Normal, 5000), Refusing);
        let only_shedding = MemorySettings { refuse_percent: 0, ..SETTINGS };
        assert_eq!(only_shedding.level(Shedding, 850), Shedding);
        assert_eq!(only_shedding.level(Shedding, 849), Normal);
    }

    #[test]
    fn what_is_owed_is_what_lies_above_the_lower_mark() {
        assert_eq!(SETTINGS.excess_bytes(1000, 1000), 150);
        assert_eq!(SETTINGS.excess_bytes(850, 1000), 1);
        assert_eq!(SETTINGS.excess_bytes(u64::MAX, u64::MAX), u64::MAX - part(u64::MAX, 85, 100));
        assert_eq!(permille(u64::MAX, 1), u64::MAX);
        assert_eq!(permille(1 << 40, 1 << 41), 500);
    }

    #[test]
    fn more_is_asked_while_memory_becomes_no_less() {
        let start = Instant::now();
        let mut asked = Asked::new(9000, start);
        let mut urgency = |used_bytes, millis| {
            asked = asked.again(used_bytes, start + Duration::from_millis(millis));
            asked.urgency
        };
        let steps = [(9000, 20), (9500, 99), (9500, 100), (9500, 199), (9400, 200), (9000, 300)];
        assert_eq!(steps.map(|(used, at)| urgency(used, at)), [1, 1, 2, 2, 4, 8]);
        assert_eq!((urgency(9000, 400), urgency(9000, 500)), (16, MEMORY_URGENCY_MAX));
        assert_eq!((urgency(8999, 600), urgency(8999, 700)), (1, 2), "it has become less");
    }

    #[test]
    fn the_slowest_pay_first_wherever_they_are() {
        // All of it waits on the first shard: the second has to close nobody.
        assert_eq!(divide(100, &[(1000, 5), (0, 5)]), [100, 0]);
        assert_eq!(divide(100, &[(300, 1), (100, 9)]), [75, 25]);
        // What queues do not cover, is covered by how many there are.
        assert_eq!(divide(100, &[(40, 1), (0, 2)]), [40 + 20, 40]);
        assert_eq!(divide(100, &[(0, 0), (0, 0)]), [50, 50], "nothing is known yet");
    }
}
