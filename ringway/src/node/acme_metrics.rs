//! Metrics of the certificate that is fetched.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::acme::AcmeState;

#[derive(Debug)]
pub(super) struct AcmeMetrics {
    pub(super) state: Arc<AcmeState>,
}

type Read = fn(&AcmeState) -> u64;

const GAUGES: &[(&str, &str, Read)] = &[
    (
        "acme_certificate_expiry_seconds",
        "When the fetched certificate expires, in seconds since 1970; 0: there is none",
        AcmeState::expires_at,
    ),
    (
        "acme_next_attempt_seconds",
        "When a certificate is asked for next, in seconds since 1970",
        AcmeState::next_attempt_at,
    ),
    ("acme_failing", "1: the last attempt to fetch a certificate failed", |state| {
        u64::from(state.has_failed())
    }),
];

impl Collector for AcmeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for &(name, help, read) in GAUGES {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(read(&self.state)).encode(metric)?;
        }
        let help = "Attempts to fetch a certificate, by how they ended";
        let (name, kind) = ("acme_attempts", MetricType::Counter);
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (result, count) in self.state.attempts() {
            let labels = [("result", result)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
