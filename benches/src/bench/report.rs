//! What a person or a program reads of a run.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::clock::SECOND_NS;
use super::health::Health;
use super::outcome::Outcome;
use super::plan::Plan;
use super::samples::Samples;
pub(crate) use super::server::ServerUse;
use super::target::shown;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    mode: &'static str,
    /// Without what may be secret.
    url: String,
    format: &'static str,
    clients: usize,
    processes: usize,
    /// The latency that is meant where none is named.
    pub(crate) first_latency: &'static str,
    first_count: &'static str,
    /// Connections are what is measured; otherwise all must be there before.
    is_of_connects: bool,
    is_corrected: bool,
    /// All processes together.
    pub(crate) whole: Outcome,
    pub(crate) server: Option<ServerUse>,
    pub(crate) health: Health,
}

/// What is shown of each latency.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
/// Behind the name of a latency that is shown as it was seen, without correction.
const AS_SEEN: &str = "_as_seen";

impl Report {
    /// Puts the processes' results together.
    pub(crate) fn new(
        plan: &Plan,
        outcomes: &[Option<Outcome>],
        server: Option<ServerUse>,
    ) -> Self {
        let first_latency = plan.mode.first_latency();
        let health = Health::judge(outcomes, first_latency);
        let is_corrected = plan.mode.is_closed_loop();
        let mut whole = Outcome::default();
        for outcome in outcomes.iter().flatten() {
            whole.merge(outcome);
            if let Some(samples) = outcome.latencies.get(first_latency).filter(|_| is_corrected) {
                let as_seen = format!("{first_latency}{AS_SEEN}");
                whole.samples(&as_seen).merge(samples);
            }
        }
        debug_assert!(
            whole.counts.keys().all(|name| plan.mode.counts().contains(&name.as_str())),
            "each mode lists what it counts: {:?}",
            whole.counts
        );
        if is_corrected {
            *whole.samples(first_latency) = Samples::default();
            for samples in outcomes.iter().flatten().filter_map(|o| o.latencies.get(first_latency))
            {
                whole.samples(first_latency).merge(&samples.corrected());
            }
        }
        Self {
            mode: plan.mode.name(),
            url: shown(&plan.target.url),
            format: if plan.target.is_protobuf { "Protobuf" } else { "JSON" },
            clients: plan.clients_total,
            processes: plan.processes,
            first_latency,
            first_count: plan.mode.first_count(),
            is_of_connects: !plan.mode.gathers(),
            is_corrected,
            whole,
            server,
            health,
        }
    }

    /// A run in which nobody got in, or which has no sample of what it is about, has measured
    /// nothing, whatever is allowed: why, in a sentence.
    pub(crate) fn why_not_measured(&self) -> Option<String> {
        let name = self.first_latency;
        if self.whole.latencies.get(name).is_none_or(|samples| samples.count() == 0) {
            return Some(format!("there is no sample of {name}: {}", self.causes()));
        }
        if self.is_of_connects && self.whole.count(self.first_count) == 0 {
            return Some(format!("no client got in: {}", self.causes()));
        }
        None
    }

    /// What went wrong, and whatever the generator complains of.
    fn causes(&self) -> String {
        let errors = self.whole.errors.iter().map(|(kind, count)| format!("{kind} ({count})"));
        let causes: Vec<_> = errors.chain(self.health.complaints.iter().cloned()).collect();
        if causes.is_empty() { "time was up".to_owned() } else { causes.join(", ") }
    }

    /// What was done per second of the planned time.
    pub(crate) fn rate(&self) -> f64 {
        let measured_ns = self.whole.measured_ns.max(1) as f64;
        self.whole.done as f64 * SECOND_NS as f64 / measured_ns
    }

    /// Errors as a share of what was asked.
    pub(crate) fn error_share(&self) -> f64 {
        let errors = self.whole.errors_count() as f64;
        errors / (self.whole.samples_expected.max(self.whole.errors_count()).max(1) as f64)
    }

    fn seconds(&self) -> f64 {
        self.whole.measured_ns as f64 / SECOND_NS as f64
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let processes = if self.processes == 1 { "process" } else { "processes" };
        let mut text = format!(
            "{} on {} in {}: {} clients, {} {processes}, {:.1} s\n",
            self.mode,
            self.url,
            self.format,
            self.clients,
            self.processes,
            self.seconds()
        );
        if self.whole.is_interrupted {
            text.push_str("INTERRUPTED: this is what there was until then.\n");
        }
        for complaint in &self.health.complaints {
            text.push_str(&format!("SATURATED: {complaint}.\n"));
        }
        text.push_str(&self.table().to_string());
        text.push('\n');
        let counts = self.whole.counts.iter().map(|(name, count)| format!("{name} {count}"));
        text.push_str(&format!("counted: {}\n", counts.collect::<Vec<_>>().join(", ")));
        let errors = self.whole.errors.iter().map(|(kind, count)| format!("{kind} {count}"));
        let errors = errors.collect::<Vec<_>>();
        text.push_str(&match errors.is_empty() {
            true => "errors: none\n".to_owned(),
            false => format!(
                "errors: {} ({:.2} %): {}\n",
                self.whole.errors_count(),
                self.error_share() * 100.0,
                errors.join(", ")
            ),
        });
        text.push_str(&format!("rate: {:.0} {} per second\n", self.rate(), self.first_count));
        text.push_str(&format!(
            "generator: busiest process {:.0} % of a core, p99 of its lateness {}\n",
            self.health.busiest * 100.0,
            duration(self.health.lateness_p99_us as f64)
        ));
        if let Some(server) = self.server {
            text.push_str(&format!(
                "server: {:.2} cores, {} (PSS), {} before\n",
                server.cpu_cores,
                bytes(server.pss_bytes),
                bytes(server.pss_before_bytes)
            ));
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        let mut head = vec!["latency".to_owned(), "samples".to_owned()];
        head.extend(QUANTILES.iter().map(|(name, _)| (*name).to_owned()));
        table.set_header(head);
        for (name, samples) in &self.whole.latencies {
            let mut row = vec![name.clone(), samples.count().to_string()];
            let value = |(_, quantile): &(_, f64)| duration(samples.quantile_us(*quantile) as f64);
            row.extend(QUANTILES.iter().map(value));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// For a program.
    pub(crate) fn json(&self) -> Value {
        let latencies: Map<String, Value> = self
            .whole
            .latencies
            .iter()
            .map(|(name, samples)| (name.clone(), latency_json(samples)))
            .collect();
        json!({
            "mode": self.mode,
            "url": self.url,
            "format": self.format,
            "clients": self.clients,
            "processes": self.processes,
            "seconds": self.seconds(),
            "interrupted": self.whole.is_interrupted,
            "saturated": self.health.complaints,
            "rate": self.rate(),
            "rate_of": self.first_count,
            "latency": self.first_latency,
            "latency_corrected": self.is_corrected,
            "latencies_us": latencies,
            "counts": self.whole.counts,
            "errors": self.whole.errors,
            "error_share": self.error_share(),
            "generator": {
                "busiest": self.health.busiest,
                "waited": self.health.waited,
                "lateness_p99_us": self.health.lateness_p99_us,
                "samples_lost": self.health.lost,
            },
            "server": self.server.map(|server| json!({
                "pss_bytes": server.pss_bytes,
                "pss_before_bytes": server.pss_before_bytes,
                "cpu_cores": server.cpu_cores,
            })),
        })
    }
}

fn latency_json(samples: &Samples) -> Value {
    let mut object = Map::new();
    object.insert("samples".to_owned(), samples.count().into());
    object.insert("mean".to_owned(), samples.mean_us().into());
    for (name, quantile) in QUANTILES {
        object.insert(name.to_owned(), samples.quantile_us(quantile).into());
    }
    Value::Object(object)
}

/// Microseconds in the unit a person would choose.
pub(crate) fn duration(micros: f64) -> String {
    match micros {
        _ if micros < 1e3 => format!("{micros:.0} µs"),
        _ if micros < 1e4 => format!("{:.2} ms", micros / 1e3),
        _ if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// Bytes in the unit a person would choose.
pub(crate) fn bytes(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        mib if mib < 1024.0 => format!("{mib:.1} MiB"),
        mib => format!("{:.2} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
impl Report {
    /// Empty.
    pub(crate) fn for_test(first_latency: &'static str) -> Self {
        Self {
            mode: "echo",
            url: "ws://127.0.0.1:8000/".to_owned(),
            format: "JSON",
            clients: 10,
            processes: 1,
            first_latency,
            first_count: "asked",
            is_of_connects: false,
            is_corrected: false,
            whole: Outcome { samples_expected: 1_000, ..Outcome::default() },
            server: None,
            health: Health::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads_has_the_numbers() {
        let mut report = Report::for_test("ping");
        report.whole.measured_ns = 2_000_000_000;
        // Some of it was done behind that time.
        (report.whole.done, report.whole.samples_expected) = (1_000, 1_000);
        report.whole.add("asked", 1_100);
        (0..1_000).for_each(|_| report.whole.record("ping", 0, 1_500_000));
        report.whole.fail("close 3501", 10);
        report.health.complaints.push("process 1 was busy".to_owned());
        let text = report.text();
        for mark in ["1.50 ms", "close 3501 10", "(1.00 %)", "500 asked per second", "SATURATED"] {
            assert!(text.contains(mark), "no {mark:?} in\n{text}");
        }
        let value = report.json();
        assert_eq!(value["rate"], 500.0);
        assert_eq!(value["latencies_us"]["ping"]["samples"], 1_000);
        assert_eq!(value["saturated"][0], "process 1 was busy");
    }

    #[test]
    fn without_a_sample_nothing_was_measured() {
        let mut report = Report::for_test("ping");
        report.whole.fail("not back in time", 7);
        let sentence = report.why_not_measured().unwrap();
        assert_eq!(sentence, "there is no sample of ping: not back in time (7)");
        report.whole.record("ping", 0, 1_500_000);
        assert_eq!(report.why_not_measured(), None);
        report.is_of_connects = true;
        let sentence = report.why_not_measured().unwrap();
        assert_eq!(sentence, "no client got in: not back in time (7)");
    }

    #[test]
    fn units_are_chosen() {
        let shown = [7.0, 1_234.0, 56_700.0, 2_500_000.0].map(duration);
        assert_eq!(shown, ["7 µs", "1.23 ms", "57 ms", "2.50 s"]);
        assert_eq!([1 << 20, 3 << 30].map(bytes), ["1.0 MiB", "3.00 GiB"]);
    }
}
