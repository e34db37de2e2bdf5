use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run_files::ADAPTER_WEIGHTS;
use crate::{Contract, Gain};

/// Scores that there are, 1 to 5.
const LEVELS: usize = 5;

/// `score_head.json`: a linear function of what the vision tower sees that tells the probabilities of 1 to 5, alone or together with the
/// adapter beside it.
///
/// Learned from the training slides by ridge regression on the pooled features. How much it has to say beside an adapter was measured on the
/// validation slides.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScoreHead {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Its share of each probability, 0 to 1; the adapter has the rest, and is not asked where that is nothing.
    pub share: f64,
    /// What it says of each criterion; of one that is missing the adapter alone is asked.
    pub criteria: BTreeMap<String, CriterionHead>,
    /// SHA-256 of what it is for, by name: the weights of the adapter beside it.
    pub made_from: BTreeMap<String, String>,
    /// Training slides that it was learned from.
    pub slides: usize,
    /// By how much the adapter and the head together have a smaller ranked probability score than the adapter alone, on validation decks
    /// that the share was not chosen on; `None` where the head stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
}

/// What tells the probabilities of one criterion.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CriterionHead {
    /// For each score a weight for each pooled feature (means over the image, maxima, standard deviations).
    pub weights: [Vec<f32>; LEVELS],
    /// The probabilities where all features are 0.
    pub intercept: [f64; LEVELS],
}

impl CriterionHead {
    /// The probabilities of 1 to 5 of an image with these features: what the function says, without what is below 0, divided by its sum.
    /// `None` where there are not as many features as weights, or no sum above 0 comes out.
    pub fn rate(&self, features: &[f32]) -> Option<[f64; LEVELS]> {
        if self.weights.iter().any(|weights| weights.len() != features.len()) {
            return None;
        }
        let said: [f64; LEVELS] = std::array::from_fn(|level| {
            let products =
                self.weights[level].iter().zip(features).map(|(w, x)| f64::from(*w) * f64::from(*x));
            (self.intercept[level] + products.sum::<f64>()).max(0.0)
        });
        let sum: f64 = said.iter().sum();
        (sum > 0.0 && sum.is_finite()).then(|| said.map(|value| value / sum))
    }
}

impl ScoreHead {
    /// Whether the adapter is not asked at all.
    pub fn is_alone(&self) -> bool {
        self.share >= 1.0
    }

    /// The probabilities of both together, given those of the adapter.
    pub fn blend(&self, head: &[f64; LEVELS], adapter: &[f64; LEVELS]) -> [f64; LEVELS] {
        std::array::from_fn(|level| self.share * head[level] + (1.0 - self.share) * adapter[level])
    }

    /// Whether it was made for the adapter with these weights.
    pub fn is_for(&self, weights_sha256: &str) -> bool {
        self.made_from.get(ADAPTER_WEIGHTS).is_some_and(|sha256| sha256 == weights_sha256)
    }
}

impl Contract for ScoreHead {
    const NAME: &'static str = "score head";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(format!("its share must lie between 0 and 1, it is {}", self.share));
        }
        for (key, CriterionHead { weights, intercept }) in &self.criteria {
            let mut numbers =
                weights.iter().flatten().map(|weight| f64::from(*weight)).chain(intercept.iter().copied());
            let is_even = weights.iter().all(|of| !of.is_empty() && of.len() == weights[0].len());
            if !is_even || !numbers.all(f64::is_finite) {
                return Err(format!("the weights of `{key}` are not all numbers, or not equally many"));
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

    fn head(share: f64, weights: [Vec<f32>; LEVELS], intercept: [f64; LEVELS]) -> ScoreHead {
        ScoreHead {
            share,
            criteria: [("a".to_owned(), CriterionHead { weights, intercept })].into(),
            made_from: [(ADAPTER_WEIGHTS.to_owned(), "h".to_owned())].into(),
            ..ScoreHead::default()
        }
    }

    /// Worked out by hand.
    #[test]
    #[expect(clippy::float_cmp, reason = "the same operations on numbers that are exact")]
    fn what_is_below_zero_counts_for_nothing() {
        let weights = [vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0], vec![0.0, 0.0], vec![0.0, 0.5]];
        let head = head(0.25, weights, [0.0, 0.0, 0.5, 0.25, -4.0]);
        let said = head.criteria["a"].rate(&[1.0, 2.0]).unwrap();
        assert_eq!(said, [1.0 / 3.25, 2.0 / 3.25, 0.0, 0.25 / 3.25, 0.0]);
        let both = head.blend(&[1.0, 0.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(both, [0.25, 0.0, 0.0, 0.375, 0.375]);
        assert_eq!(head.criteria["a"].rate(&[1.0]), None, "another vision tower");
        assert_eq!(head.criteria["a"].rate(&[f32::NAN, 1.0]), None);
        assert_eq!(head.criteria["a"].rate(&[-9.0, -9.0]).map(|p| p[2]), Some(9.5 / 9.75));
    }

    #[test]
    fn what_cannot_rate_is_refused() {
        let even = || std::array::from_fn(|_| vec![1.0, 2.0]);
        assert!(head(1.0, even(), [0.2; 5]).check().is_ok());
        assert!(head(1.0, even(), [0.2; 5]).is_for("h") && !ScoreHead::default().is_for(""));
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(head(share, even(), [0.2; 5]).check().unwrap_err().contains("share"), "{share}");
        }
        let mut uneven = even();
        uneven[3].pop();
        let mut odd = even();
        odd[3][0] = f32::INFINITY;
        for weights in [uneven, odd, Default::default()] {
            assert!(head(0.5, weights, [0.2; 5]).check().unwrap_err().contains("`a`"));
        }
        assert!(head(0.5, even(), [f64::NAN; 5]).check().unwrap_err().contains("`a`"));
        let nameless = ScoreHead { made_from: BTreeMap::new(), ..head(0.5, even(), [0.2; 5]) };
        assert!(nameless.check().unwrap_err().contains(ADAPTER_WEIGHTS));
    }
}
