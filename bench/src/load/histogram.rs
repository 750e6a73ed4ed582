//! Latencies, as percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies from a microsecond to a minute.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are valid"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Those of another.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _never_fails = self.0.add(&other.0);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The one that so many of a hundred stay under.
    pub fn percentile(&self, of_hundred: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(of_hundred / 100.0))
    }

    /// Median and 99th percentile in milliseconds, for people.
    pub fn summary(&self) -> String {
        if self.0.is_empty() {
            return "none".to_owned();
        }
        let ms = |of_hundred| self.percentile(of_hundred).as_secs_f64() * 1e3;
        format!("{:.1} / {:.1} ms", ms(50.0), ms(99.0))
    }
}
