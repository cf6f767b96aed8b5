//! How subscriptions begin and end here: what the router answers, what time and operators do.

use std::sync::Arc;

use protocol::client::{self as wire, ErrorCode, Format, Payload, ReplyBody, UnsubscribeReason};
use protocol::close::CloseReason;
use protocol::ids::{ConnectionId, home_of};
use protocol::link::{
    Answer, FromRouter, Position, ReplyTo, Request, RouterReply, Subscribed, ToRouter, UserCommand,
};
use protocol::time::{Moment, Now};

use super::claims::SubscriptionClaims;
use super::connect::{AskSubscription, SubscribeView, server_side_flags, subscribe_result};
use super::connection::slot_of;
use super::counters::SubscribeRefusal;
use super::event::{Action, ToPeer};
use super::fanout::{Item, Subscriber};
use super::phase::Phase;
use super::session::Subscription;
use super::shard::GatewayShard;
use super::subscriptions::Arrival;
use super::views::{self, ClientText, PublicationParts};
use crate::limits;

impl GatewayShard {
    pub(super) fn on_router(&mut self, message: FromRouter, now: Now) {
        match message {
            FromRouter::Publication { channel, publication } => {
                if let Arrival::Gap(since) = self.channels.arrive(&channel, publication) {
                    self.fetch(channel, since);
                }
            }
            FromRouter::Join { channel, member } => {
                self.on_presence(&channel, Item::Join(member), now);
            }
            FromRouter::Leave { channel, member } => {
                self.on_presence(&channel, Item::Leave(member), now);
            }
            FromRouter::PresenceLagged { channel } => self.void_presence(&channel, now),
            FromRouter::Lagged { channel } => {
                if let Some(since) = self.channels.lagged(&channel) {
                    self.fetch(channel, since);
                }
            }
            FromRouter::Reply(reply) => self.on_reply(*reply, now),
        }
    }

    fn on_presence(&mut self, channel: &str, item: Item, now: Now) {
        if !self.channels.arrive_presence(channel, item) {
            self.void_presence(channel, now);
        }
    }

    /// Who listens to joins and leaves has missed some, and subscribes anew.
    fn void_presence(&mut self, channel: &str, now: Now) {
        let Some(index) = self.channels.find(channel) else { return };
        let slots = self.channels.slots(index, |subscriber| subscriber.joins);
        self.void(index, &slots, now);
    }

    pub(super) fn fetch(&mut self, channel: Arc<str>, since: Position) {
        let request = Request::Fetch { since };
        let message = ToRouter { channel, reply_to: ReplyTo::Gateway, request };
        self.actions.push_back(Action::ToRouter(message));
    }

    fn on_reply(&mut self, reply: RouterReply, now: Now) {
        let RouterReply { channel, reply_to, result } = reply;
        match reply_to {
            ReplyTo::Gateway => self.on_fetched(&channel, result, now),
            ReplyTo::Subscription { connection, command } => {
                self.on_subscription_reply(connection, command, &channel, result, now);
            }
            ReplyTo::Command { connection, command } => {
                self.on_command_reply(connection, command, result, now);
            }
            ReplyTo::Nobody | ReplyTo::Api(_) => {}
        }
    }

    fn on_fetched(&mut self, channel: &str, result: Result<Answer, ErrorCode>, now: Now) {
        let answer = match result {
            Ok(Answer::History { publications, position }) => Some((publications, position)),
            _ => None,
        };
        if !self.channels.fetched(channel, answer)
            && let Some(index) = self.channels.find(channel)
        {
            self.void_positions(index, None, now);
            if self.channels.find(channel) == Some(index) {
                self.channels.forget_position(index);
            }
        }
    }

    fn on_subscription_reply(
        &mut self,
        id: ConnectionId,
        command: u32,
        channel: &str,
        result: Result<Answer, ErrorCode>,
        now: Now,
    ) {
        // What ended before the router answered was answered then.
        let Some(index) = self.answers_subscription(id, command, channel) else { return };
        match result {
            Ok(Answer::Subscribed(answer)) => self.on_subscribed(id, index, *answer, now),
            Ok(_) => unreachable!("a subscription is answered with a position"),
            Err(error) => {
                self.end_at_router(id, channel.into());
                self.refuse_subscription(id, command, channel, error, now);
            }
        }
    }

    /// The channel's place, if the subscription still waits for this answer.
    fn answers_subscription(
        &mut self,
        id: ConnectionId,
        command: u32,
        channel: &str,
    ) -> Option<u32> {
        let session = self.session(id)?;
        if command > 0 {
            session.in_flight = session.in_flight.saturating_sub(1);
        }
        let index = self.channels.find(channel)?;
        let found = self.session(id)?.find(index)?;
        (!found.flags.granted && found.command == command).then_some(index)
    }

    fn end_at_router(&mut self, id: ConnectionId, channel: Arc<str>) {
        let request = Request::Unsubscribe { connection: id };
        let message = ToRouter { channel, reply_to: ReplyTo::Nobody, request };
        self.actions.push_back(Action::ToRouter(message));
    }

    fn on_command_reply(
        &mut self,
        id: ConnectionId,
        command: u32,
        result: Result<Answer, ErrorCode>,
        now: Now,
    ) {
        let Some(session) = self.session(id) else { return };
        if command > 0 {
            session.in_flight = session.in_flight.saturating_sub(1);
        }
        if command > 0 && session.timed_command == command {
            session.timed_command = 0;
            let since = session.timed_since;
            self.counters.publish_latency.record(now.moment.since(since));
        }
        match result {
            Err(error) => self.fail(id, command, error, now),
            Ok(_) if command == 0 => {}
            Ok(answer) => self.reply_with(id, command, &answer, now),
        }
    }

    fn reply_with(&mut self, id: ConnectionId, command: u32, answer: &Answer, now: Now) {
        match answer {
            Answer::Published(_) => self.reply(id, command, ReplyBody::Publish, now),
            Answer::Presence(members) => {
                let clients: Vec<_> =
                    members.iter().map(|member| ClientText::new(member.client)).collect();
                let presence: Vec<_> = members
                    .iter()
                    .zip(&clients)
                    .map(|(member, client)| (client.as_str(), views::client_info(member, client)))
                    .collect();
                let result = wire::PresenceResult { presence: &presence };
                self.reply(id, command, ReplyBody::Presence(result), now);
            }
            Answer::PresenceStats { clients, users } => {
                let result = wire::PresenceStatsResult { num_clients: *clients, num_users: *users };
                self.reply(id, command, ReplyBody::PresenceStats(result), now);
            }
            Answer::History { publications, position } => {
                let parts = PublicationParts::new(publications);
                let views = parts.views(publications);
                let (epoch, offset) = (&*position.epoch, position.offset);
                let result = wire::HistoryResult { publications: &views, epoch, offset };
                self.reply(id, command, ReplyBody::History(result), now);
            }
            Answer::Rpc(content) => {
                let result = wire::RpcResult { data: content.payload() };
                self.reply(id, command, ReplyBody::Rpc(result), now);
            }
            Answer::Done | Answer::Channels { .. } | Answer::Subscribed(_) => {
                unreachable!("clients have no command with this answer")
            }
        }
    }

    fn on_subscribed(&mut self, id: ConnectionId, index: u32, answer: Subscribed, now: Now) {
        let slot = slot_of(id);
        let Some(connection) = self.connections.find(id) else { return };
        let format = connection.format.unwrap_or(Format::Json);
        let Some(session) = connection.session.as_mut() else { return };
        let Some(subscription) = session.find(index) else { return };
        let subscriber = Subscriber {
            delivered: answer.position.offset,
            slot,
            format,
            joins: subscription.flags.joins,
            has_gap: false,
        };
        let (place, same_epoch) = self.channels.grant(index, subscriber, &answer.position);
        subscription.place = place;
        subscription.flags.granted = true;
        let (command, flags) = (subscription.command, subscription.flags);
        let expires_at = subscription.expires_at();
        let before = session.charged();
        let data = session.take_data(index);
        self.connections.settle(slot, before);
        let channel = self.channels.name(index).clone();
        if !same_epoch {
            self.void_positions(index, Some(slot), now);
        }
        if flags.server_side && !flags.pushed {
            return self.on_connect_subscription(id, &channel, Some(Box::new(answer)), now);
        }
        let data = data.as_ref().map_or(Payload::EMPTY, |data| data.payload());
        if flags.pushed {
            self.push_subscribed(id, &channel, &answer, flags, data, now);
        } else {
            let parts = PublicationParts::new(&answer.publications);
            let publications = parts.views(&answer.publications);
            let answer = &answer;
            let view =
                SubscribeView { answer, flags, expires_at, data, publications: &publications, now };
            self.reply(id, command, ReplyBody::Subscribe(subscribe_result(view)), now);
        }
        if expires_at > 0 {
            self.rearm(slot, now);
        }
    }

    /// The server subscribed a client that has its session: told by a push, and what it missed by
    /// more.
    fn push_subscribed(
        &mut self,
        id: ConnectionId,
        channel: &str,
        answer: &Subscribed,
        flags: super::session::Flags,
        data: Payload<'_>,
        now: Now,
    ) {
        let shows_position = flags.positioned || flags.recoverable;
        let position = &answer.position;
        let push = wire::SubscribePush {
            recoverable: flags.recoverable,
            epoch: if shows_position { &position.epoch } else { "" },
            offset: if shows_position { position.offset } else { 0 },
            positioned: flags.positioned,
            data,
        };
        self.push(id, channel, wire::PushBody::Subscribe(push), now);
        for publication in &answer.publications {
            let format = self.connections.find(id).and_then(|connection| connection.format);
            let Some(format) = format else { return };
            self.scratch.clear();
            views::encode_publication(format, channel, publication, &mut self.scratch);
            self.connections.push_message(slot_of(id), &self.scratch, now.moment);
        }
    }

    fn push(&mut self, id: ConnectionId, channel: &str, body: wire::PushBody<'_>, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let format = connection.format.unwrap_or(Format::Json);
        self.scratch.clear();
        wire::encode_push(format, &wire::Push { channel, body }, &mut self.scratch);
        self.connections.push_message(slot_of(id), &self.scratch, now.moment);
    }

    fn refuse_subscription(
        &mut self,
        id: ConnectionId,
        command: u32,
        channel: &str,
        error: ErrorCode,
        now: Now,
    ) {
        let Some(index) = self.channels.find(channel) else { return };
        let Some(session) = self.session(id) else { return };
        let is_pushed = session.find(index).is_some_and(|found| found.flags.pushed);
        let before = session.charged();
        session.remove(index);
        self.connections.settle(slot_of(id), before);
        self.channels.give_up(index);
        if command > 0 {
            self.fail(id, command, error, now);
        } else if is_pushed {
            self.count_refused_subscribe(SubscribeRefusal::Router);
        } else if error.temporary() {
            // Its session would lack the channel for good; it comes back and asks again.
            self.close(id, CloseReason::InternalError, now);
        } else {
            self.on_connect_subscription(id, channel, None, now);
        }
    }

    fn count_refused_subscribe(&mut self, reason: SubscribeRefusal) {
        self.counters.subscribes_refused[reason as usize] += 1;
    }

    /// The way to the router was full.
    pub(super) fn on_router_refused(&mut self, message: ToRouter, now: Now) {
        match message.reply_to {
            ReplyTo::Subscription { connection, command } => {
                let error = ErrorCode::TooManyRequests;
                let channel = &*message.channel;
                if self.answers_subscription(connection, command, channel).is_some() {
                    self.refuse_subscription(connection, command, channel, error, now);
                }
            }
            ReplyTo::Command { connection, command } => {
                let refused = Err(ErrorCode::TooManyRequests);
                self.on_command_reply(connection, command, refused, now);
            }
            ReplyTo::Gateway => self.channels.fetch_refused(&message.channel),
            ReplyTo::Nobody | ReplyTo::Api(_) => {}
        }
    }

    /// Ends a subscription, if there is one, and tells the router. Returns what it was.
    pub(super) fn drop_subscription(
        &mut self,
        id: ConnectionId,
        index: u32,
        now: Now,
    ) -> Option<Subscription> {
        let session = self.session(id)?;
        let before = session.charged();
        let subscription = session.remove(index)?;
        self.connections.settle(slot_of(id), before);
        let channel = self.channels.name(index).clone();
        self.release(id, &subscription, now);
        if !subscription.flags.granted {
            self.answer_ended(id, &channel, &subscription, now);
        }
        Some(subscription)
    }

    /// Whoever waits for a subscription that ended before the router answered waits no longer.
    fn answer_ended(
        &mut self,
        id: ConnectionId,
        channel: &str,
        subscription: &Subscription,
        now: Now,
    ) {
        if subscription.command > 0 {
            self.fail(id, subscription.command, ErrorCode::Expired, now);
        } else if !subscription.flags.pushed {
            self.on_connect_subscription(id, channel, None, now);
        }
    }

    fn release(&mut self, id: ConnectionId, subscription: &Subscription, now: Now) {
        let index = subscription.channel;
        let channel = self.channels.name(index).clone();
        if subscription.flags.granted {
            let place = subscription.place;
            let moved = self.channels.remove(index, place, &mut self.connections, now.moment);
            for (slot, place) in moved.into_iter().flatten() {
                let session = self.connections.at(slot).session.as_mut();
                if let Some(other) = session.and_then(|session| session.find(index)) {
                    other.place = place;
                }
            }
        } else {
            self.channels.give_up(index);
        }
        self.end_at_router(id, channel);
    }

    /// Ends a subscription and tells the client why.
    pub(super) fn unsubscribe(
        &mut self,
        id: ConnectionId,
        index: u32,
        reason: UnsubscribeReason,
        now: Now,
    ) {
        let channel = self.channels.name(index).clone();
        let ended = self.drop_subscription(id, index, now);
        if ended.is_some_and(|ended| ended.flags.granted) {
            self.push(id, &channel, wire::PushBody::Unsubscribe(reason.into()), now);
        }
    }

    /// Nobody in the channel can rely on its position any more, except `spared`, who has the new
    /// one.
    fn void_positions(&mut self, index: u32, spared: Option<u32>, now: Now) {
        let slots = self.channels.slots(index, |subscriber| Some(subscriber.slot) != spared);
        self.void(index, &slots, now);
    }

    fn void(&mut self, index: u32, slots: &[u32], now: Now) {
        for &slot in slots {
            let Some(id) = self.connections.id_at(slot) else { continue };
            let Some(session) = self.session(id) else { continue };
            let Some(subscription) = session.find(index) else { continue };
            if subscription.flags.server_side {
                self.close(id, CloseReason::InsufficientState, now);
            } else {
                self.unsubscribe(id, index, UnsubscribeReason::InsufficientState, now);
            }
        }
    }

    /// A client that was left behind can be told now (`slow_consumer = drop`).
    pub(super) fn tell_gaps(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let Some(session) = connection.session.as_ref() else { return };
        let granted = session.subscriptions.iter().filter(|one| one.flags.granted);
        let places: Vec<_> = granted.map(|one| (one.channel, one.place)).collect();
        for (channel, place) in places {
            if self.channels.subscriber(channel, place).has_gap {
                self.unsubscribe(id, channel, UnsubscribeReason::InsufficientState, now);
            }
        }
    }

    /// Everything a session holds is given back.
    pub(super) fn end_session(&mut self, id: ConnectionId, now: Now) {
        if self.connections.find(id).is_none() {
            return;
        }
        let Some(session) = self.connections.end_session(slot_of(id)) else { return };
        self.sessions_now -= 1;
        for subscription in &session.subscriptions {
            self.release(id, subscription, now);
        }
        let waits = session.pending.as_ref().is_some_and(|pending| pending.awaits_home);
        if (session.is_registered || waits) && !session.is_anonymous() {
            let home = home_of(&session.user, self.options.shards_count);
            if home == self.options.shard {
                self.users.leave(&session.user, id);
            } else {
                let message = ToPeer::UserLeave { connection: id, user: session.user.clone() };
                self.actions.push_back(Action::ToPeer { shard: home, message });
            }
        }
    }

    /// A session's timer fired: ping, pong, expiry.
    pub(super) fn session_timer(&mut self, id: ConnectionId, now: Now) {
        let pong_timeout = self.config.pong_timeout;
        let ping_interval = self.config.ping_interval;
        let close_delay = self.config.expired_close_delay.as_secs();
        let subscription_delay = self.config.expired_subscription_close_delay.as_secs();
        let Some(connection) = self.connections.find(id) else { return };
        // A client that has not taken the ping yet cannot have answered it; it has its own
        // deadline.
        let takes_nothing = connection.outbox.is_sending();
        let Some(session) = connection.session.as_mut() else { return };
        if session.pong_by > Moment::ZERO && session.pong_by <= now.moment {
            if !takes_nothing {
                return self.close(id, CloseReason::NoPong, now);
            }
            session.pong_by = now.moment + pong_timeout;
        }
        let unix = now.unix_seconds();
        if session.expires_at() > 0 && session.expires_at().saturating_add(close_delay) <= unix {
            return self.close(id, CloseReason::Expired, now);
        }
        let over = |one: &&Subscription| {
            one.expires_at() > 0 && one.expires_at().saturating_add(subscription_delay) <= unix
        };
        let expired: Vec<_> = session.subscriptions.iter().filter(over).cloned().collect();
        if session.ping_at > Moment::ZERO && session.ping_at <= now.moment {
            session.ping_at = now.moment + ping_interval;
            if !pong_timeout.is_zero() {
                session.pong_by = now.moment + pong_timeout;
            }
            self.pinged(id);
            let Some(connection) = self.connections.find(id) else { return };
            let format = connection.format.unwrap_or(Format::Json);
            self.scratch.clear();
            wire::encode_ping(format, &mut self.scratch);
            self.connections.push_message(slot_of(id), &self.scratch, now.moment);
        }
        for subscription in expired {
            if subscription.flags.server_side {
                return self.close(id, CloseReason::SubscriptionExpired, now);
            }
            self.unsubscribe(id, subscription.channel, UnsubscribeReason::Expired, now);
        }
        self.rearm(slot_of(id), now);
    }

    pub(super) fn on_peer(&mut self, message: ToPeer, now: Now) {
        match message {
            ToPeer::UserJoin { connection, user } => {
                let connections_max = self.config.user_connections_max;
                let is_admitted = self.users.join(&user, connection, connections_max);
                let message = ToPeer::UserJoined { connection, is_admitted };
                let shard = connection.shard();
                self.actions.push_back(Action::ToPeer { shard, message });
            }
            ToPeer::UserJoined { connection, is_admitted } => {
                self.on_joined(connection, is_admitted, now);
            }
            ToPeer::UserLeave { connection, user } => self.users.leave(&user, connection),
            ToPeer::UserCharge { connection, user } => {
                let Some(rate) = self.config.user_rate else { return };
                if !self.users.charge(&user, rate, now.moment) {
                    let message = ToPeer::UserThrottled { connection };
                    let shard = connection.shard();
                    self.actions.push_back(Action::ToPeer { shard, message });
                }
            }
            ToPeer::UserThrottled { connection } => {
                if let Some(session) = self.session(connection) {
                    session.throttled_until = now.moment + limits::THROTTLE_TIME;
                }
            }
            ToPeer::Command { connection, command } => {
                self.on_user_command(connection, &command, now);
            }
        }
    }

    /// The API wants something of all connections of a user whose home is here.
    pub(super) fn on_user(&mut self, user: &str, command: &UserCommand, now: Now) {
        for connection in self.users.connections(user) {
            if connection.shard() == self.options.shard {
                self.on_user_command(connection, command, now);
            } else {
                let message = ToPeer::Command { connection, command: command.clone() };
                let shard = connection.shard();
                self.actions.push_back(Action::ToPeer { shard, message });
            }
        }
    }

    pub(super) fn on_user_command(&mut self, id: ConnectionId, command: &UserCommand, now: Now) {
        let Some(connection) = self.connections.find(id) else { return };
        let phase = connection.phase;
        let Some(session) = connection.session.as_mut() else { return };
        let name = session.client.to_string();
        let is_meant =
            |client: &Option<Box<str>>| client.as_ref().is_none_or(|client| **client == *name);
        match command {
            UserCommand::Disconnect { code, reason, client, except }
                if is_meant(client) && !except.contains(&name) =>
            {
                let counted = match protocol::close::reconnects(*code) {
                    true => CloseReason::ForceReconnect,
                    false => CloseReason::ForceNoReconnect,
                };
                self.close_with(id, counted, Some(*code), reason, now);
            }
            UserCommand::Unsubscribe { channel, client } if is_meant(client) => {
                let all = channel.is_empty();
                if let Some(pending) = session.pending.as_deref_mut() {
                    // What was asked for before `connect` was answered ends as well.
                    pending.commands.retain(|held| match held {
                        UserCommand::Subscribe { channel: held, .. } => !all && held != channel,
                        _ => true,
                    });
                }
                let named = self.channels.find(channel);
                let Some(session) = self.session(id) else { return };
                let ends = session.subscriptions.iter().map(|subscription| subscription.channel);
                let ends: Vec<_> = ends.filter(|&one| all || Some(one) == named).collect();
                for index in ends {
                    self.unsubscribe(id, index, UnsubscribeReason::Server, now);
                }
            }
            UserCommand::Refresh { expires_at, expired, client } if is_meant(client) => {
                if *expired {
                    return self.close(id, CloseReason::Expired, now);
                }
                session.set_expires_at(*expires_at);
                let ttl = super::connect::ttl(*expires_at, now);
                let body = wire::SubRefreshResult { expires: *expires_at > 0, ttl };
                self.push(id, "", wire::PushBody::Refresh(body), now);
                self.rearm(slot_of(id), now);
            }
            UserCommand::Subscribe { channel, claims, client, recover_since }
                if is_meant(client) =>
            {
                let recover = recover_since.as_deref().cloned();
                match (phase, session.pending.as_deref_mut()) {
                    (Phase::Connected, _) => {
                        self.subscribe_by_server(id, channel, claims, recover);
                    }
                    // Its `connect` is not answered yet: behind the answer.
                    (_, Some(pending)) if pending.commands.len() < limits::SUBSCRIBES_HELD_MAX => {
                        pending.commands.push(command.clone());
                    }
                    _ => self.count_refused_subscribe(SubscribeRefusal::Connecting),
                }
            }
            _ => {}
        }
    }

    fn subscribe_by_server(
        &mut self,
        id: ConnectionId,
        channel: &str,
        claims: &SubscriptionClaims,
        recover: Option<Position>,
    ) {
        let channels_max = self.config.channels_max as usize;
        let namespaces = self.config.namespaces.clone();
        let Some(options) = namespaces.resolve(channel) else {
            return self.count_refused_subscribe(SubscribeRefusal::UnknownChannel);
        };
        let index = self.channels.find(channel);
        let Some(session) = self.session(id) else { return };
        if index.is_some_and(|index| session.find(index).is_some()) {
            return;
        }
        if session.subscriptions.len() >= channels_max {
            return self.count_refused_subscribe(SubscribeRefusal::ChannelLimit);
        }
        let mut flags = server_side_flags(options, claims);
        flags.pushed = true;
        let expires_at = claims.expires_at.unwrap_or(0);
        let data = claims.data.clone().map(Box::new);
        let subscription = Subscription::new(0, flags, expires_at, data);
        let ask = AskSubscription::new(claims, recover);
        self.ask_subscription(id, channel, subscription, ask);
    }
}
