use serde::{Deserialize, Serialize};

use crate::{Error, Result, SplitRatios};

/// `[duplicates]`: when two slides count as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DuplicateThresholds {
    /// Slides whose coarse hashes are at least this similar (cosine, 0 to 1) are compared closely.
    pub similarity: f32,
    /// Slides that differ by at most this much where they differ most are near-duplicates.
    pub difference: f32,
    /// Decks are versions of each other, and one group, if at least this share of the larger one's pages stands in both.
    pub alike: f64,
    /// A page of this many decks that are not versions of each other (thanks, legal notice, partners) joins none of them.
    pub common: usize,
}

impl Default for DuplicateThresholds {
    fn default() -> Self {
        Self { similarity: 0.8, difference: 0.5, alike: 0.4, common: 3 }
    }
}

impl DuplicateThresholds {
    /// Checks the values that decide which decks are one group.
    ///
    /// # Errors
    /// Names the first key outside its domain.
    pub fn validate(&self) -> Result<()> {
        let domain = |key: &str, expected: &str, actual: String| {
            Err(Error::Domain { key: format!("duplicates.{key}"), expected: expected.to_owned(), actual })
        };
        if !(self.alike > 0.0 && self.alike <= 1.0) {
            return domain("alike", "above 0 and at most 1", self.alike.to_string());
        }
        if self.common < 3 {
            return domain("common", "at least 3", self.common.to_string());
        }
        Ok(())
    }
}

/// `[splits]`: the shares of the splits and the seed of the assignment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// Share of the validation split.
    pub val: f64,
    /// Share of the test split.
    pub test: f64,
    /// Seed of the assignment.
    pub seed: u64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        let SplitRatios { val, test } = SplitRatios::default();
        Self { val, test, seed: 42 }
    }
}

impl SplitConfig {
    /// The shares alone.
    pub fn ratios(&self) -> SplitRatios {
        SplitRatios { val: self.val, test: self.test }
    }

    /// Checks that every split gets a share.
    ///
    /// # Errors
    /// Names the key whose share is not between 0 and 1, or says that nothing is left for training.
    pub fn validate(&self) -> Result<()> {
        let domain = |key: &str, expected: &str, actual: f64| {
            Err(Error::Domain {
                key: format!("splits.{key}"),
                expected: expected.to_owned(),
                actual: actual.to_string(),
            })
        };
        for (key, share) in [("val", self.val), ("test", self.test)] {
            if !(share > 0.0 && share < 1.0) {
                return domain(key, "between 0 and 1", share);
            }
        }
        if self.val + self.test >= 1.0 {
            return domain("val", "less than 1 together with `splits.test`", self.val + self.test);
        }
        Ok(())
    }
}
