//! What was asked and not yet answered, and when more may be asked.

use std::collections::VecDeque;

use super::super::clock::{Schedule, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::{Pace, Plan};
use super::super::wire::FIRST_ID;
use super::{SENDS_PER_TURN, Step};

/// Commands of all clients that wait for their answers. Bounded: a pace by depth bounds it, and a
/// pace by rate is bounded by its rate, time and patience.
#[derive(Debug)]
pub(super) struct Asked {
    clients: Vec<Waiting>,
    /// Of all clients.
    pub(super) outstanding: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    next_id: u32,
    /// Ids and when they were due.
    queue: VecDeque<(u32, u64)>,
}

impl Asked {
    pub(super) fn new(clients: usize) -> Self {
        let waiting = Waiting { next_id: FIRST_ID, queue: VecDeque::new() };
        Self { clients: vec![waiting; clients], outstanding: 0 }
    }

    /// A command of a client, due at a time: its id.
    pub(super) fn ask(&mut self, index: usize, due_ns: u64) -> u32 {
        let waiting = &mut self.clients[index];
        let id = waiting.next_id;
        waiting.next_id = id.checked_add(1).unwrap_or(FIRST_ID);
        waiting.queue.push_back((id, due_ns));
        self.outstanding += 1;
        id
    }

    /// The command that an answer is to: when it was due.
    pub(super) fn answered(&mut self, index: usize, id: u32) -> Option<u64> {
        let queue = &mut self.clients[index].queue;
        let at = queue.iter().position(|(asked, _)| *asked == id)?;
        self.outstanding -= 1;
        queue.remove(at).map(|(_, due_ns)| due_ns)
    }

    /// Everything that a client waits for, whose connection is gone.
    pub(super) fn forget(&mut self, index: usize) -> Vec<u64> {
        let queue = std::mem::take(&mut self.clients[index].queue);
        self.outstanding -= queue.len() as u64;
        queue.into_iter().map(|(_, due_ns)| due_ns).collect()
    }

    /// At the end: whatever was not answered took at least as long as it has waited. None of it is
    /// left out of the latency. If the run was stopped, it is left out, and not expected either.
    pub(super) fn settle(
        &mut self,
        outcome: &mut Outcome,
        latency: &str,
        now_ns: u64,
        is_stopped: bool,
    ) {
        for index in 0..self.clients.len() {
            for due_ns in self.forget(index) {
                if is_stopped {
                    outcome.samples_expected -= 1;
                } else {
                    outcome.record(latency, due_ns, now_ns);
                    outcome.fail("not answered in time", 1);
                }
            }
        }
    }
}

/// When more is asked, and until when.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    schedule: Option<Schedule>,
    start_ns: u64,
    pub(super) end_ns: u64,
    give_up_ns: u64,
}

impl Pacer {
    /// The pace of this process. Begins with [`Pacer::begin`].
    pub(super) fn new(plan: &Plan, pace: Pace) -> Self {
        let pace = match pace {
            Pace::Rate(rate) => Pace::Rate(plan.share(rate)),
            outstanding => outstanding,
        };
        Self::of_all(pace)
    }

    /// A pace that is not divided among processes.
    pub(super) fn of_all(pace: Pace) -> Self {
        Self { pace, schedule: None, start_ns: 0, end_ns: 0, give_up_ns: 0 }
    }

    pub(super) fn begin(&mut self, plan: &Plan, seconds: f64, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns + nanos_of(seconds);
        self.give_up_ns = self.end_ns + nanos_of(plan.patience_seconds);
        if let Pace::Rate(rate) = self.pace {
            self.schedule = Some(Schedule::within(start_ns, rate, seconds));
        }
    }

    /// How many each may leave unanswered; `None` at a rate.
    pub(super) fn depth(&self) -> Option<usize> {
        match self.pace {
            Pace::Rate(_) => None,
            Pace::Outstanding(depth) => Some(depth),
        }
    }

    /// Numbers and times of those that are due, at most as many as fit into a turn.
    pub(super) fn due(&mut self, outcome: &mut Outcome, now_ns: u64) -> Vec<(u64, u64)> {
        let Some(schedule) = &mut self.schedule else { return Vec::new() };
        let due = std::iter::from_fn(|| schedule.take(now_ns)).take(SENDS_PER_TURN);
        let due: Vec<_> = due.collect();
        due.iter().for_each(|(_, due_ns)| outcome.lateness.record(*due_ns, now_ns));
        due
    }

    /// What comes next, where so many are unanswered. Behind the end, at a rate, everything that
    /// was due is still asked: a generator that is late shows, and leaves nothing out.
    pub(super) fn step(&self, outstanding: u64, now_ns: u64) -> Step {
        let next_ns = self.schedule.as_ref().and_then(Schedule::next_ns);
        let is_asking = next_ns.is_some() || self.schedule.is_none() && now_ns < self.end_ns;
        if now_ns >= self.give_up_ns || !is_asking && outstanding == 0 && now_ns >= self.end_ns {
            return Step::Done;
        }
        let wake_ns = if now_ns < self.end_ns { self.end_ns } else { self.give_up_ns };
        Step::Until(next_ns.unwrap_or(wake_ns).min(wake_ns))
    }

    /// How many were due and not asked, because the generator did not get there.
    pub(super) fn left(&self) -> u64 {
        self.schedule.as_ref().map_or(0, Schedule::left)
    }

    /// How many there will be in the end; `None` without a rate.
    pub(super) fn planned(&self) -> Option<u64> {
        self.schedule.as_ref().map(|schedule| schedule.taken() + schedule.left())
    }

    /// When this one was due, or is; the beginning without a rate.
    pub(super) fn due_ns(&self, number: u64) -> u64 {
        self.schedule.as_ref().map_or(self.start_ns, |schedule| schedule.due_ns(number))
    }

    pub(super) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    pub(super) fn progress(&self, now_ns: u64) -> f64 {
        let time_ns = (self.end_ns - self.start_ns).max(1) as f64;
        now_ns.saturating_sub(self.start_ns) as f64 / time_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_questions() {
        let mut asked = Asked::new(2);
        let (first, second) = (asked.ask(0, 10), asked.ask(0, 20));
        asked.ask(1, 30);
        assert_eq!(asked.answered(0, second), Some(20));
        assert_eq!(asked.answered(0, second), None);
        assert_eq!(asked.answered(1, 99), None);
        assert_eq!(asked.outstanding, 2);
        assert_eq!(asked.forget(0), [10]);
        assert_eq!((asked.answered(0, first), asked.outstanding), (None, 1));
    }

    #[test]
    fn whatever_is_not_answered_is_in_the_latency() {
        let mut asked = Asked::new(1);
        asked.ask(0, 0);
        let mut outcome = Outcome { samples_expected: 1, ..Outcome::default() };
        asked.settle(&mut outcome, "round_trip", 5_000_000_000, false);
        assert!(outcome.latencies["round_trip"].max_us() >= 5_000_000);
        assert_eq!(outcome.errors["not answered in time"], 1);
        asked.ask(0, 0);
        outcome.samples_expected += 1;
        asked.settle(&mut outcome, "round_trip", 5_000_000_000, true);
        let recorded = outcome.latencies["round_trip"].count();
        assert_eq!((recorded, outcome.samples_expected), (1, 1));
    }
}
