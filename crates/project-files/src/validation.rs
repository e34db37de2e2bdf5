use std::collections::BTreeMap;
use std::path::PathBuf;

use durable_files::hash_file;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Baseline, Check, Comparison, Contract, ErrorSpread, Gate, HumanCeiling, Interval, Outcome, Override,
    Result, RunFiles, RunRecord, Sizes, Slice, input,
};

/// Fingerprints that training and validation state of the base.
const BASE: [&str; 2] = ["base_model", "base_processor"];
/// What validation says of the data that it took.
const DATA: [&str; 3] = [input::LABELS, input::SPLITS, input::MANIFEST];

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
    /// The verdict: that of all checks together.
    pub outcome: Outcome,
    /// Whether `outcome` is `pass`.
    pub passes_threshold: bool,
    /// Each check that did not pass in words; where all passed, the overall ones.
    pub reasons: Vec<String>,
    /// `overall_mae`, `overall_within_1`, `overall_exact`, `overall_bias`, `overall_qwk`, `overall_alpha`, `overall_rps`,
    /// `overall_spearman`, `overall_kendall`, `overall_ece` and the same for each criterion, as in `clarity_mae`; what is
    /// undefined on the data is absent. Overall means all ratings pooled.
    pub metrics: BTreeMap<String, f64>,
    /// Intervals of the metrics over decks.
    #[serde(default)]
    pub intervals: BTreeMap<String, Interval>,
    /// How often an interval holds what it estimates.
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
    /// What was set aside or eased by a person, with the reason.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// The best constant.
    #[serde(default)]
    pub baseline: Option<Baseline>,
    /// Cheap models on the same slides, as far as their inputs were at hand.
    #[serde(default)]
    pub cheap_baselines: Vec<Comparison>,
    /// What people who disagree leave to reach, where slides had several raters.
    #[serde(default)]
    pub human_ceiling: Option<HumanCeiling>,
    /// The released model.
    #[serde(default)]
    pub champion: Option<Comparison>,
    /// The untrained base.
    #[serde(default)]
    pub before: Option<Comparison>,
    /// The same model with the mean of each distribution rounded, where its decision gives other scores.
    #[serde(default)]
    pub rounded: Option<Comparison>,
    /// For each criterion how far the model errs from slide to slide of one deck; absent where too little was rated to say.
    #[serde(default)]
    pub error_spread: BTreeMap<String, ErrorSpread>,
    /// Parts of the slides.
    #[serde(default)]
    pub slices: Vec<Slice>,
    /// What differences this test set can show, in words.
    #[serde(default)]
    pub power: Vec<String>,
    /// What limits the numbers, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// SHA-256 of each input by name, the predictions among them; `base_model` is the fingerprint of the base's weights.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

impl Contract for ValidationResults {
    const NAME: &'static str = "validation result";
    const VERSION: u32 = 2;

    /// Version 1 decided by point estimates: its verdict is undecided now, and its checks are told as what they were. Its human
    /// ceiling was another quantity (one person against the rounded mean of the others) and is left out.
    fn migrate(_version: u32, mut value: Value) -> std::result::Result<Value, String> {
        let results = value.as_object_mut().ok_or("it is not an object")?;
        let had_passed = results.get("passes_threshold").and_then(Value::as_bool).unwrap_or_default();
        results.insert("schema_version".to_owned(), json!(Self::VERSION));
        results.insert("outcome".to_owned(), json!(Outcome::Undecided));
        results.insert("passes_threshold".to_owned(), json!(false));
        results.insert("human_ceiling".to_owned(), Value::Null);
        let word = if had_passed { "passed" } else { "did not pass" };
        let warning =
            format!("an earlier program said that it {word}, by point estimates: validate it again");
        results.insert("warnings".to_owned(), json!([warning]));
        for check in results.get_mut("checks").and_then(Value::as_array_mut).into_iter().flatten() {
            check.as_object_mut().map(migrate_check);
        }
        if let Some(baseline) = results.get_mut("baseline").and_then(Value::as_object_mut) {
            migrate_gain(baseline);
        }
        Ok(value)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.passes_threshold == (self.outcome == Outcome::Pass) {
            Ok(())
        } else {
            Err("`passes_threshold` and `outcome` contradict each other".to_owned())
        }
    }
}

/// Files of a run that may be missing when it is validated.
fn optional(run: &RunFiles) -> [PathBuf; 7] {
    [
        run.applicability(),
        run.decision(),
        run.score_head(),
        run.metrics(),
        run.reference_predictions(),
        run.test_predictions(),
        run.report(),
    ]
}

fn migrate_check(check: &mut Map<String, Value>) {
    let passed = check.remove("passed").and_then(|passed| passed.as_bool()).unwrap_or_default();
    check.insert("criterion".to_owned(), json!("overall"));
    check.insert("outcome".to_owned(), json!(if passed { Outcome::Pass } else { Outcome::Fail }));
}

fn migrate_gain(baseline: &mut Map<String, Value>) {
    let interval = baseline.remove("mae_gain_interval").unwrap_or_default();
    if let Some(gain) = baseline.remove("mae_gain").filter(Value::is_number) {
        baseline.insert("gains".to_owned(), json!({"overall_mae": {"value": gain, "interval": interval}}));
    }
}

impl ValidationResults {
    /// Its metrics as a [`Comparison`] for another model's results.
    pub fn comparison(&self, name: impl Into<String>) -> Comparison {
        let (metrics, intervals) = (self.metrics.clone(), self.intervals.clone());
        Comparison { name: name.into(), metrics, intervals, gains: BTreeMap::new() }
    }

    /// The files of a run that results speak of: what a model is made of, how it scored the test slides, and what else is there
    /// and is released with it.
    pub fn of_a_run(run: &RunFiles) -> Vec<PathBuf> {
        let required = [run.adapter_config(), run.adapter_weights(), run.config(), run.record()];
        required.into_iter().chain(optional(run).into_iter().filter(|path| path.exists())).collect()
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
        let mut paths = Self::of_a_run(run);
        // What the results name was there when they were made.
        paths.extend(optional(run).into_iter().filter(|path| {
            !path.exists()
                && path.file_name().is_some_and(|name| self.inputs.contains_key(&*name.to_string_lossy()))
        }));
        for path in paths {
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

    #[test]
    fn results_of_version_1_are_undecided_and_keep_their_numbers() {
        let old = json!({
            "schema_version": 1, "created_at": "2026-01-02T03:04:05Z", "model_version": "r", "human_agreement": 0.9,
            "threshold": 0.85, "passes_threshold": true, "reasons": [], "metrics": {"overall_mae": 0.5},
            "checks": [{"metric": "overall_mae", "value": 0.5, "threshold": 0.6, "passed": true, "reason": "small"}],
            "baseline": {"chosen_on": "train", "constants": {}, "metrics": {}, "mae_gain": 0.4,
                "mae_gain_interval": {"low": 0.3, "high": 0.5}},
            "human_ceiling": {"metrics": {"overall_mae": 0.5}, "ratings": 3},
        });
        let migrated = ValidationResults::migrate(1, old).unwrap();
        let results: ValidationResults = serde_json::from_value(migrated).unwrap();
        assert!(results.check().is_ok());
        assert_eq!((results.schema_version, results.outcome), (2, Outcome::Undecided));
        assert!(results.warnings[0].contains("said that it passed"), "{:?}", results.warnings);
        assert_eq!((results.checks[0].outcome, results.checks[0].value), (Outcome::Pass, Some(0.5)));
        let gain = results.baseline.unwrap().gains["overall_mae"];
        assert_eq!((gain.value, gain.interval), (0.4, Some(Interval { low: 0.3, high: 0.5 })));
        assert_eq!(results.human_ceiling, None);
        assert!(ValidationResults::migrate(1, json!([])).is_err());
    }

    #[test]
    fn a_verdict_that_contradicts_itself_is_refused() {
        let results = ValidationResults { passes_threshold: true, ..ValidationResults::default() };
        assert!(results.check().is_err());
        assert!(ValidationResults::default().check().is_ok());
    }

    #[test]
    fn results_are_of_the_files_that_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFiles::new(dir.path());
        let mut results = ValidationResults::default();
        assert_eq!(results.stale(&run).unwrap().len(), 4, "nothing says what was validated");
        for path in [
            run.adapter_config(),
            run.adapter_weights(),
            run.config(),
            run.record(),
            run.metrics(),
            run.test_predictions(),
        ] {
            std::fs::write(&path, path.to_string_lossy().as_bytes()).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            results.inputs.insert(name, hash_file(&path).unwrap().sha256);
        }
        assert!(results.stale(&run).unwrap().is_empty());
        std::fs::write(run.config(), "other").unwrap();
        std::fs::write(run.test_predictions(), "other").unwrap();
        std::fs::remove_file(run.adapter_config()).unwrap();
        assert_eq!(
            results.stale(&run).unwrap(),
            [
                "`adapter_config.json` is missing",
                "`config.toml` changed since it was validated",
                "`test_predictions.jsonl` changed since it was validated",
            ]
        );
    }
}
