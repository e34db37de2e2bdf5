use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Score, Scores};

/// A scored slide: a line of `monitoring/predictions.jsonl` and of a run's `reference_predictions.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The slide.
    pub slide_id: String,
    /// Its deck.
    pub deck_id: String,
    /// SHA-256 of the decoded RGB pixels.
    pub sha256: String,
    /// When it was scored.
    pub scored_at: Timestamp,
    /// The released version or the run that scored it.
    pub model_version: String,
    /// For each criterion the probabilities of 1, 2, 3, 4, 5; they sum to 1.
    pub distributions: BTreeMap<String, [f64; Score::LEVELS]>,
    /// For each criterion the mean of its distribution, 1 to 5.
    pub expected: BTreeMap<String, f64>,
    /// For each criterion that need not apply the probability that it does. A criterion that is more likely not to apply has no
    /// distribution, but in a validation where people rated it; one that is missing here applies to every slide.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub applies: BTreeMap<String, f64>,
    /// Properties of the image, such as brightness and edge density.
    #[serde(default)]
    pub features: BTreeMap<String, f64>,
    /// What the vision tower says of the image, made small; absent where an adapter changes the tower, and in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionSketch>,
    /// How long the slide took, in milliseconds.
    pub latency_ms: f64,
}

impl Prediction {
    /// A scored slide that stands for any, for tests and examples, which change what matters to them: of the deck `deck` and the
    /// version `v1`, without scores.
    pub fn sample(slide_id: &str) -> Self {
        Self {
            schema_version: Self::VERSION,
            slide_id: slide_id.to_owned(),
            deck_id: "deck".to_owned(),
            sha256: String::new(),
            scored_at: Timestamp::UNIX_EPOCH,
            model_version: "v1".to_owned(),
            distributions: BTreeMap::new(),
            expected: BTreeMap::new(),
            applies: BTreeMap::new(),
            features: BTreeMap::new(),
            vision: None,
            latency_ms: 1.0,
        }
    }
}

/// What a vision tower says of an image, made small enough for a log: the mean of its rows, projected onto random directions, which
/// keeps distances between slides nearly as they are (Johnson and Lindenstrauss 1984), and rounded to integers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionSketch {
    /// Names the base whose tower it was. Sketches of different bases have nothing to do with each other.
    pub base: String,
    /// What 1 stands for.
    pub scale: f32,
    /// One number a direction.
    pub values: Vec<i16>,
}

impl VisionSketch {
    /// How many directions there are.
    pub const WIDTH: usize = 64;

    /// Rounds a projection; `None` where a number of it is not finite.
    pub fn new(base: &str, projected: &[f32; Self::WIDTH]) -> Option<Self> {
        let largest = projected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        if !projected.iter().all(|value| value.is_finite()) {
            return None;
        }
        let scale = if largest > 0.0 { largest / f32::from(i16::MAX) } else { 1.0 };
        let values = projected.iter().map(|value| (value / scale).round() as i16).collect();
        Some(Self { base: base.to_owned(), scale, values })
    }

    /// The projection; `None` where the line holds something else.
    pub fn vector(&self) -> Option<Vec<f64>> {
        let is_whole = self.values.len() == Self::WIDTH && self.scale.is_finite();
        let value = |value: &i16| f64::from(*value) * f64::from(self.scale);
        is_whole.then(|| self.values.iter().map(value).collect())
    }
}

impl Contract for Prediction {
    const NAME: &'static str = "scored slide";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        let is_share = |p: &f64| (0.0..=1.0 + 1e-6).contains(p);
        match self.distributions.iter().find(|(_, shares)| !shares.iter().all(is_share)) {
            Some((key, shares)) => Err(format!("`{key}` holds {shares:?}, which are no probabilities")),
            None => Ok(()),
        }
    }
}

impl Contract for Correction {
    const NAME: &'static str = "correction";
    const VERSION: u32 = 1;
}

/// The mean of a distribution over the scores 1 to 5.
pub fn expected_score(distribution: &[f64; Score::LEVELS]) -> f64 {
    let total: f64 = distribution.iter().sum();
    distribution.iter().zip(1..).map(|(p, score)| p * f64::from(score)).sum::<f64>() / total
}

/// A user's corrected scores for a scored slide: a line of `data/user_feedback/corrections.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Names the correction; a repeated id is the same correction sent again.
    pub id: String,
    /// The slide.
    pub slide_id: String,
    /// The version whose scores were corrected.
    pub model_version: String,
    /// Who corrected.
    pub annotator: String,
    /// When.
    pub corrected_at: Timestamp,
    /// What the model had said (means), by criterion.
    pub predicted: BTreeMap<String, f64>,
    /// What the person says, by criterion; criteria that were left alone are absent.
    pub scores: Scores,
    /// Why.
    #[serde(default)]
    pub notes: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_keeps_a_projection_to_four_digits() {
        let projected: [f32; VisionSketch::WIDTH] = std::array::from_fn(|at| (at as f32 - 20.5) * 3.25);
        let sketch = VisionSketch::new("base", &projected).unwrap();
        let back = sketch.vector().unwrap();
        let most = f64::from(projected[63]);
        assert!(
            projected.iter().zip(&back).all(|(a, b)| (f64::from(*a) - b).abs() < 2e-5 * most),
            "{back:?}"
        );
        assert_eq!(VisionSketch::new("base", &[0.0; 64]).unwrap().vector().unwrap(), [0.0; 64]);
        let mut broken = projected;
        broken[3] = f32::NAN;
        assert_eq!(VisionSketch::new("base", &broken), None);
        assert_eq!(VisionSketch { values: vec![1; 63], ..sketch }.vector(), None);
    }
}
