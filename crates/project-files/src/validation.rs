use std::collections::BTreeMap;
use std::path::PathBuf;

use durable_files::hash_file;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Check, Contract, Gate, GateInput, Interval, Result, RunFiles, RunRecord};

/// Fingerprints that training and validation state of the base.
const BASE: [&str; 2] = ["base_model", "base_processor"];
/// What validation says of the data that it took.
const DATA: [&str; 3] = ["labels.json", "splits.json", "manifest.jsonl"];

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
    /// The score for each criterion, 1 to 5.
    pub constants: BTreeMap<String, u8>,
    /// Its metrics, named as the model's.
    pub metrics: BTreeMap<String, f64>,
    /// The constant's overall MAE minus the model's on the same slides, with its interval.
    pub mae_gain: f64,
    /// Interval of `mae_gain`, from the same resamples for both.
    pub mae_gain_interval: Option<Interval>,
}

/// How well a person agrees with the other people: what a model that rates like one more person would reach.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HumanCeiling {
    /// `overall_mae`, `overall_within_1`, `overall_exact` and the same for each criterion.
    pub metrics: BTreeMap<String, f64>,
    /// How many rated criteria of slides had at least two raters.
    pub ratings: usize,
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ValidationResults {
    /// Version of this contract.
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
    pub gate: Gate,
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
    /// SHA-256 of each input by name; `base_model` is the fingerprint of the base's weights.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

impl Contract for ValidationResults {
    const NAME: &'static str = "validation result";
    const VERSION: u32 = 1;
}

impl ValidationResults {
    /// Its metrics as a [`Comparison`] for another model's results.
    pub fn comparison(&self, name: impl Into<String>) -> Comparison {
        Comparison { name: name.into(), metrics: self.metrics.clone() }
    }

    /// What the gate looks at; a number that the results do not hold is NaN.
    pub fn gate_input(&self) -> GateInput {
        let interval = |name: &str| self.intervals.get(name).copied();
        let overall_mae = |metrics: &BTreeMap<String, f64>| metrics.get("overall_mae").copied();
        GateInput {
            agreement: self.human_agreement,
            agreement_interval: interval("overall_within_1"),
            mae: overall_mae(&self.metrics).unwrap_or(f64::NAN),
            mae_interval: interval("overall_mae"),
            constant_mae: self.baseline.as_ref().and_then(|b| overall_mae(&b.metrics)).unwrap_or(f64::NAN),
            gain_interval: self.baseline.as_ref().and_then(|baseline| baseline.mae_gain_interval),
        }
    }

    /// Why the results must not be released, in words; empty when they may. The gate's conditions are checked again, from the
    /// numbers, and what is missing is a refusal.
    pub fn refusals(&self, gate: &Gate) -> Vec<String> {
        let failed = gate.check(&self.gate_input()).into_iter().filter(|check| !check.passed);
        let mut refusals: Vec<String> = failed.map(|check| check.reason).collect();
        if !self.passes_threshold && refusals.is_empty() {
            refusals.push(if self.reasons.is_empty() {
                "the validation did not pass".to_owned()
            } else {
                format!("the validation did not pass: {}", self.reasons.join("; "))
            });
        }
        refusals
    }

    /// The files of a run that results speak of: what a model is made of, and what else is there and is released with it.
    pub fn of_a_run(run: &RunFiles) -> Vec<PathBuf> {
        let required = [run.adapter_config(), run.adapter_weights(), run.config(), run.record()];
        let others = [run.metrics(), run.reference_predictions(), run.report()];
        required.into_iter().chain(others.into_iter().filter(|path| path.exists())).collect()
    }

    /// What ties results to base and data, and is missing or speaks of another one than the run was trained on, in words.
    pub fn unbound(&self, record: &RunRecord) -> Vec<String> {
        let mut reasons = Vec::new();
        for name in BASE {
            match (self.inputs.get(name), record.inputs.get(name)) {
                (Some(validated), Some(trained)) if validated == trained => {}
                (Some(_), Some(_)) => {
                    reasons.push(format!("they are of another `{name}` than the run was trained on"));
                }
                (None, _) => reasons.push(format!("the results do not say which `{name}` was validated")),
                (_, None) => reasons.push(format!("the run does not say which `{name}` it was trained on")),
            }
        }
        for name in DATA.into_iter().filter(|name| !self.inputs.contains_key(*name)) {
            reasons.push(format!("the results do not say which `{name}` they are of"));
        }
        reasons
    }

    /// Which of a run's own files the results do not speak of, or speak of in another state, in words.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn stale(&self, run: &RunFiles) -> Result<Vec<String>> {
        let mut stale = Vec::new();
        for path in Self::of_a_run(run) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.inputs.get(&name) {
                None => stale.push(format!("the results do not say which `{name}` was validated")),
                Some(_) if !path.exists() => stale.push(format!("`{name}` is missing")),
                Some(hash) if hash_file(&path)?.sha256 != *hash => {
                    stale.push(format!("`{name}` changed since it was validated"));
                }
                Some(_) => {}
            }
        }
        Ok(stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> ValidationResults {
        let baseline = Baseline {
            chosen_on: "train".to_owned(),
            constants: BTreeMap::new(),
            metrics: BTreeMap::from([("overall_mae".to_owned(), 1.0)]),
            mae_gain: 0.5,
            mae_gain_interval: None,
        };
        ValidationResults {
            schema_version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            model_version: "run".to_owned(),
            human_agreement: 0.9,
            threshold: 0.85,
            passes_threshold: true,
            reasons: vec![],
            metrics: BTreeMap::from([("overall_mae".to_owned(), 0.5)]),
            intervals: BTreeMap::new(),
            confidence: 0.95,
            sizes: Sizes::default(),
            gate: Gate::default(),
            checks: vec![],
            baseline: Some(baseline),
            human_ceiling: None,
            champion: None,
            before: None,
            inputs: BTreeMap::new(),
        }
    }

    #[test]
    fn the_numbers_decide_and_not_only_the_verdict_that_stands_beside_them() {
        let gate = Gate::default();
        assert!(results().refusals(&gate).is_empty());
        let changed = |change: fn(&mut ValidationResults)| {
            let mut results = results();
            change(&mut results);
            results.refusals(&gate).len()
        };
        assert_eq!(changed(|r| r.human_agreement = 0.85), 1);
        assert_eq!(changed(|r| _ = r.metrics.remove("overall_mae")), 2, "neither bound can be checked");
        assert_eq!(changed(|r| r.baseline = None), 1, "no constant to compare with");
        assert_eq!(changed(|r| r.passes_threshold = false), 1);
        assert_eq!(changed(|r| r.human_agreement = f64::NAN), 1);
    }

    #[test]
    fn results_are_of_the_files_that_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFiles::new(dir.path());
        let mut results = results();
        assert_eq!(results.stale(&run).unwrap().len(), 4, "nothing says what was validated");
        for path in [run.adapter_config(), run.adapter_weights(), run.config(), run.record(), run.metrics()] {
            std::fs::write(&path, path.to_string_lossy().as_bytes()).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            results.inputs.insert(name, hash_file(&path).unwrap().sha256);
        }
        assert!(results.stale(&run).unwrap().is_empty());
        std::fs::write(run.config(), "other").unwrap();
        std::fs::remove_file(run.adapter_config()).unwrap();
        assert_eq!(
            results.stale(&run).unwrap(),
            ["`adapter_config.json` is missing", "`config.toml` changed since it was validated"]
        );
    }
}
