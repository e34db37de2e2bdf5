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

    /// Adds another's counts, each `weight` times.
    pub(crate) fn merge(&mut self, other: &Self, weight: f64) {
        for (sum, count) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *sum += weight * count;
        }
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

    /// The mean of predicted minus actual, -4 to 4: above 0 the model is too kind.
    pub fn bias(&self) -> Option<f64> {
        let total = self.total();
        (total > 0.0).then(|| sum_over_cells(|a, p| self.counts[a][p] * (p as f64 - a as f64)) / total)
    }

    /// Krippendorff's alpha for ordinal values (Krippendorff 2011) of two raters, the people together and the model, each pair a
    /// unit; nothing where all scores are one.
    pub fn alpha_ordinal(&self) -> Option<f64> {
        let coincidences = |a: usize, p: usize| self.counts[a][p] + self.counts[p][a];
        let marginal: [f64; LEVELS] = std::array::from_fn(|a| (0..LEVELS).map(|p| coincidences(a, p)).sum());
        let distance = |a: usize, p: usize| {
            let (low, high) = (a.min(p), a.max(p));
            let between: f64 = marginal[low..=high].iter().sum();
            (between - f64::midpoint(marginal[low], marginal[high])).powi(2)
        };
        let values: f64 = marginal.iter().sum();
        let observed = sum_over_cells(|a, p| coincidences(a, p) * distance(a, p));
        let expected = sum_over_cells(|a, p| marginal[a] * marginal[p] * distance(a, p));
        (expected > 0.0).then(|| 1.0 - (values - 1.0) * observed / expected)
    }
}

fn sum_over_cells(term: impl Fn(usize, usize) -> f64) -> f64 {
    (0..LEVELS).flat_map(|a| (0..LEVELS).map(move |p| (a, p))).map(|(a, p)| term(a, p)).sum()
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

/// Ranked probability score (Epstein 1969), 0 to 4: the squared distance between the distribution functions of a forecast and of
/// one rater's score, summed over the four steps of the scale, and its mean over the raters. Of a forecast that is sure it is
/// the mean absolute error.
pub fn ranked_probability_score(forecast: &[f64; LEVELS], raters: &[f64; LEVELS]) -> f64 {
    let (mut below, mut share, mut score) = (0.0, 0.0, 0.0);
    for (p, rated) in forecast.iter().zip(raters).take(LEVELS - 1) {
        below += p;
        share += rated;
        // Of the raters the share lies at or below this score, where the forecast should be 1, and the rest above it.
        score += share * (below - 1.0) * (below - 1.0) + (1.0 - share) * below * below;
    }
    score
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
    /// Mean of model minus people.
    pub bias: Option<f64>,
    /// Quadratic weighted kappa.
    pub qwk: Option<f64>,
    /// Krippendorff's alpha, ordinal.
    pub alpha: Option<f64>,
    /// Ranked probability score against the raters.
    pub rps: Option<f64>,
    /// Rank correlation of the expected score.
    pub spearman: Option<f64>,
    /// Kendall's rank correlation (tau-b) of the expected score.
    pub kendall: Option<f64>,
    /// Expected calibration error of the most probable score.
    pub ece: Option<f64>,
}

impl Measures {
    /// The suffixes of the metrics' names, in the order of [`values`](Self::values).
    pub const NAMES: [&'static str; 10] =
        ["mae", "within_1", "exact", "bias", "qwk", "alpha", "rps", "spearman", "kendall", "ece"];

    /// The measures in the order of [`NAMES`](Self::NAMES).
    pub fn values(&self) -> [Option<f64>; 10] {
        [
            self.mae,
            self.within_1,
            self.exact,
            self.bias,
            self.qwk,
            self.alpha,
            self.rps,
            self.spearman,
            self.kendall,
            self.ece,
        ]
    }

    /// The measures that a confusion matrix gives.
    pub fn of_confusion(confusion: &Confusion) -> Self {
        Self {
            mae: confusion.mae(),
            within_1: confusion.within_1(),
            exact: confusion.exact(),
            bias: confusion.bias(),
            qwk: confusion.quadratic_weighted_kappa(),
            alpha: confusion.alpha_ordinal(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_forecast_scores_its_distance() {
        let sure = |score: usize| -> [f64; 5] { std::array::from_fn(|at| f64::from(u8::from(at == score))) };
        for (forecast, rated) in [(0, 4), (2, 2), (3, 1)] {
            let found = ranked_probability_score(&sure(forecast), &sure(rated));
            assert!((found - forecast.abs_diff(rated) as f64).abs() < 1e-12);
        }
        let raters = [0.0, 0.0, 0.5, 0.5, 0.0];
        assert!((ranked_probability_score(&sure(2), &raters) - 0.5).abs() < 1e-12);
        assert!(
            (ranked_probability_score(&raters, &raters) - 0.25).abs() < 1e-12,
            "raters differ, so it is not 0"
        );
    }

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
}
