//! `publish`: publications that are acknowledged; durable ones once they are on disk.

use super::super::client::{Client, Event};
use super::super::outcome::Outcome;
use super::super::plan::{ChannelLoad, Plan};
use super::super::swarm::Swarm;
use super::super::wire::{Mark, Wish};
use super::asked::{Asked, Pacer};
use super::echo::refusal;
use super::{Load, Step};
use protocol::client::client_side::ReceivedReply;

/// See the module.
#[derive(Debug)]
pub(super) struct Publish {
    plan: Plan,
    load: ChannelLoad,
    outcome: Outcome,
    asked: Asked,
    pacer: Pacer,
}

const ACKNOWLEDGED: &str = "acknowledged";

impl Publish {
    pub(super) fn new(plan: &Plan, load: &ChannelLoad) -> Self {
        Self {
            plan: plan.clone(),
            load: load.clone(),
            outcome: Outcome::default(),
            asked: Asked::new(plan.clients),
            pacer: Pacer::new(plan, load.pace),
        }
    }

    fn publish(&mut self, client: &mut Client, due_ns: u64) {
        self.outcome.samples_expected += 1;
        self.outcome.add("published", 1);
        let id = self.asked.ask(client.index, due_ns);
        let channel = self.load.number_of(self.plan.first + client.index);
        let mark = Mark { due_ns, channel: channel as u32, number: id };
        client.publish(id, &self.load.name(channel), &mark.payload(self.load.bytes));
    }
}

impl ChannelLoad {
    /// The channel of a client.
    pub(super) fn number_of(&self, client: usize) -> usize {
        client % self.channels
    }

    /// Its name.
    pub(super) fn name(&self, number: usize) -> String {
        match self.channels {
            1 => self.channel.clone(),
            _ => format!("{}-{number}", self.channel),
        }
    }
}

impl Load for Publish {
    fn wish(&self, index: usize) -> Option<Wish> {
        let channel = self.load.name(self.load.number_of(self.plan.first + index));
        self.load.publisher_subscribes.then(|| Wish { channel, ..Wish::default() })
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => {}
            Event::Delivery(_) => self.outcome.add("delivered", 1),
            Event::Reply { id, body } => {
                let Some(due_ns) = self.asked.answered(client.index, id) else { return };
                self.outcome.record(ACKNOWLEDGED, due_ns, now_ns);
                match body {
                    ReceivedReply::Publish => self.outcome.add(ACKNOWLEDGED, 1),
                    body => self.outcome.fail(&refusal(&body), 1),
                }
                if self.pacer.depth().is_some() && now_ns < self.pacer.end_ns {
                    self.publish(client, now_ns);
                }
            }
            Event::Closed(cause) => {
                self.outcome.fail(&cause, 1);
                for due_ns in self.asked.forget(client.index) {
                    self.outcome.record(ACKNOWLEDGED, due_ns, now_ns);
                    self.outcome.fail("not acknowledged before the connection ended", 1);
                }
            }
        }
    }

    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64) {
        self.pacer.begin(&self.plan, self.load.seconds, start_ns);
        for index in 0..self.plan.clients {
            for _ in 0..self.pacer.depth().unwrap_or(0) {
                self.publish(swarm.with(index), start_ns);
            }
        }
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        for (number, due_ns) in self.pacer.due(&mut self.outcome, now_ns) {
            let index = number as usize % self.plan.clients;
            if swarm.clients[index].is_settled {
                self.publish(swarm.with(index), due_ns);
            } else {
                self.outcome.fail("not published: its connection had ended", 1);
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
            self.outcome.samples_expected += self.pacer.left();
        }
        self.asked.settle(&mut self.outcome, ACKNOWLEDGED, now_ns, is_stopped);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
