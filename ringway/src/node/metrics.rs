//! `/metrics` in the text format of OpenMetrics.
//!
//! Every label has a closed set of values: shards, close reasons, error codes, directions. Nothing
//! that a client chooses becomes a label.

use std::fmt;
use std::sync::Arc;

use gateway::driver::Inspection;
use gateway::driver::tls::{HandshakeEnd, RecordFault};
use gateway::engine::{
    DropReason, Durations, MemoryKind, SubscribeRefusal, TokenFault, UpgradeRefusal,
};
use persistence::Counters as Durable;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use protocol::client::ErrorCode;
use protocol::close::CloseReason;
use protocol::proxies::ProxyFault;
use router::engine::Counters;

use super::acme_metrics::AcmeMetrics;
use super::driver::Driver;
use super::durable_metrics::DurableMetrics;
use super::process_memory::ProcessMemory;
use crate::acme::AcmeState;
use crate::memory::MemoryState;

/// What all shards have counted, by shard.
pub type Inspected = Vec<(usize, Inspection, Vec<Counters>)>;

/// What a node has beside its shards.
#[derive(Clone, Debug)]
pub struct Own {
    /// What drives its sockets.
    pub driver: Driver,
    /// Numbers of its journal and store, if it has them.
    pub durable: Option<Arc<Durable>>,
    /// How near the process is to its limit of memory.
    pub memory: Arc<MemoryState>,
    /// How it stands with its certificate, if it fetches one.
    pub acme: Option<Arc<AcmeState>>,
}

/// Writes everything. Reads /proc for what the whole process takes.
pub fn encode(inspected: Inspected, own: Own) -> String {
    let connections = inspected.iter().map(|(_, one, _)| one.engine.connections).sum();
    let hot = inspected.iter().map(|(_, one, _)| one.engine.connections_hot).sum();
    let mut registry = Registry::with_prefix("ringway");
    let name = Info::new([("driver", own.driver.to_string())]);
    registry.register("io", "What drives sockets", name);
    let memory = &own.memory;
    for (name, help, value) in [
        ("memory_used_bytes", "Memory that counts against the nearest limit", memory.used_bytes()),
        ("memory_limit_bytes", "That limit", memory.limit_bytes()),
        ("memory_level", "1: nobody new is let in; 2: who holds most is closed", memory.level()),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
    registry.register_collector(Box::new(Shards { inspected }));
    let memory = ProcessMemory::read(own.driver, connections, hot);
    registry.register_collector(Box::new(memory));
    if let Some(counters) = own.durable {
        registry.register_collector(Box::new(DurableMetrics { counters }));
    }
    if let Some(state) = own.acme {
        registry.register_collector(Box::new(AcmeMetrics { state }));
    }
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a String takes every write");
    text
}

#[derive(Debug)]
struct Shards {
    inspected: Inspected,
}

/// How a number of one shard is found.
type Read = fn(&Inspection) -> u64;
/// The same of one partition.
type ReadRouter = fn(&Counters) -> u64;

const COUNTERS: &[(&str, &str, Read)] = &[
    ("connections_accepted", "Connections accepted", |one| one.engine.accepted),
    ("requests_upgraded", "Requests that became WebSockets", |one| one.engine.upgraded),
    ("requests_refused", "Requests refused with a status", |one| one.engine.requests_refused),
    ("addresses_uncounted", "Clients let in although their address could not be counted", |one| {
        one.engine.addresses_uncounted
    }),
    ("requests_served", "Requests handed to the HTTP service", |one| one.engine.requests_served),
    ("sessions_begun", "Sessions begun", |one| one.engine.sessions),
    ("messages_received", "Messages received from clients", |one| one.engine.messages_in),
    ("bytes_received", "Bytes received from clients, with framing", |one| one.pump.bytes_in),
    ("bytes_sent", "Bytes sent to clients, with framing", |one| one.engine.bytes_out),
    ("sends", "Sends completed by the kernel", |one| one.engine.sends),
    ("deliveries", "Publications handed to outboxes", |one| one.engine.deliveries),
    ("accepts_ended", "Times accepting stopped, most often because the table is full", |one| {
        one.pump.accepts_ended
    }),
    ("turns", "Turns of the pump", |one| one.pump.turns),
    ("busy_nanoseconds", "Time awake, in nanoseconds", |one| one.pump.busy_ns),
    ("ring_submissions", "Operations submitted", |one| one.ring.submissions),
    ("ring_completions", "Completions seen", |one| one.ring.completions),
    ("ring_receives_parked", "Receives that waited for a buffer", |one| one.ring.receives_parked),
    ("ring_completions_stale", "Completions of connections that were gone", |one| {
        one.ring.completions_stale
    }),
    ("ring_overflows", "Times the completion queue was full", |one| one.ring.completion_overflows),
];

const GAUGES: &[(&str, &str, Read)] = &[
    ("connections", "Connections", |one| one.engine.connections),
    ("connections_hot", "Connections that sent much since their last ping", |one| {
        one.engine.connections_hot
    }),
    ("sessions", "Sessions", |one| one.engine.sessions_now),
    ("subscribed_channels", "Channels with a subscription", |one| one.engine.channels),
    ("subscriptions", "Subscriptions", |one| one.engine.subscriptions),
    ("tls_handshakes_now", "Handshakes of TLS under way", |one| one.tls.handshakes_now),
    ("users", "Users at home on the shard", |one| one.engine.users),
    ("connects_waiting", "Clients whose token waits for its turn to be checked", |one| {
        one.engine.connects_waiting
    }),
    ("outbox_bytes", "Bytes waiting in outboxes", |one| one.engine.outbox_bytes),
    ("http_body_bytes", "Bytes that bodies of requests take", |one| one.pump.body_bytes),
    ("inbox_depth", "Messages waiting in the inbox", |one| one.pump.inbox_depth),
    ("lane_depth", "Messages waiting in lanes to the shard", |one| one.pump.lane_depth),
];

const ROUTER_COUNTERS: &[(&str, &str, ReadRouter)] = &[
    ("publications", "Publications ordered", |one| one.publications),
    ("publications_repeated", "Publications known by their key", |one| one.repeats),
    ("publications_dropped", "Publications that did not reach a gateway", |one| one.dropped),
    ("presence_dropped", "Joins and leaves that did not reach a gateway", |one| {
        one.presence_dropped
    }),
    ("gateway_lags", "Times a gateway was told what it missed", |one| one.lags),
    ("recoveries_complete", "Recoveries with everything", |one| one.recovered),
    ("recoveries_impossible", "Recoveries answered recovered: false", |one| one.unrecovered),
    ("log_refused", "Durable changes refused because the log failed or was full", |one| {
        one.log_refused
    }),
    ("log_overdue", "Durable changes not confirmed, and questions not answered, in time", |one| {
        one.log_overdue
    }),
    ("channels_loaded", "Channels read from the store", |one| one.channels_loaded),
    ("idempotency_keys_forgotten_early", "Keys forgotten for want of room", |one| {
        one.keys_forgotten_early
    }),
];

const ROUTER_GAUGES: &[(&str, &str, ReadRouter)] = &[
    ("channels", "Channels with state", |one| one.channels),
    ("unstored_entries", "Log entries that the store does not have", |one| one.unstored_entries),
    ("window_bytes", "Bytes of payload in windows", |one| one.window_bytes),
];

/// What partitions take beside [`MemoryKind`]. Names are counted by the gateways that listen.
const ROUTER_MEMORY: &[(&str, ReadRouter)] = &[
    ("channels", |one| one.channel_bytes),
    ("history", |one| one.window_bytes),
    ("presence", |one| one.presence_bytes),
];

/// How durations of one shard are found.
type ReadDurations = fn(&Inspection) -> &Durations;

const HISTOGRAMS: &[(&str, &str, ReadDurations)] = &[
    ("publish_latency", "From reading a publication of a client to queueing its answer", |one| {
        &one.engine.publish_latency
    }),
    ("turn", "Turns of the pump, without the sleep", |one| &one.pump.turns_took),
];

/// What one shard has counted since its start, by the names of the metrics.
pub(crate) fn counters_of(one: &Inspection, router: &[Counters]) -> Vec<(&'static str, u64)> {
    numbers(COUNTERS, ROUTER_COUNTERS, one, router)
}

/// What one shard has now, by the names of the metrics.
pub(crate) fn gauges_of(one: &Inspection, router: &[Counters]) -> Vec<(&'static str, u64)> {
    numbers(GAUGES, ROUTER_GAUGES, one, router)
}

fn numbers(
    gateway: &[(&'static str, &str, Read)],
    router: &[(&'static str, &str, ReadRouter)],
    one: &Inspection,
    counters: &[Counters],
) -> Vec<(&'static str, u64)> {
    let own = gateway.iter().map(|(name, _, read)| (*name, read(one)));
    let sum = |read: &ReadRouter| counters.iter().map(read).sum();
    own.chain(router.iter().map(|(name, _, read)| (*name, sum(read)))).collect()
}

/// Bytes of memory that partitions take, by what they are for.
pub(crate) fn router_memory_of(counters: &[Counters]) -> Vec<(&'static str, u64)> {
    let sum = |read: &ReadRouter| counters.iter().map(read).sum();
    ROUTER_MEMORY.iter().map(|(label, read)| (*label, sum(read))).collect()
}

impl Shards {
    fn by_shard(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        entry: (&str, &str),
        kind: MetricType,
        read: impl Fn(&Inspection, &[Counters]) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(entry.0, entry.1, None, kind)?;
        for (shard, inspection, counters) in &self.inspected {
            let label = [("shard", shard.to_string())];
            let metric = family.encode_family(&label)?;
            let value = read(inspection, counters);
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(value).encode(metric)?,
            }
        }
        Ok(())
    }

    /// Where the bytes of clients are, by shard.
    fn memory(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Bytes of memory, by what they are for";
        let (name, kind) = ("memory_bytes", MetricType::Gauge);
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (shard, inspection, counters) in &self.inspected {
            let gateway = MemoryKind::ALL.iter();
            let gateway = gateway.map(|kind| (kind.label(), inspection.memory.of(*kind)));
            for (label, bytes) in gateway.chain(router_memory_of(counters)) {
                let labels = [("shard", shard.to_string()), ("kind", label.to_owned())];
                ConstGauge::new(bytes).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// How long something took, over all shards.
    fn histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        entry: (&str, &str),
        read: fn(&Inspection) -> &Durations,
    ) -> fmt::Result {
        let mut all = Durations::default();
        for (_, inspection, _) in &self.inspected {
            let one = read(inspection);
            all.sum_ns += one.sum_ns;
            all.counts.iter_mut().zip(one.counts).for_each(|(sum, count)| *sum += count);
        }
        let seconds =
            |place| Durations::bound_us(place).map_or(f64::INFINITY, |us| us as f64 / 1e6);
        let places = all.counts.iter().enumerate();
        let buckets: Vec<(f64, u64)> = places.map(|(at, count)| (seconds(at), *count)).collect();
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let mut metric = encoder.encode_descriptor(entry.0, entry.1, Some(&unit), kind)?;
        let count = all.counts.iter().sum();
        metric.encode_histogram::<NoLabelSet>(all.sum_ns as f64 / 1e9, count, &buckets, None)
    }

    fn by_label(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        entry: (&str, &str, &str),
        values: impl Iterator<Item = (String, u64)>,
    ) -> fmt::Result {
        let (name, help, label) = entry;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            let labels = [(label, value)];
            let metric = family.encode_family(&labels)?;
            ConstCounter::new(count).encode(metric)?;
        }
        Ok(())
    }

    /// Over all shards.
    fn sum(&self, read: &dyn Fn(&Inspection) -> u64) -> u64 {
        self.inspected.iter().map(|(_, inspection, _)| read(inspection)).sum()
    }

    /// Who did not get in, by reason.
    fn at_the_door(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let upgrades = UpgradeRefusal::ALL.iter().map(|reason| {
            let read = |one: &Inspection| one.engine.upgrades_refused[*reason as usize];
            (reason.label().to_owned(), self.sum(&read))
        });
        let help = "Upgrades refused with 503 and Retry-After";
        self.by_label(encoder, ("upgrades_refused", help, "reason"), upgrades)?;
        let proxies = ProxyFault::ALL.iter().map(|fault| {
            let read = |one: &Inspection| one.engine.proxy_headers_refused[*fault as usize];
            (fault.label().to_owned(), self.sum(&read))
        });
        let help = "Connections closed for the header of a proxy";
        self.by_label(encoder, ("proxy_headers_refused", help, "reason"), proxies)
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        for &(name, help, read) in COUNTERS {
            let kind = MetricType::Counter;
            self.by_shard(encoder, (name, help), kind, |one, _| read(one))?;
        }
        for &(name, help, read) in GAUGES {
            self.by_shard(encoder, (name, help), MetricType::Gauge, |one, _| read(one))?;
        }
        for &(name, help, read) in ROUTER_COUNTERS {
            let kind = MetricType::Counter;
            self.by_shard(encoder, (name, help), kind, |_, all| all.iter().map(read).sum())?;
        }
        for &(name, help, read) in ROUTER_GAUGES {
            let kind = MetricType::Gauge;
            self.by_shard(encoder, (name, help), kind, |_, all| all.iter().map(read).sum())?;
        }
        self.memory(encoder)?;
        for &(name, help, read) in HISTOGRAMS {
            self.histogram(encoder, (name, help), read)?;
        }
        let sum = |read: &dyn Fn(&Inspection) -> u64| self.sum(read);
        let drops = DropReason::ALL
            .iter()
            .map(|reason| (reason.label().to_owned(), sum(&|one| one.engine.drops.count(*reason))));
        let help = "Publications, joins and leaves that did not reach a client that was there";
        self.by_label(encoder, ("drops", help, "reason"), drops)?;
        self.at_the_door(encoder)?;
        let refused = SubscribeRefusal::ALL.iter().map(|reason| {
            let read = |one: &Inspection| one.engine.subscribes_refused[*reason as usize];
            (reason.label().to_owned(), sum(&read))
        });
        let help = "Subscriptions of the API that did not come about";
        self.by_label(encoder, ("api_subscribes_refused", help, "reason"), refused)?;
        let closes = CloseReason::ALL.iter().map(|reason| {
            (reason.label().to_owned(), sum(&|one| one.engine.closes[reason.index()]))
        });
        self.by_label(encoder, ("closes", "Connections closed", "reason"), closes)?;
        let handshakes = HandshakeEnd::ALL
            .iter()
            .map(|end| (end.label().to_owned(), sum(&|one| one.tls.handshakes[*end as usize])));
        let help = "Handshakes of TLS that ended";
        self.by_label(encoder, ("tls_handshakes", help, "result"), handshakes)?;
        let faults = RecordFault::ALL
            .iter()
            .map(|fault| (fault.label().to_owned(), sum(&|one| one.tls.faults[*fault as usize])));
        let help = "Connections given up by TLS after their handshake";
        self.by_label(encoder, ("tls_failures", help, "reason"), faults)?;
        let tokens = TokenFault::ALL.iter().map(|fault| {
            (fault.label().to_owned(), sum(&|one| one.engine.tokens_refused[*fault as usize]))
        });
        self.by_label(encoder, ("tokens_refused", "Tokens refused", "reason"), tokens)?;
        let errors = ErrorCode::ALL.iter().map(|error| {
            (error.code().to_string(), sum(&|one| one.engine.errors[*error as usize]))
        });
        self.by_label(
            encoder,
            ("command_errors", "Commands answered with an error", "code"),
            errors,
        )
    }
}
