use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Contract;

/// `doubtful_labels.json`: ratings that a model which did not learn from them would not have expected, the least expected first, for a
/// lead to look at again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DoubtfulLabels {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// When it was made. What a lead has decided since is settled.
    pub created_at: Timestamp,
    /// The run whose model was asked.
    pub model_version: String,
    /// SHA-256 of what it was made from, by name: the labels.
    pub made_from: BTreeMap<String, String>,
    /// Ratings that were looked at; only the most doubtful of them are listed.
    pub ratings: usize,
    /// The ratings, the least expected first.
    pub labels: Vec<DoubtfulLabel>,
}

/// What people say of a criterion of a slide, and how far a model is from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DoubtfulLabel {
    /// The slide.
    pub slide_id: String,
    /// The criterion.
    pub criterion: String,
    /// What people say, 1 to 5.
    pub score: u8,
    /// How far from that the model expects one more rater's score to lie, in points.
    pub distance: f64,
    /// What was asked: the run, or the cheap model that learned from other decks alone.
    pub by: String,
}

impl Contract for DoubtfulLabels {
    const NAME: &'static str = "list of doubtful labels";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        let is_odd = |label: &&DoubtfulLabel| {
            !(1..=5).contains(&label.score) || !(0.0..=4.0).contains(&label.distance)
        };
        self.labels.iter().find(is_odd).map_or(Ok(()), |label| {
            Err(format!("`{}` of `{}` is off the scale", label.criterion, label.slide_id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_the_scale_is_refused() {
        let of = |score, distance| DoubtfulLabels {
            labels: vec![DoubtfulLabel { score, distance, ..DoubtfulLabel::default() }],
            ..DoubtfulLabels::default()
        };
        assert!(of(1, 4.0).check().is_ok() && of(5, 0.0).check().is_ok());
        for bad in [of(0, 1.0), of(6, 1.0), of(3, -0.1), of(3, 4.1), of(3, f64::NAN)] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
