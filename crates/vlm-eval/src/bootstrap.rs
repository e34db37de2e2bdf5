use serde::{Deserialize, Serialize};
use statistics::Tails;

use crate::{Error, Interval, Result};

/// How the intervals are made: whole groups (decks) are drawn with replacement, because slides of a deck resemble each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// How many resamples; 0 makes no intervals.
    pub samples: usize,
    /// Share of the resamples inside the interval, as in 0.95.
    pub confidence: f64,
    /// Seed of the generator (`fastrand`'s wyrand): the same seed gives the same intervals.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self { samples: 2000, confidence: 0.95, seed: 0 }
    }
}

impl BootstrapOptions {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.confidence > 0.0 && self.confidence < 1.0 {
            return Ok(());
        }
        let actual = self.confidence.to_string();
        Err(Error::Option { key: "confidence", expected: "between 0 and 1", actual })
    }
}

/// Percentile intervals of each value of `statistic`, which is given how often each group was drawn.
///
/// A value has no interval where there are fewer than two groups or where it is undefined in at least half of the resamples.
pub(crate) fn intervals(
    groups: usize,
    options: &BootstrapOptions,
    statistic: impl Fn(&[f64]) -> Vec<Option<f64>>,
) -> Vec<Option<Interval>> {
    let tails = Tails::of_confidence(options.confidence);
    statistics::intervals(groups, options.samples, options.seed, tails, statistic)
        .into_iter()
        .map(|ends| ends.map(|(low, high)| Interval { low, high }))
        .collect()
}
