//! The end of every world: faults stop, and everything must become quiet and add up.
//!
//! Lost last messages, lost wakes and leaks are found here: while faults go on, much is forgiven.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::driver::Control;
use protocol::link::{Answer, Request};

use crate::client::Client;
use crate::ledger::Place;
use crate::world::World;

/// Time in which everybody comes back and catches up: longer than any timeout of the gateway.
const SETTLING: Duration = Duration::from_secs(20);
/// Time in which a ping is sent.
const PING_PASSES: Duration = Duration::from_millis(50);
/// Time for one publication to reach everybody.
const DELIVERY: Duration = Duration::from_secs(1);

impl World {
    /// Stops the faults and checks everything.
    pub(crate) fn become_quiet(&mut self) {
        self.calm_down();
        self.pass(SETTLING);
        self.check_clients();
        self.check_tops();
        self.check_presence();
        self.check_counters();
        self.check_delivery();
        self.check_log();
        self.ledger.borrow_mut().check_order();
        self.count_lanes();
        if self.random.chance(1, 3) {
            self.drain();
        } else {
            self.clients.iter_mut().for_each(Client::leave);
            self.pass(SETTLING);
        }
        self.check_nothing_is_left();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.clock.moment() + time;
        while self.clock.moment() < until && self.is_well() {
            self.step();
        }
    }

    fn violated(&self, what: impl FnOnce() -> String) {
        self.ledger.borrow_mut().violated(what);
    }

    /// Everybody is connected, was answered, and is where it wants to be.
    fn check_clients(&self) {
        for client in &self.clients {
            if let Some(trouble) = client.trouble() {
                self.violated(|| format!("at the end, {trouble}"));
            }
        }
    }

    fn answer(&mut self, channel: &str, request: Request) -> Option<Answer> {
        let answered = self.ask(channel, request);
        self.pass(DELIVERY);
        match answered.try_recv() {
            Ok(Ok(answer)) => Some(answer),
            other => {
                self.violated(|| format!("{channel}: the API was answered {other:?}"));
                None
            }
        }
    }

    /// Every subscriber of a channel with offsets is at its top.
    fn check_tops(&mut self) {
        let channels = self.ledger.borrow().channels.clone();
        for index in (0..channels.count()).filter(|&index| channels.at(index).has_history()) {
            let name = &channels.at(index).name;
            let request = Request::History(Box::default());
            let Some(Answer::History { position, .. }) = self.answer(name, request) else {
                return;
            };
            let top = Place { epoch: position.epoch.to_string(), offset: position.offset };
            for client in &self.clients {
                let found = client.subscriptions().find(|(channel, _)| *channel == index);
                let place = found.and_then(|(_, found)| found.place.clone());
                if place.as_ref().is_some_and(|place| *place != top) {
                    let who = client.name();
                    self.violated(|| format!("{name} is at {top:?}, {who} at {place:?}"));
                }
            }
        }
    }

    /// Who is present is who is subscribed, and whoever watched saw it so.
    fn check_presence(&mut self) {
        let channels = self.ledger.borrow().channels.clone();
        for index in (0..channels.count()).filter(|&index| channels.at(index).tells_joins()) {
            let name = &channels.at(index).name;
            let Some(Answer::Presence(members)) = self.answer(name, Request::Presence) else {
                return;
            };
            let present: BTreeSet<String> =
                members.iter().map(|member| member.client.to_string()).collect();
            let subscribed: BTreeSet<String> = self
                .clients
                .iter()
                .filter(|client| client.subscriptions().any(|(channel, _)| channel == index))
                .filter_map(Client::id)
                .collect();
            if present != subscribed {
                self.violated(|| format!("{name}: present {present:?}, subscribed {subscribed:?}"));
            }
            self.check_observers(index, &present);
        }
    }

    fn check_observers(&self, channel: usize, present: &BTreeSet<String>) {
        for observer in &self.clients {
            let found = observer.subscriptions().find(|(index, _)| *index == channel);
            let Some((_, seen)) = found else { continue };
            let who = observer.name();
            for (client, is_here) in &seen.members {
                if *is_here != present.contains(client) {
                    self.violated(|| format!("{who}: {client} is here: {is_here}, and is not so"));
                }
            }
            let missed = self.clients.iter().find(|other| {
                let theirs = other.subscriptions().find(|(index, _)| *index == channel);
                let came_later = theirs.is_some_and(|(_, one)| one.asked_at > seen.granted_at);
                let is_self = other.name() == who;
                (came_later || is_self)
                    && other.subscriptions().any(|(index, _)| index == channel)
                    && other.id().is_some_and(|id| !seen.members.contains_key(&id))
            });
            if let Some(missed) = missed {
                self.violated(|| format!("{who} did not see {} come", missed.name()));
            }
        }
    }

    /// Waits for a moment without a ping on its way.
    fn pass_pings(&mut self) {
        for _ in 0..10 {
            let shards = self.shards.iter();
            if shards.map(|shard| shard.pump.engine().counters().outbox_bytes).sum::<u64>() == 0 {
                return;
            }
            self.pass(PING_PASSES);
        }
    }

    /// What the engines count is what the clients account for.
    fn check_counters(&mut self) {
        self.pass_pings();
        let count = self.shards.len();
        let mut connections = vec![0_u64; count];
        let mut subscriptions = vec![0_u64; count];
        let mut channels: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
        let mut users: BTreeSet<String> = BTreeSet::new();
        for client in &self.clients {
            let Some(shard) = client.shard() else { continue };
            connections[shard] += 1;
            users.insert(client.user());
            for (channel, _) in client.subscriptions() {
                subscriptions[shard] += 1;
                channels[shard].insert(channel);
            }
        }
        let mut users_counted = 0;
        for index in 0..count {
            let counters = self.shards[index].pump.engine().counters();
            users_counted += counters.users;
            let pairs = [
                ("connections", counters.connections, connections[index]),
                ("sessions", counters.sessions_now, connections[index]),
                ("subscriptions", counters.subscriptions, subscriptions[index]),
                ("channels", counters.channels, channels[index].len() as u64),
                ("bytes in outboxes", counters.outbox_bytes, 0),
            ];
            for (what, counted, expected) in pairs {
                if counted != expected {
                    self.violated(|| format!("shard {index} has {counted} {what}, not {expected}"));
                }
            }
        }
        if users_counted != users.len() as u64 {
            self.violated(|| format!("{users_counted} users, not {}", users.len()));
        }
    }

    /// One publication in every channel reaches every subscriber.
    fn check_delivery(&mut self) {
        let count = self.ledger.borrow().channels.count();
        for channel in 0..count {
            let before = self.publications_seen(channel);
            self.publish(channel);
            self.pass(DELIVERY);
            let after = self.publications_seen(channel);
            if before.keys().any(|client| after.get(client) != Some(&(before[client] + 1))) {
                let name = self.ledger.borrow().channels.at(channel).name.clone();
                self.violated(|| format!("{name}: one publication, {before:?} became {after:?}"));
            }
        }
    }

    /// Everything durable is stored, and under keys acknowledged.
    fn check_log(&mut self) {
        for _ in 0..2 {
            self.ask_keyed_again();
            self.pass(DELIVERY);
        }
        self.ask_keyed_again();
        let count = self.keyed_count();
        if count > 0 {
            self.violated(|| format!("{count} publications under keys are not acknowledged"));
        }
        self.ledger.borrow_mut().check_store_follows();
    }

    fn publications_seen(&self, channel: usize) -> BTreeMap<String, u64> {
        let seen = self.clients.iter().flat_map(|client| {
            let name = client.name();
            let found = client.subscriptions().filter(move |(index, _)| *index == channel);
            found.map(move |(_, found)| (name.clone(), found.publications_count))
        });
        seen.collect()
    }

    fn count_lanes(&mut self) {
        let (answer, answered) = std::sync::mpsc::channel();
        for shard in &self.shards {
            let answer = answer.clone();
            let inspect = ringway::node::bus::RouterCall::Inspect(Box::new(move |counters| {
                let _ = answer.send(counters);
            }));
            shard.calls.send(inspect).expect("the inbox has room");
        }
        self.pass(DELIVERY);
        let mut ledger = self.ledger.borrow_mut();
        for counters in answered.try_iter().flatten() {
            ledger.faults.add("shard told to fetch what it missed", counters.lags);
            ledger.faults.add("lane refused a publication to a shard", counters.dropped);
        }
    }

    /// The node shuts down while everybody comes back, and must come to its end.
    fn drain(&mut self) {
        self.ledger.borrow_mut().faults.note("drained");
        self.ledger.borrow_mut().is_draining = true;
        let wait_us = self.random.within(0, 3000);
        self.clients.iter_mut().for_each(Client::restart);
        self.pass(Duration::from_micros(wait_us));
        for shard in &self.shards {
            let over = Duration::from_millis(700);
            shard.inbox.send(Control::Drain(over)).expect("the inbox has room");
        }
        self.pass(SETTLING);
        for (index, shard) in self.shards.iter().enumerate() {
            if !shard.pump.is_done() {
                self.violated(|| format!("shard {index} does not come to the end of its drain"));
            }
        }
    }

    /// When everybody is gone, nothing of them is left.
    fn check_nothing_is_left(&mut self) {
        let is_draining = self.ledger.borrow().is_draining;
        for index in 0..self.shards.len() {
            let counters = self.shards[index].pump.engine().counters();
            let sockets = self.shards[index].io().connections_count() as u64;
            let left = [
                ("connections", counters.connections),
                ("sessions", counters.sessions_now),
                ("subscriptions", counters.subscriptions),
                ("channels", counters.channels),
                // A shard that has ended hears of no leave any more.
                ("users", if is_draining { 0 } else { counters.users }),
                ("bytes in outboxes", counters.outbox_bytes),
                // An accept on its way ends with the ring.
                ("sockets", if is_draining { 0 } else { sockets }),
            ];
            for (what, count) in left.into_iter().filter(|(_, count)| *count > 0) {
                self.violated(|| format!("all have left, and shard {index} has {count} {what}"));
            }
        }
    }
}
