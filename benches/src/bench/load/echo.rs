//! `echo`: a request and its answer, by each client on its own.

use super::super::client::{Client, Event};
use super::super::outcome::Outcome;
use super::super::plan::{Pace, Plan, Request};
use super::super::swarm::Swarm;
use super::super::wire::{Mark, Wish};
use super::asked::{Asked, Pacer};
use super::{Load, Step};
use protocol::client::CommandKind;
use protocol::client::client_side::ReceivedReply;

/// What is asked, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) request: Request,
    pub(super) channel: String,
    pub(super) bytes: usize,
    pub(super) pace: Pace,
    pub(super) seconds: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Echo {
    plan: Plan,
    settings: Settings,
    outcome: Outcome,
    asked: Asked,
    pacer: Pacer,
}

const ROUND_TRIP: &str = "round_trip";

impl Echo {
    pub(super) fn new(plan: &Plan, settings: Settings) -> Self {
        let pacer = Pacer::new(plan, settings.pace);
        let asked = Asked::new(plan.clients);
        Self { plan: plan.clone(), settings, outcome: Outcome::default(), asked, pacer }
    }

    fn channel(&self, index: usize) -> String {
        format!("{}-{}", self.settings.channel, self.plan.first + index)
    }

    fn ask(&mut self, client: &mut Client, due_ns: u64) {
        self.outcome.samples_expected += 1;
        self.outcome.add("asked", 1);
        let id = self.asked.ask(client.index, due_ns);
        match self.settings.request {
            Request::Ping => client.command(id, CommandKind::Ping),
            Request::Publish => {
                let mark = Mark { due_ns, channel: client.index as u32, number: id };
                let channel = self.channel(client.index);
                client.publish(id, &channel, &mark.payload(self.settings.bytes));
            }
        }
    }

    fn answered(&mut self, client: &mut Client, id: u32, now_ns: u64) {
        let Some(due_ns) = self.asked.answered(client.index, id) else { return };
        self.outcome.add("answered", 1);
        self.outcome.record(ROUND_TRIP, due_ns, now_ns);
        self.ask_again(client, now_ns);
    }

    fn ask_again(&mut self, client: &mut Client, now_ns: u64) {
        if self.pacer.depth().is_some() && now_ns < self.pacer.end_ns {
            self.ask(client, now_ns);
        }
    }
}

impl Load for Echo {
    fn wish(&self, index: usize) -> Option<Wish> {
        (self.settings.request == Request::Publish)
            .then(|| Wish { channel: self.channel(index), ..Wish::default() })
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => {}
            Event::Delivery(mark) => self.answered(client, mark.number, now_ns),
            Event::Reply { id, body: ReceivedReply::Ping } => self.answered(client, id, now_ns),
            // It was accepted; its delivery is what counts.
            Event::Reply { body: ReceivedReply::Publish, .. } => {}
            Event::Reply { id, body } => {
                self.outcome.fail(&refusal(&body), 1);
                if let Some(due_ns) = self.asked.answered(client.index, id) {
                    self.outcome.record(ROUND_TRIP, due_ns, now_ns);
                    self.ask_again(client, now_ns);
                }
            }
            Event::Closed(cause) => {
                self.outcome.fail(&cause, 1);
                for due_ns in self.asked.forget(client.index) {
                    self.outcome.record(ROUND_TRIP, due_ns, now_ns);
                    self.outcome.fail("not answered before the connection ended", 1);
                }
            }
        }
    }

    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64) {
        self.pacer.begin(&self.plan, self.settings.seconds, start_ns);
        for index in 0..self.plan.clients {
            for _ in 0..self.pacer.depth().unwrap_or(0) {
                self.ask(swarm.with(index), start_ns);
            }
        }
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        for (number, due_ns) in self.pacer.due(&mut self.outcome, now_ns) {
            let index = number as usize % self.plan.clients;
            if swarm.clients[index].is_settled {
                self.ask(swarm.with(index), due_ns);
            } else {
                self.outcome.fail("not asked: its connection had ended", 1);
            }
        }
        self.pacer.step(self.asked.outstanding, now_ns)
    }

    fn progress(&self, now_ns: u64) -> f64 {
        self.pacer.progress(now_ns)
    }

    fn finish(&mut self, _: &mut Swarm, now_ns: u64, is_stopped: bool) {
        self.outcome.measured_ns = now_ns - self.pacer.start_ns();
        if !is_stopped {
            // Samples that nobody got to take are lost.
            self.outcome.samples_expected += self.pacer.left();
        }
        self.asked.settle(&mut self.outcome, ROUND_TRIP, now_ns, is_stopped);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}

/// What kind of error a refusal is.
pub(super) fn refusal(body: &ReceivedReply) -> String {
    match body {
        ReceivedReply::Error(error) => format!("refused: {} {}", error.code, error.message),
        _ => "an answer to something else".to_owned(),
    }
}
