use crate::quantile;

/// Draws with replacement (Efron 1979): each [`draw`](Self::draw) picks as many of `count` things as there are.
///
/// Things that resemble each other, as slides of a deck do, must be drawn together: then each of the things is such a group.
/// The generator is `fastrand`'s wyrand.
#[derive(Debug, Clone)]
pub struct Resamples {
    rng: fastrand::Rng,
    count: usize,
}

impl Resamples {
    /// Draws of `count` things from a seed.
    pub fn new(count: usize, seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), count }
    }

    /// The places of the things of one resample, as often as each is drawn; none where there are no things.
    pub fn draw(&mut self) -> impl Iterator<Item = usize> {
        (0..self.count).map(|_| self.rng.usize(..self.count))
    }
}

/// The shares of resamples below which an interval begins and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tails {
    /// Of the lower end, as in 0.025.
    pub low: f64,
    /// Of the upper end, as in 0.975.
    pub high: f64,
}

impl Tails {
    /// Of the middle 95 %.
    pub const CENTRAL_95: Self = Self { low: 0.025, high: 0.975 };

    /// Of an interval that holds this share of the resamples, as in 0.95, the rest divided evenly between both sides.
    pub fn of_confidence(confidence: f64) -> Self {
        let low = (1.0 - confidence) / 2.0;
        Self { low, high: 1.0 - low }
    }
}

/// Percentile intervals (low, high) of each value of `statistic` over `samples` resamples of `groups` groups. The statistic is given
/// how often each group was drawn, as weights.
///
/// A value has no interval where there are fewer than two groups, or where it is undefined in at least half of the resamples.
pub fn intervals(
    groups: usize,
    samples: usize,
    seed: u64,
    tails: Tails,
    statistic: impl Fn(&[f64]) -> Vec<Option<f64>>,
) -> Vec<Option<(f64, f64)>> {
    let width = statistic(&vec![1.0; groups]).len();
    if groups < 2 || samples == 0 {
        return vec![None; width];
    }
    let mut resamples = Resamples::new(groups, seed);
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(samples); width];
    let mut weights = vec![0.0; groups];
    for _ in 0..samples {
        weights.fill(0.0);
        for group in resamples.draw() {
            weights[group] += 1.0;
        }
        for (values, value) in values.iter_mut().zip(statistic(&weights)) {
            values.extend(value);
        }
    }
    values
        .into_iter()
        .map(|mut values| {
            values.sort_by(f64::total_cmp);
            let is_enough = values.len() * 2 > samples;
            let ends = || Some((quantile(&values, tails.low)?, quantile(&values, tails.high)?));
            is_enough.then(ends).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of `draws` under weights.
    fn mean_of(draws: &[f64]) -> impl Fn(&[f64]) -> Vec<Option<f64>> {
        |weights| {
            let sum: f64 = draws.iter().zip(weights).map(|(x, w)| x * w).sum();
            vec![Some(sum / weights.iter().sum::<f64>())]
        }
    }

    #[test]
    fn the_interval_of_a_mean_covers_about_as_often_as_it_says() {
        let mut rng = fastrand::Rng::with_seed(7);
        let covered = (0..200).filter(|_| {
            let draws: Vec<f64> = (0..40).map(|_| rng.f64()).collect();
            let tails = Tails::of_confidence(0.95);
            let (low, high) = intervals(draws.len(), 400, 0, tails, mean_of(&draws))[0].unwrap();
            low <= 0.5 && 0.5 <= high
        });
        let share = covered.count() as f64 / 200.0;
        assert!((0.88..=0.99).contains(&share), "covered {share}");
    }

    #[test]
    fn what_cannot_be_resampled_has_no_interval() {
        let of = |groups, samples| intervals(groups, samples, 0, Tails::CENTRAL_95, |_| vec![Some(1.0)])[0];
        assert_eq!((of(0, 50), of(1, 50), of(2, 0)), (None, None, None));
        assert_eq!(of(2, 50), Some((1.0, 1.0)));
        let rare = |weights: &[f64]| vec![(weights[0] > 1.0).then_some(1.0)];
        assert_eq!(intervals(2, 200, 0, Tails::CENTRAL_95, rare), [None], "defined in a quarter");
    }

    #[test]
    fn a_resample_has_as_many_things_as_there_are() {
        let mut resamples = Resamples::new(5, 1);
        let (first, second): (Vec<_>, Vec<_>) = (resamples.draw().collect(), resamples.draw().collect());
        assert!(first.len() == 5 && first.iter().all(|&place| place < 5));
        assert_ne!(first, second);
        assert_eq!(Resamples::new(5, 1).draw().collect::<Vec<_>>(), first);
        assert_eq!(Resamples::new(0, 1).draw().count(), 0);
    }
}
