//! `fanout`: publications, from when they were due until each subscriber has them.
//!
//! Client `k` of all publishes into channel `k`, to which it is subscribed like everybody else:
//! some servers let nobody else publish. At a rate, number `n` of all publications goes into
//! channel `n % channels`, so that each process knows what its clients must hear, whoever sends.

use std::collections::HashMap;

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
pub(super) struct Fanout {
    plan: Plan,
    load: ChannelLoad,
    outcome: Outcome,
    /// Publications that wait for their acknowledgement.
    asked: Asked,
    pacer: Pacer,
    /// Without a rate: when each publication was sent. Bounded by the time of the run.
    sent_ns: Vec<u64>,
    /// Without a rate: how many subscribers still wait for a publication.
    waiting: HashMap<u64, usize>,
    /// Number, within its channel, of what each client hears next.
    next: Vec<u32>,
    received: u64,
}

const DELIVERY: &str = "delivery";
const ACKNOWLEDGED: &str = "acknowledged";
const NOT_PUBLISHED: &str = "not published: its connection had ended";

impl Fanout {
    pub(super) fn new(plan: &Plan, load: &ChannelLoad) -> Self {
        let mut load = load.clone();
        let pacer = Pacer::of_all(load.pace);
        if pacer.depth().is_some() {
            // Only its own clients tell a process when a publication has arrived everywhere.
            load.channels = load.channels.min(plan.clients);
            load.channel = format!("{}-process-{}", load.channel, plan.process);
        }
        Self {
            plan: plan.clone(),
            load,
            outcome: Outcome::default(),
            asked: Asked::new(plan.clients),
            pacer,
            sent_ns: Vec::new(),
            waiting: HashMap::new(),
            next: vec![0; plan.clients],
            received: 0,
        }
    }

    /// The number of a client among all whose channels are the same as ours.
    fn number(&self, index: usize) -> usize {
        if self.pacer.depth().is_some() { index } else { self.plan.first + index }
    }

    /// The channel that a client is subscribed to.
    fn channel(&self, index: usize) -> usize {
        self.number(index) % self.load.channels
    }

    /// The client of this process that publishes into a channel, if it is one of ours.
    fn publisher(&self, channel: usize) -> Option<usize> {
        let first = self.number(0);
        (first..first + self.plan.clients).contains(&channel).then(|| channel - first)
    }

    /// How many publications go into a channel, as far as is known.
    fn published(&self, channel: usize) -> u64 {
        let all = match self.pacer.planned() {
            Some(planned) => planned,
            None => self.sent_ns.len() as u64,
        };
        (all + self.load.channels as u64 - 1 - channel as u64) / self.load.channels as u64
    }

    /// When a publication was due.
    fn due_ns(&self, number: u64) -> u64 {
        match self.sent_ns.get(number as usize) {
            Some(sent_ns) => *sent_ns,
            None => self.pacer.due_ns(number),
        }
    }

    fn expected(&self) -> u64 {
        (0..self.plan.clients).map(|index| self.published(self.channel(index))).sum()
    }

    fn publish(&mut self, client: &mut Client, number: u64, due_ns: u64) {
        let channel = number as usize % self.load.channels;
        let id = self.asked.ask(client.index, due_ns);
        let number = (number / self.load.channels as u64) as u32;
        let mark = Mark { due_ns, channel: channel as u32, number };
        client.publish(id, &self.load.name(channel), &mark.payload(self.load.bytes));
        self.outcome.add("published", 1);
    }

    /// Is the client there that publishes into a channel?
    fn present(&self, channel: usize, swarm: &Swarm) -> Option<usize> {
        self.publisher(channel).filter(|at| swarm.clients[*at].is_settled)
    }

    /// Without a rate: publishes until as many are on their way as may be. Whose publisher is gone
    /// fails in its turn, as at a rate, and the next channel goes on.
    fn fill(&mut self, swarm: &mut Swarm, now_ns: u64) {
        let Some(depth) = self.pacer.depth() else { return };
        let mut is_anybody_there = false;
        while self.waiting.len() < depth && now_ns < self.pacer.end_ns {
            let number = self.sent_ns.len() as u64;
            let channel = number as usize % self.load.channels;
            let Some(publisher) = self.present(channel, swarm) else {
                is_anybody_there = is_anybody_there
                    || (0..self.load.channels).any(|one| self.present(one, swarm).is_some());
                if !is_anybody_there {
                    return;
                }
                self.sent_ns.push(now_ns);
                self.outcome.fail(NOT_PUBLISHED, 1);
                continue;
            };
            let subscribers = (0..self.plan.clients)
                .filter(|index| self.channel(*index) == channel)
                .filter(|index| swarm.clients[*index].is_settled)
                .count();
            self.sent_ns.push(now_ns);
            self.waiting.insert(number, subscribers);
            self.publish(swarm.with(publisher), number, now_ns);
        }
    }

    fn delivered(&mut self, index: usize, mark: Mark, now_ns: u64) {
        let channel = self.channel(index);
        if mark.channel as usize != channel || mark.due_ns < self.pacer.start_ns() {
            self.outcome.fail("a publication of somebody else", 1);
            return;
        }
        let next = self.next[index];
        if mark.number < next {
            self.outcome.fail("delivered twice", 1);
            return;
        }
        for missing in next..mark.number {
            self.miss(channel, missing, now_ns, "a gap");
        }
        self.next[index] = mark.number + 1;
        self.received += 1;
        self.outcome.add("delivered", 1);
        self.outcome.record(DELIVERY, mark.due_ns, now_ns);
        self.heard(self.number_of(channel, mark.number));
    }

    fn number_of(&self, channel: usize, number: u32) -> u64 {
        u64::from(number) * self.load.channels as u64 + channel as u64
    }

    /// One subscriber fewer waits for a publication.
    fn heard(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(&number);
            }
        }
    }

    /// Something was not delivered: it took at least until now.
    fn miss(&mut self, channel: usize, number: u32, now_ns: u64, why: &str) {
        let number = self.number_of(channel, number);
        let due_ns = self.due_ns(number);
        self.received += 1;
        self.outcome.record(DELIVERY, due_ns, now_ns);
        self.outcome.fail(why, 1);
        self.heard(number);
    }
}

impl Load for Fanout {
    fn wish(&self, index: usize) -> Option<Wish> {
        let channel = self.load.name(self.channel(index));
        Some(Wish { channel, ..Wish::default() })
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(_) => {}
            Event::Delivery(mark) => self.delivered(client.index, mark, now_ns),
            Event::Reply { id, body } => {
                let Some(due_ns) = self.asked.answered(client.index, id) else { return };
                self.outcome.record(ACKNOWLEDGED, due_ns, now_ns);
                match body {
                    ReceivedReply::Publish => self.outcome.add(ACKNOWLEDGED, 1),
                    body => self.outcome.fail(&refusal(&body), 1),
                }
            }
            Event::Closed(cause) => {
                self.outcome.fail(&cause, 1);
                let unanswered = self.asked.forget(client.index).len() as u64;
                self.outcome.fail("not acknowledged before the connection ended", unanswered);
                // What it would have heard of those under way, it will not.
                let channel = self.channel(client.index);
                let under_way: Vec<u64> = self.waiting.keys().copied().collect();
                for number in under_way {
                    let is_missed = number as usize % self.load.channels == channel
                        && number / self.load.channels as u64 >= u64::from(self.next[client.index]);
                    if is_missed {
                        self.heard(number);
                    }
                }
            }
        }
    }

    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64) {
        self.pacer.begin(&self.plan, self.load.seconds, start_ns);
        self.fill(swarm, start_ns);
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        for (number, due_ns) in self.pacer.due(&mut self.outcome, now_ns) {
            let channel = number as usize % self.load.channels;
            let Some(publisher) = self.publisher(channel) else { continue };
            if swarm.clients[publisher].is_settled {
                self.publish(swarm.with(publisher), number, due_ns);
            } else {
                self.outcome.fail(NOT_PUBLISHED, 1);
            }
        }
        self.fill(swarm, now_ns);
        let missing = match self.pacer.depth() {
            Some(_) => self.waiting.len() as u64,
            None if now_ns < self.pacer.end_ns => 1,
            None => self.expected().saturating_sub(self.received),
        };
        self.pacer.step(missing + self.asked.outstanding, now_ns)
    }

    fn progress(&self, now_ns: u64) -> f64 {
        self.pacer.progress(now_ns)
    }

    fn finish(&mut self, _: &mut Swarm, now_ns: u64, is_stopped: bool) {
        if is_stopped {
            self.outcome.samples_expected = self.received;
            return;
        }
        for index in 0..self.plan.clients {
            let channel = self.channel(index);
            for number in u64::from(self.next[index])..self.published(channel) {
                self.miss(channel, number as u32, now_ns, "not delivered in time");
            }
        }
        // Publications that this process did not get to are samples that it lost.
        self.outcome.samples_expected = self.expected() + self.pacer.left();
        self.asked.settle(&mut self.outcome, ACKNOWLEDGED, now_ns, false);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
