//! Changes that are in the partition log before anybody hears of them.
//!
//! Owns: every entry from the moment it was handed to the log until the store has it.
//! Never: a file or a database; the driver carries entries there and says how far they are.
//! Invariant: entries leave in the order of their sequences, and what a channel shows (position,
//! window, answers, deliveries) never reaches beyond what its level of durability has confirmed.
//!
//! ```text
//!  publish ─► offset, entry ─► Append ─┬─ synced ─► commit (log) ─┬─ stored ─► forget
//!                                      │                          └─ stored ─► commit (store)
//!                                      └─ failed ─► what is not synced is refused, its offset free
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use protocol::channels::{ChannelOptions, Durability};
use protocol::client::ErrorCode;
use protocol::ids::ConnectionId;
use protocol::link::{
    Answer, FromRouter, GatewayId, LogChange, LogEntry, LogLevel, LogProgress, Position,
    Publication, PublishRequest, ReplyTo, ToRouter,
};
use protocol::time::{Moment, Now};

use super::epochs::generation_of;
use super::history::Bounds;
use super::idempotency::KeyTime;
use super::partition::{Action, Partition};
use super::reads::Reads;
use crate::limits;

/// What a partition knows of its log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) progress: LogProgress,
    /// Sequence of the next entry.
    sequence_next: u64,
    is_available: bool,
    /// Entries that the store does not have, by sequence from `progress.stored + 1`.
    entries: VecDeque<Entry>,
    /// Entries below this sequence have no waiter whose time could be over.
    deadlines_from: u64,
    /// Publications under a key that are not committed, by channel and key.
    keys_pending: HashMap<(Arc<str>, Arc<str>), u64, foldhash::fast::RandomState>,
    /// Questions to the store.
    pub(super) reads: Reads,
}

impl Log {
    /// A log whose last entry is `progress`; everything behind what is stored is replayed.
    pub(super) fn new(progress: LogProgress) -> Self {
        Self {
            progress: LogProgress { synced: progress.stored, stored: progress.stored },
            sequence_next: progress.stored + 1,
            is_available: true,
            entries: VecDeque::new(),
            deadlines_from: progress.stored + 1,
            keys_pending: HashMap::default(),
            reads: Reads::default(),
        }
    }

    fn entry_mut(&mut self, sequence: u64) -> &mut Entry {
        let first = self.sequence_next - self.entries.len() as u64;
        &mut self.entries[(sequence - first) as usize]
    }

    /// Is a publication with this key on its way?
    pub(super) fn awaits_key(&self, channel: &Arc<str>, key: &str) -> bool {
        self.keys_pending.contains_key(&(channel.clone(), Arc::from(key)))
    }

    /// Entries that the store does not have.
    pub(super) fn unstored_count(&self) -> usize {
        self.entries.len()
    }
}

/// One entry that the store does not have.
#[derive(Debug)]
struct Entry {
    channel: usize,
    /// The offset up to which the channel is stored once this entry is.
    offset: u64,
    level: LogLevel,
    /// What becomes visible with it; taken when it does.
    pending: Option<Box<Pending>>,
}

/// What is not visible yet.
#[derive(Debug)]
struct Pending {
    change: Change,
    /// The epoch it was ordered in; the channel may have begun another one since.
    epoch: Arc<str>,
    key: Option<Arc<str>>,
    /// Whom to answer; empty once the answer was overdue.
    waiters: Vec<(GatewayId, ReplyTo)>,
    asked_at: Moment,
}

#[derive(Debug)]
enum Change {
    Published(Arc<Publication>),
    /// A publication of an epoch that is over: nobody is shown it, but its key is answered.
    Over(Arc<Publication>),
    HistoryRemoved(u64),
}

/// What a channel has beside its window if it is durable.
#[derive(Debug)]
pub(super) struct DurableChannel {
    pub(super) state: LoadState,
    /// That of the channel's epoch, once it is loaded.
    pub(super) generation: Option<u64>,
    /// Requests that wait until the channel is loaded, or behind one that waits, in order.
    pub(super) held: VecDeque<Held>,
    /// The offset that the next publication gets.
    pub(super) offset_next: u64,
    /// Everything up to here is in the store, so that the window may let go of it.
    pub(super) stored_offset: u64,
    /// Everything up to here was removed.
    pub(super) removed_offset: u64,
    /// Entries of the channel that the store does not have.
    unstored_count: u32,
    /// Of those, with level `store` and not committed.
    store_pending_count: u32,
    /// Questions to the store that are not answered.
    pub(super) reads_count: u32,
    /// Subscriptions whose recovery waits for the store.
    pub(super) subscribing: Vec<((GatewayId, ConnectionId), u64)>,
}

/// Is what the store knows of a channel in memory?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadState {
    Unloaded,
    Loading,
    Loaded,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) gateway: GatewayId,
    pub(super) message: ToRouter,
    /// When it came.
    pub(super) asked_at: Moment,
    /// The store was asked for its idempotency key and did not know it.
    pub(super) key_is_new: bool,
}

impl DurableChannel {
    pub(super) fn unloaded() -> Self {
        Self {
            state: LoadState::Unloaded,
            generation: None,
            held: VecDeque::new(),
            offset_next: 1,
            stored_offset: 0,
            removed_offset: 0,
            unstored_count: 0,
            store_pending_count: 0,
            reads_count: 0,
            subscribing: Vec::new(),
        }
    }

    /// A channel that is in memory up to `offset`, none of which the store has under this epoch.
    pub(super) fn loaded_at(offset: u64) -> Self {
        Self {
            state: LoadState::Loaded,
            offset_next: offset + 1,
            stored_offset: offset,
            removed_offset: offset,
            ..Self::unloaded()
        }
    }

    /// True if nothing about it is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.held.is_empty() && self.unstored_count == 0 && self.reads_count == 0
    }
}

/// What of a channel's past may leave memory.
pub(super) fn bounds(options: &ChannelOptions, durable: Option<&DurableChannel>) -> Bounds {
    match durable {
        None => Bounds { publications_max: options.history_size as usize, droppable: u64::MAX },
        Some(durable) => Bounds {
            publications_max: (options.history_size as usize)
                .min(limits::DURABLE_WINDOW_PUBLICATIONS_MAX),
            droppable: durable.stored_offset,
        },
    }
}

impl Partition {
    /// Does this namespace want its channels in the log?
    pub(super) fn is_durable(&self, options: &ChannelOptions) -> bool {
        self.log.is_some() && options.is_durable()
    }

    /// The log as it should be. Only durable channels lead here, and they exist only with a log.
    pub(super) fn log_mut(&mut self) -> &mut Log {
        self.log.as_mut().expect("durable channels exist only with a log")
    }

    /// Orders a publication of a durable channel that is loaded. It is answered later, or here with
    /// an error.
    pub(super) fn publish_durable(
        &mut self,
        gateway: GatewayId,
        index: usize,
        reply_to: ReplyTo,
        request: PublishRequest,
        now: Now,
    ) {
        let name = self.channel_at(index).name.clone();
        let key: Option<Arc<str>> = request.idempotency_key.as_deref().map(Arc::from);
        if let Some(key) = &key {
            if let Some(position) = self.keys.find(&name, key).cloned() {
                self.counters.repeats += 1;
                return self.reply(gateway, name, reply_to, Ok(Answer::Published(position)));
            }
            let pending = self.log_mut().keys_pending.get(&(name.clone(), key.clone())).copied();
            if let Some(sequence) = pending {
                self.counters.repeats += 1;
                return self.wait_too(sequence, gateway, reply_to);
            }
            let log = self.log_mut();
            let (stored, pending_count) = (log.progress.stored, log.keys_pending.len());
            if !self.keys.has_room(pending_count, stored) {
                // A key that neither memory nor the store knew would count twice.
                self.counters.log_refused += 1;
                return self.reply(gateway, name, reply_to, Err(ErrorCode::Internal));
            }
        }
        let durable = self.channel_at(index).durable.as_mut().expect("checked by the caller");
        let offset = durable.offset_next;
        durable.offset_next += 1;
        let publication = Arc::new(Publication {
            offset,
            content: request.content,
            publisher: request.publisher,
            tags: request.tags,
            time_ms: now.unix_ms,
        });
        let pending = Pending {
            change: Change::Published(publication),
            epoch: self.channel_at(index).position.epoch.clone(),
            key,
            waiters: vec![(gateway, reply_to)],
            asked_at: now.moment,
        };
        self.append_entry(index, pending, now);
    }

    /// A repeat of a publication that is on its way is answered with it.
    fn wait_too(&mut self, sequence: u64, gateway: GatewayId, reply_to: ReplyTo) {
        let log = self.log_mut();
        // Whoever waited for it has been told that it takes too long, and nobody looks again.
        let is_overdue = sequence < log.deadlines_from;
        let entry = log.entry_mut(sequence);
        let index = entry.channel;
        let pending = entry.pending.as_mut().expect("a pending key names a pending entry");
        if !is_overdue && pending.waiters.len() < limits::REPEATS_WAITING_MAX {
            return pending.waiters.push((gateway, reply_to));
        }
        let name = self.channel_at(index).name.clone();
        let error = if is_overdue { ErrorCode::Internal } else { ErrorCode::TooManyRequests };
        self.reply(gateway, name, reply_to, Err(error));
    }

    /// Forgets the history of a durable channel that is loaded: with what is on its way.
    pub(super) fn remove_durable_history(
        &mut self,
        gateway: GatewayId,
        index: usize,
        reply_to: ReplyTo,
        now: Now,
    ) {
        let channel = self.channel_at(index);
        let durable = channel.durable.as_mut().expect("checked by the caller");
        let pending = Pending {
            change: Change::HistoryRemoved(durable.offset_next - 1),
            epoch: channel.position.epoch.clone(),
            key: None,
            waiters: vec![(gateway, reply_to)],
            asked_at: now.moment,
        };
        self.append_entry(index, pending, now);
    }

    fn append_entry(&mut self, index: usize, pending: Pending, now: Now) {
        let sequence = self.log_mut().sequence_next;
        let change = match &pending.change {
            Change::Published(publication) | Change::Over(publication) => LogChange::Published {
                publication: publication.clone(),
                idempotency_key: pending.key.clone(),
            },
            Change::HistoryRemoved(offset) => {
                LogChange::HistoryRemoved { offset: *offset, time_ms: now.unix_ms }
            }
        };
        let partition = self.id();
        let (name, epoch) = (self.channel_at(index).name.clone(), pending.epoch.clone());
        let entry = LogEntry { partition, sequence, channel: name, epoch, change };
        let awaits = self.remember_entry(index, pending);
        self.actions.push_back(Action::Append { entry: Box::new(entry), awaits });
    }

    /// Keeps an entry until the store has it. Returns what it waits for.
    fn remember_entry(&mut self, index: usize, pending: Pending) -> LogLevel {
        let namespaces = self.options.namespaces.clone();
        let channel = self.channels.get_mut(index).expect("a channel with entries stays");
        let wants_store = namespaces
            .resolve(&channel.name)
            .is_some_and(|options| options.durability == Durability::Store);
        let durable = channel.durable.as_mut().expect("only durable channels have entries");
        // Behind an entry that waits for the store, nothing of the channel may be seen earlier.
        let level = match wants_store || durable.store_pending_count > 0 {
            true => LogLevel::Store,
            false => LogLevel::Log,
        };
        durable.unstored_count += 1;
        durable.store_pending_count += u32::from(level == LogLevel::Store);
        let offset = match &pending.change {
            Change::Published(publication) | Change::Over(publication) => publication.offset,
            Change::HistoryRemoved(offset) => *offset,
        };
        let name = channel.name.clone();
        let log = self.log.as_mut().expect("durable channels exist only with a log");
        if let Some(key) = &pending.key {
            log.keys_pending.insert((name, key.clone()), log.sequence_next);
        }
        let pending = Some(Box::new(pending));
        log.entries.push_back(Entry { channel: index, offset, level, pending });
        log.sequence_next += 1;
        level
    }

    /// The log, or the store behind it, is further than before.
    pub fn log_progress(&mut self, progress: LogProgress, now: Now) {
        let log = self.log_mut();
        assert!(progress.synced < log.sequence_next, "what is synced was appended");
        assert!(progress.stored <= progress.synced, "the store follows the log");
        assert!(progress.stored >= log.progress.stored, "what is stored stays");
        let (synced_from, stored_from) = (log.progress.synced + 1, log.progress.stored + 1);
        log.progress = progress;
        for sequence in synced_from..=progress.synced {
            if self.log_mut().entry_mut(sequence).level == LogLevel::Log {
                self.commit(sequence, now);
            }
        }
        for sequence in stored_from..=progress.stored {
            if self.log_mut().entry_mut(sequence).level == LogLevel::Store {
                self.commit(sequence, now);
            }
            let entry = self.log_mut().entries.pop_front().expect("unstored entries are kept");
            let channel = self.channels.get_mut(entry.channel).expect("it has entries");
            let durable = channel.durable.as_mut().expect("it has entries");
            durable.stored_offset = durable.stored_offset.max(entry.offset);
            durable.unstored_count -= 1;
            durable.store_pending_count -= u32::from(entry.level == LogLevel::Store);
        }
    }

    /// An entry has reached its level: it is shown, delivered and acknowledged.
    fn commit(&mut self, sequence: u64, now: Now) {
        let log = self.log.as_mut().expect("durable channels exist only with a log");
        let entry = log.entry_mut(sequence);
        let index = entry.channel;
        // A later epoch of the channel made it meaningless (`outlive_pending`).
        let Some(pending) = entry.pending.take() else { return };
        let name = self.channel_at(index).name.clone();
        let answer = match pending.change {
            Change::Published(publication) => {
                self.show(index, &publication, now);
                let position = Position { offset: publication.offset, epoch: pending.epoch };
                self.remember_key((&name, pending.key), &position, (&publication, sequence), now);
                Answer::Published(position)
            }
            Change::Over(publication) => {
                let position = Position { offset: publication.offset, epoch: pending.epoch };
                self.remember_key((&name, pending.key), &position, (&publication, sequence), now);
                Answer::Published(position)
            }
            Change::HistoryRemoved(offset) => {
                let channel = self.channel_at(index);
                let removed = channel.window.remove_up_to(offset);
                let durable = channel.durable.as_mut().expect("it has entries");
                durable.removed_offset = durable.removed_offset.max(offset);
                self.counters.window_bytes = self.counters.window_bytes.saturating_sub(removed);
                Answer::Done
            }
        };
        for (gateway, reply_to) in pending.waiters {
            self.reply(gateway, name.clone(), reply_to, Ok(answer.clone()));
        }
    }

    fn remember_key(
        &mut self,
        (name, key): (&Arc<str>, Option<Arc<str>>),
        position: &Position,
        (publication, sequence): (&Publication, u64),
        now: Now,
    ) {
        let Some(key) = key else { return };
        self.log_mut().keys_pending.remove(&(name.clone(), key.clone()));
        let age_ms = now.unix_ms.saturating_sub(publication.time_ms);
        let at = KeyTime { now: now.moment, age_ms, sequence };
        let stored = self.log_mut().progress.stored;
        self.keys.remember(name.clone(), &key, position.clone(), at, stored);
    }

    fn show(&mut self, index: usize, publication: &Arc<Publication>, now: Now) {
        let namespaces = self.options.namespaces.clone();
        let channel = self.channel_at(index);
        assert!(publication.offset == channel.position.offset + 1, "offsets are contiguous");
        channel.position.offset = publication.offset;
        channel.used_at = now.moment;
        channel.traffic.add(publication.content.bytes.len(), now.moment);
        let name = channel.name.clone();
        let before = channel.window.bytes();
        // An entry that outlived its namespace is kept until the store has it, like any other.
        let default = ChannelOptions::default();
        let options = namespaces.resolve(&name).unwrap_or(&default);
        let bounds = bounds(options, channel.durable.as_deref());
        channel.window.push(publication.clone(), bounds);
        let grown = channel.window.bytes() as i64 - before as i64;
        self.counters.window_bytes = self.counters.window_bytes.saturating_add_signed(grown);
        self.counters.publications += 1;
        self.tell_all(&name, |channel| {
            let publication = publication.clone();
            FromRouter::Publication { channel, publication }
        });
    }

    /// The log failed: whatever was not synced is refused, and its places are free. It takes
    /// entries again once it `is_available`.
    pub fn log_failed(&mut self, is_available: bool) {
        let synced = self.log_mut().progress.synced;
        self.log_mut().is_available = is_available;
        self.roll_back(synced + 1);
    }

    /// The log takes entries again.
    pub fn log_available(&mut self) {
        self.log_mut().is_available = true;
    }

    /// There was no room for an entry; those behind it did not get there either.
    pub fn append_refused(&mut self, sequence: u64) {
        self.actions.retain(|action| match action {
            Action::Append { entry, .. } => entry.sequence < sequence,
            _ => true,
        });
        self.roll_back(sequence);
    }

    fn roll_back(&mut self, from: u64) {
        let log = self.log_mut();
        let mut refused = Vec::new();
        while log.sequence_next > from {
            let Some(entry) = log.entries.pop_back() else { break };
            log.sequence_next -= 1;
            refused.push(entry);
        }
        log.deadlines_from = log.deadlines_from.min(log.sequence_next);
        // From the newest to the oldest, so that each gives back the last place of its channel.
        for entry in refused {
            let pending = *entry.pending.expect("what is not synced is not committed");
            let channel = self.channels.get_mut(entry.channel).expect("it has entries");
            let name = channel.name.clone();
            let durable = channel.durable.as_mut().expect("it has entries");
            durable.unstored_count -= 1;
            durable.store_pending_count -= u32::from(entry.level == LogLevel::Store);
            if let Change::Published(publication) = &pending.change {
                durable.offset_next -= 1;
                assert!(durable.offset_next == publication.offset, "the newest goes first");
            }
            if let Some(key) = pending.key {
                self.log_mut().keys_pending.remove(&(name.clone(), key));
            }
            self.counters.log_refused += 1;
            for (gateway, reply_to) in pending.waiters {
                self.reply(gateway, name.clone(), reply_to, Err(ErrorCode::Internal));
            }
        }
    }

    /// Can a durable change be taken now?
    pub(super) fn log_takes(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_available)
    }

    /// Answers those who waited too long with a temporary error. Their changes stay on the way:
    /// whether they count is not known yet, and a key finds out.
    pub(super) fn answer_overdue(&mut self, now: Moment) {
        let Some(log) = &mut self.log else { return };
        let mut overdue = Vec::new();
        while log.deadlines_from < log.sequence_next {
            let first = log.sequence_next - log.entries.len() as u64;
            let sequence = log.deadlines_from.max(first);
            if sequence >= log.sequence_next {
                break;
            }
            let entry = &mut log.entries[(sequence - first) as usize];
            if let Some(pending) = &mut entry.pending {
                if now.since(pending.asked_at) < limits::PUBLISH_TIMEOUT {
                    break;
                }
                overdue.push((entry.channel, std::mem::take(&mut pending.waiters)));
            }
            log.deadlines_from = sequence + 1;
        }
        for (index, waiters) in overdue {
            let name = self.channel_at(index).name.clone();
            for (gateway, reply_to) in waiters {
                self.counters.log_overdue += 1;
                self.reply(gateway, name.clone(), reply_to, Err(ErrorCode::Internal));
            }
        }
    }

    /// An entry of an earlier run that the store does not have. They come in order, before
    /// anything else; [`Partition::log_progress`] then says that they are synced.
    pub fn replay(&mut self, entry: LogEntry, now: Now) {
        assert!(entry.sequence == self.log_mut().sequence_next, "the log has no holes");
        let index = self.index_of(&entry.channel, now.moment);
        let channel = self.channel_at(index);
        let offset_first = match &entry.change {
            LogChange::Published { publication, .. } => publication.offset,
            LogChange::HistoryRemoved { offset, .. } => offset + 1,
        };
        let known = channel.durable.as_ref().is_some_and(|durable| {
            durable.state == LoadState::Loaded && channel.position.epoch == entry.epoch
        });
        if !known {
            // The first entry of the channel, or of a new epoch: the rest is in the store.
            if channel.durable.as_ref().is_some_and(|durable| durable.unstored_count > 0) {
                self.outlive_pending(index);
            }
            let channel = self.channel_at(index);
            channel.window.clear();
            channel.position = Position { offset: offset_first - 1, epoch: entry.epoch.clone() };
            let before = channel.durable.take();
            let mut durable = Box::new(DurableChannel::loaded_at(offset_first - 1));
            durable.generation = generation_of(&entry.epoch);
            durable.removed_offset = 0;
            if let Some(before) = before {
                durable.unstored_count = before.unstored_count;
                durable.store_pending_count = before.store_pending_count;
            }
            channel.durable = Some(durable);
        }
        let channel = self.channel_at(index);
        let durable = channel.durable.as_mut().expect("made above");
        let (change, key) = match entry.change {
            LogChange::Published { publication, idempotency_key } => {
                durable.offset_next = publication.offset + 1;
                (Change::Published(publication), idempotency_key)
            }
            LogChange::HistoryRemoved { offset, .. } => (Change::HistoryRemoved(offset), None),
        };
        let (epoch, asked_at) = (entry.epoch, now.moment);
        let pending = Pending { change, epoch, key, waiters: Vec::new(), asked_at };
        self.remember_entry(index, pending);
    }

    /// Entries of a channel whose epoch is over are stored, and their keys answered; nobody is
    /// shown anything.
    fn outlive_pending(&mut self, index: usize) {
        let log = self.log_mut();
        for entry in log.entries.iter_mut().filter(|entry| entry.channel == index) {
            let Some(mut pending) = entry.pending.take() else { continue };
            pending.change = match pending.change {
                Change::Published(publication) if pending.key.is_some() => {
                    Change::Over(publication)
                }
                Change::Over(publication) => Change::Over(publication),
                Change::Published(_) | Change::HistoryRemoved(_) => continue,
            };
            entry.pending = Some(pending);
        }
    }
}
