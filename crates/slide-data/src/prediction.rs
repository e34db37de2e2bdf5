use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use project_files::{Defects, ReadScore, ScoreDecision};

use crate::{Contract, Score, Scores};

/// A scored slide: a line of `monitoring/predictions.jsonl` and of a run's `reference_predictions.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Names the line of `predictions.jsonl`; a repeated id is the same line written again, which readers pass over. Made of the time
    /// (a UUID of version 7, which sorts by it), or of the key under which a client asks again (version 8). Absent in older lines and in a
    /// run's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
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
    /// For each criterion the score that the distribution stands for ([`Prediction::decide`]); empty in files of earlier programs, where
    /// it is the mean, rounded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chosen: BTreeMap<String, Score>,
    /// For each criterion the entropy in nats, with the adapter's temperature.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entropy: BTreeMap<String, f64>,
    /// For each criterion the lowest and the highest score that one more rater is likely to give: at least 8 in 10 times between them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interval: BTreeMap<String, [Score; 2]>,
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
            id: None,
            slide_id: slide_id.to_owned(),
            deck_id: "deck".to_owned(),
            sha256: String::new(),
            scored_at: Timestamp::UNIX_EPOCH,
            model_version: "v1".to_owned(),
            distributions: BTreeMap::new(),
            expected: BTreeMap::new(),
            applies: BTreeMap::new(),
            chosen: BTreeMap::new(),
            entropy: BTreeMap::new(),
            interval: BTreeMap::new(),
            features: BTreeMap::new(),
            vision: None,
            latency_ms: 1.0,
        }
    }

    /// Reads mean, score, entropy and interval from the distributions, as the adapter's decision says; without one the mean is rounded and
    /// the probabilities are taken as they are.
    pub fn decide(&mut self, decision: Option<&ScoreDecision>) {
        self.undecide();
        for (key, distribution) in &self.distributions {
            self.expected.insert(key.clone(), expected_score(distribution));
            let rule = decision.map(|decision| decision.of(key)).unwrap_or_default();
            let Some(ReadScore { score, entropy, interval: [low, high] }) = rule.read(distribution) else {
                continue;
            };
            self.chosen.extend(Score::new(score).map(|score| (key.clone(), score)));
            self.entropy.insert(key.clone(), entropy);
            let ends = Score::new(low).zip(Score::new(high));
            self.interval.extend(ends.map(|(low, high)| (key.clone(), [low, high])));
        }
    }

    /// Takes away what was read from the distributions.
    pub fn undecide(&mut self) {
        self.expected.clear();
        self.chosen.clear();
        self.entropy.clear();
        self.interval.clear();
    }

    /// What tells whether two lines are of the same image: its pixels, the slide's id where these are not known.
    pub fn pixels(&self) -> &str {
        if self.sha256.is_empty() { &self.slide_id } else { &self.sha256 }
    }

    /// The score of a criterion: the chosen one; where none was, the mean of its distribution, rounded, halves up. `None` where it has no
    /// distribution.
    pub fn score(&self, criterion: &str) -> Option<Score> {
        let distribution = self.distributions.get(criterion)?;
        self.chosen.get(criterion).copied().or_else(|| rounded_score(distribution))
    }
}

/// A text in 128 bits, so that ten million of them fit into memory and no two are taken for one.
pub fn digest_of(text: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// The mean of a distribution, rounded, halves up; `None` where it has no finite mean.
fn rounded_score(distribution: &[f64; Score::LEVELS]) -> Option<Score> {
    let rounded = (expected_score(distribution) + 0.5).floor();
    rounded.is_finite().then(|| Score::new(rounded.clamp(1.0, 5.0) as u8))?
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

    /// A line whose id was handed out already was written twice by somebody who was not told of the first time, and is passed over.
    fn for_each(path: &Path, mut take: impl FnMut(Self)) -> project_files::Result<Defects> {
        let mut ids = LineIds::default();
        project_files::for_each_entry(path, |prediction: Self| {
            if ids.is_new(&prediction) {
                take(prediction);
            }
        })
    }
}

/// The ids of lines that were read, sixteen bytes each whatever their form.
#[derive(Debug, Clone, Default)]
pub struct LineIds {
    known: HashSet<[u8; 16]>,
}

impl LineIds {
    /// Whether a line is the first with its id; one without an id always is.
    pub fn is_new(&mut self, line: &Prediction) -> bool {
        line.id.as_deref().is_none_or(|id| {
            let digest = Sha256::digest(id.as_bytes());
            self.known.insert(std::array::from_fn(|at| digest[at]))
        })
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
    use project_files::CriterionDecision;

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

    fn prediction() -> Prediction {
        let distributions = [("a", [0.0, 0.1, 0.8, 0.1, 0.0]), ("b", [0.2; 5])];
        Prediction {
            distributions: distributions.map(|(key, shares)| (key.to_owned(), shares)).into(),
            ..Prediction::sample("s")
        }
    }

    #[test]
    fn what_is_chosen_follows_the_decision_and_is_the_rounded_mean_without_one() {
        let mut plain = prediction();
        assert_eq!((plain.score("a"), plain.score("none")), (Score::new(3), None), "as in older files");
        plain.decide(None);
        assert_eq!(
            (plain.chosen["a"], plain.chosen["b"]),
            (plain.score("a").unwrap(), Score::new(3).unwrap())
        );
        assert_eq!(plain.interval["b"].map(Score::get), [1, 5]);
        assert!((plain.entropy["b"] - 5.0_f64.ln()).abs() < 1e-12 && plain.entropy["a"] < plain.entropy["b"]);
        let mut decided = prediction();
        let low = CriterionDecision { cut_points: [3.5, 4.0, 4.5, 4.8], ..CriterionDecision::default() };
        let decision = ScoreDecision { criteria: [("a".to_owned(), low)].into(), ..ScoreDecision::default() };
        decided.decide(Some(&decision));
        assert_eq!((decided.score("a"), decided.score("b")), (Score::new(1), Score::new(3)));
        assert_eq!((&decided.expected, &decided.entropy), (&plain.expected, &plain.entropy));
        decided.distributions.remove("a");
        decided.decide(None);
        assert_eq!(decided.chosen.len(), 1, "nothing is left of what was read before");
    }

    #[test]
    fn what_is_no_distribution_has_no_score() {
        let mut odd = prediction();
        odd.distributions.insert("a".to_owned(), [0.0; 5]);
        odd.decide(None);
        assert_eq!(
            (odd.score("a"), odd.chosen.len(), odd.interval.len(), odd.entropy.len()),
            (None, 1, 1, 1)
        );
    }

    #[test]
    fn a_line_that_was_written_twice_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.jsonl");
        let line = |id: Option<&str>, slide: &str| Prediction {
            id: id.map(str::to_owned),
            ..Prediction::sample(slide)
        };
        let lines = [
            line(None, "a"),
            line(Some("1"), "b"),
            line(None, "a"),
            line(Some("1"), "b"),
            line(Some("2"), "b"),
            line(Some("1"), "c"),
        ];
        Prediction::append(&path, &lines).unwrap();
        let read = Prediction::read_log(&path).unwrap();
        assert_eq!(read.entries, [&lines[0], &lines[1], &lines[2], &lines[4]].map(Clone::clone));
        assert!(read.defects.is_empty(), "a repeated line is no defect");
    }

    #[test]
    fn a_line_of_an_earlier_program_is_read_and_a_score_off_the_scale_is_not() {
        let mut line = serde_json::to_value(prediction()).unwrap();
        assert!(line.get("chosen").is_none(), "nothing was chosen");
        assert_eq!(serde_json::from_value::<Prediction>(line.clone()).unwrap(), prediction());
        line["chosen"] = serde_json::json!({"a": 6});
        assert!(serde_json::from_value::<Prediction>(line).is_err());
    }
}
