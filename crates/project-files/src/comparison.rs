use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Interval;

/// How much was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// Slides with at least one rated criterion.
    pub slides: usize,
    /// Independent groups of slides (decks), over which the intervals are made.
    pub groups: usize,
    /// Rated criteria of slides.
    pub ratings: usize,
    /// Ratings of each criterion of the rubric; 0 where there is none.
    pub criteria: BTreeMap<String, usize>,
    /// Groups with a rating of each criterion.
    pub criterion_groups: BTreeMap<String, usize>,
    /// Slides to which people say that a criterion does not apply.
    pub not_applicable: BTreeMap<String, usize>,
    /// Slides of which nobody said anything about a criterion.
    pub missing: BTreeMap<String, usize>,
}

/// By how much this model is better than another rater of the same slides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// The difference in the metric's unit, with the sign that makes "better" positive.
    pub value: f64,
    /// Its interval, paired: both raters' errors on a deck are left out together.
    pub interval: Option<Interval>,
}

/// How far the model errs from slide to slide of one deck, for the same rating by people: what two scores must differ by before the
/// difference says anything of the slides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorSpread {
    /// Standard deviation of the model's mean around what it usually is for the people's mean, within a deck, in points.
    pub deviation: f64,
    /// By how much the model's mean rises with a point of the people's.
    pub slope: f64,
    /// Degrees of freedom of the deviation: ratings, but for one a deck and one for the slope.
    pub degrees: f64,
}

/// What always giving one score per criterion reaches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Where the constants were chosen: `train` labels, or the `evaluated` ones where no others were given.
    pub chosen_on: String,
    /// The score for each criterion, 1 to 5.
    pub constants: BTreeMap<String, u8>,
    /// Its metrics, named as the model's.
    pub metrics: BTreeMap<String, f64>,
    /// Their intervals.
    #[serde(default)]
    pub intervals: BTreeMap<String, Interval>,
    /// By how much the model is better, by the metric's name, as in `overall_mae`.
    #[serde(default)]
    pub gains: BTreeMap<String, Gain>,
    /// By which share of the constant's mean absolute error the model's is smaller: for `overall` and each criterion.
    #[serde(default)]
    pub relative_gains: BTreeMap<String, Gain>,
}

/// Another rater of the same slides: the champion, the base before training, a cheap baseline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The version or what it is, as in `v3` or `before training`.
    pub name: String,
    /// Its metrics, named as the model's.
    pub metrics: BTreeMap<String, f64>,
    /// Their intervals.
    #[serde(default)]
    pub intervals: BTreeMap<String, Interval>,
    /// By how much the model is better, by the metric's name, as in `overall_mae`.
    #[serde(default)]
    pub gains: BTreeMap<String, Gain>,
}

/// What people who disagree leave to reach.
///
/// Metrics are named as the model's: `overall_mae`, `overall_within_1`, `overall_exact` and the same for each criterion.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HumanCeiling {
    /// What a model that knows every slide's hidden quality would reach against these labels.
    pub metrics: BTreeMap<String, f64>,
    /// Their intervals.
    pub intervals: BTreeMap<String, Interval>,
    /// What one person reaches against the label that the other people give.
    pub person: BTreeMap<String, f64>,
    /// Their intervals.
    pub person_intervals: BTreeMap<String, Interval>,
    /// What the model reaches against the same labels of one person fewer: to be compared with `person`.
    pub model: BTreeMap<String, f64>,
    /// Their intervals.
    pub model_intervals: BTreeMap<String, Interval>,
    /// The raters' noise on each criterion in points (standard deviation).
    pub noise: BTreeMap<String, f64>,
    /// How many rated criteria of slides had at least two raters.
    pub ratings: usize,
}

/// The metrics on a part of the ratings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slice {
    /// What the slides are divided by: `deck`, `chart`, `raters`.
    pub by: String,
    /// Which part, as in a deck's group, `with chart`, `3 raters`.
    pub name: String,
    /// Its slides.
    pub slides: usize,
    /// Its groups.
    pub groups: usize,
    /// Its ratings.
    pub ratings: usize,
    /// `mae`, `within_1`, `qwk`, `bias` of all its ratings together; what is not defined is absent.
    pub metrics: BTreeMap<String, f64>,
    /// Their intervals.
    #[serde(default)]
    pub intervals: BTreeMap<String, Interval>,
}
