//! From `connect` to a session: token, home shard, server-side subscriptions, reply.
//!
//! ```text
//!  connect ─► token good? ─► home admits? ─► server-side subscriptions answered ─► reply
//!     ▲         │                                                                    │
//!     └─────────┘ no time in this turn, or keys unknown:        commands held meanwhile ▼
//!                 `waiting.rs`
//! ```

use core::time::Duration;
use std::sync::Arc;

use protocol::client::{self as wire, Connect, ErrorCode, Format, Payload, ReplyBody};
use protocol::close::CloseReason;
use protocol::ids::{ConnectionId, home_of};
use protocol::link::{
    ClientId, Content, Overrides, Position, ReplyTo, Request, SubscribeRequest, Subscribed,
    ToRouter, Visibility,
};
use protocol::time::Now;

use super::claims::{ConnectClaims, SubscriptionClaims, TokenRefusal};
use super::connection::slot_of;
use super::event::{Action, ToPeer};
use super::notes::TokenFault;
use super::phase::PhaseEvent;
use super::session::{ConnectSubscription, Flags, PendingConnect, Session, Subscription};
use super::shard::GatewayShard;
use super::views::{ClientText, PublicationParts};
use crate::limits;

/// What clients read as the server's version.
const VERSION: &str = concat!("Ringway ", env!("CARGO_PKG_VERSION"));

impl GatewayShard {
    /// A `connect` arrived in the open phase. `raw` is the command as it came, kept if it must
    /// wait.
    pub(super) fn on_connect(
        &mut self,
        id: ConnectionId,
        command: u32,
        connect: &Connect<'_>,
        raw: &[u8],
        now: Now,
    ) {
        if !self.waiting.may_check() {
            return self.await_turn(id, command, raw, now);
        }
        let claims = match self.check_token(id, connect, now) {
            Ok(claims) => claims,
            Err(Rejection::Error(error)) => return self.fail(id, command, error, now),
            Err(Rejection::Close(reason)) => return self.close(id, reason, now),
            Err(Rejection::AwaitKeys) => {
                let key_id = crate::auth::key_id(&connect.token).unwrap_or_default();
                return self.await_keys(id, command, (raw, key_id), now);
            }
        };
        let client = ClientId::from_random(self.random.next_u128());
        let pending = PendingConnect { command, ..PendingConnect::default() };
        let mut session = Box::new(Session::new(client, pending, now.moment));
        session.user = claims.user.as_str().into();
        session.info = claims.info.clone();
        session.set_expires_at(claims.expires_at.unwrap_or(0));
        let user = session.user.clone();
        if self.connections.find(id).is_none() {
            return;
        }
        self.connections.begin_session(slot_of(id), session);
        self.sessions_now += 1;
        self.advance(id, PhaseEvent::Connect, now);
        if let Err(reason) = self.plan_subscriptions(id, connect, &claims, now) {
            return self.close(id, reason, now);
        }
        if user.is_empty() {
            return self.begin_subscriptions(id, now);
        }
        let home = home_of(&user, self.options.shards_count);
        if home == self.options.shard {
            let is_admitted = self.users.join(&user, id, self.config.user_connections_max);
            return self.on_joined(id, is_admitted, now);
        }
        self.pending(id).expect("it was just made").awaits_home = true;
        let message = ToPeer::UserJoin { connection: id, user };
        self.actions.push_back(Action::ToPeer { shard: home, message });
    }

    fn check_token(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        now: Now,
    ) -> Result<ConnectClaims, Rejection> {
        if connect.token.is_empty() {
            let is_allowed = self.config.insecure || self.config.anonymous;
            // A client without credentials is a client that is set up wrongly.
            if is_allowed {
                return Ok(ConnectClaims::default());
            }
            self.note_token(id, TokenFault::Missing);
            return Err(Rejection::Close(CloseReason::BadRequest));
        }
        let checked = self.verifier.connection(&connect.token, now.unix_seconds());
        let claims = match checked {
            // It is not refused yet.
            Err(TokenRefusal::KeyUnknown) => return Err(Rejection::AwaitKeys),
            checked => self.accepted(id, checked)?,
        };
        if claims.user.is_empty() && !self.config.anonymous_tokens {
            return Err(Rejection::Close(CloseReason::PermissionDenied));
        }
        Ok(claims)
    }

    pub(super) fn pending(&mut self, id: ConnectionId) -> Option<&mut PendingConnect> {
        let connection = self.connections.find(id)?;
        connection.session.as_mut()?.pending.as_deref_mut()
    }

    /// Lists the server-side subscriptions that the token and the settings ask for.
    fn plan_subscriptions(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        claims: &ConnectClaims,
        now: Now,
    ) -> Result<(), CloseReason> {
        let mut wanted: Vec<(String, SubscriptionClaims)> = Vec::new();
        let mut want = |channel: &str, claims: SubscriptionClaims| {
            if !wanted.iter().any(|(known, _)| known == channel) {
                wanted.push((channel.to_owned(), claims));
            }
        };
        claims.subs.iter().for_each(|(channel, claims)| want(channel, claims.clone()));
        claims.channels.iter().for_each(|channel| want(channel, SubscriptionClaims::default()));
        if let Some(personal) = &self.config.personal_channel
            && !claims.user.is_empty()
        {
            want(&personal.name_for(&claims.user), SubscriptionClaims::default());
        }
        if wanted.len() > self.config.channels_max as usize {
            return Err(CloseReason::ChannelLimit);
        }
        for (channel, claims) in wanted {
            let is_name = protocol::channels::check_name(&channel).is_ok();
            let namespaces = self.config.namespaces.clone();
            let options = namespaces.resolve(&channel).filter(|_| is_name);
            // The token names a channel that cannot be: the backend is wrong, not the client.
            let options = options.ok_or(CloseReason::BadRequest)?;
            let flags = server_side_flags(options, &claims);
            let recover = connect.subs.get(channel.as_str()).filter(|_| flags.recoverable);
            let recover = recover
                .filter(|since| since.recover)
                .map(|since| Position { offset: since.offset, epoch: since.epoch.as_ref().into() });
            let expires_at = claims.expires_at.unwrap_or(0);
            if expires_at > 0 && expires_at <= now.unix_seconds() {
                return Err(CloseReason::SubscriptionExpired);
            }
            let pending = self.pending(id).ok_or(CloseReason::InternalError)?;
            pending.subscriptions.push(ConnectSubscription {
                channel: channel.into(),
                flags,
                info: claims.info,
                overrides: claims.overrides,
                data: claims.data,
                expires_at,
                recover,
                answer: None,
            });
        }
        Ok(())
    }

    /// The user's home shard has decided.
    pub(super) fn on_joined(&mut self, id: ConnectionId, is_admitted: bool, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let Some(session) = connection.session.as_mut() else { return };
        session.is_registered = is_admitted;
        if let Some(pending) = &mut session.pending {
            pending.awaits_home = false;
        }
        if is_admitted {
            self.begin_subscriptions(id, now);
        } else {
            self.close(id, CloseReason::ConnectionLimit, now);
        }
    }

    fn begin_subscriptions(&mut self, id: ConnectionId, now: Now) {
        let count = self.pending(id).map_or(0, |pending| pending.subscriptions.len());
        for index in 0..count {
            let Some(pending) = self.pending(id) else { return };
            pending.unanswered_count += 1;
            let entry = &mut pending.subscriptions[index];
            let (channel, flags) = (entry.channel.clone(), entry.flags);
            let (info, recover) = (entry.info.clone(), entry.recover.take());
            let ask = AskSubscription { info, overrides: entry.overrides, recover };
            let subscription = Subscription::new(0, flags, entry.expires_at, None);
            self.ask_subscription(id, &channel, subscription, ask);
        }
        self.finish_connect(id, now);
    }

    /// Puts a subscription into session and table and asks the router for it.
    pub(super) fn ask_subscription(
        &mut self,
        id: ConnectionId,
        channel: &str,
        mut subscription: Subscription,
        ask: AskSubscription,
    ) {
        let namespaces = self.config.namespaces.clone();
        let Some(options) = namespaces.resolve(channel) else { return };
        let Some(connection) = self.connections.find(id) else { return };
        let Some(session) = connection.session.as_mut() else { return };
        let visibility = Visibility {
            presence: ask.overrides.presence.unwrap_or(options.presence),
            join_leave: ask.overrides.join_leave.unwrap_or(options.join_leave),
        };
        let before = session.charged();
        let shows = visibility.presence || visibility.join_leave;
        let member = shows.then(|| session.member_in_channel(ask.info));
        let command = subscription.command;
        let index = self.channels.begin(channel, options.slow_consumer);
        subscription.channel = index;
        session.add(subscription);
        self.connections.settle(slot_of(id), before);
        let bytes_max = self.config.answer_bytes_max();
        let recover = ask.recover;
        let request = SubscribeRequest { connection: id, member, visibility, recover, bytes_max };
        self.actions.push_back(Action::ToRouter(ToRouter {
            channel: self.channels.name(index).clone(),
            reply_to: ReplyTo::Subscription { connection: id, command },
            request: Request::Subscribe(Box::new(request)),
        }));
    }

    /// A subscription of the connect reply was answered. `None`: refused.
    pub(super) fn on_connect_subscription(
        &mut self,
        id: ConnectionId,
        channel: &str,
        answer: Option<Box<Subscribed>>,
        now: Now,
    ) {
        let memory_bytes_max = self.config.memory_bytes_max as usize;
        let before = self.connections.charged(slot_of(id));
        let Some(pending) = self.pending(id) else { return };
        let entries = &mut pending.subscriptions;
        if let Some(index) = entries.iter().position(|entry| &*entry.channel == channel) {
            match answer {
                Some(mut answer) => {
                    let publications = answer.publications.iter();
                    let bytes: usize = publications.map(|one| one.content.bytes.len()).sum();
                    // Closed for them, the client would come back for them for ever. The reply
                    // takes as much again.
                    if 2 * (pending.answer_bytes + bytes) > memory_bytes_max / 2 {
                        answer.publications = Vec::new();
                        answer.recovered = false;
                    } else {
                        pending.answer_bytes += bytes;
                    }
                    entries[index].answer = Some(answer);
                }
                None => drop(entries.remove(index)),
            }
            pending.unanswered_count -= 1;
        }
        self.connections.settle(slot_of(id), before);
        self.finish_connect(id, now);
    }

    /// Replies to `connect` if nothing is awaited any more, and takes up what was held.
    fn finish_connect(&mut self, id: ConnectionId, now: Now) {
        let interval = self.config.ping_interval;
        let jitter = Duration::from_nanos(self.random.below(interval.as_nanos().max(1) as u64));
        let Some(connection) = self.connections.find(id) else { return };
        let format = connection.format.unwrap_or(Format::Json);
        let Some(session) = connection.session.as_mut() else { return };
        let waits = |pending: &PendingConnect| {
            pending.awaits_home || pending.awaits.is_some() || pending.unanswered_count > 0
        };
        if session.pending.as_deref().is_none_or(waits) {
            return;
        }
        let before = session.charged();
        let pending = session.pending.take().expect("checked above");
        if !interval.is_zero() {
            // The first ping comes at a random time, so that clients that came together part.
            session.ping_at = now.moment + jitter.max(interval / 2);
        }
        let pong = !self.config.pong_timeout.is_zero() && !interval.is_zero();
        let node = self.config.node_name.clone();
        let reply = ConnectReply { pending: &pending, ping: interval, pong, node: &node };
        self.scratch.clear();
        reply.encode(session, format, now, &mut self.scratch);
        self.connections.answer_connect(slot_of(id), &self.scratch, now.moment);
        self.connections.settle(slot_of(id), before);
        self.counters.sessions += 1;
        self.advance(id, PhaseEvent::Admitted, now);
        for command in &pending.commands {
            self.on_user_command(id, command, now);
        }
        self.replay(id, pending.held, now);
    }

    pub(super) fn replay(&mut self, id: ConnectionId, held: Vec<Vec<u8>>, now: Now) {
        for message in held {
            match self.connections.find(id).and_then(|connection| connection.format) {
                Some(Format::Protobuf) => self.on_binary(id, &message, now),
                _ => {
                    let text = std::str::from_utf8(&message).unwrap_or_default();
                    self.on_text(id, text, now);
                }
            }
        }
    }

    /// Keeps commands that came behind a `connect` that is not answered yet.
    pub(super) fn hold(&mut self, id: ConnectionId, raw: &[u8], now: Now) {
        let before = self.connections.charged(slot_of(id));
        let Some(pending) = self.pending(id) else { return };
        if pending.held_bytes + raw.len() + limits::HELD_OVERHEAD_BYTES > limits::HELD_BYTES_MAX {
            return self.close(id, CloseReason::TooManyRequests, now);
        }
        pending.hold(raw);
        self.connections.settle(slot_of(id), before);
    }
}

impl PendingConnect {
    pub(super) fn hold(&mut self, raw: &[u8]) {
        self.held_bytes += raw.len() + limits::HELD_OVERHEAD_BYTES;
        self.held.push(raw.to_vec());
    }
}

/// What the router is asked for with a subscription, beside what the session says.
pub(super) struct AskSubscription {
    /// Shown to others in the channel.
    pub(super) info: Option<Content>,
    /// Options that differ from the namespace's.
    pub(super) overrides: Overrides,
    /// What was missed since then.
    pub(super) recover: Option<Position>,
}

impl AskSubscription {
    pub(super) fn new(claims: &SubscriptionClaims, recover: Option<Position>) -> Self {
        Self { info: claims.info.clone(), overrides: claims.overrides, recover }
    }
}

/// Why a token does not lead to a session.
pub(super) enum Rejection {
    Error(ErrorCode),
    Close(CloseReason),
    AwaitKeys,
}

impl From<TokenRefusal> for Rejection {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Invalid => Self::Close(CloseReason::InvalidToken),
            TokenRefusal::Expired => Self::Error(ErrorCode::TokenExpired),
            TokenRefusal::KeyUnknown => Self::AwaitKeys,
        }
    }
}

/// What holds for a subscription that the server makes.
pub(super) fn server_side_flags(
    options: &protocol::channels::ChannelOptions,
    claims: &SubscriptionClaims,
) -> Flags {
    let overrides = claims.overrides;
    let recoverable =
        options.has_history() && overrides.force_recovery.unwrap_or(options.force_recovery);
    let positioned = recoverable
        || options.has_history()
            && overrides.force_positioning.unwrap_or(options.force_positioning);
    let joins = overrides.join_leave.unwrap_or(options.join_leave)
        && overrides.force_push_join_leave.unwrap_or(options.force_push_join_leave);
    Flags { granted: false, positioned, recoverable, joins, server_side: true, pushed: false }
}

struct ConnectReply<'a> {
    pending: &'a PendingConnect,
    ping: Duration,
    pong: bool,
    node: &'a Arc<str>,
}

impl ConnectReply<'_> {
    fn encode(&self, session: &Session, format: Format, now: Now, out: &mut Vec<u8>) {
        let entries = &self.pending.subscriptions;
        let answers: Vec<_> = entries.iter().filter_map(|entry| entry.answer.as_deref()).collect();
        let parts: Vec<_> =
            answers.iter().map(|answer| PublicationParts::new(&answer.publications)).collect();
        let publications: Vec<_> = answers
            .iter()
            .zip(&parts)
            .map(|(answer, parts)| parts.views(&answer.publications))
            .collect();
        let results = entries.iter().zip(answers.iter().zip(&publications));
        let subs: Vec<_> = results
            .map(|(entry, (answer, publications))| {
                let result = subscribe_result(SubscribeView {
                    answer,
                    flags: entry.flags,
                    expires_at: entry.expires_at,
                    data: entry.data.as_ref().map_or(Payload::EMPTY, |data| data.payload()),
                    publications,
                    now,
                });
                (&*entry.channel, result)
            })
            .collect();
        let client = ClientText::new(session.client);
        let result = wire::ConnectResult {
            client: client.as_str(),
            version: VERSION,
            expires: session.expires_at() > 0,
            ttl: ttl(session.expires_at(), now),
            data: Payload::EMPTY,
            subs: &subs,
            ping: u32::try_from(self.ping.as_secs()).unwrap_or(u32::MAX),
            pong: self.pong,
            session: "",
            node: self.node,
            time: 0,
        };
        let body = ReplyBody::Connect(result);
        wire::encode_reply(format, &wire::Reply { id: self.pending.command, body }, out);
    }
}

/// Seconds until `expires_at`, at least one; zero if it never comes.
pub(super) fn ttl(expires_at: u64, now: Now) -> u32 {
    if expires_at == 0 {
        return 0;
    }
    u32::try_from(expires_at.saturating_sub(now.unix_seconds()).max(1)).unwrap_or(u32::MAX)
}

pub(super) struct SubscribeView<'a> {
    pub(super) answer: &'a Subscribed,
    pub(super) flags: Flags,
    pub(super) expires_at: u64,
    pub(super) data: Payload<'a>,
    pub(super) publications: &'a [wire::Publication<'a>],
    pub(super) now: Now,
}

/// A router's answer as a client reads it.
pub(super) fn subscribe_result(view: SubscribeView<'_>) -> wire::SubscribeResult<'_> {
    let shows_position = view.flags.positioned || view.flags.recoverable;
    let position = &view.answer.position;
    wire::SubscribeResult {
        expires: view.expires_at > 0,
        ttl: ttl(view.expires_at, view.now),
        recoverable: view.flags.recoverable,
        epoch: if shows_position { &position.epoch } else { "" },
        publications: view.publications,
        recovered: view.answer.recovered,
        offset: if shows_position { position.offset } else { 0 },
        positioned: view.flags.positioned,
        data: view.data,
        was_recovering: view.answer.was_recovering,
        delta: false,
    }
}
