//! `storm`: all clients are cut off at once, something is published into each room meanwhile, and
//! all come back at once with the positions they had.
//!
//! ```text
//!  Publishing ─all acknowledged─► Returning ─all are back, or time is up─► over
//!    one witness in each room stays and publishes; nobody is cut off who does
//! ```

use super::super::client::{Client, Event};
use super::super::clock::{SECOND_NS, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::Plan;
use super::super::swarm::Swarm;
use super::super::wire::{Mark, Wish};
use super::asked::Asked;
use super::echo::refusal;
use super::{Load, SENDS_PER_TURN, Step};
use protocol::client::client_side::{ReceivedReply, ReceivedSubscribe};

/// What the plan says of a storm.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) channel: String,
    pub(super) room_clients: usize,
    pub(super) missed: usize,
    pub(super) limit_seconds: f64,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// Where its room was when it last heard.
    position: Option<(String, u64)>,
    is_back: bool,
    /// When it may try again, if it was refused.
    again_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Gathering,
    Publishing,
    Returning { since_ns: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Storm {
    plan: Plan,
    settings: Settings,
    outcome: Outcome,
    members: Vec<Member>,
    asked: Asked,
    phase: Phase,
    start_ns: u64,
    give_up_ns: u64,
    /// Clients that wait for their turn to begin.
    waiting: Vec<usize>,
    back: usize,
}

const BACK: &str = "back";
/// Whoever is refused tries again after this time: SDKs wait between 0.5 and 20 seconds.
const AGAIN_NS: u64 = SECOND_NS / 2;

impl Storm {
    pub(super) fn new(plan: &Plan, settings: Settings) -> Self {
        let members = vec![Member::default(); plan.clients];
        Self {
            plan: plan.clone(),
            settings,
            outcome: Outcome::default(),
            members,
            asked: Asked::new(plan.clients),
            phase: Phase::Gathering,
            start_ns: 0,
            give_up_ns: 0,
            waiting: Vec::new(),
            back: 0,
        }
    }

    /// Rooms are a process' own, so that the witness of each is one of its clients.
    fn room(&self, index: usize) -> String {
        let number = index / self.settings.room_clients;
        format!("{}-{}-{number}", self.settings.channel, self.plan.process)
    }

    /// The first of a room stays and publishes.
    fn is_witness(&self, index: usize) -> bool {
        index.is_multiple_of(self.settings.room_clients)
    }

    fn returning(&self) -> usize {
        self.plan.clients - self.plan.clients.div_ceil(self.settings.room_clients)
    }

    fn settled(&mut self, client: &Client, answer: &ReceivedSubscribe, now_ns: u64) {
        let member = &mut self.members[client.index];
        if let (Phase::Returning { since_ns }, false) = (self.phase, member.is_back) {
            member.is_back = true;
            self.back += 1;
            self.outcome.record(BACK, since_ns, now_ns);
            self.outcome.add("back", 1);
            let caught_up = answer.publications.len() as u64;
            self.outcome.add("caught_up", caught_up);
            self.outcome.add("recovered", u64::from(answer.recovered));
            if !answer.recovered {
                self.outcome.fail("not recovered", 1);
            } else if caught_up != self.settings.missed as u64 {
                self.outcome.fail("a gap: fewer or more than was missed", 1);
            }
        }
        member.position = Some((answer.epoch.clone(), answer.offset));
    }

    /// Lets go of everybody but the witnesses, and has them publish.
    fn cut_off(&mut self, swarm: &mut Swarm, now_ns: u64) {
        for index in 0..self.plan.clients {
            if !self.is_witness(index) {
                swarm.clients[index].leave();
                continue;
            }
            for _ in 0..self.settings.missed {
                let id = self.asked.ask(index, now_ns);
                let mark = Mark { due_ns: now_ns, channel: index as u32, number: id };
                let room = self.room(index);
                swarm.with(index).publish(id, &room, &mark.payload(0));
            }
        }
        self.phase = Phase::Publishing;
    }

    fn call_back(&mut self, now_ns: u64) {
        self.phase = Phase::Returning { since_ns: now_ns };
        self.waiting = (0..self.plan.clients).filter(|index| !self.is_witness(*index)).collect();
        self.outcome.samples_expected = self.waiting.len() as u64;
        self.outcome.add("away_ms", (now_ns - self.start_ns) / 1_000_000);
    }

    /// Begins those that wait, so many in a turn.
    fn come(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        let mut later = Vec::new();
        let mut begun = 0;
        for index in std::mem::take(&mut self.waiting) {
            if begun == SENDS_PER_TURN || self.members[index].again_ns > now_ns {
                later.push(index);
                continue;
            }
            begun += 1;
            swarm.open(index, now_ns, self);
        }
        // Whoever was refused at once has been put there meanwhile.
        self.waiting.append(&mut later);
        if begun == SENDS_PER_TURN {
            return Step::Until(now_ns);
        }
        let next_ns = self.waiting.iter().map(|index| self.members[*index].again_ns).min();
        Step::Until(next_ns.unwrap_or(self.give_up_ns).min(self.give_up_ns))
    }
}

impl Load for Storm {
    fn wish(&self, index: usize) -> Option<Wish> {
        let since = self.members[index].position.clone();
        Some(Wish { channel: self.room(index), is_recoverable: true, since })
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(Some(answer)) => self.settled(client, &answer, now_ns),
            Event::Settled(None) | Event::Delivery(_) => {}
            Event::Reply { id, body } => {
                let Some(due_ns) = self.asked.answered(client.index, id) else { return };
                self.outcome.record("acknowledged", due_ns, now_ns);
                if body != ReceivedReply::Publish {
                    self.outcome.fail(&refusal(&body), 1);
                }
            }
            Event::Closed(cause) => {
                self.outcome.fail(&cause, 1);
                self.asked.forget(client.index);
                let member = &mut self.members[client.index];
                if matches!(self.phase, Phase::Returning { .. }) && !member.is_back {
                    member.again_ns = now_ns + AGAIN_NS;
                    self.waiting.push(client.index);
                    self.outcome.add("tried_again", 1);
                }
            }
        }
    }

    fn begin(&mut self, swarm: &mut Swarm, start_ns: u64) {
        self.start_ns = start_ns;
        self.give_up_ns = start_ns + nanos_of(self.settings.limit_seconds);
        self.cut_off(swarm, start_ns);
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        if now_ns >= self.give_up_ns {
            return Step::Done;
        }
        match self.phase {
            Phase::Publishing if self.asked.outstanding > 0 => Step::Until(self.give_up_ns),
            Phase::Gathering | Phase::Publishing => {
                self.call_back(now_ns);
                self.come(swarm, now_ns)
            }
            Phase::Returning { .. } if self.back == self.returning() => Step::Done,
            Phase::Returning { .. } => self.come(swarm, now_ns),
        }
    }

    fn progress(&self, _: u64) -> f64 {
        self.back as f64 / self.returning().max(1) as f64
    }

    fn finish(&mut self, _: &mut Swarm, now_ns: u64, is_stopped: bool) {
        let Phase::Returning { since_ns } = self.phase else {
            // Nobody was called back: the samples of this process are lost.
            self.outcome.samples_expected = if is_stopped { 0 } else { self.returning() as u64 };
            self.outcome.fail("the publications were not acknowledged", u64::from(!is_stopped));
            return;
        };
        let missing = (self.returning() - self.back) as u64;
        if is_stopped {
            self.outcome.samples_expected -= missing;
            return;
        }
        (0..missing).for_each(|_| self.outcome.record(BACK, since_ns, now_ns));
        self.outcome.fail("not back in time", missing);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
