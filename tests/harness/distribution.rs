//! Many measurements of one thing, and the few numbers that describe them.

use std::time::Duration;

/// Measured times of one thing.
#[derive(Debug, Default)]
pub struct Distribution(Vec<Duration>);

impl Distribution {
    /// Adds one.
    pub fn add(&mut self, value: Duration) {
        self.0.push(value);
    }

    /// The value below which the given part of all lies, in milliseconds.
    pub fn percentile(&self, part: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * part / 100).map_or(0.0, |value| value.as_secs_f64() * 1000.0)
    }
}
