//! One channel's publications on their way to its subscribers here.
//!
//! Owns: what waits to be fanned out, and how far the burst under way has come.
//! Never: holds a connection; it says which subscriber gets which bytes.
//! Invariant: a burst's items are of one kind, and the offsets of publications in it are
//! contiguous.
//!
//! Everything that waits for a channel when its turn comes becomes one *burst*: encoded once per
//! wire format, framed once, and then only referred to. A burst is served in steps, so that a large
//! channel does not keep a shard from its other clients.
//!
//! ```text
//!  queue: [p8 p9 p10]  ──►  burst: | p5 | p6 | p7 |      subscriber at 5 gets   | p6 | p7 |
//!                                    encoded once        subscriber at 4 gets | p5 | p6 | p7 |
//!                                                        cursor ──► next subscriber to serve
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::client::Format;
use protocol::link::{Member, Publication};
use protocol::websocket::{Opcode, frame_head};

use super::views;
use crate::limits::{BURST_BYTES_MAX, BURST_QUEUE_MAX};

/// One thing for all subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A publication.
    Publication(Arc<Publication>),
    /// Somebody came.
    Join(Arc<Member>),
    /// Somebody left.
    Leave(Arc<Member>),
}

/// Items that can go out in one burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Publications with offsets.
    Positioned,
    /// Publications without.
    Plain,
    /// Joins and leaves.
    Presence,
}

impl Item {
    fn kind(&self) -> Kind {
        match self {
            Self::Publication(publication) if publication.offset > 0 => Kind::Positioned,
            Self::Publication(_) => Kind::Plain,
            Self::Join(_) | Self::Leave(_) => Kind::Presence,
        }
    }

    fn offset(&self) -> u64 {
        match self {
            Self::Publication(publication) => publication.offset,
            Self::Join(_) | Self::Leave(_) => 0,
        }
    }

    /// About how many bytes its frame will have.
    fn bytes_estimate(&self) -> usize {
        const FRAME_AROUND: usize = 64;
        match self {
            Self::Publication(publication) => publication.content.bytes.len() + FRAME_AROUND,
            Self::Join(_) | Self::Leave(_) => 4 * FRAME_AROUND,
        }
    }
}

/// One connection's place in a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    /// The last offset that was handed to its outbox.
    pub(crate) delivered: u64,
    /// Its connection.
    pub(crate) slot: u32,
    /// How it reads.
    pub(crate) format: Format,
    /// Does it want joins and leaves?
    pub(crate) joins: bool,
    /// A publication was left out; nothing follows before it is told.
    pub(crate) has_gap: bool,
}

/// Frames of a burst in one format.
#[derive(Debug)]
struct Encoded {
    frames: Arc<[u8]>,
    /// Where each item's frame ends.
    ends: Vec<u32>,
}

#[derive(Debug)]
struct Burst {
    kind: Kind,
    items: Vec<Item>,
    first_offset: u64,
    encoded: [Option<Encoded>; 2],
    /// Subscribers below this place were served.
    cursor: usize,
    /// Subscribers from here on came later.
    end: usize,
}

/// What waits for a channel's subscribers.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    queue: VecDeque<Item>,
    burst: Option<Box<Burst>>,
}

/// What one subscriber gets of a burst.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    pub(crate) frames: &'a Arc<[u8]>,
    pub(crate) range: (u32, u32),
    pub(crate) items_count: u32,
    pub(crate) is_presence: bool,
}

impl Delivery {
    /// Queues an item. False: too many wait already, and it was not taken.
    pub(crate) fn push(&mut self, item: Item) -> bool {
        if self.queue.len() >= BURST_QUEUE_MAX {
            return false;
        }
        self.queue.push_back(item);
        true
    }

    /// True if nothing waits and no burst is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.burst.is_none()
    }

    /// Makes what waits a burst, unless one is under way. `subscribers_count` is how many it is
    /// for.
    fn begin(&mut self, subscribers_count: usize) {
        if self.burst.is_some() {
            return;
        }
        let Some(first) = self.queue.front() else { return };
        let (kind, first_offset) = (first.kind(), first.offset());
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.queue.front() {
            let expected = first_offset + items.len() as u64;
            let follows = kind != Kind::Positioned || item.offset() == expected;
            let fits = items.is_empty() || bytes + item.bytes_estimate() <= BURST_BYTES_MAX;
            if item.kind() != kind || !follows || !fits {
                break;
            }
            bytes += item.bytes_estimate();
            items.extend(self.queue.pop_front());
        }
        self.burst = Some(Box::new(Burst {
            kind,
            items,
            first_offset,
            encoded: [None, None],
            cursor: 0,
            end: subscribers_count,
        }));
    }

    /// Serves up to `steps_max` subscribers by `serve`, and returns how many were looked at. Ends
    /// early when nothing is left.
    pub(crate) fn step(
        &mut self,
        channel: &str,
        subscribers: &mut [Subscriber],
        steps_max: usize,
        mut serve: impl FnMut(&mut Subscriber, Share<'_>) -> bool,
    ) -> usize {
        let mut steps = 0;
        while steps < steps_max {
            self.begin(subscribers.len());
            let Some(burst) = &mut self.burst else { break };
            while burst.cursor < burst.end && steps < steps_max {
                let subscriber = &mut subscribers[burst.cursor];
                burst.cursor += 1;
                steps += 1;
                burst.serve_one(channel, subscriber, &mut serve);
            }
            if burst.cursor >= burst.end {
                self.burst = None;
                steps += 1;
            }
        }
        steps
    }

    /// Keeps the burst right when the subscriber at `place` is about to be replaced by the last
    /// one, or dropped if it is the last.
    ///
    /// The last one is served first if its turn would be skipped. If it came behind the burst and
    /// would land among those still to be served, the caller first swaps `place` with the place
    /// that is returned, and removes that one.
    pub(crate) fn before_swap_remove(
        &mut self,
        channel: &str,
        subscribers: &mut [Subscriber],
        place: usize,
        mut serve: impl FnMut(&mut Subscriber, Share<'_>) -> bool,
    ) -> Option<usize> {
        let burst = self.burst.as_mut()?;
        let last = subscribers.len() - 1;
        if place < burst.cursor && last >= burst.cursor && last < burst.end {
            burst.serve_one(channel, &mut subscribers[last], &mut serve);
        }
        let is_waiting = place >= burst.cursor && place < burst.end;
        if is_waiting && last >= burst.end {
            burst.end -= 1;
            return (burst.end != place).then_some(burst.end);
        }
        burst.end = burst.end.min(last);
        burst.cursor = burst.cursor.min(burst.end);
        None
    }
}

impl Burst {
    fn serve_one(
        &mut self,
        channel: &str,
        subscriber: &mut Subscriber,
        serve: &mut impl FnMut(&mut Subscriber, Share<'_>) -> bool,
    ) {
        let is_presence = self.kind == Kind::Presence;
        if subscriber.has_gap || (is_presence && !subscriber.joins) {
            return;
        }
        let count = self.items.len();
        let skip = match self.kind {
            // A subscriber that joined while the burst waited has a part of it, or all, already.
            Kind::Positioned => {
                (subscriber.delivered + 1).saturating_sub(self.first_offset) as usize
            }
            Kind::Plain | Kind::Presence => 0,
        };
        if skip >= count {
            return;
        }
        let last_offset = self.items[count - 1].offset();
        let is_positioned = self.kind == Kind::Positioned;
        let encoded = self.encoded(channel, subscriber.format);
        let start = if skip == 0 { 0 } else { encoded.ends[skip - 1] };
        let share = Share {
            frames: &encoded.frames,
            range: (start, encoded.ends[count - 1]),
            items_count: (count - skip) as u32,
            is_presence,
        };
        if serve(subscriber, share) && is_positioned {
            subscriber.delivered = last_offset;
        }
    }

    fn encoded(&mut self, channel: &str, format: Format) -> &Encoded {
        let Self { items, encoded, .. } = self;
        encoded[format.index()].get_or_insert_with(|| encode(items, channel, format))
    }
}

fn encode(items: &[Item], channel: &str, format: Format) -> Encoded {
    let opcode = match format {
        Format::Json => Opcode::Text,
        Format::Protobuf => Opcode::Binary,
    };
    let mut frames = Vec::new();
    let mut message = Vec::new();
    let mut ends = Vec::with_capacity(items.len());
    for item in items {
        message.clear();
        match item {
            Item::Publication(publication) => {
                views::encode_publication(format, channel, publication, &mut message);
            }
            Item::Join(member) => {
                views::encode_presence(format, channel, member, true, &mut message);
            }
            Item::Leave(member) => {
                views::encode_presence(format, channel, member, false, &mut message);
            }
        }
        frames.extend_from_slice(frame_head(opcode, message.len()).as_slice());
        frames.extend_from_slice(&message);
        ends.push(u32::try_from(frames.len()).expect("a burst is bounded far below 4 GiB"));
    }
    Encoded { frames: frames.into(), ends }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::link::Content;

    fn publication(offset: u64) -> Item {
        Item::Publication(Arc::new(Publication {
            offset,
            content: Content::classify(b"1"),
            publisher: None,
            tags: None,
            time_ms: 0,
        }))
    }

    fn subscriber(slot: u32, delivered: u64) -> Subscriber {
        Subscriber { delivered, slot, format: Format::Json, joins: false, has_gap: false }
    }

    /// Which subscriber was served how many items, in order.
    type Served = Vec<(u32, u32)>;

    fn step(delivery: &mut Delivery, subscribers: &mut [Subscriber], steps_max: usize) -> Served {
        let mut served = Served::new();
        delivery.step("c", subscribers, steps_max, |subscriber, share| {
            served.push((subscriber.slot, share.items_count));
            true
        });
        served
    }

    #[test]
    fn what_waits_leaves_as_one_burst() {
        let mut delivery = Delivery::default();
        let mut subscribers = [subscriber(0, 0), subscriber(1, 2), subscriber(2, 3)];
        (1..=3).for_each(|offset| assert!(delivery.push(publication(offset))));
        assert_eq!(step(&mut delivery, &mut subscribers, 10), [(0, 3), (1, 1)]);
        assert!(subscribers.iter().all(|subscriber| subscriber.delivered == 3));
        assert!(delivery.is_empty());
    }

    #[test]
    fn a_step_ends_with_its_budget_and_goes_on() {
        let mut delivery = Delivery::default();
        let mut subscribers: Vec<_> = (0..5).map(|slot| subscriber(slot, 0)).collect();
        delivery.push(publication(1));
        assert_eq!(step(&mut delivery, &mut subscribers, 2), [(0, 1), (1, 1)]);
        delivery.push(publication(2));
        assert_eq!(step(&mut delivery, &mut subscribers, 3), [(2, 1), (3, 1), (4, 1)]);
        assert_eq!(step(&mut delivery, &mut subscribers, 100).len(), 5);
        assert!(delivery.is_empty());
    }

    #[test]
    fn the_last_subscriber_is_served_before_it_moves_behind_the_cursor() {
        let mut delivery = Delivery::default();
        let mut subscribers: Vec<_> = (0..4).map(|slot| subscriber(slot, 0)).collect();
        delivery.push(publication(1));
        assert_eq!(step(&mut delivery, &mut subscribers, 2), [(0, 1), (1, 1)]);
        let mut moved = Served::new();
        delivery.before_swap_remove("c", &mut subscribers, 0, |subscriber, share| {
            moved.push((subscriber.slot, share.items_count));
            true
        });
        subscribers.swap_remove(0);
        assert_eq!(moved, [(3, 1)]);
        assert_eq!(step(&mut delivery, &mut subscribers, 100), [(2, 1)]);
    }

    #[test]
    fn who_came_behind_a_burst_is_not_served_it() {
        let mut delivery = Delivery::default();
        let mut subscribers: Vec<_> = (0..4).map(|slot| subscriber(slot, 0)).collect();
        delivery.push(publication(0));
        assert_eq!(step(&mut delivery, &mut subscribers, 1), [(0, 1)]);
        // Slot 1 leaves and comes back: as the last one, behind the burst.
        for leaving in [1, 2] {
            let place = subscribers.iter().position(|one| one.slot == leaving).unwrap();
            let other =
                delivery.before_swap_remove("c", &mut subscribers, place, |_, _| panic!("served"));
            let removed = match other {
                Some(other) => {
                    subscribers.swap(place, other);
                    other
                }
                None => place,
            };
            subscribers.swap_remove(removed);
            subscribers.push(subscriber(leaving, 0));
        }
        assert_eq!(step(&mut delivery, &mut subscribers, 100), [(3, 1)]);
    }

    #[test]
    fn kinds_do_not_mix_and_the_queue_is_bounded() {
        let mut delivery = Delivery::default();
        let mut subscribers = [subscriber(0, 0)];
        delivery.push(publication(1));
        delivery.push(publication(0));
        delivery.push(publication(2));
        assert_eq!(step(&mut delivery, &mut subscribers, 100), [(0, 1), (0, 1), (0, 1)]);
        for _ in 0..BURST_QUEUE_MAX {
            assert!(delivery.push(publication(0)));
        }
        assert!(!delivery.push(publication(0)));
    }
}
