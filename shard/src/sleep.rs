//! How a thread may fall asleep without missing a message.
//!
//! The sleeper announces itself, then looks at its queues once more, then sleeps. The sender puts
//! its message in the queue, then looks for the announcement. Sequentially consistent fences
//! between the two steps on either side make sure that at least one of them sees the other.

use super::sync::{AtomicBool, Ordering, fence};

/// The announcement of one sleeper.
#[derive(Debug)]
pub struct SleepFlag {
    sleeping: AtomicBool,
}

impl Default for SleepFlag {
    fn default() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }
}

impl SleepFlag {
    /// The sleeper is about to sleep. It must look at its queues after this.
    pub fn announce(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Does the announcement stand? Only the sleeper may rely on it; others may be late.
    pub fn is_announced(&self) -> bool {
        self.sleeping.load(Ordering::Relaxed)
    }

    /// The sleeper is awake, for whatever reason.
    pub fn retract(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// A message was put in a queue. True if the sleeper must be woken, which is then the caller's
    /// duty; it is true for one caller only per announcement.
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }
}
