use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slide_data::{Score, read_json, write_json};

use crate::{Check, Error, GateConfig, HumanCeiling, Interval, Result};

/// Version of `validation_results.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// How much was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sizes {
    /// Slides with at least one rated criterion.
    pub slides: usize,
    /// Independent groups of slides (decks), which the intervals resample.
    pub groups: usize,
    /// Rated criteria of slides.
    pub ratings: usize,
    /// Ratings of each criterion.
    pub criteria: BTreeMap<String, usize>,
}

/// What always giving one score per criterion reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Where the constants were chosen: `train` labels, or the `evaluated` ones where no others were given.
    pub chosen_on: String,
    /// The score for each criterion.
    pub constants: BTreeMap<String, Score>,
    /// Its metrics, named as the model's.
    pub metrics: BTreeMap<String, f64>,
    /// The constant's overall MAE minus the model's on the same slides, with its interval.
    pub mae_gain: f64,
    /// Interval of `mae_gain`, from the same resamples for both.
    pub mae_gain_interval: Option<Interval>,
}

/// The metrics of another model, such as the champion or the base before training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The version or what it is, as in `v3` or `before training`.
    pub name: String,
    /// Its metrics, named as the model's.
    pub metrics: BTreeMap<String, f64>,
}

/// `validation_results.json`: how good a model is, against people, and whether it may be released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationResults {
    /// Version of this contract, now [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When it was evaluated.
    pub created_at: Timestamp,
    /// The run or version that was evaluated.
    pub model_version: String,
    /// Share of scores at most one point from the people's: `overall_within_1`.
    pub human_agreement: f64,
    /// What `human_agreement` must reach.
    pub threshold: f64,
    /// Whether every check of the gate passed.
    pub passes_threshold: bool,
    /// Each check's outcome in words, then what limits the numbers.
    pub reasons: Vec<String>,
    /// `overall_mae`, `overall_within_1`, `overall_exact`, `overall_qwk`, `overall_spearman`, `overall_ece` and the same for
    /// each criterion, as in `clarity_mae`; what is undefined on the data is absent. Overall means all ratings pooled.
    pub metrics: BTreeMap<String, f64>,
    /// Bootstrap intervals of the metrics, clustered by deck.
    #[serde(default)]
    pub intervals: BTreeMap<String, Interval>,
    /// Share of resamples inside an interval.
    #[serde(default)]
    pub confidence: f64,
    /// How much was evaluated.
    #[serde(default)]
    pub sizes: Sizes,
    /// The gate's numbers.
    #[serde(default)]
    pub gate: GateConfig,
    /// The gate's checks.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// The best constant.
    #[serde(default)]
    pub baseline: Option<Baseline>,
    /// Agreement among people, where slides had several raters.
    #[serde(default)]
    pub human_ceiling: Option<HumanCeiling>,
    /// The released model's metrics.
    #[serde(default)]
    pub champion: Option<Comparison>,
    /// The untrained base's metrics.
    #[serde(default)]
    pub before: Option<Comparison>,
    /// SHA-256 of each input by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

impl ValidationResults {
    /// The name of the file inside a run.
    pub const FILE_NAME: &'static str = "validation_results.json";

    /// Reads a results file; unknown fields are tolerated.
    ///
    /// # Errors
    /// When the file cannot be read, is not a results file, or has a newer schema version.
    pub fn read(path: &Path) -> Result<Self> {
        let results: Self = read_json(path, "validation result")?;
        if results.schema_version > SCHEMA_VERSION {
            return Err(Error::Version {
                path: path.to_owned(),
                actual: results.schema_version,
                known: SCHEMA_VERSION,
            });
        }
        Ok(results)
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_json(path, self)?)
    }

    /// Its metrics as a [`Comparison`] for another model's results.
    pub fn comparison(&self, name: impl Into<String>) -> Comparison {
        Comparison { name: name.into(), metrics: self.metrics.clone() }
    }
}
