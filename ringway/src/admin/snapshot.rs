//! `node`: what a node has counted, and what there is now.

use std::collections::BTreeMap;

use gateway::engine::{DropReason, Durations, MemoryKind, Phase};
use persistence::Counters as Durable;
use protocol::close::CloseReason;

use super::model::{Histogram, Memory, Node, Shard};
use super::{Admin, asking};
use crate::node::metrics::{self, Inspected};

impl Admin {
    pub(super) async fn node(&self) -> Node {
        let told = asking::inspect(self.backend.shards()).await;
        let answers = told.answers.into_iter();
        let inspected: Inspected =
            answers.map(|(shard, (gateway, router))| (shard, gateway, router)).collect();
        let (name, uid, uptime) = self.backend.about();
        let memory = &self.own.memory;
        let sum = |read: &dyn Fn(usize) -> u64, count: usize, label: fn(usize) -> &'static str| {
            let values = (0..count).map(|place| (label(place).to_owned(), read(place)));
            values.filter(|(_, value)| *value > 0).collect::<BTreeMap<_, _>>()
        };
        let closes = |place: usize| inspected.iter().map(|one| one.1.engine.closes[place]).sum();
        let drops = |place: usize| {
            let count = |one: &(_, gateway::driver::Inspection, _)| {
                one.1.engine.drops.count(DropReason::ALL[place])
            };
            inspected.iter().map(count).sum()
        };
        Node {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            driver: self.own.driver.to_string(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            memory: Memory {
                used_bytes: memory.used_bytes(),
                limit_bytes: memory.limit_bytes(),
                level: memory.level(),
            },
            closes: sum(&closes, CloseReason::ALL.len(), |place| CloseReason::ALL[place].label()),
            drops: sum(&drops, DropReason::ALL.len(), |place| DropReason::ALL[place].label()),
            shards: inspected.iter().map(shard).collect(),
            silent_shards: told.silent,
            journal_commits: self.own.durable.as_deref().map(journal_commits),
        }
    }
}

fn shard(
    (number, inspection, router): &(
        usize,
        gateway::driver::Inspection,
        Vec<router::engine::Counters>,
    ),
) -> Shard {
    let phases = Phase::ALL.iter().zip(inspection.engine.connections_by_phase);
    let named = |numbers: Vec<(&'static str, u64)>| {
        numbers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let gateway = MemoryKind::ALL.iter();
    let gateway = gateway.map(|kind| (kind.label(), inspection.memory.of(*kind)));
    Shard {
        shard: *number as u64,
        connections_by_state: phases
            .map(|(phase, count)| (phase.label().to_owned(), count))
            .collect(),
        counters: named(metrics::counters_of(inspection, router)),
        gauges: named(metrics::gauges_of(inspection, router)),
        memory_bytes: named(gateway.chain(metrics::router_memory_of(router)).collect()),
        turns: histogram(&inspection.pump.turns_took),
        publish_latency: histogram(&inspection.engine.publish_latency),
    }
}

fn histogram(durations: &Durations) -> Histogram {
    let places = 0..durations.counts.len();
    Histogram {
        bounds_us: places.filter_map(Durations::bound_us).collect(),
        counts: durations.counts.to_vec(),
        sum_ns: durations.sum_ns,
    }
}

fn journal_commits(durable: &Durable) -> Histogram {
    let buckets = durable.commit_time.buckets();
    let (mut bounds_us, mut counts) = (Vec::new(), Vec::new());
    for (bound_us, count) in buckets {
        bounds_us.extend((bound_us < u64::MAX).then_some(bound_us));
        counts.push(count);
    }
    Histogram { bounds_us, counts, sum_ns: durable.commit_time.sum().saturating_mul(1000) }
}
