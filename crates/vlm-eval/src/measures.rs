use serde::{Deserialize, Serialize};
use slide_data::{Score, expected_score};

/// Bins of the calibration error: equal widths over the confidence, 0 to 1.
pub(crate) const CALIBRATION_BINS: usize = 10;

const LEVELS: usize = Score::LEVELS;

/// The score that a distribution over 1 to 5 stands for: its mean, rounded, halves up.
///
/// A distribution without a finite mean (all zeros, a NaN) gives the lowest score; [`evaluate`](crate::evaluate) refuses
/// such distributions before they come here.
pub fn rounded(distribution: &[f64; LEVELS]) -> Score {
    round_score(expected_score(distribution))
}

pub(crate) fn round_score(expected: f64) -> Score {
    // `as` saturates and turns NaN into 0, so that the clamp always leaves a score.
    Score::new(((expected + 0.5).floor() as u8).clamp(1, 5)).unwrap_or(Score::MIN)
}

/// How often each score was predicted (columns) where people said each score (rows); counts may be weights.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion {
    /// `counts[actual - 1][predicted - 1]`.
    pub counts: [[f64; LEVELS]; LEVELS],
}

impl Confusion {
    /// Counts one pair `weight` times.
    pub fn add(&mut self, actual: Score, predicted: Score, weight: f64) {
        self.counts[actual.index()][predicted.index()] += weight;
    }

    /// The sum of all counts.
    pub fn total(&self) -> f64 {
        self.counts.iter().flatten().sum()
    }

    /// The mean over all pairs of `cost(|actual - predicted|)`; nothing where there are no pairs.
    fn mean(&self, cost: impl Fn(usize) -> f64) -> Option<f64> {
        let total = self.total();
        (total > 0.0).then(|| sum_over_cells(|a, p| self.counts[a][p] * cost(a.abs_diff(p))) / total)
    }

    /// Mean absolute error, 0 to 4.
    pub fn mae(&self) -> Option<f64> {
        self.mean(|distance| distance as f64)
    }

    /// Share of pairs at most one point apart, 0 to 1.
    pub fn within_1(&self) -> Option<f64> {
        self.mean(|distance| f64::from(u8::from(distance <= 1)))
    }

    /// Share of equal pairs, 0 to 1.
    pub fn exact(&self) -> Option<f64> {
        self.mean(|distance| f64::from(u8::from(distance == 0)))
    }

    /// Cohen's kappa with quadratic weights, -1 to 1 (Cohen 1968); nothing where all pairs share one score.
    pub fn quadratic_weighted_kappa(&self) -> Option<f64> {
        let total = self.total();
        let weight = |a: usize, p: usize| (a.abs_diff(p) * a.abs_diff(p)) as f64;
        let actual: Vec<f64> = self.counts.iter().map(|row| row.iter().sum()).collect();
        let predicted: Vec<f64> = (0..LEVELS).map(|p| self.counts.iter().map(|row| row[p]).sum()).collect();
        let observed = sum_over_cells(|a, p| weight(a, p) * self.counts[a][p]);
        let chance = sum_over_cells(|a, p| weight(a, p) * actual[a] * predicted[p]) / total;
        (total > 0.0 && chance > 0.0).then(|| 1.0 - observed / chance)
    }
}

fn sum_over_cells(term: impl Fn(usize, usize) -> f64) -> f64 {
    (0..LEVELS).flat_map(|a| (0..LEVELS).map(move |p| (a, p))).map(|(a, p)| term(a, p)).sum()
}

/// Spearman's rank correlation with mean ranks for ties, -1 to 1.
///
/// Nothing where the lengths differ, a value is NaN, or either side is constant.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.iter().chain(y).any(|value| value.is_nan()) {
        return None;
    }
    let weights = vec![1.0; x.len()];
    weighted_spearman(&Ranked::new(x), &Ranked::new(y), &weights)
}

/// Values with their sorted order, so that ranks under many weightings cost linear time each.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    values: Vec<f64>,
    order: Vec<usize>,
}

impl Ranked {
    pub(crate) fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        Self { values: values.to_vec(), order }
    }

    /// Mean ranks where element `i` is there `weights[i]` times.
    #[expect(clippy::float_cmp, reason = "ties are equal values")]
    fn ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.values.len()];
        let mut below = 0.0;
        for block in self.order.chunk_by(|&a, &b| self.values[a] == self.values[b]) {
            let weight: f64 = block.iter().map(|&i| weights[i]).sum();
            let rank = below + f64::midpoint(weight, 1.0);
            for &i in block {
                ranks[i] = rank;
            }
            below += weight;
        }
        ranks
    }
}

pub(crate) fn weighted_spearman(x: &Ranked, y: &Ranked, weights: &[f64]) -> Option<f64> {
    let (rx, ry) = (x.ranks(weights), y.ranks(weights));
    let total: f64 = weights.iter().sum();
    let mean = |ranks: &[f64]| ranks.iter().zip(weights).map(|(r, w)| r * w).sum::<f64>() / total;
    let (mx, my) = (mean(&rx), mean(&ry));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for ((rx, ry), w) in rx.iter().zip(&ry).zip(weights) {
        xx += w * (rx - mx) * (rx - mx);
        yy += w * (ry - my) * (ry - my);
        xy += w * (rx - mx) * (ry - my);
    }
    (xx > 1e-9 && yy > 1e-9).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Sums of one bin of a calibration curve.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BinSums {
    pub(crate) weight: f64,
    pub(crate) confidence: f64,
    pub(crate) correct: f64,
}

/// The bin of a confidence: `(lower, upper]` with the lowest bin closed, as in Guo et al. (2017).
pub(crate) fn calibration_bin(confidence: f64) -> usize {
    ((confidence * CALIBRATION_BINS as f64).ceil() as usize).clamp(1, CALIBRATION_BINS) - 1
}

/// Expected calibration error, 0 to 1: the mean distance between confidence and accuracy over ten equal bins (Guo et al. 2017).
///
/// Pairs are (confidence in the most probable score, whether it was right); nothing where there are none.
pub fn expected_calibration_error(pairs: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    let mut bins = [BinSums::default(); CALIBRATION_BINS];
    for (confidence, is_correct) in pairs {
        bins[calibration_bin(confidence)].add(confidence, is_correct, 1.0);
    }
    calibration_error(&bins)
}

impl BinSums {
    pub(crate) fn add(&mut self, confidence: f64, is_correct: bool, weight: f64) {
        self.weight += weight;
        self.confidence += weight * confidence;
        self.correct += weight * f64::from(u8::from(is_correct));
    }
}

pub(crate) fn calibration_error(bins: &[BinSums]) -> Option<f64> {
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let distance: f64 = bins.iter().map(|bin| (bin.correct - bin.confidence).abs()).sum();
    (total > 0.0).then(|| distance / total)
}

/// All measures of one criterion or of all together; what is not defined on the data is left out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measures {
    /// Mean absolute error of the score.
    pub mae: Option<f64>,
    /// Share of scores at most one point off.
    pub within_1: Option<f64>,
    /// Share of equal scores.
    pub exact: Option<f64>,
    /// Quadratic weighted kappa.
    pub qwk: Option<f64>,
    /// Rank correlation of the expected score.
    pub spearman: Option<f64>,
    /// Expected calibration error of the most probable score.
    pub ece: Option<f64>,
}

impl Measures {
    /// The suffixes of the metrics' names, in the order of [`values`](Self::values).
    pub const NAMES: [&'static str; 6] = ["mae", "within_1", "exact", "qwk", "spearman", "ece"];

    /// The measures in the order of [`NAMES`](Self::NAMES).
    pub fn values(&self) -> [Option<f64>; 6] {
        [self.mae, self.within_1, self.exact, self.qwk, self.spearman, self.ece]
    }

    /// The measures that a confusion matrix gives.
    pub fn of_confusion(confusion: &Confusion) -> Self {
        Self {
            mae: confusion.mae(),
            within_1: confusion.within_1(),
            exact: confusion.exact(),
            qwk: confusion.quadratic_weighted_kappa(),
            spearman: None,
            ece: None,
        }
    }
}

/// One score of one criterion of one slide beside the people's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rating {
    pub(crate) group: usize,
    pub(crate) actual: Score,
    pub(crate) predicted: Score,
    pub(crate) expected: f64,
    /// Probability of the most probable score.
    pub(crate) confidence: f64,
    /// Whether the most probable score is the people's.
    pub(crate) is_correct: bool,
}

/// Ratings prepared for measuring under many weightings of their groups.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) ratings: Vec<Rating>,
    expected: Ranked,
    actual: Ranked,
}

impl Pool {
    pub(crate) fn new(ratings: Vec<Rating>) -> Self {
        let expected: Vec<f64> = ratings.iter().map(|rating| rating.expected).collect();
        let actual: Vec<f64> = ratings.iter().map(|rating| f64::from(rating.actual.get())).collect();
        Self { expected: Ranked::new(&expected), actual: Ranked::new(&actual), ratings }
    }

    pub(crate) fn confusion(&self, group_weights: &[f64]) -> Confusion {
        let mut confusion = Confusion::default();
        for rating in &self.ratings {
            confusion.add(rating.actual, rating.predicted, group_weights[rating.group]);
        }
        confusion
    }

    /// The measures where group `g` is there `group_weights[g]` times.
    pub(crate) fn measure(&self, group_weights: &[f64]) -> Measures {
        let weights: Vec<f64> = self.ratings.iter().map(|rating| group_weights[rating.group]).collect();
        let mut bins = [BinSums::default(); CALIBRATION_BINS];
        for (rating, weight) in self.ratings.iter().zip(&weights) {
            bins[calibration_bin(rating.confidence)].add(rating.confidence, rating.is_correct, *weight);
        }
        Measures {
            spearman: weighted_spearman(&self.expected, &self.actual, &weights),
            ece: calibration_error(&bins),
            ..Measures::of_confusion(&self.confusion(group_weights))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_up_and_nothing_leaves_the_scale() {
        assert_eq!(rounded(&[0.0, 0.5, 0.5, 0.0, 0.0]).get(), 3);
        assert_eq!(rounded(&[0.0, 0.51, 0.49, 0.0, 0.0]).get(), 2);
        assert_eq!(rounded(&[1.0, 0.0, 0.0, 0.0, 0.0]), Score::MIN);
        assert_eq!(rounded(&[0.0, 0.0, 0.0, 0.0, 1.0]), Score::MAX);
        assert_eq!(rounded(&[0.0; 5]), Score::MIN);
    }

    #[test]
    fn a_constant_rater_has_no_kappa_against_itself_and_zero_against_others() {
        let score = |value| Score::new(value).unwrap();
        let mut confusion = Confusion::default();
        confusion.add(score(3), score(3), 4.0);
        assert_eq!(confusion.quadratic_weighted_kappa(), None);
        confusion.add(score(5), score(3), 4.0);
        assert_eq!(confusion.quadratic_weighted_kappa(), Some(0.0));
        assert_eq!(Confusion::default().mae(), None);
    }

    #[test]
    fn weights_count_like_copies() {
        let x = [1.0, 2.0, 2.0, 5.0];
        let y = [2.0, 1.0, 4.0, 4.0];
        let weighted = weighted_spearman(&Ranked::new(&x), &Ranked::new(&y), &[2.0, 1.0, 0.0, 3.0]);
        let copies = spearman(&[1.0, 1.0, 2.0, 5.0, 5.0, 5.0], &[2.0, 2.0, 1.0, 4.0, 4.0, 4.0]);
        assert!((weighted.unwrap() - copies.unwrap()).abs() < 1e-12);
    }
}
