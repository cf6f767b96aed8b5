//! Time that processes of one machine agree on, and when things are due.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)): one clock for all processes, so
//! that one may measure what another sent.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds of a millisecond.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

/// Now.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CPU time that this process has used.
pub(crate) fn cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// How long threads of this process were ready and waited for a core (proc(5), `schedstat`). Zero
/// where the kernel does not tell.
pub(crate) fn core_wait_ns() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let waited = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').nth(1)?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(waited).sum()
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

/// Nanoseconds of so many seconds.
pub(crate) fn nanos_of(seconds: f64) -> u64 {
    (seconds * SECOND_NS as f64) as u64
}

/// Things that are due at a steady rate, each at its own time, whether or not the one before was
/// late: what is late stays due, so that nothing is left out of a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    per_second: f64,
    count_max: u64,
    taken: u64,
}

impl Schedule {
    /// `count_max` things from `start_ns` on.
    pub(crate) fn new(start_ns: u64, per_second: f64, count_max: u64) -> Self {
        assert!(per_second > 0.0, "a schedule has a rate");
        Self { start_ns, per_second, count_max, taken: 0 }
    }

    /// Whatever is due within `seconds`.
    pub(crate) fn within(start_ns: u64, per_second: f64, seconds: f64) -> Self {
        Self::new(start_ns, per_second, (per_second * seconds).ceil() as u64)
    }

    /// When the next one is due; `None` behind the last.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        (self.taken < self.count_max).then(|| self.due_ns(self.taken))
    }

    /// When this one is due, or was.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        self.start_ns + (number as f64 * (SECOND_NS as f64 / self.per_second)) as u64
    }

    /// How many are left.
    pub(crate) fn left(&self) -> u64 {
        self.count_max - self.taken
    }

    /// Takes the next one if it is due: its number, and when it was due.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        let due_ns = self.next_ns().filter(|due_ns| *due_ns <= now_ns)?;
        self.taken += 1;
        Some((self.taken - 1, due_ns))
    }

    /// How many were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Is nothing left?
    pub(crate) fn is_over(&self) -> bool {
        self.taken == self.count_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_keeps_the_time_it_was_due() {
        let mut schedule = Schedule::new(1_000, 1_000.0, 4);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some((0, 1_000)));
        assert_eq!(schedule.take(1_000), None);
        // Three milliseconds of standstill: everything that was due is still there, each with its
        // own time.
        let now_ns = 1_000 + 3 * MILLISECOND_NS;
        let late: Vec<_> = std::iter::from_fn(|| schedule.take(now_ns)).collect();
        assert_eq!(late, [(1, 1_001_000), (2, 2_001_000), (3, 3_001_000)]);
        assert!(schedule.is_over());
        assert_eq!((schedule.next_ns(), schedule.take(u64::MAX)), (None, None));
    }

    #[test]
    fn a_long_schedule_does_not_drift() {
        let mut schedule = Schedule::within(0, 3.0, 3_600.0);
        while schedule.taken() < 10_799 {
            assert!(schedule.take(u64::MAX).is_some());
        }
        let last_ns = schedule.next_ns().unwrap();
        assert!(last_ns.abs_diff(10_799 * SECOND_NS / 3) <= 1_000, "{last_ns}");
    }

    #[test]
    fn a_fraction_of_a_thing_is_a_thing() {
        assert_eq!(Schedule::within(0, 10.0, 0.25).count_max, 3);
    }

    #[test]
    fn the_clock_advances() {
        let before_ns = now_ns();
        assert!(now_ns() >= before_ns);
        assert!(cpu_ns() > 0);
    }
}
