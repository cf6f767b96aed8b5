//! The loop of a shard: completions in, sends out, a turn at a time.
//!
//! Owns: ring, engine, readers and uplink of one shard, on one thread.
//! Never: decides anything about a client.
//!
//! ```text
//!  turn: submit and sleep ─► completions ─► inbox ─► uplink ─► timers, waiting connects ─► fan-out
//!        ─► sends ─► some of those who went, and of those who came ─► wakes
//! ```

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::http::{ResponseHead, write_response_head};
use protocol::ids::ConnectionId;
use protocol::proxies::ProxyHeader;
use protocol::time::{Moment, Now};
use shard::lanes::{Bell, Inbox};
use shard::{Completion, Io, ReceiveEnd, Wait};

use super::bodies::Bodies;
use super::clock::Clock;
use super::control::{Askers, Control, Inspection};
use super::notes;
use super::service::{Busy, Service};
use super::tls::{Tls, TlsConfig};
use super::transport::{HeldBytes, Outcome, Reader, Reading};
use super::uplink::{Incoming, Uplink};
use crate::engine::{Action, Durations, Event, GatewayShard, MemoryBytes, MemoryKind};
use crate::limits::{self, TurnLimits};

/// What a pump drives.
pub struct PumpParts<I, U, S, C> {
    /// The kernel, or its stand-in.
    pub io: I,
    /// The ways to other shards and the router.
    pub uplink: U,
    /// Answers HTTP.
    pub service: S,
    /// Tells the time.
    pub clock: C,
    /// Decides.
    pub engine: GatewayShard,
    /// What threads outside say.
    pub inbox: Inbox<Control>,
    /// Wakes the pump.
    pub bell: Bell,
}

/// What a pump has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct PumpCounters {
    /// Turns.
    pub turns: u64,
    /// Bytes received from clients, with framing.
    pub bytes_in: u64,
    /// Times accepting stopped, most often for want of places in the table of descriptors.
    pub accepts_ended: u64,
    /// Nanoseconds awake.
    pub busy_ns: u64,
    /// How long turns took, without the sleep.
    pub turns_took: Durations,
    /// Messages waiting in the inbox at the last turn.
    pub inbox_depth: u64,
    /// Messages waiting in lanes to this shard at the last turn.
    pub lane_depth: u64,
    /// Bytes that bodies of requests take, now.
    pub body_bytes: u64,
    /// Bytes of other parts of requests and messages that have come, now.
    pub part_bytes: u64,
}

/// The loop of one shard.
pub struct Pump<I, U, S, C> {
    pub(super) parts: PumpParts<I, U, S, C>,
    pub(super) readers: Vec<Reader>,
    pub(super) tls: Tls,
    /// Connections for which TLS may have something to send, behind what this turn sends to them
    /// anyway: at most one for each chunk that came in it.
    pub(super) unflushed: Vec<ConnectionId>,
    /// Connections that begin with a header of a proxy, of which not all has come.
    pub(super) proxied: HashMap<ConnectionId, ProxyHeader, foldhash::fast::RandomState>,
    /// Clients that came and were not taken in yet, no more than there are places: nothing is
    /// received from them.
    accepted: VecDeque<(ConnectionId, Option<SocketAddr>)>,
    /// Clients that will send nothing more and were not told of yet.
    ended: VecDeque<(ConnectionId, ReceiveEnd)>,
    pub(super) actions: VecDeque<Action>,
    pub(super) bodies: Bodies,
    counters: PumpCounters,
    accept_retry_at: Option<Moment>,
    load_keys: Box<dyn FnMut(String)>,
    ring_counters: fn(&I) -> shard::ring::RingCounters,
    turn: TurnLimits,
    askers: Askers,
    is_draining: bool,
}

impl<I: Io, U: Uplink, S: Service, C: Clock> Pump<I, U, S, C> {
    /// A pump that accepts clients from its first turn on.
    pub fn new(mut parts: PumpParts<I, U, S, C>) -> Self {
        parts.io.accept();
        parts.engine.make_notes(notes::are_read());
        Self {
            parts,
            readers: Vec::new(),
            tls: Tls::default(),
            unflushed: Vec::new(),
            proxied: HashMap::default(),
            accepted: VecDeque::new(),
            ended: VecDeque::new(),
            actions: VecDeque::new(),
            bodies: Bodies::default(),
            counters: PumpCounters::default(),
            accept_retry_at: None,
            load_keys: Box::new(|_| {}),
            ring_counters: |_| shard::ring::RingCounters::default(),
            turn: TurnLimits::default(),
            askers: Askers::default(),
            is_draining: false,
        }
    }

    /// Calls `load_keys` with the id of the key when a token names one that is not known.
    pub fn on_load_keys(mut self, load_keys: impl FnMut(String) + 'static) -> Self {
        self.load_keys = Box::new(load_keys);
        self
    }

    /// Speaks TLS with every client.
    pub fn with_tls(mut self, config: Option<Arc<TlsConfig>>) -> Self {
        self.tls = Tls::new(config);
        self
    }

    /// Reads the ring's counters by `read`.
    pub fn with_ring_counters(mut self, read: fn(&I) -> shard::ring::RingCounters) -> Self {
        self.ring_counters = read;
        self
    }

    /// Other bounds of one turn.
    pub fn with_turn_limits(mut self, turn: TurnLimits) -> Self {
        self.parts.engine.limit_connects(turn.connects);
        self.turn = turn;
        self
    }

    /// The kernel's side, for tests and the simulation.
    pub fn io_mut(&mut self) -> &mut I {
        &mut self.parts.io
    }

    /// The uplink, for tests and the simulation.
    pub fn uplink_mut(&mut self) -> &mut U {
        &mut self.parts.uplink
    }

    /// The engine, for tests and the simulation.
    pub fn engine(&self) -> &GatewayShard {
        &self.parts.engine
    }

    /// Turns until a drain has ended here, and then until `may_end` says that this shard is not
    /// needed by others any more: its partitions serve clients of shards that are still draining.
    ///
    /// # Errors
    ///
    /// The ring failed; the process should be restarted.
    pub fn run(&mut self, mut may_end: impl FnMut() -> bool) -> std::io::Result<()> {
        while !self.is_done() || !may_end() {
            let wait = self.wait();
            self.turn(wait)?;
        }
        Ok(())
    }

    /// True once a drain has ended.
    pub fn is_done(&self) -> bool {
        self.is_draining && self.accepted.is_empty() && self.parts.engine.is_drained()
    }

    /// One turn, which may sleep first as `wait` allows.
    ///
    /// # Errors
    ///
    /// The ring failed.
    pub fn turn(&mut self, wait: Wait) -> std::io::Result<()> {
        self.parts.io.turn(wait)?;
        self.parts.bell.announce_awake();
        let now = self.parts.clock.now();
        self.take_handshakes(now);
        while let Some(completion) = self.parts.io.next() {
            self.complete(completion, now);
        }
        self.take_inbox(now);
        self.take_uplink(now);
        self.parts.engine.tick(now);
        self.fan_out(now);
        self.send(now);
        self.take_ended(now);
        self.take_accepted(now);
        self.act(now);
        self.flush_rest();
        self.parts.uplink.flush();
        self.count_turn(now);
        Ok(())
    }

    /// How long the next turn may sleep. Announces the sleep to whoever may want to wake us.
    pub fn wait(&mut self) -> Wait {
        self.parts.bell.announce_sleep();
        let parts = &self.parts;
        let has_guests = !self.accepted.is_empty() || !self.ended.is_empty();
        let has_work = has_guests || parts.engine.has_work() || !self.actions.is_empty();
        if has_work || self.tls.has_work() || !parts.inbox.is_empty() || parts.uplink.has_work() {
            self.parts.bell.announce_awake();
            return Wait::No;
        }
        let now = parts.clock.now().moment;
        let deadlines = [
            parts.engine.next_deadline(),
            parts.uplink.next_deadline(),
            self.accept_retry_at,
            Some(now + limits::SLEEP_MAX),
        ];
        let earliest = deadlines.into_iter().flatten().min().unwrap_or(now);
        match earliest.since(now) {
            Duration::ZERO => Wait::No,
            time => Wait::AtMost(time),
        }
    }

    fn complete(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::Received { connection, chunk } => {
                self.counters.bytes_in += u64::from(chunk.bytes_count());
                self.received(connection, chunk, now);
            }
            Completion::Sent { connection, result, buffer } => {
                self.conclude_send(connection, buffer, result.ok(), now);
            }
            Completion::Accepted { connection, peer } => {
                self.accepted.push_back((connection, peer));
            }
            Completion::ReceiveEnded { connection, end } => {
                self.ended.push_back((connection, end));
            }
            Completion::Closed { connection } => {
                self.tls.closed(connection);
                self.proxied.remove(&connection);
                self.tell(Event::Closed { connection }, now);
                if self.accept_retry_at.take().is_some() {
                    self.parts.io.accept();
                }
            }
            Completion::AcceptEnded(_) => {
                self.counters.accepts_ended += 1;
                self.accept_retry_at = Some(now.moment + limits::ACCEPT_RETRY);
            }
        }
    }

    /// Lets some of those go who went. When all go at once, those who stay are served between them.
    fn take_ended(&mut self, now: Now) {
        for _ in 0..self.turn.ends {
            let Some((connection, end)) = self.ended.pop_front() else { return };
            let has_failed = end != ReceiveEnd::Eof;
            self.tell(Event::ReceiveEnded { connection, has_failed }, now);
        }
    }

    /// Takes in some of those who came, for the same reason.
    fn take_accepted(&mut self, now: Now) {
        for _ in 0..self.turn.accepts {
            let Some((connection, peer)) = self.accepted.pop_front() else { return };
            let index = connection.slot().index();
            if self.readers.len() <= index {
                self.readers.resize_with(index + 1, Reader::default);
            }
            self.readers[index] = Reader::new();
            self.tls.open(connection);
            self.tell(Event::Accepted { connection, peer }, now);
        }
    }

    pub(super) fn tell(&mut self, event: Event<'_>, now: Now) {
        self.parts.engine.handle(event, now);
        self.act(now);
    }

    /// What a reader holds may have changed from `before`. To be called before anything is done
    /// that may silence it.
    pub(super) fn weigh(&mut self, connection: ConnectionId, before: HeldBytes, now: Now) {
        let after = self.readers[connection.slot().index()].held_bytes();
        if after != before {
            let part_bytes = self.counters.part_bytes + after.parts as u64;
            self.counters.part_bytes = part_bytes - before.parts as u64;
            let bytes_count = after.bytes_count();
            self.parts.engine.handle(Event::Holds { connection, bytes_count }, now);
        }
    }

    /// Nothing more is read of a connection. True if receiving was paused.
    fn silence(&mut self, connection: ConnectionId, now: Now) -> bool {
        let reader = &mut self.readers[connection.slot().index()];
        let before = reader.held_bytes();
        let was_paused = reader.silence();
        self.weigh(connection, before, now);
        was_paused
    }

    pub(super) fn conclude(&mut self, outcome: Outcome, now: Now) {
        self.act(now);
        let Outcome::Call(mut call) = outcome else { return };
        call.peer = self.parts.engine.peer_of(call.connection);
        let connection = call.connection;
        if self.parts.service.call(*call) == Err(Busy) {
            const BUSY: &str = "the service is busy\n";
            let head = ResponseHead {
                status: 503,
                headers: &[("Retry-After", "1"), ("Content-Type", "text/plain")],
                content_length: Some(BUSY.len()),
                close: true,
            };
            let mut bytes = Vec::new();
            write_response_head(&head, &mut bytes);
            bytes.extend_from_slice(BUSY.as_bytes());
            self.tell(Event::Response { connection, bytes: &bytes, is_last: true }, now);
        }
    }

    /// Does what the engine wants done.
    pub(super) fn act(&mut self, now: Now) {
        loop {
            let next = self.actions.pop_front().or_else(|| self.parts.engine.poll_action());
            let Some(action) = next else { return };
            match action {
                Action::AwaitProxyHeader(connection) => {
                    self.proxied.insert(connection, ProxyHeader::default());
                }
                Action::Receive(connection) if self.parts.engine.is_open(connection) => {
                    self.parts.io.receive(connection);
                }
                Action::Rest(connection) if self.parts.engine.is_open(connection) => {
                    self.parts.io.rest(connection);
                }
                Action::Pause(connection) if self.parts.engine.is_open(connection) => {
                    self.parts.io.pause(connection);
                }
                Action::Receive(_) | Action::Rest(_) | Action::Pause(_) => {}
                Action::ShutdownWrite(connection) => self.end_writing(connection, now),
                Action::Cut(connection) => {
                    self.silence(connection, now);
                    self.cut(connection);
                }
                Action::Become { connection, .. } => {
                    if self.silence(connection, now) {
                        // What the client still sends is thrown away: its end must be seen.
                        self.actions.push_front(Action::Rest(connection));
                    }
                }
                Action::ToRouter(message) => self.parts.uplink.to_router(message, now),
                Action::ToPeer { shard, message } => self.parts.uplink.to_peer(shard, message),
                Action::Listed { number, listed } => {
                    self.askers.answer(number, listed.map(|listed| *listed));
                }
                Action::Note(note) => notes::write(&note),
                Action::LoadKeys { key_id } => (self.load_keys)(key_id),
            }
        }
    }

    fn take_inbox(&mut self, now: Now) {
        if self.accept_retry_at.is_some_and(|at| at <= now.moment) {
            self.accept_retry_at = None;
            self.parts.io.accept();
        }
        self.counters.inbox_depth = self.parts.inbox.waiting_count() as u64;
        for _ in 0..limits::INBOX_MESSAGES_PER_TURN {
            let Some(control) = self.parts.inbox.receive() else { return };
            self.control(control, now);
        }
    }

    fn control(&mut self, control: Control, now: Now) {
        match control {
            Control::Response { connection, bytes, is_last } => {
                self.tell(Event::Response { connection, bytes: &bytes, is_last }, now);
                if !is_last {
                    self.read_on(connection, now);
                }
            }
            Control::User { user, command } => self.tell(Event::User { user, command }, now),
            Control::Keys(verifier) => self.tell(Event::Keys(verifier), now),
            Control::KeysFailed { key_id } => self.tell(Event::KeysFailed { key_id }, now),
            Control::Config(config) => self.tell(Event::Config(config), now),
            Control::Tls(config) => self.tls.replace(config),
            Control::Memory { level, owed_bytes } => {
                self.tell(Event::Memory { level, owed_bytes }, now);
            }
            Control::Inspect(answer) => {
                let engine = self.parts.engine.counters();
                let ring = (self.ring_counters)(&self.parts.io);
                self.counters.body_bytes = self.bodies.bytes_count() as u64;
                let tls = self.tls.counters();
                let memory = self.memory(&ring);
                answer(Inspection { engine, pump: self.counters, tls, ring, memory });
            }
            Control::List(listing, answer) => {
                let number = self.askers.wait(answer);
                self.tell(Event::List { number, listing }, now);
            }
            Control::CountSubscribers(channels, answer) => {
                answer(self.parts.engine.subscribers_of(&channels));
            }
            Control::Drain(over) => {
                self.is_draining = true;
                self.parts.io.stop_accepting();
                self.tell(Event::Drain { over }, now);
            }
        }
    }

    fn memory(&self, ring: &shard::ring::RingCounters) -> MemoryBytes {
        let mut memory = self.parts.engine.memory();
        let readers = (self.readers.len() * size_of::<Reader>()) as u64;
        memory.add(MemoryKind::Slot, readers + ring.slot_bytes);
        memory.add(MemoryKind::Requests, self.counters.part_bytes + self.counters.body_bytes);
        memory.add(MemoryKind::ReceiveBuffers, ring.receive_buffer_bytes);
        memory.add(MemoryKind::Tls, self.tls.memory_bytes() as u64);
        memory
    }

    /// A request was answered: what the client sent behind it is read now.
    fn read_on(&mut self, connection: ConnectionId, now: Now) {
        if !self.parts.engine.holds(connection) {
            return;
        }
        let reader = &mut self.readers[connection.slot().index()];
        let before = reader.held_bytes();
        let outcome = reader.read_on(&mut Reading {
            connection,
            engine: &mut self.parts.engine,
            service: &self.parts.service,
            bodies: &self.bodies,
            actions: &mut self.actions,
            now,
        });
        self.weigh(connection, before, now);
        self.conclude(outcome, now);
        self.tell(Event::ReadOn { connection }, now);
    }

    fn take_uplink(&mut self, now: Now) {
        self.counters.lane_depth = self.parts.uplink.lane_depth() as u64;
        self.parts.uplink.turn(now);
        for _ in 0..limits::LANE_MESSAGES_PER_TURN {
            let Some(incoming) = self.parts.uplink.receive() else { break };
            let event = match incoming {
                Incoming::FromRouter(message) => Event::FromRouter(message),
                Incoming::Refused(message) => Event::RouterRefused(message),
                Incoming::FromPeer(message) => Event::FromPeer(message),
            };
            self.tell(event, now);
        }
    }

    fn fan_out(&mut self, now: Now) {
        let queued = self.parts.engine.sends_waiting();
        let room = self.turn.sends.saturating_sub(queued);
        if room > 0 {
            self.parts.engine.fan_out(room, now);
        }
    }

    fn send(&mut self, now: Now) {
        for _ in 0..self.turn.sends {
            let Some((connection, buffer)) = self.parts.engine.next_send() else { return };
            if self.tls.is_on() {
                self.send_sealed(connection, buffer, now);
            } else {
                self.parts.io.send(connection, buffer);
            }
        }
    }

    fn count_turn(&mut self, began: Now) {
        self.counters.turns += 1;
        let took = self.parts.clock.now().moment.since(began.moment);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counters.busy_ns += nanoseconds;
        self.counters.turns_took.record(took);
    }
}
