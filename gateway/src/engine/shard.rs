//! One gateway shard: its connections, what they subscribe to, what becomes of them.
//!
//! Owns: every connection that this shard's ring accepted, for life.
//! Never: does anything itself; it answers events with actions, and outboxes with what to send.
//! Invariant: a connection that is not `Cut` has a deadline in the wheel whenever its phase has
//! one.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use protocol::close::CloseReason;
use protocol::ids::{ConnectionId, ShardId};
use protocol::time::{Moment, Now};
use protocol::websocket::{Message, Opcode, encode_close};
use shard::SendBuffer;
use shard::timers::TimerWheel;

use super::claims::TokenVerifier;
use super::connection::{Connections, slot_of};
use super::counters::GatewayCounters;
use super::entrance::Entrance;
use super::event::{Action, Event, Transport};
use super::ledger::{MemoryBytes, MemoryKind};
use super::listing::Listings;
use super::phase::{Phase, PhaseEvent};
use super::random::Random;
use super::rate::Rate;
use super::shedding::Shedding;
use super::subscriptions::Channels;
use super::users::Users;
use super::waiting::WaitingConnects;
use crate::arrivals::Arrivals;
use crate::config::GatewayConfig;
use crate::limits;

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Its number.
    pub shard: ShardId,
    /// How many there are.
    pub shards_count: u8,
    /// WebSockets it may hold: its share of the limit, or the size of its table. Who is refused or
    /// never asks for one does not count.
    pub connections_max: u32,
    /// Random, different at every start and on every shard.
    pub seed: u64,
}

/// One gateway shard.
#[derive(Debug)]
pub struct GatewayShard {
    pub(super) options: ShardOptions,
    pub(super) config: Arc<GatewayConfig>,
    pub(super) verifier: Arc<dyn TokenVerifier>,
    pub(super) connections: Connections,
    pub(super) channels: Channels,
    pub(super) users: Users,
    pub(super) entrance: Entrance,
    pub(super) shedding: Shedding,
    pub(super) listings: Listings,
    /// What all shards of the process count together.
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) actions: VecDeque<Action>,
    pub(super) counters: GatewayCounters,
    pub(super) random: Random,
    /// Where messages are encoded before they are framed.
    pub(super) scratch: Vec<u8>,
    pub(super) waiting: WaitingConnects,
    pub(super) sessions_now: u64,
    pub(super) makes_notes: bool,
    timers: TimerWheel,
    /// While this node shuts down: connections that are not closed yet.
    pub(super) drain: Option<Vec<ConnectionId>>,
    drain_next: Moment,
    drain_interval: Duration,
}

const CONTROL_FRAMES: Rate =
    Rate::new(limits::CONTROL_FRAMES_PER_SECOND, limits::CONTROL_FRAMES_BURST);

impl GatewayShard {
    /// A shard without connections.
    pub fn new(
        options: ShardOptions,
        config: Arc<GatewayConfig>,
        verifier: Arc<dyn TokenVerifier>,
        now: Now,
    ) -> Self {
        let connections = Connections::new(config.outbox_bytes_max, config.memory_bytes_max);
        Self {
            random: Random::new(options.seed),
            options,
            config,
            verifier,
            connections,
            channels: Channels::default(),
            users: Users::default(),
            entrance: Entrance::default(),
            shedding: Shedding::default(),
            listings: Listings::default(),
            arrivals: Arc::new(Arrivals::new(0, 0)),
            actions: VecDeque::new(),
            counters: GatewayCounters::default(),
            scratch: Vec::new(),
            waiting: WaitingConnects::default(),
            sessions_now: 0,
            makes_notes: false,
            timers: TimerWheel::new(now.moment),
            drain: None,
            drain_next: Moment::ZERO,
            drain_interval: Duration::ZERO,
        }
    }

    /// One thing happened.
    pub fn handle(&mut self, event: Event<'_>, now: Now) {
        match event {
            Event::Message { connection, message } => self.on_message(connection, message, now),
            Event::Sent { connection, buffer, sent } => self.on_sent(connection, buffer, sent, now),
            Event::FromRouter(message) => self.on_router(message, now),
            Event::Accepted { connection, peer } => {
                self.counters.accepted += 1;
                let deadline = now.moment + limits::HANDSHAKE_TIMEOUT;
                self.connections.open(connection, peer, deadline);
                self.timers.set(slot_of(connection), deadline);
                self.await_proxy_header(connection, peer);
                self.actions.push_back(Action::Rest(connection));
                // It was on its way when accepting stopped.
                if let Some(drain) = &mut self.drain {
                    drain.push(connection);
                }
            }
            Event::ProxyHeader { connection, header } => {
                self.on_proxy_header(connection, header, now);
            }
            Event::Secured { connection } => {
                if let Some(connection) = self.connections.find(connection) {
                    connection.is_secure = true;
                }
            }
            Event::Request { connection, request } => self.on_request(connection, request, now),
            Event::BadRequest { connection, status, text } => {
                self.refuse_request(connection, status, text, now);
            }
            Event::Continue { connection } => self.on_continue(connection, now),
            Event::RequestComplete { connection } => {
                self.advance(connection, PhaseEvent::Collected, now);
            }
            Event::ReadOn { connection } => self.on_read_on(connection, now),
            Event::Response { connection, bytes, is_last } => {
                self.on_response(connection, bytes, is_last, now);
            }
            Event::Unfinished { connection, is_unfinished } => {
                self.on_unfinished(connection, is_unfinished, now);
            }
            Event::Holds { connection, bytes_count } => {
                self.connections.hold(connection, bytes_count);
            }
            Event::Violation { connection, reason } => self.close(connection, reason, now),
            Event::ReceiveEnded { connection, has_failed } => {
                let event = if has_failed { PhaseEvent::Failed } else { PhaseEvent::PeerEnded };
                self.end_by(connection, event, CloseReason::ClientGone, now);
            }
            Event::Closed { connection } => self.leave(connection),
            Event::RouterRefused(message) => self.on_router_refused(message, now),
            Event::FromPeer(message) => self.on_peer(message, now),
            Event::User { user, command } => self.on_user(&user, &command, now),
            Event::Keys(verifier) => {
                self.verifier = verifier;
                self.retry_tokens();
            }
            Event::KeysFailed { key_id } => self.refuse_waiting_tokens(key_id.as_deref(), now),
            Event::Config(config) => {
                self.connections.outbox_bytes_max = config.outbox_bytes_max;
                self.connections.memory_bytes_max = config.memory_bytes_max;
                self.config = config;
            }
            Event::Memory { level, owed_bytes } => self.on_memory(level, owed_bytes),
            Event::List { number, listing } => self.on_listing(number, *listing),
            Event::Drain { over } => self.begin_drain(over, now),
        }
        self.close_overflowed(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next send that can go out, until `None`.
    pub fn next_send(&mut self) -> Option<(ConnectionId, SendBuffer)> {
        self.connections.next_send()
    }

    /// Fans publications out to at most `subscribers_max` subscribers.
    pub fn fan_out(&mut self, subscribers_max: usize, now: Now) {
        if !self.channels.has_work() {
            return;
        }
        let behind = self.channels.fan_out(subscribers_max, &mut self.connections, now.moment);
        for (channel, since) in behind {
            self.fetch(channel, since);
        }
        self.close_overflowed(now);
    }

    /// Connections with something to send now.
    pub fn sends_waiting(&self) -> usize {
        self.connections.sends_waiting()
    }

    /// Where a connection comes from.
    pub fn peer_of(&mut self, connection: ConnectionId) -> Option<std::net::SocketAddr> {
        self.connections.find(connection)?.peer.as_deref().copied()
    }

    /// Is this connection still the one in its slot?
    pub fn holds(&mut self, connection: ConnectionId) -> bool {
        self.connections.find(connection).is_some()
    }

    /// Is it there, and not being closed by the ring?
    pub fn is_open(&mut self, connection: ConnectionId) -> bool {
        self.connections.find(connection).is_some_and(|one| one.phase != Phase::Cut)
    }

    /// True if there is something to fan out or to send without waiting for anything.
    pub fn has_work(&self) -> bool {
        let has_output = self.connections.has_sends() || !self.actions.is_empty();
        let has_queue = self.waiting.has_work() || self.shedding.has_work();
        has_output || has_queue || self.channels.has_work() || self.listings.has_work()
    }

    /// Once a turn: takes up connects that waited for it, at most [`limits::CONNECTS_PER_TURN`],
    /// and fires timers whose time has come, at most [`limits::TIMERS_PER_TURN`].
    pub fn tick(&mut self, now: Now) {
        if self.scratch.capacity() > limits::SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        for slot in std::mem::take(&mut self.connections.stalled) {
            self.rearm(slot, now);
        }
        self.drain_due(now);
        self.shed_largest(now);
        for _ in 0..limits::TIMERS_PER_TURN {
            let Some(slot) = self.timers.pop_expired(now.moment) else { break };
            self.on_timer(slot, now);
        }
        self.take_connects(now);
        self.list_some(now);
        self.close_overflowed(now);
    }

    /// When [`GatewayShard::tick`] is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        if !self.connections.stalled.is_empty() {
            return Some(Moment::ZERO);
        }
        let drains = self.drain.as_ref().filter(|connections| !connections.is_empty());
        let drain = drains.map(|_| self.drain_next);
        match (self.timers.next_deadline(), drain) {
            (Some(timer), Some(drain)) => Some(timer.min(drain)),
            (timer, drain) => timer.or(drain),
        }
    }

    /// True once a drain has ended and no connection is left.
    pub fn is_drained(&self) -> bool {
        self.drain.as_ref().is_some_and(Vec::is_empty) && self.connections.open_count == 0
    }

    /// Every client is closed with 3001, spread over a time, so that they do not come to the other
    /// nodes at once.
    fn begin_drain(&mut self, over: Duration, now: Now) {
        let ids: Vec<ConnectionId> = self.connections.ids().collect();
        self.drain_interval = over / u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
        self.drain_next = now.moment;
        self.drain = Some(ids);
    }

    fn drain_due(&mut self, now: Now) {
        while self.drain_next <= now.moment {
            let Some(id) = self.drain.as_mut().and_then(Vec::pop) else { return };
            self.drain_next = self.drain_next + self.drain_interval;
            let Some(connection) = self.connections.find(id) else { continue };
            match connection.phase {
                // It is closed behind its answer.
                Phase::Collecting | Phase::Answering => {}
                Phase::Idle => self.close_after_response(id, now),
                _ => self.close(id, CloseReason::Shutdown, now),
            }
        }
    }

    /// What happened since the start, and what there is now.
    pub fn counters(&self) -> GatewayCounters {
        let mut counters = self.counters.clone();
        counters.deliveries = self.channels.deliveries;
        counters.drops = self.channels.drops;
        counters.connections = u64::from(self.connections.open_count);
        counters.connections_by_phase = self.connections.count_by_phase();
        counters.connections_hot = u64::from(self.connections.hot_count);
        counters.sessions_now = self.sessions_now;
        counters.channels = self.channels.len() as u64;
        counters.subscriptions = self.channels.subscriptions_count;
        counters.connects_waiting = self.waiting.turns_count() as u64;
        counters.users = self.users.len() as u64;
        counters.outbox_bytes = self.connections.outbox_bytes();
        counters
    }

    /// Bytes of memory of this shard's clients, without what its driver holds for them.
    pub fn memory(&self) -> MemoryBytes {
        let mut memory = self.connections.memory();
        memory.add(MemoryKind::Identity, self.users.memory_bytes() as u64);
        memory.add(MemoryKind::Subscriptions, self.channels.memory_bytes() as u64);
        memory.add(MemoryKind::Timers, self.timers.memory_bytes() as u64);
        memory
    }

    fn on_message(&mut self, id: ConnectionId, message: Message<'_>, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.phase.listens() {
            return;
        }
        self.counters.messages_in += 1;
        let phase = connection.phase;
        match message {
            Message::Text(text) if phase == Phase::Echo => {
                let slot = slot_of(id);
                self.connections.push_frame(slot, Opcode::Text, text.as_bytes(), now.moment);
            }
            Message::Binary(bytes) if phase == Phase::Echo => {
                self.connections.push_frame(slot_of(id), Opcode::Binary, bytes, now.moment);
            }
            Message::Text(text) => self.on_text(id, text, now),
            Message::Binary(bytes) => self.on_binary(id, bytes, now),
            Message::Ping(payload) => {
                if connection.control_frames.admit(CONTROL_FRAMES, now.moment) {
                    self.connections.push_frame(slot_of(id), Opcode::Pong, payload, now.moment);
                } else {
                    self.close(id, CloseReason::PolicyViolation, now);
                }
            }
            Message::Pong(_) => {
                if !connection.control_frames.admit(CONTROL_FRAMES, now.moment) {
                    self.close(id, CloseReason::PolicyViolation, now);
                }
            }
            Message::Close(close) => {
                // RFC 6455, 5.5.1: a close frame is answered with one, with the same code.
                let code = close.map(|(code, _)| code);
                self.close_with(id, CloseReason::ClientGone, code, "", now);
            }
        }
    }

    fn on_unfinished(&mut self, id: ConnectionId, is_unfinished: bool, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if !is_unfinished {
            connection.unfinished_since = Moment::ZERO;
        } else if connection.unfinished_since == Moment::ZERO {
            connection.unfinished_since = now.moment;
            if connection.phase == Phase::Idle {
                connection.phase_deadline = now.moment + limits::HANDSHAKE_TIMEOUT;
            }
            self.rearm(slot_of(id), now);
        }
    }

    fn on_sent(&mut self, id: ConnectionId, buffer: SendBuffer, sent: Option<u32>, now: Now) {
        self.counters.sends += 1;
        self.counters.bytes_out += u64::from(sent.unwrap_or(0));
        let is_flushed = self.connections.sent(id, buffer, sent, now.moment);
        let Some(connection) = self.connections.find(id) else { return };
        if sent.is_none() {
            self.end_by(id, PhaseEvent::Failed, CloseReason::WriteError, now);
            return;
        }
        if !is_flushed {
            return;
        }
        let has_gap = std::mem::take(&mut connection.has_gap);
        if connection.phase == Phase::Closing {
            self.advance(id, PhaseEvent::Flushed, now);
        } else if has_gap {
            self.tell_gaps(id, now);
        }
    }

    /// Closes a connection for a reason of ours.
    pub(super) fn close(&mut self, id: ConnectionId, reason: CloseReason, now: Now) {
        self.close_with(id, reason, Some(reason.code()), reason.text(), now);
    }

    /// Closes a connection with a code and a text; `None`: an empty close frame.
    pub(super) fn close_with(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        code: Option<u16>,
        text: &str,
        now: Now,
    ) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.phase.listens() {
            return;
        }
        let speaks_http = connection.phase.speaks_http();
        self.note_closed(id, reason, if speaks_http { None } else { code });
        if speaks_http {
            self.cut(id, now);
            return;
        }
        let slot = slot_of(id);
        let is_unwanted = matches!(
            reason,
            CloseReason::Slow | CloseReason::Overloaded | CloseReason::MemoryLimit
        );
        self.connections.drop_queued_if(slot, is_unwanted);
        self.scratch.clear();
        match code {
            Some(code) => encode_close(code, text, &mut self.scratch),
            None => protocol::websocket::encode_frame(Opcode::Close, b"", &mut self.scratch),
        }
        self.connections.push_last(slot, &self.scratch, now.moment);
        self.advance(id, PhaseEvent::Close, now);
    }

    /// Closes after the response that is queued.
    pub(super) fn close_after_response(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.phase.speaks_http() {
            return;
        }
        connection.close_queued = true;
        let is_empty = connection.outbox.is_empty();
        let time = response_time(connection.outbox.bytes());
        self.note_closed(id, CloseReason::HttpDone, None);
        let (connection, transport) = (id, Transport::Silent);
        self.actions.push_back(Action::Become { connection, transport });
        self.advance(id, PhaseEvent::Close, now);
        self.extend(id, time, now);
        if is_empty {
            self.advance(id, PhaseEvent::Flushed, now);
        }
    }

    /// Ends a connection that needs no words.
    pub(super) fn end_by(
        &mut self,
        id: ConnectionId,
        event: PhaseEvent,
        reason: CloseReason,
        now: Now,
    ) {
        let Some(connection) = self.connections.find(id) else { return };
        let listened = connection.phase.listens();
        if event == PhaseEvent::PeerEnded {
            connection.peer_ended = true;
            // A peer that shut down its writing side may still read what is owed to it.
            let is_owed = match connection.phase {
                Phase::Answering => true,
                Phase::Closing | Phase::Idle => !connection.outbox.is_empty(),
                _ => false,
            };
            if is_owed {
                return self.on_read_on(id, now);
            }
        }
        if listened {
            self.note_closed(id, reason, None);
        }
        self.advance(id, event, now);
    }

    fn cut(&mut self, id: ConnectionId, now: Now) {
        self.advance(id, PhaseEvent::Failed, now);
    }

    /// Moves a connection to its next phase and does what belongs to entering it.
    pub(super) fn advance(&mut self, id: ConnectionId, event: PhaseEvent, now: Now) {
        let is_shed = self.is_shed(id);
        let Some(connection) = self.connections.find(id) else { return };
        let Some(next) = connection.phase.on(event) else { return };
        let peer_ended = connection.peer_ended;
        self.connections.enter(slot_of(id), next);
        let connection = self.connections.at(slot_of(id));
        match next {
            Phase::Closing | Phase::Lingering if is_shed => {
                connection.phase_deadline = now.moment + limits::SHED_LINGER_TIMEOUT;
            }
            Phase::Closing | Phase::Lingering => {
                connection.phase_deadline = now.moment + limits::LINGER_TIMEOUT;
            }
            Phase::Collecting => {
                connection.phase_deadline = now.moment + limits::HTTP_BODY_TIMEOUT;
            }
            Phase::Answering | Phase::Idle => {
                connection.phase_deadline = now.moment + limits::HTTP_IDLE_TIMEOUT;
            }
            Phase::Open => connection.phase_deadline = now.moment + self.config.connect_timeout,
            _ => {}
        }
        match next {
            Phase::Connecting => self.connections.hold_behind_connect(slot_of(id)),
            Phase::Closing => self.end_session(id, now),
            Phase::Lingering if peer_ended => {
                self.cut(id, now);
                return;
            }
            Phase::Lingering => self.actions.push_back(Action::ShutdownWrite(id)),
            Phase::Cut => {
                self.end_session(id, now);
                self.timers.clear(slot_of(id));
                self.actions.push_back(Action::Cut(id));
                return;
            }
            _ => {}
        }
        self.rearm(slot_of(id), now);
    }

    fn close_overflowed(&mut self, now: Now) {
        while let Some(slot) = self.connections.overflowed.pop() {
            let Some(id) = self.connections.id_at(slot) else { continue };
            self.connections.at(slot).overflowed = false;
            if self.connections.is_within_budget(slot) {
                self.close(id, CloseReason::Slow, now);
            } else {
                self.close_over_budget(id, now);
            }
        }
    }

    /// Everything that can be given back at once is: what has come of a message, too.
    fn close_over_budget(&mut self, id: ConnectionId, now: Now) {
        if !self.connections.find(id).is_some_and(|connection| connection.phase.listens()) {
            return;
        }
        self.close(id, CloseReason::MemoryLimit, now);
        let (connection, transport) = (id, Transport::Silent);
        self.actions.push_back(Action::Become { connection, transport });
    }

    /// Sets the one timer of a connection to its earliest deadline.
    pub(super) fn rearm(&mut self, slot: u32, now: Now) {
        if self.connections.id_at(slot).is_none() {
            return;
        }
        let delay = self.config.expired_close_delay.as_secs();
        let subscription_delay = self.config.expired_subscription_close_delay.as_secs();
        let connection = self.connections.at(slot);
        let mut earliest = match connection.phase {
            Phase::Cut | Phase::Echo | Phase::Connected => None,
            _ => Some(connection.phase_deadline),
        };
        let mut consider = |at: Moment| {
            earliest = Some(earliest.map_or(at, |known: Moment| known.min(at)));
        };
        if connection.stalled_since > Moment::ZERO && connection.phase.listens() {
            consider(connection.stalled_since + limits::STALL_TIMEOUT);
        }
        let is_message = connection.phase.listens() && !connection.phase.speaks_http();
        if connection.unfinished_since > Moment::ZERO && is_message {
            consider(connection.unfinished_since + limits::MESSAGE_TIMEOUT);
        }
        if let Some(session) = connection.session.as_ref()
            && connection.phase == Phase::Connected
        {
            if session.ping_at > Moment::ZERO {
                consider(session.ping_at);
            }
            if session.pong_by > Moment::ZERO {
                consider(session.pong_by);
            }
            if let Some(expiry) = session.next_expiry(delay, subscription_delay) {
                consider(
                    now.moment + Duration::from_secs(expiry.saturating_sub(now.unix_seconds())),
                );
            }
        }
        match earliest {
            Some(at) => self.timers.set(slot, at),
            None => self.timers.clear(slot),
        }
    }

    fn on_timer(&mut self, slot: u32, now: Now) {
        let Some(id) = self.connections.id_at(slot) else { return };
        let connection = self.connections.at(slot);
        let phase = connection.phase;
        let is_over = connection.phase_deadline <= now.moment;
        let since = |start: Moment| now.moment.since(start);
        let has_stalled = connection.stalled_since > Moment::ZERO
            && since(connection.stalled_since) >= limits::STALL_TIMEOUT;
        let is_endless = connection.unfinished_since > Moment::ZERO
            && since(connection.unfinished_since) >= limits::MESSAGE_TIMEOUT;
        match phase {
            Phase::Closing | Phase::Lingering if is_over => {
                self.advance(id, PhaseEvent::Deadline, now);
            }
            _ if !phase.listens() => self.rearm(slot, now),
            _ if has_stalled => self.close(id, CloseReason::Slow, now),
            _ if phase.speaks_http() && is_over => self.http_timeout(id, now),
            _ if phase.speaks_http() => self.rearm(slot, now),
            _ if is_endless => self.close(id, CloseReason::PolicyViolation, now),
            Phase::Open if is_over => self.close(id, CloseReason::Stale, now),
            // The client did its part; home, router or keys did not answer.
            Phase::Connecting if is_over => self.close(id, CloseReason::InternalError, now),
            Phase::Connected => self.session_timer(id, now),
            _ => self.rearm(slot, now),
        }
    }
}

/// How long a client may take to read the last answer, from when it was queued.
fn response_time(bytes_count: u32) -> Duration {
    let seconds = bytes_count / limits::RESPONSE_BYTES_PER_SECOND_MIN;
    limits::LINGER_TIMEOUT + Duration::from_secs(seconds.into())
}
