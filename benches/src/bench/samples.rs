//! Latencies: a histogram that travels between processes.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Latencies in microseconds, with three significant digits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(Histogram<u64>);

/// Ten minutes: what takes longer is counted as this.
const MICROSECONDS_MAX: u64 = 600_000_000;

impl Default for Samples {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MICROSECONDS_MAX, 3).expect("the bounds are in order"))
    }
}

impl Samples {
    /// Records how long something took, from one time to a later one.
    pub(crate) fn record(&mut self, from_ns: u64, to_ns: u64) {
        self.0.saturating_record((to_ns.saturating_sub(from_ns) / 1_000).max(1));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that this share of all took at most; `quantile` is 0.5 for the median.
    pub(crate) fn quantile_us(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The mean in microseconds.
    pub(crate) fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// The largest in microseconds; zero without samples.
    pub(crate) fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// Adds another process' samples.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// What would have been seen had somebody asked at a steady pace: whoever waits for its answer
    /// before it asks again does not ask while the server stands still, so that a long wait stands
    /// for all that would have been asked during it (coordinated omission). The pace is the mean.
    pub(crate) fn corrected(&self) -> Self {
        if self.0.is_empty() {
            return self.clone();
        }
        let mut corrected = Self::default();
        corrected
            .0
            .add(self.0.clone_correct((self.mean_us() as u64).max(1)))
            .expect("all have the same bounds");
        corrected
    }
}

/// Values and how often each occurred.
impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())),
        )
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut samples = Self::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            samples.0.saturating_record_n(value, count);
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(microseconds: &[u64]) -> Samples {
        let mut samples = Samples::default();
        microseconds.iter().for_each(|micros| samples.record(0, micros * 1_000));
        samples
    }

    #[test]
    fn samples_survive_the_way_to_another_process() {
        let samples = of(&[1, 900, 900, 123_456, 599_000_000, 2_000_000_000]);
        let text = serde_json::to_string(&samples).unwrap();
        let arrived: Samples = serde_json::from_str(&text).unwrap();
        assert_eq!(arrived.count(), 6);
        for quantile in [0.0, 0.3, 0.5, 0.7, 0.9, 1.0] {
            assert_eq!(arrived.quantile_us(quantile), samples.quantile_us(quantile));
        }
    }

    #[test]
    fn merged_samples_are_those_of_all() {
        let mut samples = of(&[10, 20]);
        samples.merge(&of(&[30, 40, 50]));
        assert_eq!((samples.count(), samples.quantile_us(0.5), samples.max_us()), (5, 30, 50));
    }

    #[test]
    fn a_stall_is_felt_by_all_who_would_have_asked() {
        // A hundred thousand round trips of a millisecond, and one of 200.
        let mut samples = Samples::default();
        (0..100_000).for_each(|_| samples.record(0, 1_000_000));
        samples.record(0, 200_000_000);
        assert!(samples.quantile_us(0.999) < 1_100);
        let corrected = samples.corrected();
        assert!(corrected.quantile_us(0.999) > 95_000, "{}", corrected.quantile_us(0.999));
        assert_eq!(Samples::default().corrected().count(), 0);
    }
}
