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
    gate: Gate,
}

/// Tells lateness of ours from waiting for the server: what is due while there is no room waits for
/// whoever makes room, and is late only from then on.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_shut: bool,
    opened_ns: u64,
}

impl Gate {
    /// A turn begins in which there is room, or none.
    pub(super) fn turn(&mut self, has_room: bool, now_ns: u64) {
        if self.is_shut && has_room {
            self.opened_ns = now_ns;
        }
        self.is_shut = !has_room;
    }

    /// The room was used up.
    pub(super) fn shut(&mut self) {
        self.is_shut = true;
    }

    /// Was there no room when it was last looked?
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// From when on something that was due is late.
    pub(super) fn late_from_ns(&self, due_ns: u64) -> u64 {
        due_ns.max(self.opened_ns)
    }
}

impl Ramp {
    /// The clients of a plan, from this time on.
    pub(crate) fn new(plan: &Plan, start_ns: u64) -> Self {
        Self {
            schedule: plan.connect_rate.map(|rate| Schedule::new(start_ns, rate, u64::MAX)),
            begun: 0,
            count: plan.clients,
            connecting_max: plan.connecting_max,
            gate: Gate::default(),
        }
    }

    /// How many have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun
    }

    /// When this one is due, or was; `None` without a rate.
    pub(crate) fn due_ns(&self, number: usize) -> Option<u64> {
        self.schedule.as_ref().map(|schedule| schedule.due_ns(number as u64))
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
        let room = self.connecting_max.saturating_sub(connecting);
        self.gate.turn(room > 0, now_ns);
        for _ in 0..room.min(SENDS_PER_TURN) {
            if self.begun == self.count {
                return Step::Done;
            }
            let due_ns = match &mut self.schedule {
                None => now_ns,
                Some(schedule) => match schedule.take(now_ns) {
                    None => return Step::Until(schedule.next_ns().unwrap_or(u64::MAX)),
                    Some((_, due_ns)) => {
                        load.outcome().lateness.record(self.gate.late_from_ns(due_ns), now_ns);
                        due_ns
                    }
                },
            };
            self.begun += 1;
            swarm.open(self.begun - 1, due_ns, load);
        }
        if self.begun == self.count {
            return Step::Done;
        }
        if room > SENDS_PER_TURN {
            return Step::Until(now_ns);
        }
        // Too many are under way: what is heard of one makes room.
        self.gate.shut();
        Step::Until(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_room_is_not_late() {
        let mut gate = Gate::default();
        gate.turn(true, 100);
        assert_eq!(gate.late_from_ns(90), 90);
        gate.shut();
        gate.turn(false, 200);
        gate.turn(true, 300);
        assert_eq!((gate.late_from_ns(150), gate.late_from_ns(310)), (300, 310));
        gate.turn(true, 400);
        assert_eq!(gate.late_from_ns(350), 350);
    }
}
