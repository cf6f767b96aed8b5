//! Was it the server that was measured, or the generator itself?

use super::outcome::Outcome;

/// A process that is busy for a larger share of the time has no room for what it should do next.
const BUSY_MAX: f64 = 0.9;
/// Whoever is later than this with one in a hundred things does not keep its schedule …
const LATENESS_MAX_US: u64 = 5_000;
/// … unless the latency is so large that this share of it makes no difference.
const LATENESS_SHARE_MAX: f64 = 0.5;
/// What a process may be late with.
const SENDS: &str = "acts";
const HEARTBEATS: &str = "glances at the clock";

/// How the generator itself was doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// The share of the time that the busiest process was on a core.
    pub(crate) busiest: f64,
    /// How late one in a hundred of its acts or of its glances at the clock was, whichever is
    /// more, in microseconds.
    pub(crate) lateness_p99_us: u64,
    /// The share of the time that a process was ready and had no core, of the one that waited most.
    pub(crate) waited: f64,
    /// Samples that there should be and are not.
    pub(crate) lost: u64,
    /// Why the result says more about the generator than about the server; sentences.
    pub(crate) complaints: Vec<String>,
}

impl Health {
    /// Judges the processes' results; `None` is one that ended without any.
    pub(crate) fn judge(outcomes: &[Option<Outcome>], first_latency: &str) -> Self {
        let mut health = Self::default();
        for (process, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Some(outcome) => health.judge_one(process + 1, outcome, first_latency),
                None => health.complaints.push(format!(
                    "process {} ended without its results: all its samples are lost",
                    process + 1
                )),
            }
        }
        health
    }

    fn judge_one(&mut self, process: usize, outcome: &Outcome, first_latency: &str) {
        let measured_ns = outcome.measured_ns.max(1) as f64;
        let busy = outcome.cpu_ns as f64 / measured_ns;
        self.busiest = self.busiest.max(busy);
        self.waited = self.waited.max(outcome.core_wait_ns as f64 / measured_ns);
        let samples = outcome.latencies.get(first_latency);
        let recorded = samples.map_or(0, |samples| samples.count());
        if outcome.samples_expected != recorded {
            let lost = outcome.samples_expected.abs_diff(recorded);
            self.lost += lost;
            let expected = outcome.samples_expected;
            self.complaints.push(format!(
                "process {process} lost samples: {recorded} of {expected} were taken"
            ));
        }
        if busy > BUSY_MAX {
            self.complaints.push(format!(
                "process {process} was busy for {:.0} % of the time; more --processes or less load \
                 leave it room",
                busy * 100.0
            ));
        }
        let latency_us = samples.map_or(0, |samples| samples.quantile_us(0.99)) as f64;
        for (late, what) in [(&outcome.lateness, SENDS), (&outcome.heartbeats, HEARTBEATS)] {
            self.judge_lateness(process, late.quantile_us(0.99), latency_us, what);
        }
    }

    fn judge_lateness(&mut self, process: usize, lateness_us: u64, latency_us: f64, what: &str) {
        self.lateness_p99_us = self.lateness_p99_us.max(lateness_us);
        let is_late = lateness_us as f64 > latency_us * LATENESS_SHARE_MAX;
        if lateness_us > LATENESS_MAX_US && is_late {
            self.complaints.push(format!(
                "process {process} was more than {:.1} ms late with one in a hundred of its own \
                 {what}, where the latency is {:.1} ms; more --processes, less load, or a core \
                 that nobody else uses",
                lateness_us as f64 / 1e3,
                latency_us / 1e3
            ));
        }
    }

    /// May the result be reported?
    pub(crate) fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        let mut outcome = Outcome {
            samples_expected: 100,
            measured_ns: 1_000_000_000,
            cpu_ns: 500_000_000,
            ..Outcome::default()
        };
        (0..100).for_each(|_| outcome.record("ping", 0, 2_000_000));
        (0..100).for_each(|_| outcome.lateness.record(0, 100_000));
        outcome
    }

    fn complaints(outcome: Option<Outcome>) -> String {
        Health::judge(&[Some(good()), outcome], "ping").complaints.join("\n")
    }

    #[test]
    fn a_generator_with_room_may_report() {
        let health = Health::judge(&[Some(good()), Some(good())], "ping");
        assert!(health.is_good(), "{:?}", health.complaints);
        assert!((health.busiest - 0.5).abs() < 0.01 && health.lost == 0);
    }

    #[test]
    fn each_fault_is_found_and_names_its_process() {
        let busy = Outcome { cpu_ns: 950_000_000, ..good() };
        assert!(complaints(Some(busy)).contains("process 2 was busy for 95 %"));
        let lost = Outcome { samples_expected: 101, ..good() };
        assert!(complaints(Some(lost)).contains("process 2 lost samples: 100 of 101"));
        assert!(complaints(None).contains("process 2 ended without its results"));
        let mut late = good();
        (0..10).for_each(|_| late.lateness.record(0, 8_000_000));
        assert!(complaints(Some(late)).contains("process 2 was more than 8.0 ms late"));
        // Sends by the thousand, all in time, do not hide that the process stood still.
        let mut still = good();
        (0..100_000).for_each(|_| still.lateness.record(0, 100_000));
        (0..100).for_each(|number| still.heartbeats.record(0, number / 90 * 500_000_000));
        let text = complaints(Some(still));
        assert!(text.contains("late with one in a hundred of its own glances"), "{text}");
    }

    #[test]
    fn lateness_that_makes_no_difference_is_none() {
        let mut slow = Outcome { samples_expected: 200, ..good() };
        (0..100).for_each(|_| slow.record("ping", 0, 900_000_000));
        (0..10).for_each(|_| slow.lateness.record(0, 8_000_000));
        assert_eq!(complaints(Some(slow)), "");
    }
}
