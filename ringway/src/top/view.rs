//! What `ringway top` shows: two snapshots of a node, and what lies between them.
//!
//! Never: asks or draws.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::model::{Channels, Connections, Histogram, Memory, Node, Shard};

/// How long something took between two snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// How often it happened.
    pub(crate) count: u64,
    /// Half of them took no more than this, in microseconds; `None`: nothing happened, or it took
    /// more than the largest bound.
    pub(crate) p50_us: Option<u64>,
    /// The same of 99 percent.
    pub(crate) p99_us: Option<u64>,
}

/// One shard, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Its number; `None`: all.
    pub(crate) shard: Option<u64>,
    /// Connections now.
    pub(crate) connections: u64,
    /// Of those, the ones that are expected to send much.
    pub(crate) hot: u64,
    /// Sessions now.
    pub(crate) sessions: u64,
    /// Subscriptions now.
    pub(crate) subscriptions: u64,
    /// Was the shard there in the snapshot before? If not, its rates are zero, and unknown.
    pub(crate) has_rates: bool,
    /// Connections accepted per second.
    pub(crate) accepts: f64,
    /// Messages of clients per second.
    pub(crate) messages: f64,
    /// Publications that partitions ordered per second.
    pub(crate) publications: f64,
    /// Publications handed to outboxes per second.
    pub(crate) deliveries: f64,
    /// Bytes received per second.
    pub(crate) bytes_in: f64,
    /// Bytes sent per second.
    pub(crate) bytes_out: f64,
    /// Part of the time that it was awake, in percent; of all: the mean.
    pub(crate) busy_percent: f64,
    /// Its turns.
    pub(crate) turn: Latency,
    /// Messages waiting in its inbox.
    pub(crate) inbox: u64,
    /// Messages waiting in lanes to it.
    pub(crate) lanes: u64,
    /// Bytes waiting in outboxes.
    pub(crate) outbox_bytes: u64,
    /// Bytes of memory, by what they are for.
    pub(crate) memory_bytes: BTreeMap<String, u64>,
}

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct View {
    /// Version of the server.
    pub(crate) version: String,
    /// Its configured name.
    pub(crate) name: String,
    /// What drives its sockets.
    pub(crate) driver: String,
    /// Seconds since its start.
    pub(crate) uptime_seconds: u64,
    /// Time between both snapshots, that rates are of.
    pub(crate) interval_ms: u64,
    /// Memory of the process.
    pub(crate) memory: Memory,
    /// All shards together.
    pub(crate) all: Row,
    /// Each of them.
    pub(crate) shards: Vec<Row>,
    /// Shards that did not answer: they are missing everywhere.
    pub(crate) silent_shards: Vec<u64>,
    /// Connections now, by where they are in their lives; where nobody is, is left out.
    pub(crate) states: BTreeMap<String, u64>,
    /// From reading a publication of a client to queueing its answer.
    pub(crate) publish: Latency,
    /// Write and sync of the journal.
    pub(crate) journal: Option<Latency>,
    /// Connections closed by reason: since the start, and per second.
    pub(crate) closes: BTreeMap<String, (u64, f64)>,
    /// What did not reach clients that were there: since the start, and per second.
    pub(crate) drops: BTreeMap<String, (u64, f64)>,
    /// For whom most waits.
    pub(crate) slowest: Connections,
    /// Channels by traffic.
    pub(crate) channels: Channels,
}

impl View {
    /// What lies between two snapshots of one node. One that was started anew in between is shown
    /// since its start.
    pub(crate) fn between(
        before: &Node,
        now: &Node,
        slowest: Connections,
        channels: Channels,
    ) -> Self {
        let is_same = before.uid == now.uid && before.uptime_ms < now.uptime_ms;
        // Of a new one, every shard had counted nothing.
        let begun =
            || Node { shards: now.shards.iter().map(Shard::begun).collect(), ..Node::default() };
        let begun = (!is_same).then(begun);
        let before = begun.as_ref().unwrap_or(before);
        let interval_ms = (now.uptime_ms - before.uptime_ms).max(1);
        let seconds = interval_ms as f64 / 1000.0;
        let rows: Vec<Row> = now
            .shards
            .iter()
            .map(|shard| {
                let earlier = before.shards.iter().find(|one| one.shard == shard.shard);
                Row::between(earlier, shard, seconds)
            })
            .collect();
        let mut all = rows.iter().fold(Row::default(), Row::with);
        let with_rates = rows.iter().filter(|row| row.has_rates).count();
        all.busy_percent /= with_rates.max(1) as f64;
        all.turn = difference(before, now, |shard| &shard.turns).latency();
        let per_second = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let rate = |name: &String, count: u64| {
                count.saturating_sub(before.get(name).copied().unwrap_or(0)) as f64 / seconds
            };
            now.iter().map(|(name, count)| (name.clone(), (*count, rate(name, *count)))).collect()
        };
        let journal = now.journal_commits.as_ref().map(|commits| {
            let earlier = before.journal_commits.clone().unwrap_or_default();
            since(&earlier, commits).latency()
        });
        Self {
            version: now.version.clone(),
            name: now.name.clone(),
            driver: now.driver.clone(),
            uptime_seconds: now.uptime_ms / 1000,
            interval_ms,
            memory: now.memory,
            all,
            shards: rows,
            silent_shards: now.silent_shards.clone(),
            states: states(now),
            publish: difference(before, now, |shard| &shard.publish_latency).latency(),
            journal,
            closes: per_second(&now.closes, &before.closes),
            drops: per_second(&now.drops, &before.drops),
            slowest,
            channels,
        }
    }
}

impl View {
    /// Shards that did not answer one of the questions.
    pub(crate) fn all_silent(&self) -> Vec<u64> {
        let of_lists = self.slowest.silent_shards.iter().chain(&self.channels.silent_shards);
        let mut all: Vec<u64> = self.silent_shards.iter().chain(of_lists).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Did every shard answer every question?
    pub(crate) fn is_complete(&self) -> bool {
        self.all_silent().is_empty()
    }
}

impl Shard {
    /// The same shard when it began.
    fn begun(&self) -> Self {
        Self { shard: self.shard, ..Self::default() }
    }
}

fn states(now: &Node) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for (state, count) in now.shards.iter().flat_map(|shard| &shard.connections_by_state) {
        if *count > 0 {
            *states.entry(state.clone()).or_default() += count;
        }
    }
    states
}

impl Row {
    fn between(before: Option<&Shard>, now: &Shard, seconds: f64) -> Self {
        let has_rates = before.is_some();
        // Since its start it has counted more than in this time.
        let before = before.unwrap_or(now);
        let grown = |name: &str| {
            let count = |shard: &Shard| shard.counters.get(name).copied().unwrap_or(0);
            count(now).saturating_sub(count(before)) as f64 / seconds
        };
        let gauge = |name: &str| now.gauges.get(name).copied().unwrap_or(0);
        Self {
            shard: Some(now.shard),
            connections: gauge("connections"),
            hot: gauge("connections_hot"),
            sessions: gauge("sessions"),
            subscriptions: gauge("subscriptions"),
            has_rates,
            accepts: grown("connections_accepted"),
            messages: grown("messages_received"),
            publications: grown("publications"),
            deliveries: grown("deliveries"),
            bytes_in: grown("bytes_received"),
            bytes_out: grown("bytes_sent"),
            busy_percent: grown("busy_nanoseconds") / 1e7,
            turn: since(&before.turns, &now.turns).latency(),
            inbox: gauge("inbox_depth"),
            lanes: gauge("lane_depth"),
            outbox_bytes: gauge("outbox_bytes"),
            memory_bytes: now.memory_bytes.clone(),
        }
    }

    /// Both together, without what cannot be added up.
    fn with(mut self, other: &Self) -> Self {
        for (kind, bytes) in &other.memory_bytes {
            *self.memory_bytes.entry(kind.clone()).or_default() += bytes;
        }
        Self {
            shard: None,
            connections: self.connections + other.connections,
            hot: self.hot + other.hot,
            sessions: self.sessions + other.sessions,
            subscriptions: self.subscriptions + other.subscriptions,
            has_rates: self.has_rates || other.has_rates,
            accepts: self.accepts + other.accepts,
            messages: self.messages + other.messages,
            publications: self.publications + other.publications,
            deliveries: self.deliveries + other.deliveries,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
            busy_percent: self.busy_percent + other.busy_percent,
            turn: Latency::default(),
            inbox: self.inbox + other.inbox,
            lanes: self.lanes + other.lanes,
            outbox_bytes: self.outbox_bytes + other.outbox_bytes,
            memory_bytes: self.memory_bytes,
        }
    }
}

/// What was added to the histograms of all shards together.
fn difference(before: &Node, now: &Node, of: impl Fn(&Shard) -> &Histogram) -> Histogram {
    let mut all = Histogram::default();
    for shard in &now.shards {
        let earlier = before.shards.iter().find(|one| one.shard == shard.shard);
        let added = since(earlier.map_or_else(|| of(shard), &of), of(shard));
        all.bounds_us.clone_from(&added.bounds_us);
        all.counts.resize(added.counts.len().max(all.counts.len()), 0);
        all.counts.iter_mut().zip(&added.counts).for_each(|(sum, count)| *sum += count);
        all.sum_ns += added.sum_ns;
    }
    all
}

/// What was added to a histogram.
fn since(before: &Histogram, now: &Histogram) -> Histogram {
    let before_at = |place: usize| before.counts.get(place).copied().unwrap_or(0);
    let counts = now.counts.iter().enumerate();
    Histogram {
        bounds_us: now.bounds_us.clone(),
        counts: counts.map(|(place, count)| count.saturating_sub(before_at(place))).collect(),
        sum_ns: now.sum_ns.saturating_sub(before.sum_ns),
    }
}

impl Histogram {
    pub(crate) fn latency(&self) -> Latency {
        let count: u64 = self.counts.iter().sum();
        let within = |percent: u64| {
            // At least one of them.
            let wanted = (count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let place = self.counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            place.and_then(|place| self.bounds_us.get(place).copied())
        };
        Latency { count, p50_us: within(50), p99_us: within(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[u64]) -> Histogram {
        let bounds_us = (1..counts.len()).map(|place| 10 * place as u64).collect();
        Histogram { bounds_us, counts: counts.to_vec(), sum_ns: 0 }
    }

    #[test]
    fn percentiles_are_the_bounds_that_hold() {
        let latency = |counts: &[u64]| {
            let Latency { p50_us, p99_us, .. } = histogram(counts).latency();
            (p50_us, p99_us)
        };
        assert_eq!(latency(&[0, 0, 0]), (None, None));
        assert_eq!(latency(&[1, 0, 0]), (Some(10), Some(10)));
        assert_eq!(latency(&[98, 1, 1]), (Some(10), Some(20)));
        assert_eq!(latency(&[98, 0, 2]), (Some(10), None), "beyond the last bound");
        assert_eq!(latency(&[49, 51, 0]), (Some(20), Some(20)));
    }

    fn node(uid: &str, uptime_ms: u64, messages: u64, turns: &[u64]) -> Node {
        let shard = Shard {
            counters: [("messages_received".to_owned(), messages)].into(),
            gauges: [("connections".to_owned(), 7)].into(),
            turns: histogram(turns),
            ..Shard::default()
        };
        let shards = vec![shard.clone(), Shard { shard: 1, ..shard }];
        Node { uid: uid.to_owned(), uptime_ms, shards, ..Node::default() }
    }

    fn between(before: &Node, now: &Node) -> View {
        View::between(before, now, Connections::default(), Channels::default())
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let before = node("a", 10_000, 1000, &[5, 0]);
        let view = between(&before, &node("a", 12_000, 1500, &[5, 9]));
        assert_eq!(view.shards[1].messages, 250.0);
        assert_eq!(view.all.messages, 500.0);
        assert_eq!((view.all.connections, view.all.turn.count), (14, 18));
        assert_eq!(view.all.turn.p50_us, None, "the old turns do not count");
    }

    #[test]
    fn a_shard_that_was_missing_before_has_no_rates() {
        let mut before = node("a", 10_000, 1000, &[5, 0]);
        before.shards.truncate(1);
        let view = between(&before, &node("a", 12_000, 1500, &[5, 9]));
        assert_eq!([0, 1].map(|shard: usize| view.shards[shard].has_rates), [true, false]);
        assert_eq!((view.shards[1].messages, view.all.messages), (0.0, 250.0));
        assert_eq!((view.shards[1].turn.count, view.all.turn.count), (0, 9));
        assert_eq!(view.all.connections, 14, "what there is now is known");
    }

    #[test]
    fn a_node_that_was_started_anew_is_shown_since_then() {
        let view = between(&node("a", 10_000, 1000, &[5]), &node("b", 2_000, 100, &[1]));
        assert_eq!((view.interval_ms, view.all.messages), (2_000, 100.0));
    }
}
