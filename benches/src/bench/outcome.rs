//! What one process of the generator has to say, and how several are added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::samples::Samples;

/// Different errors that are told apart.
const ERROR_KINDS_MAX: usize = 32;
/// Further ones.
const OTHER_ERRORS: &str = "other";

/// A process' results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Latencies by what they are of.
    pub(crate) latencies: BTreeMap<String, Samples>,
    /// What happened how often, by name.
    pub(crate) counts: BTreeMap<String, u64>,
    /// What went wrong how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Samples of the mode's first latency that there must be.
    pub(crate) samples_expected: u64,
    /// How long was measured: the planned time, without the wait for answers behind it.
    pub(crate) measured_ns: u64,
    /// What the mode's rate is of, as often as it happened in that time.
    pub(crate) done: u64,
    /// CPU time meanwhile.
    pub(crate) cpu_ns: u64,
    /// How long the process was ready meanwhile and had no core.
    pub(crate) core_wait_ns: u64,
    /// How late the process was with what it had to send at a time.
    pub(crate) lateness: Samples,
    /// How late it was with its glances at the clock, which are as many in every mode: where few
    /// things are sent, or very many, they tell what those do not.
    pub(crate) heartbeats: Samples,
    /// It was stopped before its time.
    pub(crate) is_interrupted: bool,
}

impl Outcome {
    /// Records a latency.
    pub(crate) fn record(&mut self, name: &str, from_ns: u64, to_ns: u64) {
        self.samples(name).record(from_ns, to_ns);
    }

    /// The latencies of this name.
    pub(crate) fn samples(&mut self, name: &str) -> &mut Samples {
        if !self.latencies.contains_key(name) {
            self.latencies.insert(name.to_owned(), Samples::default());
        }
        self.latencies.get_mut(name).expect("it is there now")
    }

    /// Counts so many of something.
    pub(crate) fn add(&mut self, name: &str, count: u64) {
        add_to(&mut self.counts, name, count);
    }

    /// How many there were.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Counts errors of a kind.
    pub(crate) fn fail(&mut self, kind: &str, count: u64) {
        if count == 0 {
            return;
        }
        let is_new = !self.errors.contains_key(kind);
        let kind = if is_new && self.errors.len() >= ERROR_KINDS_MAX { OTHER_ERRORS } else { kind };
        add_to(&mut self.errors, kind, count);
    }

    /// All errors.
    pub(crate) fn errors_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Forgets what was counted so far, except errors: what follows is measured.
    pub(crate) fn begin(&mut self) {
        let errors = std::mem::take(&mut self.errors);
        *self = Self { errors, ..Self::default() };
    }

    /// Adds another process' results.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, samples) in &other.latencies {
            self.samples(name).merge(samples);
        }
        for (name, count) in &other.counts {
            self.add(name, *count);
        }
        for (kind, count) in &other.errors {
            self.fail(kind, *count);
        }
        self.samples_expected += other.samples_expected;
        self.measured_ns = self.measured_ns.max(other.measured_ns);
        self.done += other.done;
        self.cpu_ns += other.cpu_ns;
        self.core_wait_ns += other.core_wait_ns;
        self.lateness.merge(&other.lateness);
        self.heartbeats.merge(&other.heartbeats);
        self.is_interrupted |= other.is_interrupted;
    }
}

fn add_to(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    match counts.get_mut(name) {
        Some(sum) => *sum += count,
        None => {
            counts.insert(name.to_owned(), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(latency_ms: u64, errors: u64) -> Outcome {
        let mut outcome = Outcome { samples_expected: 1, ..Outcome::default() };
        outcome.record("ping", 0, latency_ms * 1_000_000);
        outcome.add("connected", 10);
        outcome.fail("http 503", errors);
        outcome
    }

    #[test]
    fn processes_add_up() {
        let mut whole = Outcome::default();
        whole.merge(&Outcome { measured_ns: 5, cpu_ns: 1, ..outcome(10, 2) });
        whole.merge(&Outcome { measured_ns: 7, cpu_ns: 2, is_interrupted: true, ..outcome(30, 0) });
        let mut away = outcome(20, 1);
        away.record("history", 0, 1_000_000);
        whole.merge(&away);
        assert_eq!(whole.latencies["ping"].count(), 3);
        assert_eq!(whole.latencies["ping"].quantile_us(0.5) / 100, 200);
        assert_eq!(whole.latencies["history"].count(), 1);
        assert_eq!((whole.count("connected"), whole.errors["http 503"]), (30, 3));
        assert_eq!((whole.samples_expected, whole.measured_ns, whole.cpu_ns), (3, 7, 3));
        assert!(whole.is_interrupted);
    }

    #[test]
    fn kinds_of_errors_are_bounded_and_all_are_counted() {
        let mut outcome = Outcome::default();
        (0..1_000).for_each(|code| outcome.fail(&format!("close {code}"), 1));
        assert_eq!(outcome.errors_count(), 1_000);
        assert!(outcome.errors.len() <= ERROR_KINDS_MAX + 1);
        assert_eq!(outcome.errors[OTHER_ERRORS], 1_000 - ERROR_KINDS_MAX as u64);
    }
}
