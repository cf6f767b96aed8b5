//! What must hold of a result: `p99>5ms` says when a run has failed.

use std::str::FromStr;

use super::plan::Mode;
use super::report::Report;

/// One `--fail-if`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// Microseconds, bytes, a share or a plain number, as the metric has them.
    limit: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Metric {
    /// A quantile, the mean or the maximum of a latency; without a name, of the mode's first.
    Latency { name: Option<String>, point: Point },
    /// Errors, or their share of all that was asked.
    Errors { is_share: bool },
    /// What was done per second.
    Rate,
    /// Memory of the server (PSS).
    ServerMemory,
    /// CPU of the server in cores.
    ServerCpu,
    /// Anything that the mode counts.
    Count(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Quantile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What every bad expression is answered.
const FORMS: &str = "write it as METRIC>LIMIT or METRIC<LIMIT: p99>5ms, delivery.p99.9>20ms, \
                     max>1s, errors>1%, errors>0, rate<10000, server_memory>2GiB, server_cpu>1.5, \
                     or a count of the mode, as in connected<1000 of connect";

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: String| format!("{what}; {FORMS}");
        let at = text
            .find(['<', '>'])
            .ok_or_else(|| wrong(format!("{text:?} compares nothing with < or >")))?;
        let (left, right) = (text[..at].trim(), &text[at + 1..]);
        let (or_equal, right) = match right.strip_prefix('=') {
            Some(right) => (true, right.trim()),
            None => (false, right.trim()),
        };
        let comparison = match (text.as_bytes()[at], or_equal) {
            (b'>', false) => Comparison::Above,
            (b'>', true) => Comparison::AtLeast,
            (_, false) => Comparison::Below,
            (_, true) => Comparison::AtMost,
        };
        let mut metric = metric_of(left).map_err(wrong)?;
        let limit = limit_of(&mut metric, right).map_err(wrong)?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, limit })
    }
}

fn metric_of(name: &str) -> Result<Metric, String> {
    match name {
        "errors" => return Ok(Metric::Errors { is_share: false }),
        "rate" => return Ok(Metric::Rate),
        "server_memory" => return Ok(Metric::ServerMemory),
        "server_cpu" => return Ok(Metric::ServerCpu),
        _ => {}
    }
    if let Some(point) = point_of(name)? {
        return Ok(Metric::Latency { name: None, point });
    }
    if let Some((latency, point)) = name.split_once('.')
        && let Some(point) = point_of(point)?
    {
        return Ok(Metric::Latency { name: Some(latency.to_owned()), point });
    }
    let is_name =
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    is_name.then(|| Metric::Count(name.to_owned())).ok_or(format!("{name:?} is no metric"))
}

fn point_of(name: &str) -> Result<Option<Point>, String> {
    match name {
        "mean" => return Ok(Some(Point::Mean)),
        "max" => return Ok(Some(Point::Max)),
        _ => {}
    }
    let Some(Ok(percent)) = name.strip_prefix('p').map(str::parse::<f64>) else { return Ok(None) };
    if (0.0..=100.0).contains(&percent) {
        return Ok(Some(Point::Quantile(percent / 100.0)));
    }
    Err(format!("{name:?} is not between p0 and p100"))
}

/// The limit in the metric's unit.
fn limit_of(metric: &mut Metric, text: &str) -> Result<f64, String> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let number: f64 =
        number.parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    let factor = match (&mut *metric, unit.trim()) {
        (Metric::Latency { .. }, "us" | "µs") => 1.0,
        (Metric::Latency { .. }, "ms") => 1e3,
        (Metric::Latency { .. }, "s") => 1e6,
        (Metric::Latency { .. }, _) => {
            return Err(format!("the latency {text:?} has none of the units us, ms and s"));
        }
        (Metric::Errors { is_share }, "%") => {
            *is_share = true;
            0.01
        }
        (Metric::ServerMemory, "KiB") => 1024.0,
        (Metric::ServerMemory, "MiB") => 1024.0 * 1024.0,
        (Metric::ServerMemory, "GiB") => 1024.0 * 1024.0 * 1024.0,
        (_, "") => 1.0,
        (Metric::ServerMemory, _) => {
            return Err(format!("{text:?} is not in bytes, KiB, MiB or GiB"));
        }
        (_, unit) => return Err(format!("{unit:?} is no unit of this metric")),
    };
    Ok(number * factor)
}

impl Threshold {
    /// Can a run of this mode be judged by it? Asked before anything runs.
    ///
    /// # Errors
    ///
    /// The mode has no such metric, or the server's process is not named: a sentence.
    pub(crate) fn check(&self, mode: &Mode, names_server: bool) -> Result<(), String> {
        let refused = |what: String| Err(format!("--fail-if '{}': {what}", self.text));
        let has = |known: &[&str], name: &String| known.contains(&name.as_str());
        let (latencies, counts) = (mode.latencies(), mode.counts());
        match &self.metric {
            Metric::Latency { name: Some(name), .. } if !has(latencies, name) => refused(format!(
                "{} has no latency called {name}; it has {}",
                mode.name(),
                latencies.join(", ")
            )),
            Metric::Count(name) if !has(counts, name) => refused(format!(
                "{} does not count {name}; it counts {}",
                mode.name(),
                counts.join(", ")
            )),
            Metric::ServerMemory | Metric::ServerCpu if !names_server => {
                refused("name the server's process with --server-pid".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Does the report fail it? `None`: it does not. What cannot be judged, because there is no
    /// sample of it or the server is gone, fails.
    pub(crate) fn failure(&self, report: &Report) -> Option<String> {
        let value = match self.value(report) {
            Ok(value) => value,
            Err(why) => return Some(format!("{}: {why}", self.text)),
        };
        let fails = match self.comparison {
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
        };
        fails.then(|| format!("{}: it is {}", self.text, self.shown(value)))
    }

    /// The metric's value, or why there is none.
    fn value(&self, report: &Report) -> Result<f64, String> {
        let server = || report.server.ok_or_else(|| "the server's process is gone".to_owned());
        match &self.metric {
            Metric::Latency { name, point } => {
                let name = name.as_deref().unwrap_or(report.first_latency);
                let samples = report.whole.latencies.get(name);
                let samples = samples.filter(|samples| samples.count() > 0);
                let samples = samples.ok_or_else(|| format!("{name} has no samples"))?;
                Ok(match point {
                    Point::Quantile(quantile) => samples.quantile_us(*quantile) as f64,
                    Point::Mean => samples.mean_us(),
                    Point::Max => samples.max_us() as f64,
                })
            }
            Metric::Errors { is_share: false } => Ok(report.whole.errors_count() as f64),
            Metric::Errors { is_share: true } => Ok(report.error_share()),
            Metric::Rate => Ok(report.rate()),
            Metric::ServerMemory => Ok(server()?.pss_bytes as f64),
            Metric::ServerCpu => Ok(server()?.cpu_cores),
            Metric::Count(name) => Ok(report.whole.count(name) as f64),
        }
    }

    fn shown(&self, value: f64) -> String {
        match self.metric {
            Metric::Latency { .. } => super::report::duration(value),
            Metric::Errors { is_share: true } => format!("{:.2} %", value * 100.0),
            Metric::ServerMemory => super::report::bytes(value as u64),
            Metric::ServerCpu => format!("{value:.2}"),
            _ => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::ServerUse;
    use super::*;

    fn report() -> Report {
        let mut report = Report::for_test("ping");
        for micros in 1..=1_000 {
            report.whole.record("ping", 0, micros * 1_000_000);
        }
        report.whole.record("history", 0, 7_000_000);
        report.whole.add("gaps", 2);
        report.whole.add("asked", 1_000);
        report.whole.fail("http 503", 15);
        report.whole.done = 1_000;
        report.whole.measured_ns = 10_000_000_000;
        report.server = Some(ServerUse { pss_bytes: 3 << 20, cpu_cores: 0.5, pss_before_bytes: 1 });
        report
    }

    fn fails(text: &str) -> bool {
        text.parse::<Threshold>().unwrap().failure(&report()).is_some()
    }

    #[test]
    fn each_form_is_judged() {
        assert!(fails("p99>5ms") && !fails("p99 > 1s") && !fails("p99>991000us"));
        assert!(fails("p99.9>=998ms") && fails("max>=999ms") && !fails("p50>0.502s"));
        assert!(fails("history.p50>6ms") && !fails("history.p50>8ms"));
        assert!(fails("errors>1%") && !fails("errors>2%") && fails("errors>14"));
        assert!(fails("rate<101") && !fails("rate<99"));
        assert!(fails("server_memory>2MiB") && !fails("server_memory>3MiB"));
        assert!(fails("server_cpu>0.4") && fails("server_cpu<=0.5"));
        assert!(fails("gaps>0") && !fails("gaps>2"));
        assert!(fails("mean>500ms") && !fails("mean>501ms"));
    }

    #[test]
    fn a_failure_says_what_it_is() {
        let threshold: Threshold = "p50>5ms".parse().unwrap();
        assert_eq!(threshold.failure(&report()).unwrap(), "p50>5ms: it is 500 ms");
    }

    #[test]
    fn bad_expressions_name_the_fix() {
        for (text, mark) in [
            ("p99", "compares nothing"),
            ("p99>5", "units us, ms and s"),
            ("p99>ms", "does not begin with a number"),
            ("p101>5ms", "between p0 and p100"),
            ("P99>5ms", "no metric"),
            (">5ms", "no metric"),
            ("rate<10ms", "no unit of this metric"),
            ("server_memory>5parsecs", "KiB, MiB or GiB"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(mark), "{text}: {error}");
            assert!(error.contains("p99>5ms"), "{text}: {error}");
        }
    }

    fn check(text: &str, mode: &Mode, names_server: bool) -> Result<(), String> {
        text.parse::<Threshold>().unwrap().check(mode, names_server)
    }

    #[test]
    fn names_that_a_mode_does_not_know_are_refused_before_it_runs() {
        let mode = Mode::Churn { rate: 1.0, seconds: 1.0 };
        for text in ["p99>5ms", "cycle.p99>5ms", "cycles<1", "errors>0", "rate<1"] {
            assert_eq!(check(text, &mode, false), Ok(()));
        }
        let error = check("typing.p99>5ms", &mode, true).unwrap_err();
        assert!(error.contains("no latency called typing; it has connect, cycle"), "{error}");
        let error = check("gaps>0", &mode, true).unwrap_err();
        assert!(error.contains("churn does not count gaps; it counts cycles"), "{error}");
        for text in ["server_cpu>1", "server_memory>1GiB"] {
            assert!(check(text, &mode, false).unwrap_err().contains("--server-pid"));
            assert_eq!(check(text, &mode, true), Ok(()));
        }
    }

    #[test]
    fn a_count_that_did_not_happen_is_zero_and_what_was_not_sampled_fails() {
        assert!(!fails("lost_ones>0") && fails("lost_ones<1"));
        let unsampled: Threshold = "typing.p99>5ms".parse().unwrap();
        let failure = unsampled.failure(&report()).unwrap();
        assert_eq!(failure, "typing.p99>5ms: typing has no samples");
    }
}
