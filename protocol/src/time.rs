//! Time as the engines see it: an argument, never a call.

use core::ops::Add;
use core::time::Duration;

/// Nanoseconds on the monotonic clock of this process. Zero is an arbitrary moment before start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The earliest moment.
    pub const ZERO: Self = Self(0);

    /// A moment `nanoseconds` after the zero of the clock.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// A moment `milliseconds` after the zero of the clock.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the zero of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the zero of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`; zero if `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }
}

/// Both clocks at one instant: the monotonic one for waiting, the wall clock for tokens and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub moment: Moment,
    /// Milliseconds since the Unix epoch, by the wall clock. It may jump.
    pub unix_ms: u64,
}

impl Now {
    /// Seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> u64 {
        self.unix_ms / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        let late = Moment::from_nanos(u64::MAX);
        assert_eq!(late + Duration::from_secs(1), late);
        assert_eq!(Moment::ZERO.since(late), Duration::ZERO);
        assert_eq!(Moment::from_millis(5).as_nanos(), 5_000_000);
    }
}
