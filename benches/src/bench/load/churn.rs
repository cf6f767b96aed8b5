//! `churn`: connections that come at a rate, answer once, and go.

use std::collections::VecDeque;

use super::super::client::{Client, Event};
use super::super::clock::{Schedule, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::Plan;
use super::super::swarm::Swarm;
use super::super::wire::{FIRST_ID, Wish};
use super::ramp::Gate;
use super::{Load, SENDS_PER_TURN, Step};
use protocol::client::CommandKind;
use protocol::client::client_side::ReceivedReply;

/// See the module.
#[derive(Debug)]
pub(super) struct Churn {
    plan: Plan,
    outcome: Outcome,
    schedule: Schedule,
    rate: f64,
    seconds: f64,
    start_ns: u64,
    give_up_ns: u64,
    /// Places without a client.
    free: VecDeque<usize>,
    /// Clients whose cycle is over; they are closed between two turns.
    leaving: Vec<usize>,
    gate: Gate,
}

const CONNECT: &str = "connect";
const CYCLE: &str = "cycle";

impl Churn {
    pub(super) fn new(plan: &Plan, rate: f64, seconds: f64) -> Self {
        let rate = plan.share(rate);
        Self {
            plan: plan.clone(),
            outcome: Outcome::default(),
            schedule: Schedule::within(0, rate, seconds),
            rate,
            seconds,
            start_ns: 0,
            give_up_ns: 0,
            free: (0..plan.clients).collect(),
            leaving: Vec::new(),
            gate: Gate::default(),
        }
    }

    fn under_way(&self) -> usize {
        self.plan.clients - self.free.len()
    }
}

impl Load for Churn {
    fn wish(&self, _: usize) -> Option<Wish> {
        None
    }

    fn needs_clients(&self) -> bool {
        false
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => {
                self.outcome.record(CONNECT, client.due_ns, now_ns);
                client.command(FIRST_ID, CommandKind::Ping);
            }
            Event::Reply { body, .. } => {
                match body {
                    ReceivedReply::Ping => self.outcome.add("cycles", 1),
                    _ => self.outcome.fail("a ping was refused", 1),
                }
                self.outcome.record(CYCLE, client.due_ns, now_ns);
                self.leaving.push(client.index);
            }
            // Its cycle was over, and it waits to be closed.
            Event::Closed(_) if self.leaving.contains(&client.index) => {}
            Event::Closed(cause) => {
                if !client.was_settled {
                    self.outcome.record(CONNECT, client.due_ns, now_ns);
                }
                self.outcome.fail(&cause, 1);
                self.free.push_back(client.index);
            }
            Event::Delivery(_) => {}
        }
    }

    fn begin(&mut self, _: &mut Swarm, start_ns: u64) {
        self.start_ns = start_ns;
        self.schedule = Schedule::within(start_ns, self.rate, self.seconds);
        self.give_up_ns = start_ns + nanos_of(self.seconds + self.plan.patience_seconds);
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        for index in std::mem::take(&mut self.leaving) {
            swarm.clients[index].close();
            self.free.push_back(index);
        }
        self.gate.turn(!self.free.is_empty(), now_ns);
        for _ in 0..SENDS_PER_TURN {
            // What finds no free place stays due.
            if self.free.is_empty() {
                break;
            }
            let Some((_, due_ns)) = self.schedule.take(now_ns) else { break };
            let Some(index) = self.free.pop_front() else { break };
            self.outcome.lateness.record(self.gate.late_from_ns(due_ns), now_ns);
            self.outcome.samples_expected += 1;
            swarm.open(index, due_ns, self);
        }
        if self.schedule.is_over() && self.under_way() == 0 || now_ns >= self.give_up_ns {
            return Step::Done;
        }
        match self.free.is_empty() {
            true => {
                self.gate.shut();
                Step::Until(self.give_up_ns)
            }
            false => Step::Until(self.schedule.next_ns().unwrap_or(self.give_up_ns)),
        }
    }

    fn progress(&self, now_ns: u64) -> f64 {
        now_ns.saturating_sub(self.start_ns) as f64 / nanos_of(self.seconds).max(1) as f64
    }

    fn finish(&mut self, swarm: &mut Swarm, now_ns: u64, is_stopped: bool) {
        for client in swarm.clients.iter().filter(|client| client.is_present()) {
            let is_waiting = !client.is_settled;
            if is_stopped {
                self.outcome.samples_expected -= u64::from(is_waiting);
                continue;
            }
            if is_waiting {
                self.outcome.record(CONNECT, client.due_ns, now_ns);
            }
            self.outcome.fail("a cycle that did not end in time", 1);
        }
        if !is_stopped {
            self.outcome.fail("a cycle for which there was no free client", self.schedule.left());
        }
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
