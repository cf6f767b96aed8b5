//! `connect`: clients come at a rate and stay; then each is asked for a sign of life.

use super::super::client::{Client, Event};
use super::super::clock::{Schedule, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::Plan;
use super::super::swarm::Swarm;
use super::super::wire::{FIRST_ID, Wish};
use super::{Load, Ramp, SENDS_PER_TURN, Step};
use protocol::client::CommandKind;
use protocol::client::client_side::ReceivedReply;

/// Whoever is held is asked within this time, one after the other: all at once would measure a
/// burst that no clients make.
const PING_SECONDS: f64 = 2.0;

const CONNECT: &str = "connect";

#[derive(Debug)]
enum Phase {
    Coming(Ramp),
    Holding { until_ns: u64 },
    Pinging { schedule: Schedule, give_up_ns: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connect {
    plan: Plan,
    outcome: Outcome,
    phase: Phase,
    hold_ns: u64,
    start_ns: u64,
    connected: usize,
    failed: usize,
    /// When each was asked; zero: not, or it has answered.
    asked_ns: Vec<u64>,
    asked: usize,
    answered: usize,
}

impl Connect {
    pub(super) fn new(plan: &Plan, hold_seconds: f64) -> Self {
        Self {
            plan: plan.clone(),
            outcome: Outcome::default(),
            phase: Phase::Coming(Ramp::new(plan, 0)),
            hold_ns: nanos_of(hold_seconds),
            start_ns: 0,
            connected: 0,
            failed: 0,
            asked_ns: vec![0; plan.clients],
            asked: 0,
            answered: 0,
        }
    }

    /// A client did not get in: its latency is how long it has tried, or waited to.
    fn fail(&mut self, due_ns: u64, now_ns: u64) {
        self.failed += 1;
        self.outcome.record(CONNECT, due_ns, now_ns);
    }

    /// Time is up: whoever is not there, begun or not, is given up.
    fn give_up(&mut self, ramp: &Ramp, swarm: &mut Swarm, now_ns: u64) {
        let missing = self.plan.clients - self.connected - self.failed;
        self.outcome.fail("not there in time", missing as u64);
        for client in swarm.clients.iter_mut().filter(|one| one.is_present() && !one.is_settled) {
            self.fail(client.due_ns, now_ns);
            client.leave();
        }
        for number in ramp.begun()..self.plan.clients {
            self.fail(ramp.due_ns(number).unwrap_or(self.start_ns), now_ns);
        }
    }

    fn ping(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        let Phase::Pinging { schedule, give_up_ns } = &mut self.phase else { return Step::Done };
        for _ in 0..SENDS_PER_TURN {
            let Some((number, due_ns)) = schedule.take(now_ns) else { break };
            let index = number as usize;
            if !swarm.clients[index].is_settled {
                continue;
            }
            self.asked_ns[index] = due_ns;
            self.asked += 1;
            swarm.with(index).command(FIRST_ID, CommandKind::Ping);
        }
        if schedule.is_over() && self.answered == self.asked || now_ns >= *give_up_ns {
            return Step::Done;
        }
        Step::Until(schedule.next_ns().unwrap_or(*give_up_ns))
    }
}

impl Load for Connect {
    fn wish(&self, _: usize) -> Option<Wish> {
        None
    }

    fn needs_clients(&self) -> bool {
        false
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => {
                self.connected += 1;
                self.outcome.record(CONNECT, client.due_ns, now_ns);
                self.outcome.add("connected", 1);
            }
            Event::Reply { id: FIRST_ID, body: ReceivedReply::Ping } => {
                let asked_ns = std::mem::take(&mut self.asked_ns[client.index]);
                self.answered += 1;
                self.outcome.record("ping", asked_ns, now_ns);
                self.outcome.add("answered_a_ping", 1);
            }
            Event::Closed(cause) => {
                self.outcome.fail(&cause, 1);
                let asked_ns = std::mem::take(&mut self.asked_ns[client.index]);
                if asked_ns != 0 {
                    self.answered += 1;
                    self.outcome.record("ping", asked_ns, now_ns);
                }
                // Whoever was in has been counted as connected.
                if !client.was_settled {
                    self.fail(client.due_ns, now_ns);
                }
            }
            Event::Reply { .. } => self.outcome.fail("a ping was refused", 1),
            Event::Delivery(_) => {}
        }
    }

    fn begin(&mut self, _: &mut Swarm, start_ns: u64) {
        self.start_ns = start_ns;
        self.phase = Phase::Coming(Ramp::new(&self.plan, start_ns));
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        let give_up_ns = self.start_ns + nanos_of(self.plan.connect_seconds_max);
        let holding = Phase::Holding { until_ns: 0 };
        match std::mem::replace(&mut self.phase, holding) {
            Phase::Coming(mut ramp) => {
                let under_way = ramp.begun().saturating_sub(self.connected + self.failed);
                let step = ramp.act(swarm, self, under_way, now_ns);
                let is_there = self.connected + self.failed >= self.plan.clients;
                if is_there || now_ns >= give_up_ns {
                    self.give_up(&ramp, swarm, now_ns);
                    self.outcome.measured_ns = now_ns - self.start_ns;
                    self.phase = Phase::Holding { until_ns: now_ns + self.hold_ns };
                    return Step::Until(now_ns);
                }
                self.phase = Phase::Coming(ramp);
                match step {
                    Step::Until(at_ns) => Step::Until(at_ns.min(give_up_ns)),
                    Step::Done => Step::Until(give_up_ns),
                }
            }
            Phase::Holding { until_ns } if now_ns < until_ns => {
                self.phase = Phase::Holding { until_ns };
                Step::Until(until_ns)
            }
            Phase::Holding { .. } => {
                let rate = (self.plan.clients as f64 / PING_SECONDS).max(1.0);
                let schedule = Schedule::new(now_ns, rate, self.plan.clients as u64);
                let patience_ns = nanos_of(PING_SECONDS + self.plan.patience_seconds);
                self.phase = Phase::Pinging { schedule, give_up_ns: now_ns + patience_ns };
                self.ping(swarm, now_ns)
            }
            pinging @ Phase::Pinging { .. } => {
                self.phase = pinging;
                self.ping(swarm, now_ns)
            }
        }
    }

    fn progress(&self, now_ns: u64) -> f64 {
        let coming = (self.connected + self.failed) as f64 / self.plan.clients.max(1) as f64;
        match &self.phase {
            Phase::Coming(_) => coming * 0.9,
            Phase::Holding { until_ns } => {
                let left_ns = until_ns.saturating_sub(now_ns) as f64;
                0.9 + 0.08 * (1.0 - left_ns / self.hold_ns.max(1) as f64)
            }
            Phase::Pinging { .. } => 0.98,
        }
    }

    fn finish(&mut self, swarm: &mut Swarm, now_ns: u64, is_stopped: bool) {
        if is_stopped {
            self.outcome.measured_ns = self.outcome.measured_ns.max(1);
            self.outcome.samples_expected = (self.connected + self.failed) as u64;
            return;
        }
        for asked_ns in self.asked_ns.iter().filter(|asked_ns| **asked_ns != 0) {
            self.outcome.record("ping", *asked_ns, now_ns);
            self.outcome.fail("a ping was not answered", 1);
        }
        let pongs = swarm.clients.iter().filter(|client| client.pongs > 0).count();
        self.outcome.add("pinged_by_the_server", pongs as u64);
        self.outcome.samples_expected = self.plan.clients as u64;
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
