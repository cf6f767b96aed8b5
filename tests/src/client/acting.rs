//! What a client does of its own accord: useful things, and harm.

use std::time::Duration;

use protocol::client::{
    CommandKind, History, Presence, PresenceStats, Publish, Rpc, Subscribe, Unsubscribe,
};
use protocol::websocket::Opcode;
use protocol::websocket::client::{ClientFrame, encode_masked_frame};

use super::subscription::{State, Subscription};
use super::{Asked, Client, Stage};

/// Commands that wait for their answers at once.
const PENDING_MAX: usize = 40;
/// From this on, few publications fill a message.
const HEAVY_BYTES: usize = 5000;

impl Client {
    /// Its subscriptions, by channel, if it has a session.
    pub fn subscriptions(&self) -> impl Iterator<Item = (usize, &Subscription)> {
        let session = self.session.iter();
        session.flat_map(|session| session.subscriptions.iter().map(|(at, one)| (*at, one)))
    }

    /// A channel that it wants and has not asked for.
    pub(super) fn missing(&self) -> Option<usize> {
        let session = self.session.as_ref()?;
        let asks = session.subscriptions.values().any(|one| one.state != State::Live);
        if asks && self.ledger.borrow().is_calm {
            return None;
        }
        self.wanted.iter().copied().find(|channel| !session.subscriptions.contains_key(channel))
    }

    /// When everything shall become quiet: asks for what it wants, one at a time.
    pub(super) fn settle(&mut self) {
        if self.session.as_ref().is_some_and(|session| session.stage == Stage::Connected)
            && let Some(channel) = self.missing()
        {
            self.subscribe(channel);
        }
    }

    pub(super) fn act(&mut self) {
        let Some(session) = &self.session else { return };
        if self.random.chance(1, 150) {
            return self.harm();
        }
        if session.stage != Stage::Connected || session.pending.len() >= PENDING_MAX {
            return;
        }
        if let Some(channel) = self.missing()
            && self.random.chance(2, 3)
        {
            return self.subscribe(channel);
        }
        let shared_count = self.ledger.borrow().channels.shared_count();
        let channel = self.random.below(shared_count);
        match self.random.below(40) {
            0..=17 => self.publish_some(channel),
            18..=19 => self.pause(),
            20 => self.unsubscribe(channel),
            21 => drop(self.wanted.insert(channel)),
            22..=23 => self.query(channel),
            24 => self.ask(vec![(CommandKind::Ping, Asked::Ping)]),
            25 => {
                let rpc = Rpc { data: b"{}", method: "nothing".into() };
                self.ask(vec![(CommandKind::Rpc(rpc), Asked::Rpc)]);
            }
            26 => self.subscribe_and_leave(channel),
            _ => {}
        }
    }

    pub(super) fn channel_name(&self, channel: usize) -> String {
        self.ledger.borrow().channels.at(channel).name.clone()
    }

    fn subscribe(&mut self, channel: usize) {
        let (kind, asked) = self.subscribe_command(channel);
        self.ask(vec![(kind, asked)]);
    }

    fn subscribe_command(&mut self, channel: usize) -> (CommandKind<'static>, Asked) {
        let has_history = self.ledger.borrow().channels.at(channel).has_history();
        let since = self.places.get(&channel).filter(|_| has_history).cloned();
        let subscribe = Subscribe {
            channel: self.channel_name(channel).into(),
            recover: since.is_some(),
            epoch: since.as_ref().map(|place| place.epoch.clone()).unwrap_or_default().into(),
            offset: since.as_ref().map_or(0, |place| place.offset),
            ..Subscribe::default()
        };
        let now = self.clock.moment();
        if let Some(session) = &mut self.session {
            session.subscriptions.insert(channel, Subscription::asked(now));
        }
        (CommandKind::Subscribe(subscribe), Asked::Subscribe { channel, since })
    }

    fn unsubscribe_command(&mut self, channel: usize) -> (CommandKind<'static>, Asked) {
        let unsubscribe = Unsubscribe { channel: self.channel_name(channel).into() };
        self.wanted.remove(&channel);
        let session = self.session.as_mut();
        if let Some(found) = session.and_then(|one| one.subscriptions.get_mut(&channel)) {
            found.state = State::Leaving;
        }
        (CommandKind::Unsubscribe(unsubscribe), Asked::Unsubscribe { channel })
    }

    fn unsubscribe(&mut self, channel: usize) {
        let session = self.session.as_ref();
        let found = session.and_then(|session| session.subscriptions.get(&channel));
        if found.is_some_and(|found| found.state == State::Live) {
            let command = self.unsubscribe_command(channel);
            self.ask(vec![command]);
        }
    }

    /// Changes its mind before it is answered.
    fn subscribe_and_leave(&mut self, channel: usize) {
        let session = self.session.as_ref();
        if session.is_some_and(|session| session.subscriptions.contains_key(&channel)) {
            return;
        }
        let begin = self.subscribe_command(channel);
        let end = self.unsubscribe_command(channel);
        self.ask(vec![begin, end]);
    }

    fn publish_some(&mut self, channel: usize) {
        let is_burst = self.options.payload_bytes_max < HEAVY_BYTES && self.random.chance(1, 10);
        let count = if is_burst { 12 } else { 1 + self.random.below(3) };
        let payloads: Vec<_> = (0..count).map(|_| self.issue(channel)).collect();
        let name = self.channel_name(channel);
        let commands = payloads.iter().map(|(number, payload)| {
            let publish =
                Publish { channel: name.as_str().into(), data: payload, publication_type: 0 };
            (CommandKind::Publish(publish), Asked::Publish { number: *number })
        });
        self.ask(commands.collect());
    }

    fn issue(&mut self, channel: usize) -> (usize, Vec<u8>) {
        let bytes_max = self.options.payload_bytes_max;
        let heavy_of_60 = if bytes_max >= HEAVY_BYTES { 20 } else { 1 };
        let bytes_count = match self.random.below(60) {
            chosen if chosen < heavy_of_60 => self.random.below(bytes_max),
            chosen if chosen < 2 * heavy_of_60 => self.random.below(bytes_max / 4),
            _ => self.random.below(bytes_max.min(60)),
        };
        let number = self.session.as_ref().map_or(0, |session| session.number);
        self.ledger.borrow_mut().issue(channel, number, bytes_count)
    }

    fn query(&mut self, channel: usize) {
        let name = self.channel_name(channel);
        let options = self.ledger.borrow().channels.at(channel).options.clone();
        let command = match self.random.below(3) {
            0 if options.presence => {
                let presence = Presence { channel: name.into() };
                (CommandKind::Presence(presence), Asked::Presence)
            }
            1 if options.presence => {
                let stats = PresenceStats { channel: name.into() };
                (CommandKind::PresenceStats(stats), Asked::Stats)
            }
            _ if options.has_history() => {
                let limit = self.random.below(60) as i32 - 1;
                let history = History { channel: name.into(), limit, ..History::default() };
                (CommandKind::History(history), Asked::History { channel })
            }
            _ => (CommandKind::Ping, Asked::Ping),
        };
        self.ask(vec![command]);
    }

    /// Reads nothing for a while.
    fn pause(&mut self) {
        let long = self.random.chance(1, 5);
        let longest_ms = if long { 14_000 } else { 800 };
        let pause = Duration::from_millis(self.random.within(10, longest_ms));
        let until = self.clock.moment() + pause;
        if let Some(session) = &mut self.session {
            session.paused_until = until;
            self.ledger.borrow().tell(|| format!("somebody pauses until {until:?}"));
            self.ledger.borrow_mut().faults.note("client paused");
        }
    }

    fn harm(&mut self) {
        let kind = self.random.below(5);
        let Some(session) = &mut self.session else { return };
        let socket = session.socket;
        match kind {
            0 => {
                self.ledger.borrow_mut().faults.note("connection reset");
                self.network.borrow_mut().reset(socket);
                self.lose();
            }
            1 => {
                self.network.borrow_mut().close(socket);
                self.lose();
            }
            2 if session.stage == Stage::Connected => self.cut_in_a_frame(),
            3 if session.stage == Stage::Connected => {
                session.stage = Stage::Closing;
                self.ledger.borrow_mut().faults.note("half close");
                self.network.borrow_mut().shutdown_write(socket);
            }
            4 if session.stage == Stage::Connected => {
                session.stage = Stage::Closing;
                self.ledger.borrow_mut().faults.note("client closed by a close frame");
                let payload = 1000_u16.to_be_bytes();
                let frame = ClientFrame::whole(Opcode::Close, [9, 8, 7, 6], &payload);
                let mut bytes = Vec::new();
                encode_masked_frame(&frame, &mut bytes);
                self.network.borrow_mut().write(socket, &bytes);
            }
            _ => {}
        }
    }

    /// Writes a part of a message and is gone.
    fn cut_in_a_frame(&mut self) {
        let channel = self.random.below(self.ledger.borrow().channels.shared_count());
        let (number, payload) = self.issue(channel);
        let name = self.channel_name(channel);
        let publish = Publish { channel: name.into(), data: &payload, publication_type: 0 };
        let bytes = self.frame(vec![(CommandKind::Publish(publish), Asked::Publish { number })]);
        let Some(session) = &self.session else { return };
        let cut = self.random.below(bytes.len());
        self.ledger.borrow_mut().faults.note("connection cut in the middle of a frame");
        let mut network = self.network.borrow_mut();
        network.write(session.socket, &bytes[..cut]);
        if self.random.chance(1, 2) {
            network.reset(session.socket);
        } else {
            network.close(session.socket);
        }
        drop(network);
        self.lose();
    }
}
