use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Contract, Gain};

/// `run.json`: what a run was made from, with what, and how it went. Written when the run begins and again when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this contract.
    pub schema_version: u32,
    /// The name of the run.
    pub run_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs, and where it was killed.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// The base checkpoint, by the name that the configuration gave it.
    pub base_model: String,
    /// Whether that name is an id of the Hub.
    #[serde(default)]
    pub base_is_hub_id: bool,
    /// SHA-256 of the files that the run read, by name; `base_model` and `base_processor` are fingerprints of the base.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each of the base's [`PROCESSOR_FILES`](crate::PROCESSOR_FILES) that was there, by name; empty in records of
    /// earlier programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processor_files: BTreeMap<String, String>,
    /// The slides.
    #[serde(default)]
    pub data: DataSummary,
    /// The corrections that training obeys: the slide of each, by id.
    #[serde(default)]
    pub corrections: BTreeMap<String, String>,
    /// The test set as it was; absent in records of earlier programs, which did not say.
    #[serde(default)]
    pub test_set: Option<TestSet>,
    /// Criteria that no training slide has a score for: nothing was taught of them, and nothing is said of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untaught: Vec<String>,
    /// The adapter that the run began with; absent where it began with a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<StartedFrom>,
    /// What was known of the validation slides before the first step; absent in records of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    /// How the training went; absent while it runs.
    #[serde(default)]
    pub training: Option<TrainingSummary>,
    /// Versions of the programs, by name.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// The code that ran; absent in records of versions 1 and 2, which did not say.
    #[serde(default)]
    pub code: Option<CodeState>,
    /// Where orders, drawn samples, dropout and the adapter began; absent in records of versions 1 and 2.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The machine.
    #[serde(default)]
    pub hardware: Hardware,
}

/// The code of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CodeState {
    /// SHA-256 of the program's file; empty where it could not be read.
    pub program_sha256: String,
    /// The commit of the folder that the run was started in, where git keeps it.
    pub commit: Option<String>,
    /// SHA-256 of what files that git knows differ by from that commit; absent where they do not.
    pub diff_sha256: Option<String>,
}

/// How many slides, decks and raters a run learned from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSummary {
    /// Labelled slides.
    pub slides: usize,
    /// Their decks.
    pub decks: usize,
    /// The most raters that a slide has.
    pub raters_per_slide_at_most: usize,
    /// Slides to train on.
    pub train_slides: usize,
    /// Slides to choose the checkpoint by.
    pub val_slides: usize,
    /// Slides that were kept for the test.
    pub test_slides: usize,
}

/// What a run must not have learned from: equal where slides and labels of the test are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TestSet {
    /// How many slides it has.
    pub slides: usize,
    /// SHA-256 of the slides' ids, pixels and targets.
    pub sha256: String,
}

/// The adapter that a run began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedFrom {
    /// A released version, or the folder of a run or an adapter, as it was named.
    pub name: String,
    /// SHA-256 of its `adapter_model.safetensors`.
    pub sha256: String,
}

/// What a run is measured by, on the slides that choose the checkpoint: mean absolute errors in points of the median rating, over
/// slides and criteria.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Error before the first step: of the base, or of the adapter that the run began with.
    pub start_mae: f64,
    /// Error of the score for each criterion that is best on the training slides.
    pub constant_mae: f64,
    /// The smallest error that the raters' disagreement leaves to reach; absent where no slide has two raters.
    #[serde(default)]
    pub ceiling_mae: Option<f64>,
    /// Mean cross-entropy of the scores before the first step, in nats.
    pub start_score_loss: f64,
    /// Mean entropy of what is to be learned, in nats: the smallest that the cross-entropy can become.
    pub rater_entropy: f64,
}

/// Whether a run learned, and what limits it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningVerdict {
    /// Whether the kept checkpoint errs less on the validation slides than the best constant.
    pub learned: bool,
    /// What limits it.
    pub limit: LearningLimit,
    /// By how many points the kept checkpoint errs less than the best constant on the validation slides, which it was chosen by, with an
    /// interval that leaves out whole decks; absent in records of earlier programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    /// The same as a sentence for people.
    pub sentence: String,
}

/// What limits a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningLimit {
    /// The weights were thrown about: a lower learning rate.
    LearningRateTooHigh,
    /// The weights hardly moved: a higher learning rate, or more steps.
    LearningRateTooLow,
    /// The error was still falling at the end.
    Steps,
    /// It got worse on slides that it was not trained on, or no longer better: more decks.
    Decks,
    /// The model errs about as little as the raters' disagreement allows.
    Raters,
}

/// How a training went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingSummary {
    /// `completed`, `stopped`, …
    pub status: String,
    /// Optimizer steps.
    pub steps: usize,
    /// Passes over the training slides.
    pub epochs: f64,
    /// Mean loss over all steps.
    pub train_loss: f64,
    /// Seconds of training.
    pub train_seconds: f64,
    /// Seconds of evaluation.
    pub eval_seconds: f64,
    /// Weights of the adapter.
    pub trainable_parameters: usize,
    /// Weights of the base.
    pub base_parameters: usize,
    /// The checkpoint that was kept.
    pub best: Option<BestCheckpoint>,
    /// Optimizer steps after which the run was resumed with another number of steps: trained in one go, it is another run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended_at: Vec<usize>,
    /// Whether it learned; absent in records of earlier programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<LearningVerdict>,
}

/// The checkpoint that was kept, and by which metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    /// The metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The optimizer step.
    pub step: usize,
}

/// The machine that a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Cores that the run could use.
    pub cores: usize,
    /// Threads that computed; 0 in records of versions 1 and 2, which did not say.
    pub threads: usize,
    /// Operating system.
    pub os: String,
    /// Instruction set.
    pub architecture: String,
    /// The widest vector instructions of the CPU: `plain`, `avx2` or `avx512`; empty in records of versions 1 and 2.
    pub instructions: String,
    /// The device that computed.
    pub device: String,
    /// Processes that computed the run together at its end; 0 where a record does not say.
    pub processes: usize,
}

impl Contract for RunRecord {
    const NAME: &'static str = "run record";
    const VERSION: u32 = 3;

    /// Version 1 kept the best checkpoint as two loose keys, and its fingerprint of the base named the beginning of each file
    /// alone: it gets a scheme of its own, so that nobody compares it with a whole one. Version 2 said nothing of code, seed, threads
    /// and vector instructions: they stay unknown, so that nobody takes them for none.
    fn migrate(version: u32, mut value: Value) -> Result<Value, String> {
        let record = value.as_object_mut().ok_or("it is not an object")?;
        record.insert("schema_version".to_owned(), json!(Self::VERSION));
        for unknown in ["code", "seed"] {
            record.remove(unknown);
        }
        if version > 1 {
            return Ok(value);
        }
        let inputs = record.get_mut("inputs").and_then(Value::as_object_mut);
        if let Some(fingerprint) = inputs.and_then(|inputs| inputs.get_mut("base_model")) {
            let text = fingerprint.as_str().unwrap_or_default();
            if !text.contains(':') {
                *fingerprint = json!(format!("file-heads-v0:{text}"));
            }
        }
        if let Some(training) = record.get_mut("training").and_then(Value::as_object_mut) {
            gather_best(training);
        }
        Ok(value)
    }

    fn check(&self) -> Result<(), String> {
        if self.run_id.is_empty() { Err("`run_id` is empty".to_owned()) } else { Ok(()) }
    }
}

fn gather_best(training: &mut Map<String, Value>) {
    let Some(step) = training.remove("best_step") else { return };
    let key = training.keys().find(|key| key.starts_with("best_")).cloned();
    if let Some((key, value)) = key.and_then(|key| Some((key.clone(), training.remove(&key)?))) {
        let metric = key.trim_start_matches("best_");
        training.insert("best".to_owned(), json!({"metric": metric, "value": value, "step": step}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_version_1_is_read_as_what_it_meant() {
        let old = json!({
            "schema_version": 1, "run_id": "r", "started_at": "2026-01-02T03:04:05Z", "base_model": "base",
            "inputs": {"labels.json": "aa", "base_model": "bb"},
            "training": {"status": "completed", "steps": 3, "best_step": 2, "best_mae": 0.5},
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        std::fs::write(&path, old.to_string()).unwrap();
        let record = RunRecord::read(&path).unwrap();
        assert_eq!(record.schema_version, 3);
        assert_eq!((record.code, record.seed, record.hardware.threads), (None, None, 0));
        let inputs = [("base_model", "file-heads-v0:bb"), ("labels.json", "aa")];
        assert_eq!(record.inputs, inputs.map(|(name, hash)| (name.to_owned(), hash.to_owned())).into());
        let training = record.training.unwrap();
        assert_eq!((training.status.as_str(), training.steps), ("completed", 3));
        assert_eq!(training.best, Some(BestCheckpoint { metric: "mae".to_owned(), value: 0.5, step: 2 }));
    }

    #[test]
    fn a_record_of_version_2_does_not_say_which_code_ran() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/v2/run.json");
        let record = RunRecord::read(std::path::Path::new(sample)).unwrap();
        assert_eq!((record.schema_version, record.code, record.seed), (3, None, None));
        assert!(
            record.inputs["base_model"].starts_with("sha256-tensors-v1:"),
            "it is not marked as version 1 is"
        );
        assert!(record.training.unwrap().best.is_some());
        let sample = sample.replace("v2", "v3");
        let record = RunRecord::read(std::path::Path::new(&sample)).unwrap();
        assert!(record.seed == Some(42) && record.code.is_some_and(|code| code.commit.is_some()));
    }

    #[test]
    fn an_empty_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        for text in ["{}", "[]", "", r#"{"schema_version":2}"#, r#"{"schema_version":4,"run_id":"r"}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(RunRecord::read(&path).is_err(), "{text}");
        }
    }
}
