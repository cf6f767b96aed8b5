//! Which connections of this shard listen to which channels, and how far each channel has come
//! here.
//!
//! Owns: the table of channels, the subscribers of each, their deliveries.
//! Invariant: a channel is in the table from the first `Subscribe` sent to the router until the
//! last `Unsubscribe`, so that its publications arrive without a gap as long as it is there.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::channels::SlowConsumer;
use protocol::limits::CHANNEL_BYTES_MAX;
use protocol::link::{Position, Publication};
use protocol::named::{Named, NamedSlab};
use protocol::time::Moment;
use smallvec::SmallVec;

use super::connection::{Connections, Overflow};
use super::counters::{DropReason, Drops};
use super::fanout::{Delivery, Item, Share, Subscriber};
use super::ledger::counted_bytes;
use super::outbox::Pushed;
use super::session::Subscription;
use crate::limits::{FANOUT_SUBSCRIBERS_PER_STEP, SUBSCRIPTION_BYTES};

/// A channel with at least one subscription here, asked for or granted.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    /// Many channels have one, which lies here.
    subscribers: SmallVec<[Subscriber; 1]>,
    /// Subscriptions that were asked for and not answered.
    pending_count: u32,
    /// The last publication that was queued here; `None` before the first answer.
    position: Option<Position>,
    delivery: Option<Box<Delivery>>,
    slow_consumer: SlowConsumer,
    /// Missing publications were asked for.
    is_fetching: bool,
    /// Publications did not fit the queue; they are asked for when it is empty.
    is_behind: bool,
    is_active: bool,
}

/// What a publication leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is queued, was here before, or will come again with others.
    Taken,
    /// Something is missing in between; ask for everything behind this position.
    Gap(Position),
    /// Too many wait, and nobody can ask for it again.
    Dropped,
}

impl Named for Channel {
    fn name(&self) -> &str {
        &self.name
    }
}

/// All channels of a shard.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    entries: NamedSlab<Channel>,
    /// Channels with something to fan out, in the order of their turns.
    active: VecDeque<u32>,
    /// Granted subscriptions.
    pub(crate) subscriptions_count: u64,
    pub(crate) deliveries: u64,
    pub(crate) drops: Drops,
    /// Bytes of memory that names and lists of subscribers take beside the table.
    beside_bytes: usize,
}

impl Channel {
    /// Bytes beside the table: its name, and its subscribers if they are more than one.
    fn beside_bytes(&self) -> usize {
        let list = self.subscribers.capacity() * size_of::<Subscriber>();
        let spilled = if self.subscribers.spilled() { list } else { 0 };
        counted_bytes(self.name.len()) + spilled
    }
}

impl Channels {
    /// Bytes of memory that channels, names and subscribers take. What is being fanned out is not
    /// among them: it is bounded by what the router keeps and by bursts.
    pub(crate) fn memory_bytes(&self) -> usize {
        let active = self.active.capacity() * size_of::<u32>();
        self.entries.memory_bytes() + self.beside_bytes + active
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.entries.find(name).map(|index| index as u32)
    }

    pub(crate) fn name(&self, index: u32) -> &Arc<str> {
        &self.entry(index).name
    }

    fn entry(&self, index: u32) -> &Channel {
        self.entries.at(index as usize)
    }

    fn entry_mut(&mut self, index: u32) -> &mut Channel {
        self.entries.at_mut(index as usize)
    }

    /// A subscription is asked for: the channel is in the table from now on.
    pub(crate) fn begin(&mut self, name: &str, slow_consumer: SlowConsumer) -> u32 {
        let index = self.find(name).unwrap_or_else(|| {
            let channel = Channel {
                name: name.into(),
                subscribers: SmallVec::new(),
                pending_count: 0,
                position: None,
                delivery: None,
                slow_consumer,
                is_fetching: false,
                is_behind: false,
                is_active: false,
            };
            self.beside_bytes += channel.beside_bytes();
            self.entries.insert(channel) as u32
        });
        self.entry_mut(index).pending_count += 1;
        index
    }

    /// A subscription that was asked for is given up, or was refused.
    pub(crate) fn give_up(&mut self, index: u32) {
        let channel = self.entry_mut(index);
        channel.pending_count -= 1;
        self.release(index);
    }

    /// A subscription that was asked for is granted; returns its place. `Err`: the channel here is
    /// of another epoch, so that everyone else's position is void.
    pub(crate) fn grant(
        &mut self,
        index: u32,
        subscriber: Subscriber,
        position: &Position,
    ) -> (u32, bool) {
        let channel = self.entry_mut(index);
        channel.pending_count -= 1;
        let same_epoch =
            channel.position.as_ref().is_none_or(|known| known.epoch == position.epoch);
        if channel.position.is_none() || !same_epoch {
            channel.position = Some(position.clone());
            channel.is_fetching = false;
            channel.is_behind = false;
        }
        let before = channel.beside_bytes();
        channel.subscribers.push(subscriber);
        let place = channel.subscribers.len() as u32 - 1;
        let after = channel.beside_bytes();
        self.beside_bytes = self.beside_bytes + after - before;
        self.subscriptions_count += 1;
        (place, same_epoch)
    }

    /// Ends the subscription at `place`. Returns slots whose places changed, with their new places.
    pub(crate) fn remove(
        &mut self,
        index: u32,
        place: u32,
        connections: &mut Connections,
        now: Moment,
    ) -> [Option<(u32, u32)>; 2] {
        let (deliveries, drops) = (&mut self.deliveries, &mut self.drops);
        let channel = self.entries.at_mut(index as usize);
        let policy = overflow_policy(channel.slow_consumer, index);
        let mut place = place as usize;
        let mut moved = [None; 2];
        let other = channel.delivery.as_mut().and_then(|delivery| {
            delivery.before_swap_remove(
                &channel.name,
                &mut channel.subscribers,
                place,
                |subscriber, share| {
                    serve(subscriber, &share, policy, connections, (deliveries, drops), now)
                },
            )
        });
        if let Some(other) = other {
            channel.subscribers.swap(place, other);
            moved[0] = Some((channel.subscribers[place].slot, place as u32));
            place = other;
        }
        channel.subscribers.swap_remove(place);
        self.subscriptions_count -= 1;
        if channel.subscribers.is_empty() && channel.pending_count == 0 {
            // The router stops sending: whoever subscribes next starts anew.
            channel.position = None;
            channel.delivery = None;
        }
        moved[1] = channel.subscribers.get(place).map(|one| (one.slot, place as u32));
        self.release(index);
        moved
    }

    fn release(&mut self, index: u32) {
        let channel = self.entry_mut(index);
        if channel.pending_count > 0 || !channel.subscribers.is_empty() || channel.is_active {
            return;
        }
        if let Some(channel) = self.entries.remove(index as usize) {
            self.beside_bytes -= channel.beside_bytes();
        }
    }

    /// How many listen to a channel of the table.
    pub(crate) fn subscribers_count(&self, index: u32) -> u32 {
        self.entry(index).subscribers.len() as u32
    }

    /// Slots of all subscribers that are `meant`.
    pub(crate) fn slots(&self, index: u32, meant: impl Fn(&Subscriber) -> bool) -> Vec<u32> {
        let subscribers = self.entry(index).subscribers.iter();
        subscribers.filter(|one| meant(one)).map(|one| one.slot).collect()
    }

    pub(crate) fn subscriber(&self, index: u32, place: u32) -> &Subscriber {
        &self.entry(index).subscribers[place as usize]
    }

    /// A publication came from the router.
    pub(crate) fn arrive(&mut self, name: &str, publication: Arc<Publication>) -> Arrival {
        let Some(index) = self.find(name) else { return Arrival::Taken };
        let channel = self.entry_mut(index);
        let Some(position) = &mut channel.position else { return Arrival::Taken };
        let offset = publication.offset;
        if offset > 0 {
            // What arrives meanwhile is in the answer, or follows it.
            if channel.is_fetching || channel.is_behind || offset <= position.offset {
                return Arrival::Taken;
            }
            if offset > position.offset + 1 {
                channel.is_fetching = true;
                return Arrival::Gap(position.clone());
            }
        }
        let delivery = channel.delivery.get_or_insert_default();
        if delivery.push(Item::Publication(publication)) {
            position.offset = position.offset.max(offset);
            self.activate(index);
            return Arrival::Taken;
        }
        if offset > 0 {
            channel.is_behind = true;
            return Arrival::Taken;
        }
        self.drops.add(DropReason::QueueFull, 1);
        Arrival::Dropped
    }

    /// Somebody came or left. False: too many wait, and it was left out.
    pub(crate) fn arrive_presence(&mut self, name: &str, item: Item) -> bool {
        let Some(index) = self.find(name) else { return true };
        let channel = self.entry_mut(index);
        if channel.subscribers.iter().all(|subscriber| !subscriber.joins) {
            return true;
        }
        if channel.delivery.get_or_insert_default().push(item) {
            self.activate(index);
            return true;
        }
        self.drops.add(DropReason::PresenceQueueFull, 1);
        false
    }

    /// Publications were left out on the way here. Returns from where to ask for them.
    pub(crate) fn lagged(&mut self, name: &str) -> Option<Position> {
        let index = self.find(name)?;
        let channel = self.entry_mut(index);
        if channel.is_fetching || channel.is_behind {
            return None;
        }
        let position = channel.position.clone()?;
        channel.is_fetching = true;
        Some(position)
    }

    /// The answer to a request for missing publications. False: they are gone, and the positions of
    /// all subscribers with them.
    pub(crate) fn fetched(
        &mut self,
        name: &str,
        answer: Option<(Vec<Arc<Publication>>, Position)>,
    ) -> bool {
        let Some(index) = self.find(name) else { return true };
        let channel = self.entry_mut(index);
        if !std::mem::take(&mut channel.is_fetching) {
            return true;
        }
        let known = channel.position.as_ref().map(|position| position.epoch.clone());
        let Some((publications, position)) = answer else { return false };
        if known.as_ref() != Some(&position.epoch) {
            return false;
        }
        for publication in publications {
            if let Arrival::Gap(_) = self.arrive(name, publication) {
                return false;
            }
        }
        true
    }

    /// The request for missing publications found no room on its way: it is made again when the
    /// channel has its next turn.
    pub(crate) fn fetch_refused(&mut self, name: &str) {
        let Some(index) = self.find(name) else { return };
        let channel = self.entry_mut(index);
        if std::mem::take(&mut channel.is_fetching) {
            channel.is_behind = true;
            self.activate(index);
        }
    }

    /// Every subscriber's position is void: the next answer says where the channel is.
    pub(crate) fn forget_position(&mut self, index: u32) {
        let channel = self.entry_mut(index);
        channel.position = None;
        channel.is_fetching = false;
        channel.is_behind = false;
    }

    fn activate(&mut self, index: u32) {
        let channel = self.entry_mut(index);
        if !channel.is_active {
            channel.is_active = true;
            self.active.push_back(index);
        }
    }

    /// True if something waits to be fanned out.
    pub(crate) fn has_work(&self) -> bool {
        !self.active.is_empty()
    }

    /// Serves channels in turn until `budget` subscribers were looked at. Returns channels that
    /// fell behind and can now ask for what they miss.
    pub(crate) fn fan_out(
        &mut self,
        mut budget: usize,
        connections: &mut Connections,
        now: Moment,
    ) -> Vec<(Arc<str>, Position)> {
        let mut behind = Vec::new();
        while budget > 0 {
            let Some(index) = self.active.pop_front() else { break };
            let (deliveries, drops) = (&mut self.deliveries, &mut self.drops);
            let channel = self.entries.at_mut(index as usize);
            let policy = overflow_policy(channel.slow_consumer, index);
            let mut is_empty = true;
            if let Some(delivery) = &mut channel.delivery {
                let steps = delivery.step(
                    &channel.name,
                    &mut channel.subscribers,
                    budget.min(FANOUT_SUBSCRIBERS_PER_STEP),
                    |subscriber, share| {
                        serve(subscriber, &share, policy, connections, (deliveries, drops), now)
                    },
                );
                budget = budget.saturating_sub(steps.max(1));
                is_empty = delivery.is_empty();
            }
            if !is_empty {
                self.active.push_back(index);
                continue;
            }
            channel.delivery = None;
            channel.is_active = false;
            if std::mem::take(&mut channel.is_behind)
                && let Some(position) = channel.position.clone()
            {
                channel.is_fetching = true;
                behind.push((channel.name.clone(), position));
            }
            self.release(index);
        }
        behind
    }
}

/// Bytes of memory of a subscription to a channel of its own, whose name is the longest.
const LARGEST: usize = size_of::<Channel>()
    + size_of::<Subscription>()
    + CHANNEL_BYTES_MAX
    + 2 * size_of::<usize>()
    + 3 * size_of::<u64>();

const _: () = assert!(LARGEST <= SUBSCRIPTION_BYTES);

fn overflow_policy(slow_consumer: SlowConsumer, channel: u32) -> Overflow {
    match slow_consumer {
        SlowConsumer::Disconnect => Overflow::Close,
        SlowConsumer::Conflate => Overflow::Conflate(channel),
        SlowConsumer::Drop => Overflow::Drop,
    }
}

fn serve(
    subscriber: &mut Subscriber,
    share: &Share<'_>,
    policy: Overflow,
    connections: &mut Connections,
    (deliveries, drops): (&mut u64, &mut Drops),
    now: Moment,
) -> bool {
    // A join that replaced a publication, or the other way round, would lose one of them.
    let policy = match policy {
        Overflow::Conflate(_) if share.is_presence => Overflow::Close,
        other => other,
    };
    let (pushed, left_out) = connections.push_shared(subscriber.slot, share, policy, now);
    drops.add(DropReason::Conflated, u64::from(left_out));
    if pushed == Pushed::Overflow {
        if policy == Overflow::Drop {
            // A join or leave that was left out is a gap too: who is there is asked for anew.
            subscriber.has_gap = true;
            drops.add(DropReason::SlowConsumer, u64::from(share.items_count));
        }
        return false;
    }
    *deliveries += u64::from(share.items_count);
    true
}
