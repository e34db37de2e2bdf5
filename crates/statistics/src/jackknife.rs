//! Intervals from leaving out one group (deck) at a time.
//!
//! With few groups the percentiles of a bootstrap are too narrow. The jackknife over groups with Student's quantile holds what it
//! promises from about five groups on; `crates/vlm-eval/benches/coverage.rs` measures it. It needs one evaluation for each group.

use crate::student_quantile;

/// A value and what it is without each of the groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Jackknife {
    /// The value on all groups.
    pub estimate: f64,
    /// The value without group 0, 1, …
    pub replicates: Vec<f64>,
}

/// Evaluates a statistic on all groups, and without each of them (Quenouille 1956, Tukey 1958). It is given a weight for each
/// group, 0 or 1.
///
/// A value that is undefined on all groups, or without one of them, has none; so has any of fewer than two groups.
pub fn delete_one(
    groups: usize,
    mut statistic: impl FnMut(&[f64]) -> Vec<Option<f64>>,
) -> Vec<Option<Jackknife>> {
    let mut weights = vec![1.0; groups];
    let estimates = statistic(&weights);
    let mut replicates: Vec<Vec<f64>> = vec![Vec::with_capacity(groups); estimates.len()];
    for group in 0..groups {
        weights[group] = 0.0;
        for (replicates, value) in replicates.iter_mut().zip(statistic(&weights)) {
            replicates.extend(value.filter(|value| value.is_finite()));
        }
        weights[group] = 1.0;
    }
    let whole = |(estimate, replicates): (Option<f64>, Vec<f64>)| {
        let estimate = estimate.filter(|value| value.is_finite())?;
        (groups >= 2 && replicates.len() == groups).then_some(Jackknife { estimate, replicates })
    };
    estimates.into_iter().zip(replicates).map(whole).collect()
}

impl Jackknife {
    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.replicates.len()
    }

    /// The variance of the estimate: `(G − 1) / G · Σ (replicate − mean)²`.
    pub fn variance(&self) -> f64 {
        let groups = self.groups() as f64;
        let mean = self.replicates.iter().sum::<f64>() / groups;
        (groups - 1.0) / groups * self.replicates.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    }

    /// The difference to the same value of something else, group by group.
    pub fn minus(&self, other: &Self) -> Self {
        let replicates =
            self.replicates.iter().zip(&other.replicates).map(|(own, other)| own - other).collect();
        Self { estimate: self.estimate - other.estimate, replicates }
    }

    /// The interval `estimate ± t · standard error` with `G − 1` degrees of freedom, at a confidence as in 0.95. Its ends are
    /// equal where no group makes a difference. `None` for a confidence outside 0 to 1.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        let half = quantile_of(confidence, self.groups() as f64 - 1.0)? * self.variance().sqrt();
        Some((self.estimate - half, self.estimate + half))
    }

    /// The same of the logarithm, taken back: for values above 0 that lean to the right, such as mean errors. `None` where the
    /// estimate or a replicate is not above 0.
    pub fn log_interval(&self, confidence: f64) -> Option<(f64, f64)> {
        if !self.replicates.iter().chain([&self.estimate]).all(|value| *value > 0.0) {
            return None;
        }
        let replicates = self.replicates.iter().map(|value| value.ln()).collect();
        let (low, high) = Self { estimate: self.estimate.ln(), replicates }.interval(confidence)?;
        Some((low.exp(), high.exp()))
    }

    /// A score interval (Wilson 1927) for a share of `trials`, whose number is divided by the design effect: by how much the
    /// groups widen the variance beyond that of independent trials. Where the share is 0 or 1 that cannot be seen, and `independent`
    /// trials are assumed. Never of zero width.
    ///
    /// Degrees of freedom are `G − 1` for shares about one half. Near 0 and 1 the variance follows from the share and needs less
    /// estimating: there they rise to `1.7 (G − 1)`, which holds the promise in simulations where `G − 1` is too careful.
    pub fn share_interval(&self, confidence: f64, trials: f64, independent: f64) -> Option<(f64, f64)> {
        let share = self.estimate;
        let binomial = share * (1.0 - share);
        let effective = match self.variance() {
            variance if binomial > 0.0 && variance > 0.0 => binomial / variance,
            _ if binomial > 0.0 => trials,
            _ => independent,
        };
        let degrees = (self.groups() as f64 - 1.0) * (1.0 + 0.7 * (1.0 - 4.0 * binomial).powi(3));
        let square = quantile_of(confidence, degrees)?.powi(2);
        if !(effective > 0.0 && (0.0..=1.0).contains(&share)) {
            return None;
        }
        let scale = 1.0 + square / effective;
        let middle = (share + square / (2.0 * effective)) / scale;
        let half = (square * (binomial + square / (4.0 * effective)) / effective).sqrt() / scale;
        // Beyond the share itself only rounding could put an end.
        Some(((middle - half).clamp(0.0, share), (middle + half).clamp(share, 1.0)))
    }
}

/// The quantile that leaves half of what is not confidence above it.
fn quantile_of(confidence: f64, degrees: f64) -> Option<f64> {
    (confidence > 0.0 && confidence < 1.0)
        .then(|| student_quantile(f64::midpoint(1.0, confidence), degrees))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use pq_testing::assert_close;

    fn mean_of(values: &[f64]) -> Jackknife {
        let mean = |weights: &[f64]| {
            let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * w).sum();
            vec![Some(sum / weights.iter().sum::<f64>())]
        };
        delete_one(values.len(), mean).remove(0).unwrap()
    }

    fn ends((low, high): (f64, f64)) -> [f64; 2] {
        [low, high]
    }

    /// Of a mean it is the interval of every textbook: `scipy.stats.t.interval(0.95, 4, mean, sem)`.
    #[test]
    fn of_a_mean_it_is_the_t_interval() {
        let jackknife = mean_of(&[1.0, 2.0, 4.0, 8.0, 9.0]);
        assert_close(&[jackknife.estimate, jackknife.variance()], &[4.8, 2.54], 1e-12);
        let expected = [0.375_074_638_784_396_6, 9.224_925_361_215_604];
        assert_close(&ends(jackknife.interval(0.95).unwrap()), &expected, 1e-9);
    }

    #[test]
    fn a_difference_is_paired() {
        let (a, b) = (mean_of(&[1.0, 2.0, 4.0]), mean_of(&[0.5, 1.5, 3.5]));
        let difference = a.minus(&b);
        assert_close(&[difference.estimate, difference.variance()], &[0.5, 0.0], 1e-12);
        assert!(a.variance() > 0.5 && b.variance() > 0.5);
    }

    /// Without an effect of groups, and with very many of them, it is Wilson's interval: 0.9 of 50 trials, statsmodels'
    /// `proportion_confint(45, 50, method="wilson")`.
    #[test]
    fn a_share_of_independent_trials_has_the_interval_of_wilson() {
        let share = 0.9;
        let (groups, variance) = (100_000, share * (1.0 - share) / 50.0);
        let step = (variance / f64::from(groups - 1)).sqrt();
        let replicates = (0..groups).map(|i| if i % 2 == 0 { share + step } else { share - step }).collect();
        let jackknife = Jackknife { estimate: share, replicates };
        let found = ends(jackknife.share_interval(0.95, 50.0, 50.0).unwrap());
        assert_close(&found, &[0.786_398_2, 0.956_524_1], 1e-5);
    }

    #[test]
    fn a_share_of_zero_or_one_has_an_interval() {
        for (share, groups) in [(0.0, 2), (1.0, 3), (1.0, 8)] {
            let jackknife = Jackknife { estimate: share, replicates: vec![share; groups] };
            let (low, high) = jackknife.share_interval(0.95, 40.0, 10.0).unwrap();
            assert!(low <= share && share <= high && high - low > 0.2, "{share}, {groups}: {low} {high}");
        }
    }

    #[test]
    fn logarithms_keep_an_error_above_zero() {
        let jackknife = mean_of(&[0.1, 0.1, 0.1, 2.0]);
        assert!(jackknife.interval(0.95).unwrap().0 < 0.0);
        assert!(jackknife.log_interval(0.95).unwrap().0 > 0.0);
        assert_eq!(mean_of(&[0.0, 0.0, 0.0]).log_interval(0.95), None);
    }

    #[test]
    fn what_is_undefined_without_a_group_has_no_interval() {
        let rare = |weights: &[f64]| vec![(weights[0] > 0.0).then_some(1.0), Some(f64::NAN), Some(1.0)];
        let found = delete_one(3, rare);
        assert_eq!((&found[0], &found[1]), (&None, &None));
        assert_eq!(found[2].as_ref().unwrap().interval(0.95), Some((1.0, 1.0)));
        assert_eq!(delete_one(1, |_| vec![Some(1.0)]), [None]);
        assert_eq!(delete_one(0, |_| vec![None]), [None]);
        for confidence in [0.0, 1.0, f64::NAN] {
            assert_eq!(mean_of(&[1.0, 2.0]).interval(confidence), None);
        }
    }
}
