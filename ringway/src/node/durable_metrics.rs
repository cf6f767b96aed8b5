//! Metrics of the journal and the store.

use std::fmt;
use std::sync::Arc;

use persistence::{Counter, Counters, Histogram};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

#[derive(Debug)]
pub(super) struct DurableMetrics {
    pub(super) counters: Arc<Counters>,
}

type Read = fn(&Counters) -> &Counter;

const COUNTERS: &[(&str, &str, Read)] = &[
    ("journal_commits", "Batches that were synced", |all| &all.commits),
    ("journal_bytes", "Bytes written to the journal", |all| &all.log_bytes),
    ("journal_failures", "Writes and syncs that failed", |all| &all.journal_failures),
    ("journal_entries_dropped", "Entries void after a failure", |all| &all.entries_dropped),
    ("journal_appends_refused", "Entries without room", |all| &all.appends_refused),
    ("store_commits", "Commits of the store", |all| &all.store_commits),
    ("store_entries", "Entries that the store took", |all| &all.stored_entries),
    ("store_failures", "Commits of the store that failed", |all| &all.store_failures),
    ("store_questions", "Channels and pages that the store was asked for", |all| &all.questions),
    ("store_questions_refused", "Questions without room", |all| &all.questions_refused),
    ("store_retention_deletes", "Rows that retention deleted", |all| &all.retention_deletes),
];

const GAUGES: &[(&str, &str, Read)] = &[
    ("journal_segments", "Files of the journal", |all| &all.segments),
    ("store_backlog_bytes", "Bytes of entries that the store does not have", |all| {
        &all.unstored_bytes
    }),
    ("store_lag_entries", "Synced entries that the store does not have", |all| {
        &all.store_lag_entries
    }),
    ("store_lag_milliseconds", "Age of the store while it is behind", |all| &all.store_lag_ms),
];

impl Collector for DurableMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &*self.counters;
        for &(name, help, read) in COUNTERS {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(read(counters).value()).encode(metric)?;
        }
        for &(name, help, read) in GAUGES {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(read(counters).value()).encode(metric)?;
        }
        let help = "Time of write and sync of a batch";
        let entry = ("journal_commit", help, Some(Unit::Seconds));
        histogram(&mut encoder, entry, &counters.commit_time, 1e6)?;
        let entry = ("journal_batch_entries", "Entries of a batch", None);
        histogram(&mut encoder, entry, &counters.batch_entries, 1.0)
    }
}

fn histogram<const BOUNDS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    histogram: &Histogram<BOUNDS>,
    per_unit: f64,
) -> fmt::Result {
    let bound = |bound| if bound == u64::MAX { f64::INFINITY } else { bound as f64 / per_unit };
    let buckets: Vec<(f64, u64)> =
        histogram.buckets().map(|(upper, count)| (bound(upper), count)).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = histogram.sum() as f64 / per_unit;
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
