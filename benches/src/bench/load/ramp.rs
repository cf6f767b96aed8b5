//! Clients that come one after the other.

use super::super::clock::Schedule;
use super::super::plan::Plan;
use super::super::swarm::Swarm;
use super::{Load, SENDS_PER_TURN, Step};

/// Connects clients at a rate, or as fast as they are answered, with a bound on how many are under
/// way.
#[derive(Debug)]
pub(crate) struct Ramp {
    schedule: Option<Schedule>,
    begun: usize,
    count: usize,
    connecting_max: usize,
}

impl Ramp {
    /// The clients of a plan, from this time on.
    pub(crate) fn new(plan: &Plan, start_ns: u64) -> Self {
        Self {
            schedule: plan.connect_rate.map(|rate| Schedule::new(start_ns, rate, u64::MAX)),
            begun: 0,
            count: plan.clients,
            connecting_max: plan.connecting_max,
        }
    }

    /// How many have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun
    }

    /// Begins those that are due, where `connecting` are under way. What is due while too many are
    /// under way stays due: its latency counts from then. Returns when the next is due; `Done`:
    /// all have begun.
    pub(crate) fn act(
        &mut self,
        swarm: &mut Swarm,
        load: &mut dyn Load,
        connecting: usize,
        now_ns: u64,
    ) -> Step {
        let room = self.connecting_max.saturating_sub(connecting).min(SENDS_PER_TURN);
        for _ in 0..room {
            if self.begun == self.count {
                return Step::Done;
            }
            let due_ns = match &mut self.schedule {
                None => now_ns,
                Some(schedule) => match schedule.take(now_ns) {
                    None => return Step::Until(schedule.next_ns().unwrap_or(u64::MAX)),
                    Some((_, due_ns)) => {
                        load.outcome().lateness.record(due_ns, now_ns);
                        due_ns
                    }
                },
            };
            self.begun += 1;
            swarm.open(self.begun - 1, due_ns, load);
        }
        match self.begun == self.count {
            true => Step::Done,
            // Too many are under way: what is heard of one makes room.
            false => Step::Until(u64::MAX),
        }
    }
}
