use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::{Contract, Layout};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Result;
use crate::failures::is_of_failures;
use crate::features::FeatureGroup;
use crate::power::GroupPower;
use crate::vision::VisionDrift;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftStatus {
    /// The score is not above the threshold, and a change that matters would have been seen, in images and in scores.
    Stable,
    /// The score is above the threshold.
    Drifted,
    /// Too little data to say either.
    Insufficient,
}

/// How one feature changed. Each deck counts alike in all numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    /// `picture.<property>`, `score.<criterion>`, `entropy.<criterion>`, `presence.<either>`; or `presence.readable` and
    /// `presence.accepted`, of what was handed in.
    pub name: String,
    /// What it says something about.
    pub group: FeatureGroup,
    /// Slides of the reference that have it.
    pub reference_slides: usize,
    /// Recent slides that have it.
    pub recent_slides: usize,
    /// Mean over the reference.
    pub reference_mean: f64,
    /// Mean over recent slides.
    pub recent_mean: f64,
    /// Population stability index over the reference's deciles.
    pub psi: f64,
    /// Jensen–Shannon divergence in bits over the same bins, 0 to 1.
    pub js_divergence: f64,
    /// Kolmogorov–Smirnov statistic, 0 to 1.
    pub ks: f64,
    /// First Wasserstein distance in the feature's unit.
    pub wasserstein: f64,
    /// Chance of decks that differ as much where nothing changed, decks re-labelled at random.
    pub p_value: f64,
    /// The same for any of the features: corrected for looking at many.
    pub adjusted_p_value: f64,
    /// Chance that a shift of `power_shift` standard deviations (of the threshold, for a presence) would have been flagged.
    pub power: Option<f64>,
    /// Whether `adjusted_p_value` is at most `alpha`.
    pub drifted: bool,
    /// Its part in the score: `ks` where drifted, else 0.
    pub strength: f64,
    /// 21 quantiles (0, 5, … 100 %) of the reference and of recent slides, for plots.
    pub quantiles: [Vec<f64>; 2],
}

impl FeatureDrift {
    /// Whether it says how much of what was handed in became no slide.
    pub fn is_of_failures(&self) -> bool {
        is_of_failures(&self.name)
    }
}

/// A recent deck that differs from those of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovedDeck {
    /// The deck.
    pub deck_id: String,
    /// Its recent slides.
    pub slides: usize,
    /// Root mean square over the changed features of how many deviations between decks of training it lies from their mean.
    pub distance: f64,
    /// The changed features in which it lies more than two deviations away, the farthest first.
    pub features: Vec<String>,
    /// The slide that lies farthest away in the first of them.
    pub example_slide: String,
}

/// How many slides were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DriftSizes {
    /// Slides of training.
    pub reference_slides: usize,
    /// Their decks.
    pub reference_decks: usize,
    /// Recent slides, each once.
    pub recent_slides: usize,
    /// Their decks.
    pub recent_decks: usize,
    /// Slides that other versions or runs scored in that time; they do not count.
    pub other_versions: usize,
    /// Slides that the version was trained or chosen on and that were scored in that time; they do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seen_in_training: usize,
    /// Files and pages that were handed in in that time and could not be read or scored, each once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors: usize,
    /// Those that were refused: too large, protected, or no slides.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: usize,
    /// Slides dated ahead of the report's time; they do not count.
    pub dated_ahead: usize,
    /// Lines of the log that cannot be read.
    pub broken_lines: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// `latest_drift.json`.
///
/// `drift_score` is the largest share of slides, over all features that changed beyond chance (the classifier's odds of `vision` among
/// them), that lie on the other side of some
/// value than slides of training do (each deck counting alike): 0.30 says that of 100 slides at least 30 look, score or lack
/// something as they did not before. The loss of a criterion makes it 1; a point less on all criteria moves more than 30 of 100 slides
/// across the middle, as long as scores spread by less than 1.3 points. As a feature counts only where its p-value, corrected for their
/// number, is at most `alpha`, the score is 0 in at least `1 - alpha` of all comparisons in which nothing changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Version of this contract, now 2.
    pub schema_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version whose scores were looked at: the one in use.
    pub model_version: Option<String>,
    /// What was found.
    pub status: DriftStatus,
    /// 0 (nothing changed) to 1; absent where there were too few slides or decks to compute it.
    pub drift_score: Option<f64>,
    /// A score above this counts as drift.
    pub threshold: f64,
    /// The least adjusted p-value of the features whose strength is above the threshold, or of all where none is: what the yearly error budget is
    /// spent on.
    #[serde(default)]
    pub p_value: Option<f64>,
    /// The finding in words.
    pub reasons: Vec<String>,
    /// How much was compared.
    pub sizes: DriftSizes,
    /// Chance of flagging any feature where nothing changed.
    pub alpha: f64,
    /// How many re-labellings of the decks the p-values come from.
    #[serde(default)]
    pub permutations: usize,
    /// The least power of images and scores.
    pub power: Option<f64>,
    /// The change that must not go unseen, in standard deviations of the reference.
    pub power_shift: f64,
    /// What each group of features could have seen, and what it lacks.
    #[serde(default)]
    pub groups: Vec<GroupPower>,
    /// The features, the strongest first.
    pub features: Vec<FeatureDrift>,
    /// How slides differ as the vision tower sees them; absent where that was not compared, which `reasons` then says.
    #[serde(default)]
    pub vision: Option<VisionDrift>,
    /// The recent decks that differ most, where something changed.
    #[serde(default)]
    pub decks: Vec<MovedDeck>,
    /// Features that either side has on fewer than `min_slides` slides or `min_decks` decks, or that are the same on all; they are not compared.
    pub left_out: Vec<String>,
    /// SHA-256 of each input by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

impl Contract for DriftReport {
    const NAME: &'static str = "drift report";
    const VERSION: u32 = 2;

    /// In version 1 the score was a mean over groups of features of slides, of whichever version had scored last: it says nothing of
    /// the present score, and nothing is concluded from it.
    fn migrate(_version: u32, mut value: Value) -> std::result::Result<Value, String> {
        let report = value.as_object_mut().ok_or("it is not an object")?;
        report.insert("schema_version".to_owned(), json!(Self::VERSION));
        report.insert("status".to_owned(), json!(DriftStatus::Insufficient));
        report.insert("drift_score".to_owned(), Value::Null);
        let reason = "an earlier program made the report, whose score means something else: run pq-monitor";
        report.insert("reasons".to_owned(), json!([reason]));
        Ok(value)
    }
}

impl DriftReport {
    /// The drift score and its p-value without files that could not be read, from which no training learns; with them where they changed
    /// nothing.
    pub(crate) fn to_learn_from(&self) -> (Option<f64>, Option<f64>) {
        let is_failing =
            |feature: &FeatureDrift| feature.is_of_failures() && feature.strength > self.threshold;
        if self.drift_score.is_none() || !self.features.iter().any(is_failing) {
            return (self.drift_score, self.p_value);
        }
        let others = self.features.iter().filter(|feature| !feature.is_of_failures());
        let of_others = others.map(|feature| (feature.strength, feature.adjusted_p_value));
        let of_vision = self.vision.as_ref().map(|vision| (vision.strength, vision.adjusted_p_value));
        let all: Vec<(f64, f64)> = of_others.chain(of_vision).collect();
        let score = all.iter().map(|(strength, _)| *strength).fold(0.0, f64::max);
        (Some(score), least_p_value(&all, self.threshold))
    }

    /// The shift that `power` is about, as in "one standard deviation".
    pub fn power_shift_in_words(&self) -> String {
        let is_one = (self.power_shift - 1.0).abs() < 1e-9;
        if is_one {
            "one standard deviation".to_owned()
        } else {
            format!("{} standard deviations", self.power_shift)
        }
    }
}

/// The least p-value of those whose strength (each the first number) passes the threshold, or of all.
pub(crate) fn least_p_value(all: &[(f64, f64)], threshold: f64) -> Option<f64> {
    let least = |is_strong: bool| {
        let own = all.iter().filter(|(strength, _)| !is_strong || *strength > threshold);
        own.map(|(_, p)| *p).min_by(f64::total_cmp)
    };
    least(true).or_else(|| least(false))
}

/// Writes the newest drift report of a project, and a copy under its date beside it.
///
/// # Errors
/// When a file cannot be written; each file is old or new, never half.
pub fn write_drift_report(layout: &Layout, report: &DriftReport) -> Result<()> {
    let dated = report.created_at.strftime("drift-%Y-%m-%dT%H%M%SZ.json").to_string();
    report.write(&layout.drift_reports().join(dated))?;
    Ok(report.write(&layout.latest_drift())?)
}
