//! Numbers for operators. Each is written by one thread and read by any.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of [`Counters::commit_time`], in microseconds; one more bucket has no bound.
pub(crate) const COMMIT_TIME_BOUNDS_US: [u64; 11] =
    [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 1_000_000];
/// Upper bounds of [`Counters::batch_entries`]; one more bucket has no bound.
pub(crate) const BATCH_ENTRIES_BOUNDS: [u64; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16_384];

/// A number that only grows, or a level.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// How often a value was within which bound.
#[derive(Debug)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: [u64; BOUNDS],
    buckets: [Counter; BOUNDS],
    above: Counter,
    sum: Counter,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    fn new(bounds: [u64; BOUNDS]) -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Self { bounds, buckets, above: Counter::default(), sum: Counter::default() }
    }

    pub(crate) fn record(&self, value: u64) {
        let at = self.bounds.iter().position(|bound| value <= *bound);
        at.map_or(&self.above, |at| &self.buckets[at]).add(1);
        self.sum.add(value);
    }

    /// Pairs of upper bound and count; the last, without a bound, has `u64::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let bounded = self.bounds.iter().copied().zip(self.buckets.iter().map(Counter::value));
        bounded.chain(std::iter::once((u64::MAX, self.above.value())))
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.value()
    }
}

/// All numbers of this tier.
#[derive(Debug)]
pub struct Counters {
    /// Batches that were synced.
    pub commits: Counter,
    /// Time of write and sync of a batch, in microseconds.
    pub commit_time: Histogram<11>,
    /// Entries of a batch.
    pub batch_entries: Histogram<8>,
    /// Bytes that were written to the journal.
    pub log_bytes: Counter,
    /// Bytes of entries that were appended and are not in the store.
    pub unstored_bytes: Counter,
    /// Entries that are synced and not in the store.
    pub store_lag_entries: Counter,
    /// Age of the newest entry in the store while it is behind, in milliseconds.
    pub store_lag_ms: Counter,
    /// Commits of the store.
    pub store_commits: Counter,
    /// Entries that the store took.
    pub stored_entries: Counter,
    /// Writes and syncs of the journal that failed, and segments that could not be opened.
    pub journal_failures: Counter,
    /// Entries that became void with their term.
    pub entries_dropped: Counter,
    /// Commits of the store that failed.
    pub store_failures: Counter,
    /// Appends that were refused.
    pub appends_refused: Counter,
    /// Questions that the store was asked.
    pub questions: Counter,
    /// Questions that were refused.
    pub questions_refused: Counter,
    /// Publications, keys and positions that retention deleted.
    pub retention_deletes: Counter,
    /// Segments of the journal.
    pub segments: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            commit_time: Histogram::new(COMMIT_TIME_BOUNDS_US),
            batch_entries: Histogram::new(BATCH_ENTRIES_BOUNDS),
            log_bytes: Counter::default(),
            unstored_bytes: Counter::default(),
            store_lag_entries: Counter::default(),
            store_lag_ms: Counter::default(),
            store_commits: Counter::default(),
            stored_entries: Counter::default(),
            journal_failures: Counter::default(),
            entries_dropped: Counter::default(),
            store_failures: Counter::default(),
            appends_refused: Counter::default(),
            questions: Counter::default(),
            questions_refused: Counter::default(),
            retention_deletes: Counter::default(),
            segments: Counter::default(),
        }
    }
}

impl Counters {
    pub(crate) fn committed(&self, entries: usize, bytes: usize, time: Duration) {
        self.commits.add(1);
        self.commit_time.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.batch_entries.record(entries as u64);
        self.log_bytes.add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_first_bucket_that_holds_them() {
        let histogram = Histogram::new([1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.record(value);
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(1, 2), (10, 2), (u64::MAX, 1)]);
        assert_eq!(histogram.sum(), 24);
    }
}
