//! How much is published into each channel, and into which ones most.
//!
//! Owns: two rates per channel, weighted so that what is [`limits::TRAFFIC_TIME`] old counts for a
//! third.
//! Never: a table of its own; a channel that is forgotten takes its rates with it.

use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use protocol::time::Moment;

use super::partition::Partition;
use crate::limits;

/// Rates of one channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    publications_per_second: f32,
    bytes_per_second: f32,
    /// When they were computed, in [`TICKS_PER_SECOND`]: enough for eight years.
    at: u32,
}

/// Finer steps would change nothing that anybody sees.
const TICKS_PER_SECOND: u64 = 16;

impl Traffic {
    /// A publication of so many bytes of payload was ordered.
    pub(super) fn add(&mut self, bytes_count: usize, now: Moment) {
        let tick = tick_of(now);
        if tick != self.at {
            *self = self.at(tick);
        }
        let seconds = limits::TRAFFIC_TIME.as_secs_f32();
        self.publications_per_second += 1.0 / seconds;
        self.bytes_per_second += bytes_count as f32 / seconds;
    }

    /// What is left of it at a tick.
    fn at(self, tick: u32) -> Self {
        let passed = tick.saturating_sub(self.at) as f32 / TICKS_PER_SECOND as f32;
        let left = (-passed / limits::TRAFFIC_TIME.as_secs_f32()).exp();
        Self {
            publications_per_second: self.publications_per_second * left,
            bytes_per_second: self.bytes_per_second * left,
            at: tick,
        }
    }
}

fn tick_of(now: Moment) -> u32 {
    let tick = now.as_millis() * TICKS_PER_SECOND / 1000;
    u32::try_from(tick).unwrap_or(u32::MAX)
}

/// What makes a channel come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficOrder {
    /// Publications per second.
    #[default]
    Publications,
    /// Bytes of payload per second.
    Bytes,
}

/// One channel with its rates.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelTraffic {
    /// Its name.
    pub channel: Arc<str>,
    /// Publications per second.
    pub publications_per_second: f32,
    /// Bytes of payload per second.
    pub bytes_per_second: f32,
}

/// A channel in a heap whose least is on top.
#[derive(Debug)]
struct Ranked {
    key: f32,
    row: ChannelTraffic,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.key.total_cmp(&other.key).then_with(|| other.row.channel.cmp(&self.row.channel))
    }
}

/// The channels with most traffic that were found so far.
#[derive(Debug)]
pub struct BusiestChannels {
    order: TrafficOrder,
    count_max: usize,
    found: BinaryHeap<Reverse<Ranked>>,
}

impl BusiestChannels {
    /// None yet; at most `count_max` are kept, and no more than [`limits::BUSIEST_MAX`].
    pub fn new(order: TrafficOrder, count_max: usize) -> Self {
        let count_max = count_max.min(limits::BUSIEST_MAX);
        Self { order, count_max, found: BinaryHeap::new() }
    }

    /// The busiest first.
    pub fn into_rows(self) -> Vec<ChannelTraffic> {
        let found = self.found.into_sorted_vec();
        found.into_iter().map(|Reverse(ranked)| ranked.row).collect()
    }

    fn consider(&mut self, name: &Arc<str>, traffic: Traffic) {
        if traffic.publications_per_second < PUBLICATIONS_PER_SECOND_MIN {
            return;
        }
        let key = match self.order {
            TrafficOrder::Publications => traffic.publications_per_second,
            TrafficOrder::Bytes => traffic.bytes_per_second,
        };
        let is_full = self.found.len() >= self.count_max;
        let is_less = |Reverse(least): &Reverse<Ranked>| key < least.key;
        if is_full && self.found.peek().is_none_or(is_less) {
            return;
        }
        let row = ChannelTraffic {
            channel: name.clone(),
            publications_per_second: traffic.publications_per_second,
            bytes_per_second: traffic.bytes_per_second,
        };
        self.found.push(Reverse(Ranked { key, row }));
        if self.found.len() > self.count_max {
            self.found.pop();
        }
    }
}

/// A channel with less is silent: one publication is forgotten after some 17 seconds.
const PUBLICATIONS_PER_SECOND_MIN: f32 = 0.01;

impl Partition {
    /// Places in the table of channels, taken and free.
    pub fn channel_places_count(&self) -> usize {
        self.channels.places_count()
    }

    /// Looks at `count` places of the table of channels from `from` on. Returns how many there
    /// were.
    pub fn look_for_busiest(
        &self,
        from: usize,
        count: usize,
        busiest: &mut BusiestChannels,
        now: Moment,
    ) -> usize {
        let end = from.saturating_add(count).min(self.channels.places_count());
        for channel in self.channels.between(from, end) {
            busiest.consider(&channel.name, channel.traffic.at(tick_of(now)));
        }
        end.saturating_sub(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::from_nanos((seconds * 1e9) as u64)
    }

    #[test]
    fn a_steady_rate_is_told_and_fades() {
        let mut traffic = Traffic::default();
        // 100 a second, of 50 bytes each, for half a minute.
        for n in 0..3000 {
            traffic.add(50, at(1.0 + f64::from(n) / 100.0));
        }
        let now = traffic.at(tick_of(at(31.0)));
        assert!((95.0..105.0).contains(&now.publications_per_second), "{now:?}");
        assert!((4750.0..5250.0).contains(&now.bytes_per_second), "{now:?}");
        let later = traffic.at(tick_of(at(36.0)));
        assert!((33.0..40.0).contains(&later.publications_per_second), "{later:?}");
        assert!(traffic.at(tick_of(at(1000.0))).publications_per_second < 1e-6);
    }

    #[test]
    fn the_busiest_are_kept_in_order() {
        let rate = |publications, bytes| Traffic {
            publications_per_second: publications,
            bytes_per_second: bytes,
            at: 0,
        };
        let channels = [("a", 1.0, 9.0), ("b", 5.0, 1.0), ("c", 0.001, 99.0), ("d", 3.0, 5.0)];
        let names = |order, count| -> Vec<String> {
            let mut busiest = BusiestChannels::new(order, count);
            for (name, publications, bytes) in channels {
                busiest.consider(&name.into(), rate(publications, bytes));
            }
            busiest.into_rows().iter().map(|row| row.channel.to_string()).collect()
        };
        assert_eq!(names(TrafficOrder::Publications, 2), ["b", "d"]);
        assert_eq!(names(TrafficOrder::Bytes, 2), ["a", "d"]);
        assert_eq!(names(TrafficOrder::Bytes, 9), ["a", "d", "b"], "c is silent");
        assert_eq!(names(TrafficOrder::Bytes, 0), [""; 0]);
    }
}
