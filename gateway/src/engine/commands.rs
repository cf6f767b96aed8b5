//! What a client asks, command by command.

use std::sync::Arc;

use protocol::channels::{ChannelOptions, check_name};
use protocol::client::{
    self as wire, Command, CommandKind, CommandViolation, ErrorCode, Format, JsonCommands, Payload,
    ProtobufCommands, ReplyBody,
};
use protocol::close::CloseReason;
use protocol::ids::{ConnectionId, home_of};
use protocol::link::{
    Content, HistoryRequest, Position, PublishRequest, ReplyTo, Request, RpcRequest, ToRouter,
};
use protocol::time::Now;

use super::access::{self, Asker, Verb};
use super::claims::{SubscriptionClaims, TokenRefusal};
use super::connect::{AskSubscription, ttl};
use super::connection::slot_of;
use super::event::{Action, ToPeer};
use super::notes::TokenFault;
use super::phase::Phase;
use super::session::{Flags, Subscription};
use super::shard::GatewayShard;
use super::views::ClientText;
use crate::limits;

/// How a command ends that was not handed to the router.
enum Refusal {
    Error(ErrorCode),
    Close(CloseReason),
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error)
    }
}

impl From<TokenRefusal> for Refusal {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Expired => Self::Error(ErrorCode::TokenExpired),
            TokenRefusal::Invalid => Self::Close(CloseReason::InvalidToken),
            // The driver loads keys for connects; until then a client may try again.
            TokenRefusal::KeyUnknown => Self::Error(ErrorCode::Internal),
        }
    }
}

impl GatewayShard {
    pub(super) fn on_text(&mut self, id: ConnectionId, text: &str, now: Now) {
        if self.format_of(id) != Some(Format::Json) {
            return self.close(id, CloseReason::InappropriateProtocol, now);
        }
        let mut commands = JsonCommands::new(text);
        loop {
            let raw = commands.rest();
            let Some(command) = commands.next() else { return };
            if self.next_command(id, command, raw, now).is_break() {
                return;
            }
        }
    }

    pub(super) fn on_binary(&mut self, id: ConnectionId, bytes: &[u8], now: Now) {
        if self.format_of(id) != Some(Format::Protobuf) {
            return self.close(id, CloseReason::InappropriateProtocol, now);
        }
        let mut commands = ProtobufCommands::new(bytes);
        loop {
            let raw = commands.rest();
            let Some(command) = commands.next() else { return };
            if self.next_command(id, command, raw, now).is_break() {
                return;
            }
        }
    }

    fn format_of(&mut self, id: ConnectionId) -> Option<Format> {
        self.connections.find(id).and_then(|connection| connection.format)
    }

    /// Takes one command. `raw` is the message from this command on; if the command has to wait,
    /// all of it does, and the caller stops.
    fn next_command(
        &mut self,
        id: ConnectionId,
        command: Result<Command<'_>, CommandViolation>,
        raw: &[u8],
        now: Now,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let Some(connection) = self.connections.find(id) else { return Break(()) };
        match connection.phase {
            Phase::Connecting => {
                self.hold(id, raw, now);
                return Break(());
            }
            Phase::Open | Phase::Connected => {}
            _ => return Break(()),
        }
        match command {
            Ok(command) => self.command(id, command, raw, now),
            Err(CommandViolation::FieldTooLong { id: number }) if number > 0 => {
                self.fail(id, number, ErrorCode::BadRequest, now);
            }
            Err(violation) => self.close(id, violation.close_reason(), now),
        }
        // A connect that waits to be looked at keeps the whole rest of its message.
        let is_kept = self.pending(id).is_some_and(|pending| pending.awaits.is_some());
        let listens = self.connections.find(id).is_some_and(|one| one.phase.listens());
        if listens && !is_kept { Continue(()) } else { Break(()) }
    }

    fn command(&mut self, id: ConnectionId, command: Command<'_>, raw: &[u8], now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        if let CommandKind::Connect(connect) = &command.kind {
            if connection.phase != Phase::Open {
                return self.close(id, CloseReason::BadRequest, now);
            }
            return self.on_connect(id, command.id, connect, raw, now);
        }
        let Some(session) = connection.session.as_mut() else {
            return self.close(id, CloseReason::BadRequest, now);
        };
        if matches!(command.kind, CommandKind::Pong) {
            session.pong_by = protocol::time::Moment::ZERO;
            connection.activity.was_pong();
            return;
        }
        if let Some(rate) = self.config.command_rate
            && !session.commands.admit(rate, now.moment)
        {
            return self.fail(id, command.id, ErrorCode::TooManyRequests, now);
        }
        let done = self.dispatch(id, command.id, command.kind, now);
        match done {
            Ok(()) => {}
            Err(Refusal::Error(error)) => self.fail(id, command.id, error, now),
            Err(Refusal::Close(reason)) => self.close(id, reason, now),
        }
    }

    fn dispatch(
        &mut self,
        id: ConnectionId,
        command: u32,
        kind: CommandKind<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        match kind {
            CommandKind::Subscribe(subscribe) => self.subscribe(id, command, &subscribe, now),
            CommandKind::Unsubscribe(unsubscribe) => {
                if let Some(index) = self.channels.find(&unsubscribe.channel) {
                    self.drop_subscription(id, index, now);
                }
                self.reply(id, command, ReplyBody::Unsubscribe, now);
                Ok(())
            }
            CommandKind::Publish(publish) => self.publish(id, command, &publish, now),
            CommandKind::Presence(presence) => {
                self.query(id, command, &presence.channel, Verb::Presence, Request::Presence)
            }
            CommandKind::PresenceStats(stats) => {
                self.query(id, command, &stats.channel, Verb::Presence, Request::PresenceStats)
            }
            CommandKind::History(history) => {
                let since = history.since.as_ref().map(|since| Position {
                    offset: since.offset,
                    epoch: since.epoch.as_ref().into(),
                });
                let (limit, reverse) = (history.limit, history.reverse);
                let bytes_max = self.config.answer_bytes_max();
                let request =
                    Request::History(Box::new(HistoryRequest { limit, since, reverse, bytes_max }));
                self.query(id, command, &history.channel, Verb::History, request)
            }
            CommandKind::Rpc(rpc) => self.rpc(id, command, &rpc, now),
            CommandKind::Refresh(refresh) => self.refresh(id, command, &refresh.token, now),
            CommandKind::SubRefresh(refresh) => self.sub_refresh(id, command, &refresh, now),
            CommandKind::Ping => {
                self.reply(id, command, ReplyBody::Ping, now);
                Ok(())
            }
            // Nobody here listens to messages without a reply, and nobody would learn that they are
            // lost.
            CommandKind::Send(_) => Err(Refusal::Close(CloseReason::NotAvailable)),
            CommandKind::Connect(_) | CommandKind::Pong => unreachable!("`command` keeps these"),
        }
    }

    fn options_of(&self, channel: &str) -> Result<ChannelOptions, ErrorCode> {
        check_name(channel).map_err(|_| ErrorCode::BadRequest)?;
        self.config.namespaces.resolve(channel).cloned().ok_or(ErrorCode::UnknownChannel)
    }

    fn subscribe(
        &mut self,
        id: ConnectionId,
        command: u32,
        subscribe: &wire::Subscribe<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        if subscribe.subscription_type != 0 || subscribe.has_tag_filter {
            return Err(ErrorCode::NotAvailable.into());
        }
        let channel = &*subscribe.channel;
        let options = self.options_of(channel)?;
        let insecure = self.config.insecure;
        let channels_max = self.config.channels_max as usize;
        let index = self.channels.find(channel);
        let Some(session) = self.session(id) else { return Ok(()) };
        if index.is_some_and(|index| session.find(index).is_some()) {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if session.subscriptions.len() >= channels_max {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let user = session.user.clone();
        let claims = if subscribe.token.is_empty() {
            let asker = Asker { user: &user, is_subscribed: false, insecure };
            access::may_subscribe(asker, channel, &options)?;
            SubscriptionClaims::default()
        } else {
            let checked = self.verifier.subscription(&subscribe.token, now.unix_seconds());
            let claims = self.accepted(id, checked)?;
            if claims.channel != channel || *claims.user != *user {
                self.note_token(id, TokenFault::Foreign);
                return Err(Refusal::Close(CloseReason::InvalidToken));
            }
            claims.subscription
        };
        let flags = client_side_flags(&options, &claims, subscribe);
        let recover = (subscribe.recover && flags.recoverable)
            .then(|| Position { offset: subscribe.offset, epoch: subscribe.epoch.as_ref().into() });
        self.count_in_flight(id)?;
        let ask = AskSubscription::new(&claims, recover);
        let expires_at = claims.expires_at.unwrap_or(0);
        let data = claims.data.map(Box::new);
        let subscription = Subscription::new(command, flags, expires_at, data);
        self.ask_subscription(id, channel, subscription, ask);
        Ok(())
    }

    fn asks<'a>(&mut self, id: ConnectionId, channel: &str, user: &'a Arc<str>) -> Asker<'a> {
        let insecure = self.config.insecure;
        let index = self.channels.find(channel);
        let session = self.session(id);
        let subscription = index.zip(session).and_then(|(index, session)| session.find(index));
        let is_subscribed = subscription.is_some_and(|subscription| subscription.flags.granted);
        Asker { user, is_subscribed, insecure }
    }

    fn publish(
        &mut self,
        id: ConnectionId,
        command: u32,
        publish: &wire::Publish<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        if publish.publication_type != 0 {
            return Err(ErrorCode::NotAvailable.into());
        }
        if publish.data.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let channel = &*publish.channel;
        let options = self.options_of(channel)?;
        let Some(session) = self.session(id) else { return Ok(()) };
        let (user, publisher) = (session.user.clone(), session.member());
        access::may(Verb::Publish, self.asks(id, channel, &user), &options)?;
        self.charge(id, &user, now)?;
        self.count_in_flight(id)?;
        let content = match self.format_of(id) {
            Some(Format::Json) => Content::copy_of(Payload::from_json_command(publish.data)),
            _ => Content::classify(publish.data),
        };
        let request = PublishRequest {
            content,
            publisher: Some(publisher),
            tags: None,
            skip_history: false,
            idempotency_key: None,
        };
        if let Some(session) = self.session(id)
            && session.timed_command == 0
        {
            session.timed_command = command;
            session.timed_since = now.moment;
        }
        self.ask_router(id, command, channel, Request::Publish(Box::new(request)));
        Ok(())
    }

    fn query(
        &mut self,
        id: ConnectionId,
        command: u32,
        channel: &str,
        verb: Verb,
        request: Request,
    ) -> Result<(), Refusal> {
        let options = self.options_of(channel)?;
        let Some(session) = self.session(id) else { return Ok(()) };
        let user = session.user.clone();
        access::may(verb, self.asks(id, channel, &user), &options)?;
        self.count_in_flight(id)?;
        self.ask_router(id, command, channel, request);
        Ok(())
    }

    fn rpc(
        &mut self,
        id: ConnectionId,
        command: u32,
        rpc: &wire::Rpc<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let data = match self.format_of(id) {
            Some(Format::Json) => Content::copy_of(Payload::from_json_command(rpc.data)),
            _ => Content::classify(rpc.data),
        };
        let Some(session) = self.session(id) else { return Ok(()) };
        let (user, caller) = (session.user.clone(), session.member());
        self.charge(id, &user, now)?;
        self.count_in_flight(id)?;
        let request =
            Request::Rpc(Box::new(RpcRequest { method: (&*rpc.method).into(), data, caller }));
        self.ask_router(id, command, &user, request);
        Ok(())
    }

    fn ask_router(&mut self, id: ConnectionId, command: u32, channel: &str, request: Request) {
        // A channel that is known here has its name already.
        let channel = match self.channels.find(channel) {
            Some(index) => self.channels.name(index).clone(),
            None => channel.into(),
        };
        let reply_to = ReplyTo::Command { connection: id, command };
        self.actions.push_back(Action::ToRouter(ToRouter { channel, reply_to, request }));
    }

    fn count_in_flight(&mut self, id: ConnectionId) -> Result<(), ErrorCode> {
        let Some(session) = self.session(id) else { return Ok(()) };
        if session.in_flight >= limits::COMMANDS_IN_FLIGHT_MAX {
            return Err(ErrorCode::TooManyRequests);
        }
        session.in_flight += 1;
        Ok(())
    }

    /// Counts an event against the user's rate, at its home.
    fn charge(&mut self, id: ConnectionId, user: &Arc<str>, now: Now) -> Result<(), ErrorCode> {
        let Some(rate) = self.config.user_rate else { return Ok(()) };
        if user.is_empty() {
            return Ok(());
        }
        let home = home_of(user, self.options.shards_count);
        if home == self.options.shard {
            let is_admitted = self.users.charge(user, rate, now.moment);
            return if is_admitted { Ok(()) } else { Err(ErrorCode::TooManyRequests) };
        }
        let Some(session) = self.session(id) else { return Ok(()) };
        if session.throttled_until > now.moment {
            return Err(ErrorCode::TooManyRequests);
        }
        // Counted behind the event: what goes over is what one lane's round trip lets through.
        let message = ToPeer::UserCharge { connection: id, user: user.clone() };
        self.actions.push_back(Action::ToPeer { shard: home, message });
        Ok(())
    }

    fn refresh(
        &mut self,
        id: ConnectionId,
        command: u32,
        token: &str,
        now: Now,
    ) -> Result<(), Refusal> {
        let checked = self.verifier.connection(token, now.unix_seconds());
        let claims = self.accepted(id, checked)?;
        let Some(session) = self.session(id) else { return Ok(()) };
        if *claims.user != *session.user {
            self.note_token(id, TokenFault::Foreign);
            return Err(Refusal::Close(CloseReason::InvalidToken));
        }
        let expires_at = claims.expires_at.unwrap_or(0);
        let client = ClientText::new(session.client);
        let before = session.charged();
        session.set_expires_at(expires_at);
        session.info = claims.info;
        session.forget_member();
        self.connections.settle(slot_of(id), before);
        let result = wire::RefreshResult {
            client: client.as_str(),
            version: "",
            expires: expires_at > 0,
            ttl: ttl(expires_at, now),
        };
        self.reply(id, command, ReplyBody::Refresh(result), now);
        self.rearm(slot_of(id), now);
        Ok(())
    }

    fn sub_refresh(
        &mut self,
        id: ConnectionId,
        command: u32,
        refresh: &wire::SubRefresh<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        if refresh.refresh_type != 0 {
            return Err(ErrorCode::NotAvailable.into());
        }
        let checked = self.verifier.subscription(&refresh.token, now.unix_seconds());
        let claims = self.accepted(id, checked)?;
        let index = self.channels.find(&refresh.channel);
        let Some(session) = self.session(id) else { return Ok(()) };
        if *claims.channel != *refresh.channel || *claims.user != *session.user {
            self.note_token(id, TokenFault::Foreign);
            return Err(Refusal::Close(CloseReason::InvalidToken));
        }
        let subscription = index.and_then(|index| session.find(index));
        let Some(subscription) = subscription else {
            return Err(ErrorCode::PermissionDenied.into());
        };
        let expires_at = claims.subscription.expires_at.unwrap_or(0);
        subscription.set_expires_at(expires_at);
        let result = wire::SubRefreshResult { expires: expires_at > 0, ttl: ttl(expires_at, now) };
        self.reply(id, command, ReplyBody::SubRefresh(result), now);
        self.rearm(slot_of(id), now);
        Ok(())
    }

    /// Queues a reply.
    pub(super) fn reply(&mut self, id: ConnectionId, command: u32, body: ReplyBody<'_>, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let format = connection.format.unwrap_or(Format::Json);
        self.scratch.clear();
        wire::encode_reply(format, &wire::Reply { id: command, body }, &mut self.scratch);
        self.connections.push_message(slot_of(id), &self.scratch, now.moment);
    }

    /// Queues an error reply, and closes a client that does nothing but fail. What fails for the
    /// server's sake (a full disk, a partition out of reach) is not held against anybody.
    pub(super) fn fail(&mut self, id: ConnectionId, command: u32, error: ErrorCode, now: Now) {
        self.counters.errors[error as usize] += 1;
        if command > 0 {
            self.reply(id, command, ReplyBody::Error(error.into()), now);
        }
        if error == ErrorCode::Internal {
            return;
        }
        let Some(session) = self.session(id) else { return };
        session.errors = session.errors.saturating_add(1);
        if session.errors >= limits::ERRORS_MAX {
            self.close(id, CloseReason::TooManyErrors, now);
        }
    }

    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut super::session::Session> {
        self.connections.find(id)?.session.as_deref_mut()
    }
}

/// What holds for a subscription that a client asks for.
fn client_side_flags(
    options: &ChannelOptions,
    claims: &SubscriptionClaims,
    subscribe: &wire::Subscribe<'_>,
) -> Flags {
    let overrides = claims.overrides;
    let has_history = options.has_history();
    let recoverable = has_history
        && (overrides.force_recovery.unwrap_or(options.force_recovery)
            || (options.allow_recovery && subscribe.recoverable));
    let positioned = recoverable
        || has_history
            && (overrides.force_positioning.unwrap_or(options.force_positioning)
                || (options.allow_positioning && subscribe.positioned));
    let pushes = overrides.force_push_join_leave.unwrap_or(options.force_push_join_leave);
    let joins =
        overrides.join_leave.unwrap_or(options.join_leave) && (pushes || subscribe.join_leave);
    Flags { granted: false, positioned, recoverable, joins, server_side: false, pushed: false }
}
