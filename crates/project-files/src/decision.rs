use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run_files::ADAPTER_WEIGHTS;
use crate::{Comparison, Contract};

/// Scores that there are, 1 to 5.
const LEVELS: usize = 5;
/// What the interval of a score leaves out at each end, as a probability: it holds the score of one more rater at least 8 times in 10.
const TAIL: f64 = 0.1;
/// Probabilities as they are read back add up to 1 within this.
const ROUNDING_ERROR: f64 = 1e-9;

/// `decision.json`: which score the probabilities of 1 to 5 stand for, how sure it is, and what of that is better than rounding the mean.
///
/// Fitted on the validation slides of a run, for its adapter alone. What it brings was measured on decks that were left out of the
/// fitting; where that is nothing, the rule is plain rounding.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScoreDecision {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The rule that is used.
    pub rule: DecisionRule,
    /// What is used for each criterion; of one that is missing the mean is rounded, and its probabilities are taken as they are.
    pub criteria: BTreeMap<String, CriterionDecision>,
    /// How far the cut points lie from those of rounding (0) towards those that give each score as often as people do (1).
    pub strength: f64,
    /// SHA-256 of what it was made from, by name: the weights of the adapter that it is for, labels and splits.
    pub made_from: BTreeMap<String, String>,
    /// Slides that it was fitted on.
    pub slides: usize,
    /// Their groups (decks).
    pub groups: usize,
    /// Rated criteria of slides.
    pub ratings: usize,
    /// What each rule reaches on decks that it was not fitted on: the mean rounded, the cut points, and cut points that match how
    /// often people give each score. Metrics are `mae`, `exact`, `qwk` and `share_gap`, the largest difference to how often people
    /// give a score; gains are over rounding.
    pub scores: Vec<Comparison>,
    /// What probabilities as they are and with the temperatures reach there: `rater_loss`, the mean cross-entropy of one more rater's
    /// score in nats, and `in_interval`, the share of raters' scores within the interval.
    pub probabilities: Vec<Comparison>,
}

/// How a score is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionRule {
    /// The mean of the distribution, rounded, halves up.
    #[default]
    RoundedMean,
    /// One more than the cut points that the mean reaches.
    CutPoints,
}

/// How a score of one criterion is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CriterionDecision {
    /// From which mean on the score is 2, 3, 4, 5.
    pub cut_points: [f64; LEVELS - 1],
    /// Divides the logarithms of the probabilities before entropy and interval are read from them: above 1 the model is surer than one
    /// more rater bears out, below 1 less sure.
    pub temperature: f64,
    /// Ratings that it was fitted on.
    #[serde(default)]
    pub ratings: usize,
}

/// What is read from a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadScore {
    /// The score, 1 to 5.
    pub score: u8,
    /// Entropy in nats: 0 where it is sure, `ln 5` where each score is as likely as another.
    pub entropy: f64,
    /// The lowest and the highest score that one more rater is likely to give: at least 8 times in 10 between them.
    pub interval: [u8; 2],
}

impl Default for CriterionDecision {
    fn default() -> Self {
        Self { cut_points: Self::ROUNDING, temperature: 1.0, ratings: 0 }
    }
}

impl CriterionDecision {
    /// The cut points that round halves up.
    pub const ROUNDING: [f64; LEVELS - 1] = [1.5, 2.5, 3.5, 4.5];

    /// The score of a mean.
    pub fn score(&self, mean: f64) -> u8 {
        self.cut_points.iter().map(|cut| u8::from(mean >= *cut)).sum::<u8>() + 1
    }

    /// `p^(1/T)`, made to add up to 1: the distribution with the temperature (Guo et al. 2017).
    pub fn tempered(&self, distribution: &[f64; LEVELS]) -> [f64; LEVELS] {
        let most = distribution.iter().copied().fold(0.0, f64::max);
        let powers = distribution.map(|p| (p / most).powf(1.0 / self.temperature));
        let total: f64 = powers.iter().sum();
        powers.map(|power| power / total)
    }

    /// Score, entropy and interval of a distribution; `None` where it is none: no number, or all 0.
    pub fn read(&self, distribution: &[f64; LEVELS]) -> Option<ReadScore> {
        let total: f64 = distribution.iter().sum();
        if !(total > 0.0 && total.is_finite() && distribution.iter().all(|p| *p >= 0.0)) {
            return None;
        }
        let mean = distribution.iter().zip(1..).map(|(p, score)| p * f64::from(score)).sum::<f64>() / total;
        let tempered = self.tempered(distribution);
        let entropy = -tempered.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        Some(ReadScore {
            score: self.score(mean),
            entropy: entropy.max(0.0),
            interval: [quantile(&tempered, TAIL), quantile(&tempered, 1.0 - TAIL)],
        })
    }
}

/// The lowest score that, with those below it, has at least this probability.
fn quantile(distribution: &[f64; LEVELS], probability: f64) -> u8 {
    let mut below = 0.0;
    for (p, score) in distribution.iter().zip(1..) {
        below += p;
        if below >= probability - ROUNDING_ERROR {
            return score;
        }
    }
    LEVELS as u8
}

impl ScoreDecision {
    /// How a criterion is decided; as by plain rounding where nothing was fitted for it.
    pub fn of(&self, criterion: &str) -> CriterionDecision {
        self.criteria.get(criterion).copied().unwrap_or_default()
    }

    /// Whether it was made for the adapter with these weights.
    pub fn is_for(&self, weights_sha256: &str) -> bool {
        self.made_from.get(ADAPTER_WEIGHTS).is_some_and(|sha256| sha256 == weights_sha256)
    }
}

impl Contract for ScoreDecision {
    const NAME: &'static str = "decision from probabilities to a score";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        for (key, CriterionDecision { cut_points, temperature, .. }) in &self.criteria {
            if !cut_points.iter().all(|cut| cut.is_finite()) || !cut_points.is_sorted() {
                return Err(format!("the cut points of `{key}` do not rise: {cut_points:?}"));
            }
            if !(*temperature > 0.0 && temperature.is_finite()) {
                return Err(format!("the temperature of `{key}` must be above 0, it is {temperature}"));
            }
        }
        if self.made_from.contains_key(ADAPTER_WEIGHTS) {
            return Ok(());
        }
        Err(format!("it does not say by the hash of `{ADAPTER_WEIGHTS}` for which adapter it is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_cut_points_round_halves_up() {
        let plain = CriterionDecision::default();
        for step in 0..=400_u32 {
            let mean = 1.0 + f64::from(step) / 100.0;
            assert_eq!(plain.score(mean), (mean + 0.5).floor() as u8, "{mean}");
        }
        assert_eq!((plain.score(f64::NAN), plain.score(9.0), plain.score(-9.0)), (1, 5, 1));
    }

    #[test]
    fn the_score_follows_the_cut_points_and_the_rest_the_temperature() {
        let distribution = [0.05, 0.15, 0.5, 0.25, 0.05];
        let cut_points = [1.2, 2.0, 3.2, 4.0];
        let read = |temperature| {
            CriterionDecision { cut_points, temperature, ratings: 0 }.read(&distribution).unwrap()
        };
        let (sharp, plain, flat) = (read(0.2), read(1.0), read(100.0));
        assert_eq!((plain.score, plain.interval), (3, [2, 4]), "the mean is 3.1");
        assert_eq!((sharp.score, sharp.interval), (3, [3, 3]));
        assert_eq!((flat.score, flat.interval), (3, [1, 5]));
        let expected = -distribution.iter().map(|p: &f64| p * p.ln()).sum::<f64>();
        assert!((plain.entropy - expected).abs() < 1e-12);
        assert!(sharp.entropy < plain.entropy && plain.entropy < flat.entropy && flat.entropy < 5_f64.ln());
    }

    /// Whatever the distribution, the interval holds what it promises and is no wider than it must be.
    #[test]
    fn an_interval_holds_eight_in_ten() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f64 / 16_777_216.0).powi(6)
        };
        for _ in 0..2_000 {
            let drawn: [f64; 5] = std::array::from_fn(|_| next());
            let total: f64 = drawn.iter().sum();
            if total <= 0.0 {
                continue;
            }
            let p = drawn.map(|value| value / total);
            let read = CriterionDecision::default().read(&p).unwrap();
            let [low, high] = read.interval.map(usize::from);
            let inside: f64 = p[low - 1..high].iter().sum();
            assert!(low <= high && inside >= 0.8 - 1e-6, "{p:?} {read:?}");
            assert!(
                p[..low].iter().sum::<f64>() >= 0.1 - 1e-6 && p[high - 1..].iter().sum::<f64>() >= 0.1 - 1e-6
            );
        }
    }

    #[test]
    fn what_is_no_distribution_is_not_read() {
        let plain = CriterionDecision::default();
        for odd in [[0.0; 5], [f64::NAN; 5], [-1.0, 1.0, 1.0, 0.0, 0.0], [f64::INFINITY, 0.0, 0.0, 0.0, 0.0]]
        {
            assert_eq!(plain.read(&odd), None, "{odd:?}");
        }
        let sure = plain.read(&[0.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(sure, ReadScore { score: 5, entropy: 0.0, interval: [5, 5] });
    }

    #[test]
    fn what_cannot_decide_is_refused() {
        let of = |decision| ScoreDecision {
            criteria: [("a".to_owned(), decision)].into(),
            made_from: [(ADAPTER_WEIGHTS.to_owned(), "h".to_owned())].into(),
            ..ScoreDecision::default()
        };
        let plain = CriterionDecision::default();
        assert!(of(plain).check().is_ok());
        let falling = CriterionDecision { cut_points: [2.0, 1.0, 3.0, 4.0], ..plain };
        let open = CriterionDecision { cut_points: [1.0, 2.0, 3.0, f64::NAN], ..plain };
        let cold = CriterionDecision { temperature: 0.0, ..plain };
        let none = CriterionDecision { temperature: f64::NAN, ..plain };
        for bad in [falling, open, cold, none] {
            assert!(of(bad).check().unwrap_err().contains("`a`"), "{bad:?}");
        }
        assert!(ScoreDecision::default().check().unwrap_err().contains(ADAPTER_WEIGHTS));
        assert!(of(plain).is_for("h") && !of(plain).is_for("other") && !ScoreDecision::default().is_for(""));
    }
}
