//! A simulated client: connects, asks, publishes, reads slowly, goes away, comes back and recovers.
//!
//! Owns: one connection at a time, and what the client remembers from one to the next.
//! Never: looks into the server; everything it knows it was told.

mod acting;
mod hearing;
mod subscription;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use protocol::client::client_side::{decode_replies, encode_commands};
use protocol::client::{Command, CommandKind, Connect, Format, Subscribe};
use protocol::time::Moment;
use protocol::websocket::client::{ClientFrame, ServerFrames, encode_masked_frame};
use protocol::websocket::{Opcode, encode_close};

use crate::clock::SimClock;
use crate::ledger::{Ledger, Place};
use crate::network::{Read, SharedNetwork, SocketId};
use crate::random::Random;
pub use subscription::Subscription;

/// What a client is made of.
pub struct ClientOptions {
    /// Its number.
    pub index: usize,
    /// The number of its user; several clients may have one user.
    pub user: usize,
    /// How it talks.
    pub format: Format,
    /// Shards it may land on.
    pub shards_count: usize,
    /// Bytes that a shard's kernel holds for it.
    pub pipe_bytes: usize,
    /// The largest payloads that it publishes.
    pub payload_bytes_max: usize,
    /// The longest it thinks before it does something.
    pub think_max: Duration,
}

/// One client.
pub struct Client {
    pub(crate) options: ClientOptions,
    pub(crate) random: Random,
    pub(crate) clock: SimClock,
    pub(crate) network: SharedNetwork,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    /// Shared channels that it wants to be in.
    pub(crate) wanted: BTreeSet<usize>,
    /// Where it was last, in channels that can be recovered.
    pub(crate) places: BTreeMap<usize, Place>,
    pub(crate) session: Option<Session>,
    /// Where it waited in vain the last time.
    full_shard: Option<usize>,
    back_at: Moment,
    next_at: Moment,
    /// Comes never again.
    is_leaving: bool,
}

/// What a command asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Connect,
    Subscribe { channel: usize, since: Option<Place> },
    Unsubscribe { channel: usize },
    Publish { number: usize },
    Presence,
    Stats,
    History { channel: usize },
    Ping,
    Rpc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Handshake,
    Connecting,
    Connected,
    /// A close frame was sent, or half of the connection was closed.
    Closing,
}

/// One connection.
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) shard: usize,
    pub(crate) socket: SocketId,
    pub(crate) stage: Stage,
    head: Vec<u8>,
    frames: ServerFrames,
    commands_count: u32,
    pub(crate) pending: BTreeMap<u32, Asked>,
    pub(crate) subscriptions: BTreeMap<usize, Subscription>,
    pub(crate) client_id: String,
    paused_until: Moment,
    /// When it stops waiting for the upgrade: where no place is free, it waits in a backlog.
    upgraded_by: Moment,
    is_mute: bool,
}

/// How long a client waits for its upgrade before it tries again, with another shard.
const PATIENCE: Duration = Duration::from_secs(1);

const REQUEST_END: &[u8] = b"\r\n\r\n";

impl Client {
    /// A client that connects soon.
    pub fn new(
        options: ClientOptions,
        mut random: Random,
        clock: SimClock,
        network: SharedNetwork,
        ledger: Rc<RefCell<Ledger>>,
    ) -> Self {
        let shared_count = ledger.borrow().channels.shared_count();
        let wanted = (0..shared_count).filter(|_| random.chance(1, 3)).collect();
        let back_at = clock.moment() + Duration::from_millis(random.within(0, 50));
        Self {
            options,
            random,
            clock,
            network,
            ledger,
            wanted,
            places: BTreeMap::new(),
            session: None,
            full_shard: None,
            back_at,
            next_at: back_at,
            is_leaving: false,
        }
    }

    /// Its user's name, which is also its token.
    pub fn user(&self) -> String {
        format!("u{}", self.options.user)
    }

    /// When it does something next.
    pub fn due_at(&self) -> Option<Moment> {
        let Some(session) = &self.session else {
            return (!self.is_leaving).then_some(self.back_at);
        };
        if !self.ledger.borrow().is_calm {
            return Some(self.next_at);
        }
        let is_readable = self.network.borrow().is_readable(session.socket);
        let has_more_to_ask = session.stage == Stage::Connected && self.missing().is_some();
        let now = self.clock.moment();
        let patience_ends = (session.stage == Stage::Handshake).then_some(session.upgraded_by);
        (is_readable || has_more_to_ask).then_some(now).or(patience_ends)
    }

    /// Its turn.
    pub fn step(&mut self) {
        let now = self.clock.moment();
        let think_ns = self.options.think_max.as_nanos() as u64;
        self.next_at = now + Duration::from_nanos(self.random.within(0, think_ns));
        if self.session.is_none() {
            if !self.is_leaving && now >= self.back_at {
                self.connect();
            }
            return;
        }
        self.read();
        self.lose_patience(now);
        if self.ledger.borrow().is_calm {
            self.settle();
        } else {
            self.act();
        }
    }

    fn lose_patience(&mut self, now: Moment) {
        let waits = |session: &&Session| session.stage == Stage::Handshake;
        if let Some(session) = self.session.as_ref().filter(waits)
            && now >= session.upgraded_by
        {
            self.full_shard = Some(session.shard);
            self.network.borrow_mut().reset(session.socket);
            self.lose();
        }
    }

    /// Its name in reports.
    pub fn name(&self) -> String {
        format!("client {}", self.options.index)
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        self.ledger.borrow().tell(|| format!("{} {}", self.name(), what()));
    }

    /// Its id, if it has a session.
    pub fn id(&self) -> Option<String> {
        self.session.as_ref().map(|session| session.client_id.clone())
    }

    /// The shard that holds its connection.
    pub fn shard(&self) -> Option<usize> {
        self.session.as_ref().map(|session| session.shard)
    }

    /// What is not as it should be when everything is quiet.
    pub fn trouble(&self) -> Option<String> {
        let name = self.name();
        let Some(session) = &self.session else { return Some(format!("{name} is away")) };
        if session.stage != Stage::Connected {
            return Some(format!("{name} is {:?}", session.stage));
        }
        if let Some((id, asked)) = session.pending.first_key_value() {
            return Some(format!("{name} waits for the answer to {id}: {asked:?}"));
        }
        if let Some(channel) = self.missing() {
            return Some(format!("{name} is not in {}", self.channel_name(channel)));
        }
        let is_live = |one: &Subscription| one.state == subscription::State::Live;
        let dead = session.subscriptions.iter().find(|(_, one)| !is_live(one));
        dead.map(|(channel, one)| format!("{name} is {:?} in {channel}", one.state))
    }

    /// Loses its connection and comes back at once, like everybody after a cut of the network.
    pub fn restart(&mut self) {
        if let Some(session) = &self.session {
            self.network.borrow_mut().reset(session.socket);
            self.ledger.borrow_mut().faults.note("connection reset");
            self.lose();
            self.back_at = self.clock.moment();
        }
    }

    /// Reads everything from now on.
    pub fn calm_down(&mut self) {
        if let Some(session) = &mut self.session {
            session.paused_until = Moment::ZERO;
        }
    }

    /// Goes and never comes back.
    pub fn leave(&mut self) {
        self.is_leaving = true;
        if let Some(session) = self.session.take() {
            let mut network = self.network.borrow_mut();
            match self.random.below(3) {
                0 => network.reset(session.socket),
                1 => network.close(session.socket),
                _ => {
                    let mut payload = Vec::new();
                    encode_close(1000, "", &mut payload);
                    let frame = ClientFrame::whole(Opcode::Close, [1, 2, 3, 4], &payload[2..]);
                    let mut bytes = Vec::new();
                    encode_masked_frame(&frame, &mut bytes);
                    network.write(session.socket, &bytes);
                    network.close(session.socket);
                }
            }
        }
    }

    fn connect(&mut self) {
        let mut shard = self.random.below(self.options.shards_count);
        if self.full_shard.take() == Some(shard) {
            shard = (shard + 1) % self.options.shards_count;
        }
        let socket = self.network.borrow_mut().connect(shard, self.options.pipe_bytes);
        let number = self.ledger.borrow_mut().begin_session();
        self.tell(|| format!("connects to shard {shard} as session {number}"));
        let is_calm = self.ledger.borrow().is_calm;
        self.session = Some(Session {
            number,
            shard,
            socket,
            stage: Stage::Handshake,
            head: Vec::new(),
            frames: ServerFrames::new(),
            commands_count: 0,
            pending: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            client_id: String::new(),
            paused_until: Moment::ZERO,
            upgraded_by: self.clock.moment() + PATIENCE,
            is_mute: !is_calm && self.random.chance(1, 6),
        });
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: world\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
            self.options.format.subprotocol()
        );
        self.network.borrow_mut().write(socket, request.as_bytes());
    }

    /// The connection is over for the client; it comes back after a while.
    pub(crate) fn lose(&mut self) {
        self.tell(|| "is away".to_owned());
        self.session = None;
        let wait_ms = self.random.within(20, 600);
        self.back_at = self.clock.moment() + Duration::from_millis(wait_ms);
    }

    fn read(&mut self) {
        let now = self.clock.moment();
        let is_calm = self.ledger.borrow().is_calm;
        while let Some(session) = &mut self.session {
            if session.paused_until > now {
                return;
            }
            let is_sip = !is_calm && self.random.chance(1, 4);
            let bytes_max = if is_sip { 1 + self.random.below(200) } else { 64 << 10 };
            let read = self.network.borrow_mut().read(session.socket, bytes_max);
            match read {
                Read::Bytes(bytes) => self.take(&bytes),
                Read::Nothing => return,
                Read::Ended(_) => return self.ended(),
            }
            if is_sip {
                return;
            }
        }
    }

    /// The server ended the connection without a close frame.
    fn ended(&mut self) {
        if let Some(session) = self.session.take() {
            self.network.borrow_mut().close(session.socket);
        }
        self.lose();
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(session) = &mut self.session else { return };
        if session.stage != Stage::Handshake {
            return self.take_frames(bytes);
        }
        session.head.extend_from_slice(bytes);
        let end = session.head.windows(4).position(|window| window == REQUEST_END);
        let Some(end) = end else { return };
        let head = std::mem::take(&mut session.head);
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let line = String::from_utf8_lossy(&head[..head.len().min(60)]).into_owned();
            self.ledger.borrow_mut().violated(|| format!("the upgrade was answered {line:?}"));
            return;
        }
        session.stage = Stage::Connecting;
        self.ask_connect();
        self.take_frames(&head[end + REQUEST_END.len()..]);
    }

    fn take_frames(&mut self, mut bytes: &[u8]) {
        let Some(session) = &mut self.session else { return };
        let mut frames = std::mem::take(&mut session.frames);
        loop {
            match frames.next(&mut bytes) {
                Ok(Some(frame)) => {
                    let (opcode, payload) = (frame.opcode, frame.payload.to_vec());
                    self.take_frame(opcode, &payload);
                    if self.session.is_none() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(violation) => {
                    let text = format!("the server broke framing: {violation:?}");
                    return self.ledger.borrow_mut().violated(|| text);
                }
            }
        }
        if let Some(session) = &mut self.session {
            session.frames = frames;
        }
    }

    fn take_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let expected = match self.options.format {
            Format::Json => Opcode::Text,
            Format::Protobuf => Opcode::Binary,
        };
        match opcode {
            Opcode::Close => self.closed(payload),
            Opcode::Pong => {}
            _ if opcode == expected => match decode_replies(self.options.format, payload) {
                Ok(entries) => {
                    for entry in entries {
                        self.hear(entry);
                    }
                }
                Err(_) => {
                    let text = String::from_utf8_lossy(&payload[..payload.len().min(99)]);
                    let text = format!("a message that is none: {text}");
                    self.ledger.borrow_mut().violated(|| text);
                }
            },
            other => self.ledger.borrow_mut().violated(|| format!("a frame of {other:?}")),
        }
    }

    /// The server said why it closes.
    fn closed(&mut self, payload: &[u8]) {
        let Some(session) = self.session.take() else { return };
        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        self.judge_close(&session, code);
        self.network.borrow_mut().close(session.socket);
        self.lose();
    }

    fn judge_close(&mut self, session: &Session, code: Option<u16>) {
        let user = self.user();
        self.tell(|| format!("is closed with {code:?}"));
        let mut ledger = self.ledger.borrow_mut();
        let is_expected = match code {
            None | Some(1000) => session.stage == Stage::Closing,
            // Slow, its state lost, or no pong: it may read so slowly that it meets the ping too
            // late.
            Some(3008 | 3010 | 3012) => ledger.is_rough(),
            Some(3001) => ledger.is_draining,
            Some(3011) => ledger.forced.contains(&user),
            Some(_) => false,
        };
        match code {
            Some(3008) => ledger.faults.note("client closed as slow"),
            Some(3010) => ledger.faults.note("subscription ended for lost state"),
            Some(3011) => ledger.faults.note("closed by the API"),
            Some(3012) => ledger.faults.note("ping not answered"),
            _ => {}
        }
        if !is_expected {
            let (index, stage) = (self.options.index, session.stage);
            ledger.violated(|| format!("client {index} was closed with {code:?} in {stage:?}"));
        }
    }

    fn ask_connect(&mut self) {
        let user = self.user();
        let personal = self.personal();
        let place = self.places.get(&personal).cloned();
        let name = self.ledger.borrow().channels.at(personal).name.clone();
        let mut connect = Connect { token: user.into(), ..Connect::default() };
        if let Some(place) = place {
            let since = Subscribe {
                recover: true,
                epoch: place.epoch.into(),
                offset: place.offset,
                ..Subscribe::default()
            };
            connect.subs.insert(name.into(), since);
        }
        let mut commands = vec![(CommandKind::Connect(connect), Asked::Connect)];
        if self.random.chance(1, 4) {
            self.ledger.borrow_mut().faults.note("command behind an unanswered connect");
            commands.push((CommandKind::Ping, Asked::Ping));
        }
        self.ask(commands);
    }

    /// The channel of its user.
    pub(crate) fn personal(&self) -> usize {
        self.ledger.borrow().channels.shared_count() + self.options.user
    }

    /// Sends commands in one message.
    pub(crate) fn ask(&mut self, asked: Vec<(CommandKind<'_>, Asked)>) {
        let bytes = self.frame(asked);
        let Some(session) = &self.session else { return };
        self.network.borrow_mut().write(session.socket, &bytes);
    }

    /// The bytes of a message of commands, and a note of what is asked.
    pub(crate) fn frame(&mut self, asked: Vec<(CommandKind<'_>, Asked)>) -> Vec<u8> {
        let Some(session) = &mut self.session else { return Vec::new() };
        let mut commands = Vec::new();
        for (kind, asked) in asked {
            session.commands_count += 1;
            let (index, id) = (self.options.index, session.commands_count);
            self.ledger.borrow().tell(|| format!("client {index} asks {id} {asked:?}"));
            session.pending.insert(session.commands_count, asked);
            commands.push(Command { id: session.commands_count, kind });
        }
        self.frame_commands(&commands)
    }

    fn frame_commands(&mut self, commands: &[Command<'_>]) -> Vec<u8> {
        let message = encode_commands(self.options.format, commands);
        let opcode = match self.options.format {
            Format::Json => Opcode::Text,
            Format::Protobuf => Opcode::Binary,
        };
        let key = (self.random.bits() as u32).to_be_bytes();
        let mut bytes = Vec::new();
        if message.len() > 1 && self.random.chance(1, 10) {
            self.ledger.borrow_mut().faults.note("message in fragments");
            let (first, rest) = message.split_at(self.random.below(message.len()));
            let begin = ClientFrame { fin: false, ..ClientFrame::whole(opcode, key, first) };
            encode_masked_frame(&begin, &mut bytes);
            let end = ClientFrame::whole(Opcode::Continuation, key, rest);
            encode_masked_frame(&end, &mut bytes);
        } else {
            encode_masked_frame(&ClientFrame::whole(opcode, key, &message), &mut bytes);
        }
        bytes
    }

    pub(crate) fn pong(&mut self) {
        let is_mute = self.session.as_ref().is_some_and(|session| session.is_mute);
        if is_mute && !self.ledger.borrow().is_calm {
            return;
        }
        let bytes = self.frame_commands(&[Command { id: 0, kind: CommandKind::Pong }]);
        if let Some(session) = &self.session {
            self.network.borrow_mut().write(session.socket, &bytes);
        }
    }
}
