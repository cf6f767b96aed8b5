//! What a partition asks the store, and what it does with the answers.
//!
//! Owns: every question that is not answered.
//! Never: holds up a channel for a deep read; only what must know the channel's position or an
//! idempotency key waits in its order.
//! Invariant: history is read newest first, window before store, and a recovery from both is
//! contiguous or refused.
//!
//! ```text
//!   offsets  1 ................. k   k+1 ............ position   position+1 ...
//!            └─ store, perhaps   ─┘   └─ window         ─┘        └─ on the way to the log
//!               cut by retention         holds all that the store does not have
//! ```

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::channels::ChannelOptions;
use protocol::client::ErrorCode;
use protocol::link::{
    Answer, GatewayId, HistoryRequest, Position, Publication, ReplyTo, Request, StoreAnswer,
    StoreQuestion, SubscribeRequest, ToRouter,
};
use protocol::time::{Moment, Now};

use super::channel::Channel;
use super::durable::{Held, LoadState, bounds};
use super::epochs::generation_of;
use super::history::within;
use super::partition::{Action, Partition};
use crate::limits;

/// Why a question to the store has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUnavailable;

/// Questions that are not answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: HashMap<u64, Read, foldhash::fast::RandomState>,
    next: u64,
}

#[derive(Debug)]
struct Read {
    channel: usize,
    purpose: Purpose,
    asked_at: Moment,
}

/// What an answer is for.
#[derive(Debug)]
enum Purpose {
    /// To know the channel's position and window.
    Load,
    /// To know whether the first of the held requests is a repeat.
    Key,
    /// To close a gap.
    Recover(Recovery),
    /// To fill a page.
    Page(Page),
}

#[derive(Debug)]
struct Recovery {
    since: Position,
    asker: Asker,
    /// Times the store was asked.
    attempts: u32,
}

/// Who waits for a recovery.
#[derive(Debug)]
enum Asker {
    Subscriber { gateway: GatewayId, reply_to: ReplyTo, request: Box<SubscribeRequest> },
    Gateway { gateway: GatewayId, reply_to: ReplyTo },
}

#[derive(Debug)]
struct Page {
    gateway: GatewayId,
    reply_to: ReplyTo,
    request: HistoryRequest,
    limit: usize,
    epoch: Arc<str>,
    /// The part of the page that memory had.
    window: Vec<Arc<Publication>>,
}

/// What a recovery needs.
#[derive(Debug)]
pub(super) enum Missing {
    /// Nothing more: here it is.
    Complete(Vec<Arc<Publication>>),
    /// The store may have the rest.
    Stored,
    /// It is gone.
    Gone,
}

/// Everything of a loaded channel behind `since`, as far as memory and arithmetic can tell.
pub(super) fn missing(channel: &Channel, since: &Position, publications_max: usize) -> Missing {
    let position = &channel.position;
    // A client that never learned the epoch vouches for its offset alone.
    if (!since.epoch.is_empty() && since.epoch != position.epoch) || since.offset > position.offset
    {
        return Missing::Gone;
    }
    let missing_count = position.offset - since.offset;
    if missing_count > publications_max as u64 {
        return Missing::Gone;
    }
    if let Some(publications) = channel.window.since(since.offset, position.offset) {
        return Missing::Complete(publications);
    }
    match &channel.durable {
        Some(durable) if since.offset >= durable.removed_offset => Missing::Stored,
        _ => Missing::Gone,
    }
}

impl Partition {
    fn ask_store(&mut self, index: usize, question: StoreQuestion, purpose: Purpose) -> u64 {
        let channel = self.channel_at(index);
        let name = channel.name.clone();
        channel.durable.as_mut().expect("only durable channels are stored").reads_count += 1;
        let asked_at = self.now.moment;
        let reads = &mut self.log_mut().reads;
        reads.next += 1;
        let read = reads.next;
        reads.waiting.insert(read, Read { channel: index, purpose, asked_at });
        self.actions.push_back(Action::AskStore { read, channel: name, question });
        read
    }

    /// Takes a request for a durable channel if it has to wait in the channel's order.
    pub(super) fn hold(
        &mut self,
        gateway: GatewayId,
        message: ToRouter,
        now: Now,
    ) -> Option<ToRouter> {
        if self.log.is_none() {
            return Some(message);
        }
        let namespaces = self.options.namespaces.clone();
        let options = namespaces.resolve(&message.channel);
        let makes = matches!(
            message.request,
            Request::Publish(_)
                | Request::Subscribe(_)
                | Request::History(_)
                | Request::HistoryRemove
        );
        let known = self.channels.find(&message.channel);
        let index = match known {
            Some(index) => index,
            None if makes && options.is_some_and(|options| self.is_durable(options)) => {
                match self.find_or_make(&message.channel, true, now) {
                    Ok(_) => self.channels.find(&message.channel).expect("made above"),
                    Err(_) => return Some(message),
                }
            }
            None => return Some(message),
        };
        if makes && let Some(options) = options {
            self.settle_durability(index, options);
        }
        let waits = matches!(
            message.request,
            Request::Publish(_)
                | Request::Subscribe(_)
                | Request::Unsubscribe { .. }
                | Request::History(_)
                | Request::HistoryRemove
                | Request::Fetch { .. }
        );
        let Some(durable) = &mut self.channel_at(index).durable else { return Some(message) };
        if !waits || (durable.state == LoadState::Loaded && durable.held.is_empty()) {
            let held = Held { gateway, message, asked_at: now.moment, key_is_new: false };
            return self.check_key(index, held).map(|held| held.message);
        }
        let is_final = matches!(message.request, Request::Unsubscribe { .. });
        if is_final && durable.held.is_empty() {
            return Some(message);
        }
        if durable.held.len() >= limits::HELD_PER_CHANNEL_MAX && !is_final {
            self.refuse(gateway, message, ErrorCode::TooManyRequests);
            return None;
        }
        let held = Held { gateway, message, asked_at: now.moment, key_is_new: false };
        durable.held.push_back(held);
        if durable.state == LoadState::Unloaded {
            durable.state = LoadState::Loading;
            let question = StoreQuestion::Newest {
                publications_max: limits::DURABLE_WINDOW_PUBLICATIONS_MAX as u32,
                bytes_max: limits::LOAD_BYTES_MAX,
            };
            self.ask_store(index, question, Purpose::Load);
        }
        None
    }

    /// Asks the store for the key of a publication that memory cannot vouch for; the request then
    /// waits in front.
    fn check_key(&mut self, index: usize, held: Held) -> Option<Held> {
        let Request::Publish(publish) = &held.message.request else { return Some(held) };
        let Some(key) = publish.idempotency_key.as_deref() else { return Some(held) };
        let name = self.channel_at(index).name.clone();
        let is_durable = self.channel_at(index).durable.is_some();
        let is_known = self.keys.find(&name, key).is_some()
            || self.log_mut().awaits_key(&name, key)
            || self.keys.is_complete(self.now.moment);
        if held.key_is_new || is_known || !is_durable {
            return Some(held);
        }
        let question = StoreQuestion::Key { key: key.into() };
        let durable = self.channel_at(index).durable.as_mut().expect("checked above");
        durable.held.push_front(held);
        self.ask_store(index, question, Purpose::Key);
        None
    }

    /// Takes up what waited, until something has to wait again.
    fn resume(&mut self, index: usize, now: Now) {
        self.settle_held(index);
        loop {
            let durable = self.channel_at(index).durable.as_mut().expect("it had a read");
            let Some(held) = durable.held.pop_front() else { return };
            let Some(held) = self.check_key(index, held) else { return };
            self.serve(held.gateway, held.message, now);
        }
    }

    /// The rules may be newer than what was held.
    fn settle_held(&mut self, index: usize) {
        let namespaces = self.options.namespaces.clone();
        let name = self.channel_at(index).name.clone();
        if let Some(options) = namespaces.resolve(&name) {
            self.settle_generation(index, options);
        }
    }

    /// The store answered a question.
    pub fn store_answered(
        &mut self,
        read: u64,
        answer: Result<StoreAnswer, StoreUnavailable>,
        now: Now,
    ) {
        self.now = now;
        let Some(Read { channel: index, purpose, .. }) = self.log_mut().reads.waiting.remove(&read)
        else {
            return;
        };
        let durable = self.channel_at(index).durable.as_mut().expect("it has a read");
        durable.reads_count -= 1;
        durable.subscribing.retain(|(_, waiting)| *waiting != read);
        match (purpose, answer) {
            (Purpose::Load, Ok(StoreAnswer::Newest { position, publications })) => {
                self.loaded(index, position, publications, now);
                self.resume(index, now);
            }
            (Purpose::Load, _) => {
                let durable = self.channel_at(index).durable.as_mut().expect("it has a read");
                durable.state = LoadState::Unloaded;
                let held = std::mem::take(&mut durable.held);
                self.refuse_held(held);
            }
            (Purpose::Key, Ok(StoreAnswer::Key(position))) => {
                self.key_answered(index, position, now);
            }
            (Purpose::Key, _) => {
                let durable = self.channel_at(index).durable.as_mut().expect("it has a read");
                let held = durable.held.pop_front().into_iter().collect();
                self.refuse_held(held);
                self.resume(index, now);
            }
            (Purpose::Recover(recovery), Ok(StoreAnswer::Page(page))) => {
                self.recovered(index, recovery, page, now);
            }
            (Purpose::Recover(recovery), _) => self.recovery_failed(index, recovery),
            (Purpose::Page(page), Ok(StoreAnswer::Page(stored))) => {
                self.page_answered(index, page, stored, now);
            }
            (Purpose::Page(page), _) => {
                let name = self.channel_at(index).name.clone();
                self.reply(page.gateway, name, page.reply_to, Err(ErrorCode::Internal));
            }
        }
    }

    fn refuse_held(&mut self, held: std::collections::VecDeque<Held>) {
        for Held { gateway, message, .. } in held {
            match message.request {
                Request::Unsubscribe { connection } => {
                    self.unsubscribe(gateway, &message.channel, connection);
                }
                _ => self.refuse(gateway, message, ErrorCode::Internal),
            }
        }
    }

    /// Refuses what waited too long for a store that does not answer, as for a log that does not.
    pub(super) fn refuse_overdue(&mut self, now: Now) {
        let Some(log) = &self.log else { return };
        let overdue: Vec<u64> = log
            .reads
            .waiting
            .iter()
            .filter(|(_, read)| matches!(read.purpose, Purpose::Recover(_) | Purpose::Page(_)))
            .filter(|(_, read)| now.moment.since(read.asked_at) >= limits::PUBLISH_TIMEOUT)
            .map(|(number, _)| *number)
            .collect();
        for read in overdue {
            self.counters.log_overdue += 1;
            self.store_answered(read, Err(StoreUnavailable), now);
        }
        self.refuse_held_overdue(now.moment);
    }

    fn refuse_held_overdue(&mut self, now: Moment) {
        let reads = self.log_mut().reads.waiting.values();
        let holding = reads.filter(|read| matches!(read.purpose, Purpose::Load | Purpose::Key));
        let mut channels: Vec<usize> = holding.map(|read| read.channel).collect();
        channels.sort_unstable();
        for index in channels {
            let durable = self.channel_at(index).durable.as_mut().expect("it has a read");
            // In a loaded channel, the store's answer is about the request in front, which keeps
            // its place: its key may turn out to be known.
            let keeps_front = durable.state == LoadState::Loaded;
            let mut overdue = std::collections::VecDeque::new();
            let mut held = std::mem::take(&mut durable.held);
            if keeps_front && let Some(front) = held.front_mut() {
                let is_overdue = now.since(front.asked_at) >= limits::PUBLISH_TIMEOUT;
                if is_overdue && front.message.reply_to != ReplyTo::Nobody {
                    let silent = ReplyTo::Nobody;
                    let reply_to = std::mem::replace(&mut front.message.reply_to, silent);
                    let (gateway, name) = (front.gateway, front.message.channel.clone());
                    self.counters.log_overdue += 1;
                    self.reply(gateway, name, reply_to, Err(ErrorCode::Internal));
                }
            }
            let mut kept = std::collections::VecDeque::with_capacity(held.len());
            for (place, one) in held.into_iter().enumerate() {
                let is_final = matches!(one.message.request, Request::Unsubscribe { .. });
                let stays = is_final || (keeps_front && place == 0);
                if stays || now.since(one.asked_at) < limits::PUBLISH_TIMEOUT {
                    kept.push_back(one);
                } else {
                    overdue.push_back(one);
                }
            }
            self.counters.log_overdue += overdue.len() as u64;
            self.channel_at(index).durable.as_mut().expect("it has a read").held = kept;
            self.refuse_held(overdue);
        }
    }

    fn refuse(&mut self, gateway: GatewayId, message: ToRouter, error: ErrorCode) {
        let ToRouter { channel, reply_to, request } = message;
        if let Request::Subscribe(subscribe) = request {
            let question = (gateway, channel, reply_to);
            return self.refuse_subscribe(question, subscribe.connection, error);
        }
        self.reply(gateway, channel, reply_to, Err(error));
    }

    fn loaded(
        &mut self,
        index: usize,
        position: Option<Position>,
        publications: Vec<Arc<Publication>>,
        now: Now,
    ) {
        let namespaces = self.options.namespaces.clone();
        let name = self.channel_at(index).name.clone();
        let default = ChannelOptions::default();
        let options = namespaces.resolve(&name).unwrap_or(&default);
        let epoch = self.next_epoch_in(options.generation);
        let channel = self.channel_at(index);
        channel.position = position.unwrap_or(Position { offset: 0, epoch });
        channel.used_at = now.moment;
        let durable = channel.durable.as_mut().expect("it was loaded for this");
        durable.state = LoadState::Loaded;
        durable.generation = generation_of(&channel.position.epoch);
        durable.offset_next = channel.position.offset + 1;
        durable.stored_offset = channel.position.offset;
        let bounds = bounds(options, channel.durable.as_deref());
        let reaches =
            publications.last().is_some_and(|last| last.offset == channel.position.offset);
        if reaches {
            publications.into_iter().for_each(|one| channel.window.push(one, bounds));
            let _ = channel.window.trim(options, bounds, now.unix_ms);
        }
        self.counters.window_bytes += self.channel_at(index).window.bytes() as u64;
        self.counters.channels_loaded += 1;
        self.settle_generation(index, options);
    }

    fn key_answered(&mut self, index: usize, position: Option<Position>, now: Now) {
        let durable = self.channel_at(index).durable.as_mut().expect("it has a read");
        let mut held = durable.held.pop_front().expect("the request waits in front");
        match position {
            Some(position) => {
                let name = self.channel_at(index).name.clone();
                self.counters.repeats += 1;
                let answer = Ok(Answer::Published(position));
                self.reply(held.gateway, name, held.message.reply_to, answer);
            }
            None => {
                held.key_is_new = true;
                self.settle_held(index);
                self.serve(held.gateway, held.message, now);
            }
        }
        self.resume(index, now);
    }

    /// Closes a gap of a subscriber from the store.
    pub(super) fn recover_stored(
        &mut self,
        index: usize,
        gateway: GatewayId,
        reply_to: ReplyTo,
        request: SubscribeRequest,
    ) {
        let since = request.recover.clone().expect("it asked for a recovery");
        let subscriber = (gateway, request.connection);
        let asker = Asker::Subscriber { gateway, reply_to, request: Box::new(request) };
        let recovery = Recovery { since, asker, attempts: 0 };
        let read = self.ask_recovery(index, recovery);
        let durable = self.channel_at(index).durable.as_mut().expect("it is stored");
        durable.subscribing.push((subscriber, read));
    }

    /// Closes a gap of a gateway from the store.
    pub(super) fn fetch_stored(
        &mut self,
        index: usize,
        gateway: GatewayId,
        reply_to: ReplyTo,
        since: Position,
    ) {
        let asker = Asker::Gateway { gateway, reply_to };
        self.ask_recovery(index, Recovery { since, asker, attempts: 0 });
    }

    fn ask_recovery(&mut self, index: usize, mut recovery: Recovery) -> u64 {
        recovery.attempts += 1;
        let publications_max = self.options.recovery_publications_max;
        let channel = self.channel_at(index);
        let question = StoreQuestion::Page {
            epoch: channel.position.epoch.clone(),
            above: recovery.since.offset,
            // Over the window as well, which moves on until the answer is here: up to its beginning
            // only, each publication meanwhile would leave a hole.
            below: channel.position.offset + 1,
            publications_max,
            bytes_max: limits::LOAD_BYTES_MAX,
            reverse: false,
        };
        self.ask_store(index, question, Purpose::Recover(recovery))
    }

    fn recovered(
        &mut self,
        index: usize,
        recovery: Recovery,
        page: Vec<Arc<Publication>>,
        now: Now,
    ) {
        let publications_max = self.options.recovery_publications_max as usize;
        let namespaces = self.options.namespaces.clone();
        let channel = self.channel_at(index);
        let since = &recovery.since;
        let same_epoch = since.epoch.is_empty() || since.epoch == channel.position.epoch;
        let options = namespaces.resolve(&channel.name);
        let is_whole = same_epoch
            && page.first().is_some_and(|first| {
                first.offset == since.offset + 1
                    && options.is_some_and(|options| !is_too_old(first, options, now))
            })
            && page.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1);
        let reached = page.last().map_or(since.offset, |last| last.offset);
        let rest = channel.window.since(reached, channel.position.offset);
        let publications = match rest {
            // The window moved on by all of itself meanwhile, or the page was cut by its bytes.
            None if is_whole && recovery.attempts < limits::RECOVERY_ATTEMPTS_MAX => {
                let is_subscriber = match &recovery.asker {
                    Asker::Subscriber { gateway, request, .. } => {
                        Some((*gateway, request.connection))
                    }
                    Asker::Gateway { .. } => None,
                };
                let read = self.ask_recovery(index, recovery);
                if let Some(subscriber) = is_subscriber {
                    let durable = self.channel_at(index).durable.as_mut().expect("it is stored");
                    durable.subscribing.push((subscriber, read));
                }
                return;
            }
            Some(rest) if is_whole && page.len() + rest.len() <= publications_max => {
                Some(page.into_iter().chain(rest).collect::<Vec<_>>())
            }
            _ => None,
        };
        let name = channel.name.clone();
        match recovery.asker {
            Asker::Subscriber { gateway, reply_to, request } => {
                let bytes_max = request.bytes_max as usize;
                let publications = publications.filter(|all| bytes_of(all) <= bytes_max);
                self.subscribed((gateway, name, reply_to), *request, publications, now);
            }
            Asker::Gateway { gateway, reply_to } => {
                let position = channel.position.clone();
                let answer = publications
                    .map(|publications| Answer::History { publications, position })
                    .ok_or(ErrorCode::UnrecoverablePosition);
                self.reply(gateway, name, reply_to, answer);
            }
        }
    }

    fn recovery_failed(&mut self, index: usize, recovery: Recovery) {
        let name = self.channel_at(index).name.clone();
        match recovery.asker {
            Asker::Subscriber { gateway, reply_to, request } => {
                let question = (gateway, name, reply_to);
                self.refuse_subscribe(question, request.connection, ErrorCode::Internal);
            }
            Asker::Gateway { gateway, reply_to } => {
                self.reply(gateway, name, reply_to, Err(ErrorCode::Internal));
            }
        }
    }

    /// A subscription whose recovery waits for the store ends. True if there was one.
    pub(super) fn give_up_subscribing(
        &mut self,
        index: usize,
        subscriber: (GatewayId, protocol::ids::ConnectionId),
    ) -> bool {
        let Some(durable) = &mut self.channel_at(index).durable else { return false };
        let at = durable.subscribing.iter().position(|(waiting, _)| *waiting == subscriber);
        let Some(at) = at else { return false };
        let (_, read) = durable.subscribing.swap_remove(at);
        durable.reads_count -= 1;
        let name = self.channel_at(index).name.clone();
        let read = self.log_mut().reads.waiting.remove(&read).expect("it was not answered");
        if let Purpose::Recover(Recovery { asker: Asker::Subscriber { reply_to, .. }, .. }) =
            read.purpose
        {
            self.reply(subscriber.0, name, reply_to, Err(ErrorCode::Expired));
        }
        true
    }

    /// A page of a durable channel's history.
    pub(super) fn history_durable(
        &mut self,
        index: usize,
        (gateway, reply_to): (GatewayId, ReplyTo),
        request: HistoryRequest,
        (limit, history_size): (usize, u32),
    ) {
        let channel = self.channel_at(index);
        let (position, name) = (channel.position.clone(), channel.name.clone());
        let durable = channel.durable.as_ref().expect("checked by the caller");
        // Retention takes its time; what is beyond `history_size` is not shown meanwhile.
        let floor = durable.removed_offset.max(position.offset.saturating_sub(history_size.into()));
        let window = channel.window.page(&request, limit);
        let below = channel.window.first_offset().unwrap_or(position.offset + 1);
        let since = request.since.as_ref().map(|since| since.offset);
        let (above, below, is_complete) = if request.reverse {
            let below = since.map_or(below, |since| since.min(below));
            (floor, below, window.len() >= limit)
        } else {
            let above = since.unwrap_or(0).max(floor);
            (above, below, false)
        };
        if limit == 0 || is_complete || above + 1 >= below {
            let answer = Answer::History { publications: window, position };
            return self.reply(gateway, name, reply_to, Ok(answer));
        }
        let wanted = if request.reverse { limit - window.len() } else { limit };
        let bytes_max = if request.bytes_max == 0 { u32::MAX } else { request.bytes_max };
        let question = StoreQuestion::Page {
            epoch: position.epoch.clone(),
            above,
            below,
            publications_max: u32::try_from(wanted).unwrap_or(u32::MAX),
            bytes_max,
            reverse: request.reverse,
        };
        let page = Page { gateway, reply_to, request, limit, epoch: position.epoch, window };
        self.ask_store(index, question, Purpose::Page(page));
    }

    fn page_answered(&mut self, index: usize, page: Page, stored: Vec<Arc<Publication>>, now: Now) {
        let namespaces = self.options.namespaces.clone();
        let channel = self.channel_at(index);
        let (name, position) = (channel.name.clone(), channel.position.clone());
        if page.epoch != position.epoch {
            // Nothing of an epoch that is over is in the history: that of the new one is asked for.
            return self.history((page.gateway, name, page.reply_to), page.request, now);
        }
        let options = namespaces.resolve(&name);
        let is_recent =
            |one: &Arc<Publication>| options.is_some_and(|options| !is_too_old(one, options, now));
        let stored = stored.into_iter().filter(is_recent);
        let all: Vec<_> = match page.request.reverse {
            true => page.window.into_iter().chain(stored).collect(),
            false => {
                let stored: Vec<_> = stored.collect();
                // A page that was cut by its bounds does not reach the window.
                let joins = match (stored.last(), page.window.first()) {
                    (Some(last), Some(first)) => last.offset + 1 == first.offset,
                    _ => true,
                };
                let window = page.window.into_iter().filter(|_| joins);
                stored.into_iter().chain(window).collect()
            }
        };
        let bytes_max = match page.request.bytes_max {
            0 => usize::MAX,
            bytes_max => bytes_max as usize,
        };
        let publications = within(all.iter().take(page.limit), bytes_max);
        let answer = Answer::History { publications, position };
        self.reply(page.gateway, name, page.reply_to, Ok(answer));
    }
}

fn is_too_old(publication: &Publication, options: &ChannelOptions, now: Now) -> bool {
    let ttl_ms = u64::try_from(options.history_ttl.as_millis()).unwrap_or(u64::MAX);
    publication.time_ms.saturating_add(ttl_ms) <= now.unix_ms
}

pub(super) fn bytes_of(publications: &[Arc<Publication>]) -> usize {
    publications.iter().map(|one| one.content.bytes.len()).sum()
}
