//! One partition: orders its channels, keeps their windows, and says which gateways hear what.
//!
//! Owns: every channel whose name hashes to it.
//! Never: a socket, a clock, or a decision about a client's rights.
//! Invariant: what it says to one gateway about one channel is in the order in which it happened,
//! so that an answer to `Subscribe` divides publications into those before and those behind its
//! position.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::channels::{self, ChannelOptions, Namespaces};
use protocol::client::ErrorCode;
use protocol::ids::{ConnectionId, PartitionId};
use protocol::limits::HISTORY_PUBLICATIONS_MAX;
use protocol::link::{
    Answer, FromRouter, GatewayId, LogEntry, LogLevel, LogProgress, Position, Publication,
    PublishRequest, ReplyTo, Request, RouterReply, StoreQuestion, SubscribeRequest, Subscribed,
    ToRouter,
};
use protocol::named::NamedSlab;
use protocol::time::{Moment, Now};

use super::channel::Channel;
use super::durable::{DurableChannel, Log, bounds};
use super::idempotency::{IdempotencyKeys, KeyTime};
use super::interest::Lag;
use super::presence::Entry;
use super::reads::{Missing, bytes_of, missing};
use super::rpc::Methods;
use crate::limits;

/// What a partition is made of.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    /// Its number.
    pub id: PartitionId,
    /// Rules of all channels.
    pub namespaces: Arc<Namespaces>,
    /// What clients may call.
    pub methods: Arc<Methods>,
    /// Most publications in one page of history.
    pub history_publications_max: u32,
    /// Most publications in one recovery.
    pub recovery_publications_max: u32,
    /// Where its epochs begin: random, different at every start.
    pub seed: u64,
    /// How far its log was when it was opened; `None`: it has none, and no channel is durable.
    pub log: Option<LogProgress>,
}

impl PartitionOptions {
    /// Partition `id` under `namespaces`, with the usual limits.
    pub fn new(id: PartitionId, namespaces: Arc<Namespaces>, seed: u64) -> Self {
        let methods = Arc::new(Methods::default());
        Self {
            id,
            namespaces,
            methods,
            history_publications_max: HISTORY_PUBLICATIONS_MAX,
            recovery_publications_max: HISTORY_PUBLICATIONS_MAX,
            seed,
            log: None,
        }
    }
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    /// Tell a gateway.
    Tell {
        /// Which one.
        gateway: GatewayId,
        /// What.
        message: FromRouter,
    },
    /// Answer a call of the API.
    AnswerApi {
        /// The number under which its driver waits.
        call: u64,
        /// What to answer.
        result: Result<Answer, ErrorCode>,
    },
    /// Append to the log. If there is no room, [`Partition::append_refused`] must follow before
    /// the next action is taken.
    Append {
        /// The entry.
        entry: Box<LogEntry>,
        /// What must have it before anybody hears of it.
        awaits: LogLevel,
    },
    /// Ask the store; [`Partition::store_answered`] takes the answer.
    AskStore {
        /// The number of the question.
        read: u64,
        /// The channel it is about.
        channel: Arc<str>,
        /// The question.
        question: StoreQuestion,
    },
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Publications ordered.
    pub publications: u64,
    /// Publications not ordered again because their key was known.
    pub repeats: u64,
    /// Publications that did not reach a gateway and cannot be fetched (channels without history).
    pub dropped: u64,
    /// Joins and leaves that did not reach a gateway; it is told so.
    pub presence_dropped: u64,
    /// Times a gateway was told to fetch what it missed.
    pub lags: u64,
    /// Recoveries answered with everything that was missed.
    pub recovered: u64,
    /// Recoveries answered `recovered: false`.
    pub unrecovered: u64,
    /// Channels with state now.
    pub channels: u64,
    /// Bytes of memory of the table of channels, without their names, which gateways count, and
    /// what durable ones have beside it.
    pub channel_bytes: u64,
    /// Bytes of memory of the tables of who is present.
    pub presence_bytes: u64,
    /// Bytes of payload in windows, as of the last sweep of each channel.
    pub window_bytes: u64,
    /// Durable changes refused because the log failed or had no room.
    pub log_refused: u64,
    /// Durable changes answered with an error because nothing confirmed them in time.
    pub log_overdue: u64,
    /// Channels read from the store.
    pub channels_loaded: u64,
    /// Log entries that the store does not have.
    pub unstored_entries: u64,
    /// Idempotency keys forgotten before their time.
    pub keys_forgotten_early: u64,
}

/// Ticks in which all channels are looked at once, unless there are too many.
const SWEEP_TICKS: usize = (limits::SWEEP_TIME.as_millis() / limits::TICK.as_millis()) as usize;

/// One partition.
#[derive(Debug)]
pub struct Partition {
    pub(super) options: PartitionOptions,
    pub(super) channels: NamedSlab<Channel>,
    pub(super) keys: IdempotencyKeys,
    pub(super) log: Option<Box<Log>>,
    pub(super) actions: VecDeque<Action>,
    /// Subscriptions that were refused and whose end has not come, with how often.
    refused: HashMap<(GatewayId, ConnectionId, Arc<str>), u32, foldhash::fast::RandomState>,
    /// When it was last told something.
    pub(super) now: Now,
    /// Gateways that were left behind, to be told when there is room.
    lagging: VecDeque<(GatewayId, Arc<str>, Lag)>,
    sweep_next: usize,
    /// What the next epoch is made of.
    pub(super) random: u64,
    pub(super) counters: Counters,
}

impl Partition {
    /// An empty partition.
    pub fn new(options: PartitionOptions) -> Self {
        let log = options.log.map(|progress| Box::new(Log::new(progress)));
        let random = options.seed ^ u64::from(options.id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            options,
            channels: NamedSlab::default(),
            keys: IdempotencyKeys::default(),
            log,
            refused: HashMap::default(),
            now: Now::default(),
            actions: VecDeque::new(),
            lagging: VecDeque::new(),
            sweep_next: 0,
            random,
            counters: Counters::default(),
        }
    }

    /// Its number.
    pub fn id(&self) -> PartitionId {
        self.options.id
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.channels = self.channels.len() as u64;
        counters.channel_bytes = self.channels.memory_bytes() as u64;
        counters.keys_forgotten_early = self.keys.forgotten_early();
        counters.unstored_entries = self.log.as_ref().map_or(0, |log| log.unstored_count() as u64);
        counters
    }

    /// New rules, from now on.
    pub fn set_namespaces(&mut self, namespaces: Arc<Namespaces>) {
        self.options.namespaces = namespaces;
    }

    /// A gateway, or the API, says something. `gateway` is where answers to commands go.
    pub fn handle(&mut self, gateway: GatewayId, message: ToRouter, now: Now) {
        self.now = now;
        if let Some(message) = self.hold(gateway, message, now) {
            self.serve(gateway, message, now);
        }
    }

    /// Serves a request whose turn has come.
    pub(super) fn serve(&mut self, gateway: GatewayId, message: ToRouter, now: Now) {
        let ToRouter { channel, reply_to, request } = message;
        let durable = self.durable_index(&channel);
        match (request, durable) {
            (Request::Publish(publish), Some(index)) if !publish.skip_history => {
                if self.log_takes() {
                    self.publish_durable(gateway, index, reply_to, *publish, now);
                } else {
                    self.counters.log_refused += 1;
                    self.reply(gateway, channel, reply_to, Err(ErrorCode::Internal));
                }
            }
            (Request::Publish(publish), _) => {
                self.publish(gateway, channel, reply_to, *publish, now);
            }
            (Request::Subscribe(subscribe), _) => {
                self.subscribe(gateway, channel, reply_to, *subscribe, now);
            }
            (Request::Unsubscribe { connection }, _) => {
                self.unsubscribe(gateway, &channel, connection);
            }
            (Request::HistoryRemove, Some(index)) => {
                if self.log_takes() {
                    self.remove_durable_history(gateway, index, reply_to, now);
                } else {
                    self.reply(gateway, channel, reply_to, Err(ErrorCode::Internal));
                }
            }
            (request, _) => self.query((gateway, channel, reply_to), request, now),
        }
    }

    /// The channel's place, if it is durable and loaded.
    pub(super) fn durable_index(&self, name: &str) -> Option<usize> {
        let index = self.channels.find(name)?;
        self.channels.at(index).durable.is_some().then_some(index)
    }

    pub(super) fn channel_at(&mut self, index: usize) -> &mut Channel {
        self.channels.at_mut(index)
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// True if there is anything that time could change.
    pub fn has_state(&self) -> bool {
        !self.channels.is_empty() || !self.keys.is_empty()
    }

    /// The way to `gateway` was full. The message did not get there.
    pub fn refused(&mut self, gateway: GatewayId, message: &FromRouter) {
        let (channel, lag) = match message {
            FromRouter::Publication { publication, .. } if publication.offset == 0 => {
                self.counters.dropped += 1;
                return;
            }
            FromRouter::Publication { channel, .. } => (channel, Lag::Publications),
            FromRouter::Join { channel, .. } | FromRouter::Leave { channel, .. } => {
                self.counters.presence_dropped += 1;
                (channel, Lag::Presence)
            }
            _ => panic!("final messages are kept until there is room"),
        };
        let Some(channel) = self.find(channel) else { return };
        if channel.interest.mark_lagging(gateway, lag) {
            let name = channel.name.clone();
            self.lagging.push_back((gateway, name, lag));
        }
    }

    /// There may be room again: tells those that were left behind to fetch.
    pub fn room_again(&mut self, gateway: GatewayId) {
        let waiting = std::mem::take(&mut self.lagging);
        for (behind, name, lag) in waiting {
            if behind != gateway {
                self.lagging.push_back((behind, name, lag));
                continue;
            }
            if let Some(channel) = self.find(&name) {
                channel.interest.clear_lagging(gateway, lag);
                self.counters.lags += 1;
                let message = match lag {
                    Lag::Publications => FromRouter::Lagged { channel: name },
                    Lag::Presence => FromRouter::PresenceLagged { channel: name },
                };
                self.actions.push_back(Action::Tell { gateway, message });
            }
        }
    }

    /// True if some gateway waits to be told of publications it did not get.
    pub fn has_lagging(&self) -> bool {
        !self.lagging.is_empty()
    }

    /// Time passed: forgets what is too old, a part of the channels each time.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
        self.keys.expire(now.moment);
        self.answer_overdue(now.moment);
        self.refuse_overdue(now);
        let places = self.channels.places_count();
        for _ in 0..places.div_ceil(SWEEP_TICKS).min(limits::SWEEP_CHANNELS_PER_TICK) {
            self.sweep_next = (self.sweep_next + 1) % places;
            self.sweep(self.sweep_next, now);
        }
    }

    fn sweep(&mut self, index: usize, now: Now) {
        let Some(channel) = self.channels.get_mut(index) else { return };
        if channel.window.is_empty() && !channel.interest.is_empty() {
            return;
        }
        let namespaces = self.options.namespaces.clone();
        let options = namespaces.resolve(&channel.name);
        let before = channel.window.bytes() as u64;
        match options {
            Some(options) => {
                let bounds = bounds(options, channel.durable.as_deref());
                let _ = channel.window.trim(options, bounds, now.unix_ms);
            }
            None if channel.durable.is_none() => channel.window.clear(),
            None => {}
        }
        let after = channel.window.bytes() as u64;
        self.counters.window_bytes = self.counters.window_bytes.saturating_sub(before - after);
        if channel.is_idle(options, now.moment) {
            let bytes = channel.window.bytes() as u64;
            self.counters.window_bytes = self.counters.window_bytes.saturating_sub(bytes);
            self.channels.remove(index);
        }
    }

    fn publish(
        &mut self,
        gateway: GatewayId,
        name: Arc<str>,
        reply_to: ReplyTo,
        request: PublishRequest,
        now: Now,
    ) {
        let result = self.order(&name, request, now);
        self.reply(gateway, name, reply_to, result.map(Answer::Published));
    }

    /// Gives a publication its place and sends it to every gateway that listens.
    fn order(
        &mut self,
        name: &Arc<str>,
        request: PublishRequest,
        now: Now,
    ) -> Result<Position, ErrorCode> {
        if let Some(key) = &request.idempotency_key
            && let Some(position) = self.keys.find(name, key)
        {
            self.counters.repeats += 1;
            return Ok(position.clone());
        }
        let namespaces = self.options.namespaces.clone();
        let options = namespaces.resolve(name).ok_or(ErrorCode::UnknownChannel)?;
        let keeps = options.has_history() && !request.skip_history;
        let position = self.append(name, options, keeps, &request, now)?;
        self.counters.publications += 1;
        if let Some(key) = request.idempotency_key {
            let at = KeyTime { now: now.moment, age_ms: 0, sequence: 0 };
            let stored = self.log.as_ref().map_or(u64::MAX, |log| log.progress.stored);
            self.keys.remember(name.clone(), &key, position.clone(), at, stored);
        }
        Ok(position)
    }

    fn append(
        &mut self,
        name: &Arc<str>,
        options: &ChannelOptions,
        keeps: bool,
        request: &PublishRequest,
        now: Now,
    ) -> Result<Position, ErrorCode> {
        if !keeps && self.find(name).is_none() {
            // Nobody listens and nothing is kept.
            return Ok(Position::default());
        }
        let channel = self.find_or_make(name, keeps, now)?;
        channel.traffic.add(request.content.bytes.len(), now.moment);
        let mut position = Position::default();
        if keeps {
            channel.position.offset += 1;
            position = channel.position.clone();
        }
        let publication = Arc::new(Publication {
            offset: position.offset,
            content: request.content.clone(),
            publisher: request.publisher.clone(),
            tags: request.tags.clone(),
            time_ms: now.unix_ms,
        });
        let mut grown = 0;
        if keeps {
            let before = channel.window.bytes();
            channel.window.push(publication.clone(), bounds(options, None));
            grown = channel.window.bytes() as i64 - before as i64;
        }
        let channel_name = channel.name.clone();
        let gateways: Vec<GatewayId> = channel.interest.gateways().collect();
        for gateway in gateways {
            let (channel, publication) = (channel_name.clone(), publication.clone());
            let message = FromRouter::Publication { channel, publication };
            self.actions.push_back(Action::Tell { gateway, message });
        }
        self.counters.window_bytes = self.counters.window_bytes.saturating_add_signed(grown);
        Ok(position)
    }

    fn subscribe(
        &mut self,
        gateway: GatewayId,
        name: Arc<str>,
        reply_to: ReplyTo,
        request: SubscribeRequest,
        now: Now,
    ) {
        let namespaces = self.options.namespaces.clone();
        let connection = request.connection;
        let Some(options) = namespaces.resolve(&name) else {
            let question = (gateway, name, reply_to);
            return self.refuse_subscribe(question, connection, ErrorCode::UnknownChannel);
        };
        let recovery_max = self.options.recovery_publications_max as usize;
        let channel = match self.find_or_make(&name, options.has_history(), now) {
            Ok(channel) => channel,
            Err(error) => {
                return self.refuse_subscribe((gateway, name, reply_to), connection, error);
            }
        };
        let mut recovered = None;
        if options.has_history() {
            let bounds = bounds(options, channel.durable.as_deref());
            let trimmed = channel.window.trim(options, bounds, now.unix_ms);
            self.counters.window_bytes = self.counters.window_bytes.saturating_sub(trimmed);
            let channel = self.find(&name).expect("found or made above");
            if let Some(since) = &request.recover {
                recovered = match missing(channel, since, recovery_max) {
                    Missing::Complete(publications) => Some(publications),
                    Missing::Gone => None,
                    Missing::Stored => {
                        let index = self.channels.find(&name).expect("found above");
                        return self.recover_stored(index, gateway, reply_to, request);
                    }
                };
            }
        }
        let bytes_max = request.bytes_max as usize;
        let recovered = recovered.filter(|publications| bytes_of(publications) <= bytes_max);
        self.subscribed((gateway, name, reply_to), request, recovered, now);
    }

    /// A subscription begins, with what was missed if that is complete.
    pub(super) fn subscribed(
        &mut self,
        (gateway, name, reply_to): (GatewayId, Arc<str>, ReplyTo),
        request: SubscribeRequest,
        recovered: Option<Vec<Arc<Publication>>>,
        now: Now,
    ) {
        let namespaces = self.options.namespaces.clone();
        let has_history = namespaces.resolve(&name).is_some_and(ChannelOptions::has_history);
        let Some(channel) = self.find(&name) else { return };
        channel.used_at = now.moment;
        channel.interest.add(gateway);
        let answer = Subscribed {
            position: match has_history || channel.durable.is_some() {
                true => channel.position.clone(),
                false => Position::default(),
            },
            was_recovering: request.recover.is_some(),
            recovered: recovered.is_some(),
            publications: recovered.unwrap_or_default(),
        };
        let key = (gateway, request.connection);
        let visibility = request.visibility;
        let before = channel.presence.memory_bytes();
        let joined =
            request.member.filter(|member| channel.presence.join(key, member.clone(), visibility));
        let grown = channel.presence.memory_bytes() as i64 - before as i64;
        self.counters.presence_bytes = self.counters.presence_bytes.saturating_add_signed(grown);
        match (answer.was_recovering, answer.recovered) {
            (true, true) => self.counters.recovered += 1,
            (true, false) => self.counters.unrecovered += 1,
            _ => {}
        }
        self.reply(gateway, name.clone(), reply_to, Ok(Answer::Subscribed(Box::new(answer))));
        // Behind the answer, so that who joins sees itself come.
        if let Some(member) = joined
            && visibility.join_leave
        {
            self.tell_all(&name, |channel| FromRouter::Join { channel, member: member.clone() });
        }
    }

    /// Refuses a subscription. Its end follows in any case, and must not end another one.
    pub(super) fn refuse_subscribe(
        &mut self,
        (gateway, name, reply_to): (GatewayId, Arc<str>, ReplyTo),
        connection: ConnectionId,
        error: ErrorCode,
    ) {
        *self.refused.entry((gateway, connection, name.clone())).or_default() += 1;
        self.reply(gateway, name, reply_to, Err(error));
    }

    fn was_refused(&mut self, subscriber: (GatewayId, ConnectionId, Arc<str>)) -> bool {
        if self.refused.is_empty() {
            return false;
        }
        let Some(count) = self.refused.get_mut(&subscriber) else { return false };
        *count -= 1;
        if *count == 0 {
            self.refused.remove(&subscriber);
        }
        true
    }

    pub(super) fn unsubscribe(
        &mut self,
        gateway: GatewayId,
        name: &Arc<str>,
        connection: ConnectionId,
    ) {
        if self.was_refused((gateway, connection, name.clone())) {
            return;
        }
        let Some(index) = self.channels.find(name) else { return };
        if self.give_up_subscribing(index, (gateway, connection)) {
            return;
        }
        let channel = self.channel_at(index);
        channel.interest.remove(gateway);
        let before = channel.presence.memory_bytes();
        let left = channel.presence.leave((gateway, connection));
        let given_back = before - channel.presence.memory_bytes();
        self.counters.presence_bytes -= given_back as u64;
        if let Some(Entry { member, visibility }) = left
            && visibility.join_leave
        {
            self.tell_all(name, |channel| FromRouter::Leave { channel, member: member.clone() });
        }
    }

    pub(super) fn tell_all(&mut self, name: &Arc<str>, message: impl Fn(Arc<str>) -> FromRouter) {
        let Some(channel) = self.find(name) else { return };
        let channel_name = channel.name.clone();
        let gateways: Vec<GatewayId> = channel.interest.gateways().collect();
        for gateway in gateways {
            let message = message(channel_name.clone());
            self.actions.push_back(Action::Tell { gateway, message });
        }
    }

    pub(super) fn reply(
        &mut self,
        gateway: GatewayId,
        channel: Arc<str>,
        reply_to: ReplyTo,
        result: Result<Answer, ErrorCode>,
    ) {
        match reply_to {
            ReplyTo::Nobody => {}
            ReplyTo::Api(call) => self.actions.push_back(Action::AnswerApi { call, result }),
            ReplyTo::Subscription { .. } | ReplyTo::Command { .. } | ReplyTo::Gateway => {
                let reply = RouterReply { channel, reply_to, result };
                let message = FromRouter::Reply(Box::new(reply));
                self.actions.push_back(Action::Tell { gateway, message });
            }
        }
    }

    pub(super) fn find(&mut self, name: &str) -> Option<&mut Channel> {
        let index = self.channels.find(name)?;
        self.channels.get_mut(index)
    }

    /// The channel, made if it is not there; with an epoch if it `counts` offsets.
    pub(super) fn find_or_make(
        &mut self,
        name: &Arc<str>,
        counts: bool,
        now: Now,
    ) -> Result<&mut Channel, ErrorCode> {
        if self.channels.find(name).is_none() {
            channels::check_name(name).map_err(|_| ErrorCode::BadRequest)?;
            if self.channels.len() >= limits::CHANNELS_PER_PARTITION_MAX {
                return Err(ErrorCode::LimitExceeded);
            }
        }
        let index = self.index_of(name, now.moment);
        let lacks_epoch = |channel: &Channel| {
            counts && channel.durable.is_none() && channel.position.epoch.is_empty()
        };
        let epoch = lacks_epoch(self.channel_at(index)).then(|| self.next_epoch());
        let channel = self.channel_at(index);
        if counts {
            channel.used_at = now.moment;
        }
        if let Some(epoch) = epoch {
            channel.position.epoch = epoch;
        }
        Ok(channel)
    }

    /// The place of a channel, made if it is not there.
    pub(super) fn index_of(&mut self, name: &Arc<str>, now: Moment) -> usize {
        if let Some(index) = self.channels.find(name) {
            return index;
        }
        let mut channel = Channel::new(name.clone(), now);
        let options = self.options.namespaces.resolve(name);
        if options.is_some_and(|options| self.is_durable(options)) {
            channel.durable = Some(Box::new(DurableChannel::unloaded()));
        }
        self.channels.insert(channel)
    }
}
