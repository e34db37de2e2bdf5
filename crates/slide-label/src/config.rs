use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How several ratings of a slide become one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsensusRule {
    /// The median; between two scores the one nearer the mean, and at a tie the even one.
    #[default]
    Median,
    /// The mean after each rater's severity is taken out, rounded. The severity is shrunk by how much of it may be chance.
    SeverityCorrectedMean,
}

/// The table `[label]` of `data.toml`: who rates what, and what becomes of the ratings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelConfig {
    /// How many people rate each slide.
    pub raters_per_slide: usize,
    /// How many people at most rate a slide on which they disagree.
    pub max_raters_per_slide: usize,
    /// The scores of a criterion that are at least this far apart call for another rater.
    pub disagreement_spread: u8,
    /// How many slides everybody rates first.
    pub calibration_slides: usize,
    /// How many slides lie between two of one deck, where the choice allows it.
    pub deck_gap: usize,
    /// The share of slides chosen because the model is least sure of them (0 to 1).
    pub uncertain_share: f64,
    /// The share of slides chosen at random among all that are open, so that they stand for the whole (0 to 1).
    pub random_share: f64,
    /// For how long a slide that was handed out is kept for that person, in minutes.
    pub lease_minutes: u32,
    /// Whether the model's scores are shown after a rating is committed.
    pub model_help: bool,
    /// How ratings become a label.
    pub consensus: ConsensusRule,
}

impl Default for LabelConfig {
    fn default() -> Self {
        Self {
            raters_per_slide: 2,
            max_raters_per_slide: 4,
            disagreement_spread: 3,
            calibration_slides: 10,
            deck_gap: 3,
            uncertain_share: 0.0,
            random_share: 0.0,
            lease_minutes: 30,
            model_help: false,
            consensus: ConsensusRule::Median,
        }
    }
}

impl LabelConfig {
    /// Checks that every value lies in its domain.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<()> {
        let domain = |key: &str, expected: &str, actual: String| {
            Err(Error::Domain { key: format!("label.{key}"), expected: expected.to_owned(), actual })
        };
        if self.raters_per_slide == 0 {
            return domain("raters_per_slide", "at least 1", "0".to_owned());
        }
        if self.max_raters_per_slide < self.raters_per_slide {
            let actual = self.max_raters_per_slide.to_string();
            return domain("max_raters_per_slide", "at least `raters_per_slide`", actual);
        }
        if !(1..=5).contains(&self.disagreement_spread) {
            return domain("disagreement_spread", "1 to 5", self.disagreement_spread.to_string());
        }
        for (key, share) in [("uncertain_share", self.uncertain_share), ("random_share", self.random_share)] {
            if !(0.0..=1.0).contains(&share) {
                return domain(key, "a share from 0 to 1", share.to_string());
            }
        }
        let shares = self.uncertain_share + self.random_share;
        if shares > 1.0 {
            return domain("random_share", "at most 1 together with `uncertain_share`", shares.to_string());
        }
        Ok(())
    }
}
