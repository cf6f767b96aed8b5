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
    Answer, FromRouter, GatewayId, HistoryRequest, Position, Publication, PublishRequest, ReplyTo,
    Request, RouterReply, SubscribeRequest, Subscribed, ToRouter,
};
use protocol::time::Now;

use super::channel::Channel;
use super::history::Since;
use super::idempotency::IdempotencyKeys;
use super::interest::Lag;
use super::pattern;
use super::presence::Entry;
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
    /// Bytes of payload in windows, as of the last sweep of each channel.
    pub window_bytes: u64,
    /// Idempotency keys forgotten before their time.
    pub keys_forgotten_early: u64,
}

type Table = HashMap<Arc<str>, usize, foldhash::fast::RandomState>;

/// One partition.
#[derive(Debug)]
pub struct Partition {
    options: PartitionOptions,
    channels: Vec<Option<Channel>>,
    channels_free: Vec<usize>,
    by_name: Table,
    keys: IdempotencyKeys,
    actions: VecDeque<Action>,
    /// Gateways that were left behind, to be told when there is room.
    lagging: VecDeque<(GatewayId, Arc<str>, Lag)>,
    sweep_next: usize,
    random: u64,
    counters: Counters,
}

impl Partition {
    /// An empty partition.
    pub fn new(options: PartitionOptions) -> Self {
        let random = options.seed ^ u64::from(options.id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            options,
            channels: Vec::new(),
            channels_free: Vec::new(),
            by_name: Table::default(),
            keys: IdempotencyKeys::default(),
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
        counters.channels = self.by_name.len() as u64;
        counters.keys_forgotten_early = self.keys.forgotten_early();
        counters
    }

    /// New rules, from now on.
    pub fn set_namespaces(&mut self, namespaces: Arc<Namespaces>) {
        self.options.namespaces = namespaces;
    }

    /// A gateway, or the API, says something. `gateway` is where answers to commands go.
    pub fn handle(&mut self, gateway: GatewayId, message: ToRouter, now: Now) {
        let ToRouter { channel, reply_to, request } = message;
        match request {
            Request::Publish(publish) => self.publish(gateway, channel, reply_to, *publish, now),
            Request::Subscribe(subscribe) => {
                self.subscribe(gateway, channel, reply_to, *subscribe, now);
            }
            Request::Unsubscribe { connection } => self.unsubscribe(gateway, &channel, connection),
            other => {
                let result = self.query(&channel, other, now);
                self.reply(gateway, channel, reply_to, result);
            }
        }
        self.check_invariants();
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// True if there is anything that time could change.
    pub fn has_state(&self) -> bool {
        !self.by_name.is_empty() || !self.keys.is_empty()
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
        self.keys.expire(now.moment);
        for _ in 0..limits::SWEEP_CHANNELS_PER_TICK.min(self.channels.len()) {
            self.sweep_next = (self.sweep_next + 1) % self.channels.len();
            self.sweep(self.sweep_next, now);
        }
    }

    fn sweep(&mut self, index: usize, now: Now) {
        let namespaces = self.options.namespaces.clone();
        let Some(channel) = &mut self.channels[index] else { return };
        let options = namespaces.resolve(&channel.name);
        let before = channel.window.bytes() as u64;
        match options {
            Some(options) => channel.window.trim(options, now.unix_ms),
            None => channel.window.clear(),
        }
        let after = channel.window.bytes() as u64;
        self.counters.window_bytes = self.counters.window_bytes.saturating_sub(before - after);
        if channel.is_idle(options, now.moment) {
            self.by_name.remove(&channel.name);
            self.channels[index] = None;
            self.channels_free.push(index);
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
            self.keys.remember(name.clone(), key, position.clone(), now.moment);
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
            channel.window.push(publication.clone(), options);
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
        let Some(options) = namespaces.resolve(&name) else {
            return self.reply(gateway, name, reply_to, Err(ErrorCode::UnknownChannel));
        };
        let recovery_max = self.options.recovery_publications_max as usize;
        let channel = match self.find_or_make(&name, options.has_history(), now) {
            Ok(channel) => channel,
            Err(error) => return self.reply(gateway, name, reply_to, Err(error)),
        };
        channel.interest.add(gateway);
        let mut answer = Subscribed {
            position: Position::default(),
            was_recovering: request.recover.is_some(),
            recovered: false,
            publications: Vec::new(),
        };
        if options.has_history() {
            channel.window.trim(options, now.unix_ms);
            answer.position = channel.position.clone();
            if let Some(publications) = request
                .recover
                .as_ref()
                .and_then(|since| recover(channel, since, recovery_max, request.bytes_max as usize))
            {
                answer.recovered = true;
                answer.publications = publications;
            }
        }
        let key = (gateway, request.connection);
        let visibility = request.visibility;
        let joined =
            request.member.filter(|member| channel.presence.join(key, member.clone(), visibility));
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

    fn unsubscribe(&mut self, gateway: GatewayId, name: &Arc<str>, connection: ConnectionId) {
        let Some(channel) = self.find(name) else { return };
        channel.interest.remove(gateway);
        let left = channel.presence.leave((gateway, connection));
        if let Some(Entry { member, visibility }) = left
            && visibility.join_leave
        {
            self.tell_all(name, |channel| FromRouter::Leave { channel, member: member.clone() });
        }
    }

    fn tell_all(&mut self, name: &Arc<str>, message: impl Fn(Arc<str>) -> FromRouter) {
        let Some(channel) = self.find(name) else { return };
        let channel_name = channel.name.clone();
        let gateways: Vec<GatewayId> = channel.interest.gateways().collect();
        for gateway in gateways {
            let message = message(channel_name.clone());
            self.actions.push_back(Action::Tell { gateway, message });
        }
    }

    fn query(&mut self, name: &Arc<str>, request: Request, now: Now) -> Result<Answer, ErrorCode> {
        match request {
            Request::Presence => {
                let channel = self.find(name);
                let members =
                    channel.map_or(Some(Vec::new()), |channel| channel.presence.members());
                members.map(Answer::Presence).ok_or(ErrorCode::LimitExceeded)
            }
            Request::PresenceStats => {
                let presence = self.find(name).map(|channel| &channel.presence);
                let clients = presence.map_or(0, |presence| presence.clients_count());
                let users = presence.map_or(0, |presence| presence.users_count());
                Ok(Answer::PresenceStats { clients, users })
            }
            Request::History(request) => self.history(name, &request, now),
            Request::Fetch { since } => self.fetch(name, &since),
            Request::HistoryRemove => {
                if let Some(channel) = self.find(name) {
                    let bytes = channel.window.bytes() as u64;
                    channel.window.clear();
                    self.counters.window_bytes = self.counters.window_bytes.saturating_sub(bytes);
                }
                Ok(Answer::Done)
            }
            Request::Rpc(call) => self.options.methods.call(&call, now).map(Answer::Rpc),
            Request::Channels { from } => Ok(self.list(name, from)),
            Request::Publish(_) | Request::Subscribe(_) | Request::Unsubscribe { .. } => {
                unreachable!("`handle` keeps these for itself")
            }
        }
    }

    /// Channels that match, of a part of the table.
    fn list(&self, pattern: &str, from: u32) -> Answer {
        let from = (from as usize).min(self.channels.len());
        let end = self.channels.len().min(from + limits::CHANNELS_SCANNED_MAX);
        let listened = self.channels[from..end].iter().flatten();
        let found = listened
            .filter(|channel| !channel.interest.is_empty())
            .filter(|channel| pattern::matches(pattern, &channel.name))
            .map(|channel| (channel.name.clone(), channel.interest.subscriptions_count()))
            .collect();
        let next = (end < self.channels.len()).then_some(end as u32);
        Answer::Channels { found, next }
    }

    fn history(
        &mut self,
        name: &Arc<str>,
        request: &HistoryRequest,
        now: Now,
    ) -> Result<Answer, ErrorCode> {
        let namespaces = self.options.namespaces.clone();
        let options = namespaces.resolve(name).ok_or(ErrorCode::UnknownChannel)?;
        if !options.has_history() {
            return Err(ErrorCode::NotAvailable);
        }
        let limit_max = self.options.history_publications_max as usize;
        let channel = self.find_or_make(name, true, now)?;
        channel.window.trim(options, now.unix_ms);
        if let Some(since) = &request.since
            && !since.epoch.is_empty()
            && since.epoch != channel.position.epoch
        {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        let limit = usize::try_from(request.limit).unwrap_or(limit_max).min(limit_max);
        let publications = channel.window.page(request, limit);
        Ok(Answer::History { publications, position: channel.position.clone() })
    }

    fn fetch(&mut self, name: &Arc<str>, since: &Position) -> Result<Answer, ErrorCode> {
        let channel = self.find(name).ok_or(ErrorCode::UnrecoverablePosition)?;
        if channel.position.epoch != since.epoch {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        match channel.window.since(since.offset, channel.position.offset) {
            Since::Complete(publications) => {
                Ok(Answer::History { publications, position: channel.position.clone() })
            }
            Since::Incomplete => Err(ErrorCode::UnrecoverablePosition),
        }
    }

    fn reply(
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

    fn find(&mut self, name: &str) -> Option<&mut Channel> {
        let index = *self.by_name.get(name)?;
        self.channels[index].as_mut()
    }

    /// The channel, made if it is not there; with an epoch if it `counts` offsets.
    fn find_or_make(
        &mut self,
        name: &Arc<str>,
        counts: bool,
        now: Now,
    ) -> Result<&mut Channel, ErrorCode> {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => {
                channels::check_name(name).map_err(|_| ErrorCode::BadRequest)?;
                if self.by_name.len() >= limits::CHANNELS_PER_PARTITION_MAX {
                    return Err(ErrorCode::LimitExceeded);
                }
                let index = self.channels_free.pop().unwrap_or(self.channels.len());
                if index == self.channels.len() {
                    self.channels.push(None);
                }
                self.channels[index] = Some(Channel::new(name.clone(), now.moment));
                self.by_name.insert(name.clone(), index);
                index
            }
        };
        let has_epoch = |channel: &Channel| !channel.position.epoch.is_empty();
        let lacks_epoch = counts && !self.channels[index].as_ref().is_some_and(has_epoch);
        let epoch = lacks_epoch.then(|| self.next_epoch());
        let channel = self.channels[index].as_mut().expect("the table names taken places");
        if counts {
            channel.used_at = now.moment;
        }
        if let Some(epoch) = epoch {
            channel.position.epoch = epoch;
        }
        Ok(channel)
    }

    /// An epoch that no channel of this partition has had: SplitMix64, written in base 32.
    fn next_epoch(&mut self) -> Arc<str> {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let text: String =
            (0..8).map(|digit| DIGITS[(bits >> (digit * 5) & 31) as usize] as char).collect();
        text.into()
    }

    fn check_invariants(&self) {
        debug_assert_eq!(
            self.by_name.len() + self.channels_free.len(),
            self.channels.len(),
            "every place is either named or free"
        );
    }
}

/// Everything behind `since`, or `None`: never a part of it.
fn recover(
    channel: &Channel,
    since: &Position,
    publications_max: usize,
    bytes_max: usize,
) -> Option<Vec<Arc<Publication>>> {
    // A client that never learned the epoch vouches for its offset alone.
    if !since.epoch.is_empty() && since.epoch != channel.position.epoch {
        return None;
    }
    match channel.window.since(since.offset, channel.position.offset) {
        Since::Complete(publications) if publications.len() <= publications_max => {
            let bytes: usize = publications.iter().map(|one| one.content.bytes.len()).sum();
            (bytes <= bytes_max).then_some(publications)
        }
        _ => None,
    }
}
