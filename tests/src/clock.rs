//! The only clock of the world: it moves when the scheduler moves it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gateway::driver::Clock;
use protocol::time::{Moment, Now};

/// Unix time at the beginning of every world.
const UNIX_MS_AT_START: u64 = 1_800_000_000_000;
/// The world begins a second after zero, so that nothing happens at [`Moment::ZERO`].
const START_NS: u64 = 1_000_000_000;

/// Clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock {
    nanoseconds: Rc<Cell<u64>>,
}

impl Default for SimClock {
    fn default() -> Self {
        Self { nanoseconds: Rc::new(Cell::new(START_NS)) }
    }
}

impl SimClock {
    /// The time.
    pub fn moment(&self) -> Moment {
        Moment::from_nanos(self.nanoseconds.get())
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.moment() + by);
    }

    /// Moves on to `moment`, never back.
    pub fn advance_to(&self, moment: Moment) {
        self.nanoseconds.set(self.nanoseconds.get().max(moment.as_nanos()));
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let moment = self.moment();
        Now { moment, unix_ms: UNIX_MS_AT_START + (moment.as_nanos() - START_NS) / 1_000_000 }
    }
}
