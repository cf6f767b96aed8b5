//! `mixed`: like a chat. Clients in rooms send messages, type, read history, lose their connection
//! and come back with the position they had.
//!
//! Invariant: whatever was accepted in a room reaches each of its clients once, by delivery or by
//! recovery; what does not is an error at the end.

use super::super::client::{Client, Event};
use super::super::clock::{Schedule, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::{Mixed, Plan};
use super::super::swarm::Swarm;
use super::super::wire::{Mark, Wish};
use super::asked::Asked;
use super::echo::refusal;
use super::{Load, SENDS_PER_TURN, Step};
use protocol::client::client_side::{ReceivedReply, ReceivedSubscribe};
use protocol::client::{CommandKind, History};

#[derive(Clone, Debug, Default)]
struct Room {
    members: u64,
    published: u64,
    last_due_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// Where the room was when it answered the subscription: its epoch and offset.
    epoch: String,
    offset: u64,
    /// Publications heard since that answer: each is one offset further.
    heard_since: u64,
    /// Publications heard since the measurement began.
    heard: u64,
    /// It waits for the answer to a command: one at a time.
    is_busy: bool,
    /// That command is a publication.
    publishes: bool,
    /// When it lost its connection; zero: it has it.
    away_since_ns: u64,
}

/// What happens at a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Message,
    Typing,
    History,
    Reconnect,
}

/// See the module.
#[derive(Debug)]
pub(super) struct MixedLoad {
    plan: Plan,
    mixed: Mixed,
    outcome: Outcome,
    acts: Vec<(Act, Schedule)>,
    rooms: Vec<Room>,
    members: Vec<Member>,
    asked: Asked,
    random: u64,
    start_ns: u64,
    end_ns: u64,
    give_up_ns: u64,
    /// Deliveries that there must be, and those that were heard.
    expected: u64,
    heard: u64,
    away: usize,
}

const DELIVERY: &str = "delivery";
/// Publications that a look at a room's history asks for.
const HISTORY_LIMIT: i32 = 20;
/// How many clients are looked at to find one that is free.
const LOOKS: usize = 64;

impl MixedLoad {
    pub(super) fn new(plan: &Plan, mixed: &Mixed) -> Self {
        let mut rooms = vec![Room::default(); plan.clients.div_ceil(mixed.room_clients)];
        (0..plan.clients).for_each(|index| rooms[index / mixed.room_clients].members += 1);
        Self {
            plan: plan.clone(),
            mixed: mixed.clone(),
            outcome: Outcome::default(),
            acts: Vec::new(),
            rooms,
            members: vec![Member::default(); plan.clients],
            asked: Asked::new(plan.clients),
            random: 0x9e37_79b9_7f4a_7c15 ^ plan.process as u64,
            start_ns: 0,
            end_ns: 0,
            give_up_ns: 0,
            expected: 0,
            heard: 0,
            away: 0,
        }
    }

    fn room(&self, index: usize) -> usize {
        index / self.mixed.room_clients
    }

    fn name(&self, room: usize) -> String {
        format!("{}-{}-{room}", self.mixed.channel, self.plan.process)
    }

    /// A client that is there and waits for nothing, if one is soon found (xorshift64).
    fn somebody(&mut self, swarm: &Swarm) -> Option<usize> {
        for _ in 0..LOOKS {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let index = (self.random % self.plan.clients as u64) as usize;
            if swarm.clients[index].is_settled && !self.members[index].is_busy {
                return Some(index);
            }
        }
        None
    }

    fn do_one(&mut self, act: Act, swarm: &mut Swarm, due_ns: u64) {
        let Some(index) = self.somebody(swarm) else {
            self.outcome.fail("not done: nobody was free to do it", 1);
            return;
        };
        let room = self.room(index);
        match act {
            Act::Message => self.publish(swarm, index, self.mixed.bytes, due_ns),
            Act::Typing => self.publish(swarm, index, 0, due_ns),
            Act::History => {
                let channel = self.name(room);
                let limit = HISTORY_LIMIT;
                let history = History { channel: channel.into(), limit, ..History::default() };
                let id = self.ask(index, due_ns);
                swarm.with(index).command(id, CommandKind::History(history));
            }
            Act::Reconnect => {
                self.members[index].away_since_ns = due_ns;
                self.away += 1;
                swarm.clients[index].leave();
                swarm.open(index, due_ns, self);
            }
        }
    }

    fn ask(&mut self, index: usize, due_ns: u64) -> u32 {
        let member = &mut self.members[index];
        assert!(!member.is_busy, "only somebody who is free is asked");
        (member.is_busy, member.publishes) = (true, false);
        self.asked.ask(index, due_ns)
    }

    fn publish(&mut self, swarm: &mut Swarm, index: usize, bytes: usize, due_ns: u64) {
        let (room, id) = (self.room(index), self.ask(index, due_ns));
        self.members[index].publishes = true;
        self.rooms[room].published += 1;
        self.rooms[room].last_due_ns = due_ns;
        self.expected += self.rooms[room].members;
        let mark = Mark { due_ns, channel: room as u32, number: id };
        let name = self.name(room);
        swarm.with(index).publish(id, &name, &mark.payload(bytes));
        self.outcome.add("published", 1);
    }

    fn answered(&mut self, index: usize, id: u32, body: ReceivedReply, now_ns: u64) {
        let Some(due_ns) = self.asked.answered(index, id) else { return };
        let was_publication = std::mem::take(&mut self.members[index].publishes);
        self.members[index].is_busy = false;
        match body {
            ReceivedReply::Publish => self.outcome.record("acknowledged", due_ns, now_ns),
            ReceivedReply::History(history) => {
                self.outcome.record("history", due_ns, now_ns);
                self.outcome.add("read_from_history", history.publications.len() as u64);
            }
            body => {
                self.outcome.fail(&refusal(&body), 1);
                self.outcome.record("refused", due_ns, now_ns);
                if was_publication {
                    // Nobody is going to hear it.
                    let room = self.room(index);
                    self.rooms[room].published -= 1;
                    self.expected -= self.rooms[room].members;
                }
            }
        }
    }

    fn settled(&mut self, index: usize, answer: ReceivedSubscribe, now_ns: u64) {
        let member = &mut self.members[index];
        member.epoch = answer.epoch;
        member.offset = answer.offset;
        member.heard_since = 0;
        if member.away_since_ns == 0 {
            return;
        }
        let caught_up = answer.publications.len() as u64;
        member.heard += caught_up;
        let away_since_ns = std::mem::take(&mut member.away_since_ns);
        self.away -= 1;
        self.heard += caught_up;
        self.outcome.record("return", away_since_ns, now_ns);
        self.outcome.add("returned", 1);
        self.outcome.add("caught_up", caught_up);
        self.outcome.fail("not recovered", u64::from(!answer.recovered));
    }

    fn closed(&mut self, client: &Client, cause: &str, now_ns: u64) {
        self.outcome.fail(cause, 1);
        let unanswered = self.asked.forget(client.index).len() as u64;
        self.outcome.fail("not answered before the connection ended", unanswered);
        let member = &mut self.members[client.index];
        member.is_busy = false;
        // Whoever was on the way back stays away: an error that is not hidden by trying again.
        if member.away_since_ns == 0 && self.start_ns > 0 {
            member.away_since_ns = now_ns;
            self.away += 1;
        }
    }
}

impl Load for MixedLoad {
    fn wish(&self, index: usize) -> Option<Wish> {
        let member = &self.members[index];
        let offset = member.offset + member.heard_since;
        let since = (!member.epoch.is_empty()).then(|| (member.epoch.clone(), offset));
        Some(Wish { channel: self.name(self.room(index)), is_recoverable: true, since })
    }

    fn on(&mut self, client: &mut Client, event: Event, now_ns: u64) {
        match event {
            Event::Settled(Some(answer)) => self.settled(client.index, *answer, now_ns),
            Event::Settled(None) => {}
            Event::Delivery(mark) => {
                let member = &mut self.members[client.index];
                member.heard_since += 1;
                if mark.due_ns >= self.start_ns && self.start_ns > 0 {
                    member.heard += 1;
                    self.heard += 1;
                    self.outcome.add("delivered", 1);
                    self.outcome.record(DELIVERY, mark.due_ns, now_ns);
                }
            }
            Event::Reply { id, body } => self.answered(client.index, id, body, now_ns),
            Event::Closed(cause) => self.closed(client, &cause, now_ns),
        }
    }

    fn begin(&mut self, _: &mut Swarm, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns + nanos_of(self.mixed.seconds);
        self.give_up_ns = self.end_ns + nanos_of(self.plan.patience_seconds);
        let rates = [
            (Act::Message, self.mixed.messages_per_second),
            (Act::Typing, self.mixed.typing_per_second),
            (Act::History, self.mixed.history_per_second),
            (Act::Reconnect, self.mixed.reconnects_per_second),
        ];
        let schedule = |rate| Schedule::within(start_ns, self.plan.share(rate), self.mixed.seconds);
        self.acts = rates.into_iter().map(|(act, rate)| (act, schedule(rate))).collect();
    }

    fn act(&mut self, swarm: &mut Swarm, now_ns: u64) -> Step {
        let mut acts = std::mem::take(&mut self.acts);
        for (act, schedule) in &mut acts {
            for _ in 0..SENDS_PER_TURN {
                let Some((_, due_ns)) = schedule.take(now_ns) else { break };
                self.outcome.lateness.record(due_ns, now_ns);
                self.do_one(*act, swarm, due_ns);
            }
        }
        let next_ns = acts.iter().filter_map(|(_, schedule)| schedule.next_ns()).min();
        self.acts = acts;
        let is_all_heard = self.heard >= self.expected && self.asked.outstanding == 0;
        if now_ns >= self.give_up_ns || next_ns.is_none() && is_all_heard && self.away == 0 {
            return Step::Done;
        }
        Step::Until(next_ns.unwrap_or(self.give_up_ns))
    }

    fn progress(&self, now_ns: u64) -> f64 {
        let time_ns = (self.end_ns - self.start_ns).max(1) as f64;
        now_ns.saturating_sub(self.start_ns) as f64 / time_ns
    }

    fn finish(&mut self, _: &mut Swarm, now_ns: u64, is_stopped: bool) {
        let delivered = self.outcome.count("delivered");
        if is_stopped {
            self.outcome.samples_expected = delivered;
            return;
        }
        let mut missing = 0;
        for index in 0..self.plan.clients {
            let room = &self.rooms[self.room(index)];
            let heard = self.members[index].heard;
            for _ in heard..room.published {
                self.outcome.record(DELIVERY, room.last_due_ns, now_ns);
            }
            missing += room.published.saturating_sub(heard);
            self.outcome.fail("delivered twice", heard.saturating_sub(room.published));
        }
        self.outcome.fail("not delivered in time", missing);
        self.outcome.fail("not back in time", self.away as u64);
        let left: u64 = self.acts.iter().map(|(_, schedule)| schedule.left()).sum();
        self.outcome.samples_expected = delivered + missing + left;
        self.asked.settle(&mut self.outcome, "acknowledged", now_ns, false);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}
