//! Rates by the generic cell rate algorithm, in eight bytes.
//!
//! ITU-T I.371, annex A: a cell conforms if it does not come earlier than its theoretical arrival
//! time less the tolerance.

use protocol::time::Moment;

/// So many events per second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Rate {
    /// `per_second` events (at least one) in the long run, `burst` (at least one) at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let burst = if burst == 0 { 1 } else { burst };
        let interval_ns = 1_000_000_000 / per_second as u64;
        Self { interval_ns, tolerance_ns: interval_ns * (burst as u64 - 1) }
    }

    /// Nanoseconds from one event to the next in the long run.
    pub(crate) const fn interval_ns(self) -> u64 {
        self.interval_ns
    }

    /// How much earlier than that one event may come.
    pub(crate) const fn tolerance_ns(self) -> u64 {
        self.tolerance_ns
    }
}

/// How much of a rate one party has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    theoretical_arrival_ns: u64,
}

impl Meter {
    /// Counts one event, if it conforms to `rate`. False: it does not, and was not counted.
    pub(crate) fn admit(&mut self, rate: Rate, now: Moment) -> bool {
        let now_ns = now.as_nanos();
        if self.theoretical_arrival_ns > now_ns.saturating_add(rate.tolerance_ns) {
            return false;
        }
        self.theoretical_arrival_ns = self.theoretical_arrival_ns.max(now_ns) + rate.interval_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_then_the_rate() {
        let rate = Rate::new(10, 5);
        let mut meter = Meter::default();
        let start = Moment::from_millis(1000);
        let at_once = (0..10).filter(|_| meter.admit(rate, start)).count();
        assert_eq!(at_once, 5);
        let mut admitted = 0;
        for millisecond in 1..=1000 {
            admitted += u32::from(meter.admit(rate, Moment::from_millis(1000 + millisecond)));
        }
        assert_eq!(admitted, 10);
    }
}
