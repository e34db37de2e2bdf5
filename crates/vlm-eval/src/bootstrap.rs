use serde::{Deserialize, Serialize};

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
/// A value has no interval where there are fewer than two groups or where it is undefined in more than half of the resamples.
pub(crate) fn intervals(
    groups: usize,
    options: &BootstrapOptions,
    statistic: impl Fn(&[f64]) -> Vec<Option<f64>>,
) -> Vec<Option<Interval>> {
    let width = statistic(&vec![1.0; groups]).len();
    if groups < 2 || options.samples == 0 {
        return vec![None; width];
    }
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(options.samples); width];
    let mut weights = vec![0.0; groups];
    for _ in 0..options.samples {
        weights.fill(0.0);
        for _ in 0..groups {
            weights[rng.usize(..groups)] += 1.0;
        }
        for (values, value) in values.iter_mut().zip(statistic(&weights)) {
            values.extend(value);
        }
    }
    let tail = (1.0 - options.confidence) / 2.0;
    values
        .into_iter()
        .map(|mut values| {
            values.sort_by(f64::total_cmp);
            let enough = values.len() * 2 > options.samples;
            enough.then(|| Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
        })
        .collect()
}

/// The linearly interpolated quantile of sorted, non-empty values (numpy's default).
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_like_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert!((quantile(&values, 0.025) - 1.075).abs() < 1e-12);
        assert!((quantile(&values, 0.975) - 7.7).abs() < 1e-12);
    }

    #[test]
    fn the_interval_of_a_mean_covers_about_as_often_as_it_says() {
        let mut rng = fastrand::Rng::with_seed(7);
        let options = BootstrapOptions { samples: 400, ..BootstrapOptions::default() };
        let covered = (0..200).filter(|_| {
            let draws: Vec<f64> = (0..40).map(|_| rng.f64()).collect();
            let mean = |weights: &[f64]| {
                let sum: f64 = draws.iter().zip(weights).map(|(x, w)| x * w).sum();
                vec![Some(sum / weights.iter().sum::<f64>())]
            };
            let interval = intervals(draws.len(), &options, mean)[0].unwrap();
            interval.low <= 0.5 && 0.5 <= interval.high
        });
        let share = covered.count() as f64 / 200.0;
        assert!((0.88..=0.99).contains(&share), "covered {share}");
    }
}
