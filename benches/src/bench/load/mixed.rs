//! `mixed`: like a chat. Clients in rooms send messages, type, read history, lose their connection
//! and come back with the position they had.
//!
//! Invariant: whatever was accepted in a room reaches each of its clients once, by delivery or by
//! recovery; what does not is an error at the end.

use std::collections::BTreeSet;

use super::super::client::{Client, Event};
use super::super::clock::{Schedule, nanos_of};
use super::super::outcome::Outcome;
use super::super::plan::{Mixed, Plan};
use super::super::swarm::Swarm;
use super::super::wire::{Mark, Wish};
use super::asked::Asked;
use super::echo::refusal;
use super::ramp::Gate;
use super::{Load, SENDS_PER_TURN, Step};
use protocol::client::client_side::{ReceivedReply, ReceivedSubscribe};
use protocol::client::{CommandKind, History};

#[derive(Clone, Debug, Default)]
struct Room {
    members: u64,
    /// When each publication was due; zero: it was refused. Bounded by the rates and the time of
    /// the run.
    due_ns: Vec<u64>,
}

/// Numbers that were heard. Clients of a room publish at the same time, so that numbers do not
/// arrive in order; those that are ahead of one that is missing are few, or an error.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// All below were heard.
    below: u32,
    ahead: BTreeSet<u32>,
}

impl Heard {
    /// False: it has been heard before.
    fn insert(&mut self, number: u32) -> bool {
        if number < self.below || !self.ahead.insert(number) {
            return false;
        }
        while self.ahead.remove(&self.below) {
            self.below += 1;
        }
        true
    }

    fn has(&self, number: u32) -> bool {
        number < self.below || self.ahead.contains(&number)
    }
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// Where the room was when it answered the subscription: its epoch and offset.
    epoch: String,
    offset: u64,
    /// Publications heard since that answer: each is one offset further.
    heard_since: u64,
    /// Publications heard since the measurement began.
    heard: Heard,
    /// It waits for the answer to a command: one at a time.
    is_busy: bool,
    /// That command is a publication: its number in the room.
    publishes: Option<u32>,
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
    /// Shut while nobody is free.
    gate: Gate,
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
            gate: Gate::default(),
        }
    }

    fn room(&self, index: usize) -> usize {
        index / self.mixed.room_clients
    }

    fn name(&self, room: usize) -> String {
        format!("{}-{}-{room}", self.mixed.channel, self.plan.process)
    }

    /// A client that is there and waits for nothing: by chance (xorshift64), or the first, if one
    /// is not soon found.
    fn somebody(&mut self, swarm: &Swarm) -> Option<usize> {
        for _ in 0..LOOKS {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let index = (self.random % self.plan.clients as u64) as usize;
            if self.is_free(swarm, index) {
                return Some(index);
            }
        }
        (0..self.plan.clients).find(|index| self.is_free(swarm, *index))
    }

    fn is_free(&self, swarm: &Swarm, index: usize) -> bool {
        swarm.clients[index].is_settled && !self.members[index].is_busy
    }

    /// Does what is due, as long as somebody is free to do it. True: nobody is, and what is due
    /// stays due.
    fn do_due(&mut self, acts: &mut [(Act, Schedule)], swarm: &mut Swarm, now_ns: u64) -> bool {
        for (act, schedule) in acts {
            for _ in 0..SENDS_PER_TURN {
                if schedule.next_ns().is_none_or(|due_ns| due_ns > now_ns) {
                    break;
                }
                let Some(index) = self.somebody(swarm) else { return true };
                self.gate.turn(true, now_ns);
                let Some((_, due_ns)) = schedule.take(now_ns) else { break };
                self.outcome.lateness.record(self.gate.late_from_ns(due_ns), now_ns);
                self.do_one(*act, swarm, index, due_ns);
            }
        }
        false
    }

    fn do_one(&mut self, act: Act, swarm: &mut Swarm, index: usize, due_ns: u64) {
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
        (member.is_busy, member.publishes) = (true, None);
        self.asked.ask(index, due_ns)
    }

    fn publish(&mut self, swarm: &mut Swarm, index: usize, bytes: usize, due_ns: u64) {
        let (room, id) = (self.room(index), self.ask(index, due_ns));
        let number = self.rooms[room].due_ns.len() as u32;
        self.members[index].publishes = Some(number);
        self.rooms[room].due_ns.push(due_ns);
        self.expected += self.rooms[room].members;
        let mark = Mark { due_ns, channel: room as u32, number };
        let name = self.name(room);
        swarm.with(index).publish(id, &name, &mark.payload(bytes));
        self.outcome.add("published", 1);
    }

    fn answered(&mut self, index: usize, id: u32, body: ReceivedReply, now_ns: u64) {
        let Some(due_ns) = self.asked.answered(index, id) else { return };
        let publication = self.members[index].publishes.take();
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
                if let Some(number) = publication {
                    // Nobody is going to hear it.
                    let room = self.room(index);
                    self.rooms[room].due_ns[number as usize] = 0;
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
        let away_since_ns = std::mem::take(&mut member.away_since_ns);
        self.away -= 1;
        let marks = answer.publications.iter().filter_map(|one| Mark::find(&one.data));
        let caught_up = marks.filter(|mark| self.hear(index, *mark, now_ns)).count() as u64;
        self.outcome.record("return", away_since_ns, now_ns);
        self.outcome.add("returned", 1);
        self.outcome.add("caught_up", caught_up);
        self.outcome.fail("not recovered", u64::from(!answer.recovered));
    }

    /// A publication arrived, live or by recovery. False: it is none that was waited for.
    fn hear(&mut self, index: usize, mark: Mark, now_ns: u64) -> bool {
        if self.start_ns == 0 || mark.due_ns < self.start_ns {
            return false;
        }
        let room = self.room(index);
        let is_ours = mark.channel as usize == room;
        if !is_ours || mark.number as usize >= self.rooms[room].due_ns.len() {
            self.outcome.fail("a publication of somebody else", 1);
            return false;
        }
        if !self.members[index].heard.insert(mark.number) {
            self.outcome.fail("delivered twice", 1);
            return false;
        }
        self.heard += 1;
        self.outcome.record(DELIVERY, mark.due_ns, now_ns);
        true
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
                self.members[client.index].heard_since += 1;
                if self.hear(client.index, mark, now_ns) {
                    self.outcome.add("delivered", 1);
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
        let is_held = self.do_due(&mut acts, swarm, now_ns);
        if is_held {
            self.gate.shut();
        }
        let next_ns = acts.iter().filter_map(|(_, schedule)| schedule.next_ns()).min();
        self.acts = acts;
        let is_all_heard = self.heard >= self.expected && self.asked.outstanding == 0;
        if now_ns >= self.give_up_ns || next_ns.is_none() && is_all_heard && self.away == 0 {
            return Step::Done;
        }
        // Whoever is held goes on when a client hears something.
        Step::Until(next_ns.filter(|_| !is_held).unwrap_or(self.give_up_ns))
    }

    fn progress(&self, now_ns: u64) -> f64 {
        let time_ns = (self.end_ns - self.start_ns).max(1) as f64;
        now_ns.saturating_sub(self.start_ns) as f64 / time_ns
    }

    fn finish(&mut self, _: &mut Swarm, now_ns: u64, is_stopped: bool) {
        // Also those that came by recovery.
        self.outcome.samples_expected = self.heard;
        if is_stopped {
            return;
        }
        let mut missing = 0;
        for (index, member) in self.members.iter().enumerate() {
            let dues = &self.rooms[index / self.mixed.room_clients].due_ns;
            for (number, due_ns) in dues.iter().enumerate() {
                if *due_ns != 0 && !member.heard.has(number as u32) {
                    self.outcome.record(DELIVERY, *due_ns, now_ns);
                    missing += 1;
                }
            }
        }
        self.outcome.fail("not delivered in time", missing);
        self.outcome.fail("not back in time", self.away as u64);
        let left: u64 = self.acts.iter().map(|(_, schedule)| schedule.left()).sum();
        self.outcome.samples_expected += missing;
        if self.gate.is_shut() {
            self.outcome.fail("not done in time: nobody was free to do it", left);
        } else {
            // The generator did not get there.
            self.outcome.samples_expected += left;
        }
        self.asked.settle(&mut self.outcome, "acknowledged", now_ns, false);
    }

    fn outcome(&mut self) -> &mut Outcome {
        &mut self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_heard_once_in_any_order() {
        let mut heard = Heard::default();
        assert!(heard.insert(1) && heard.insert(0) && heard.insert(3));
        assert!(!heard.insert(0) && !heard.insert(1) && !heard.insert(3));
        assert!(heard.has(1) && !heard.has(2) && heard.has(3));
        assert!(heard.insert(2));
        assert_eq!((heard.below, heard.ahead.len()), (4, 0));
    }
}
