//! The clocks of this machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::time::{Moment, Now};

/// Tells the time to a pump.
pub trait Clock {
    /// Both clocks, now.
    fn now(&self) -> Now;
}

/// The machine's clocks. The monotonic one starts a second after zero, so that no moment that
/// happens is [`Moment::ZERO`].
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that starts now. All shards of a process share one, so that their moments compare.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        const ZERO_BEFORE_NS: u64 = 1_000_000_000;
        let nanoseconds = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            moment: Moment::from_nanos(nanoseconds.saturating_add(ZERO_BEFORE_NS)),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
