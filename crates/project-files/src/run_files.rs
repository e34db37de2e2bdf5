use std::path::{Path, PathBuf};

/// A file of a run that is released with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasedFile {
    /// Its name in the run's folder.
    pub name: &'static str,
    /// Whether a release cannot be without it.
    pub is_required: bool,
    /// Whether it may leave the team's own machines.
    pub is_public: bool,
}

const fn released(name: &'static str, is_required: bool, is_public: bool) -> ReleasedFile {
    ReleasedFile { name, is_required, is_public }
}

const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(crate) const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
const APPLICABILITY: &str = "applicability.json";
const CONFIG: &str = "config.toml";
const DECISION: &str = "decision.json";
const DOUBTFUL: &str = "doubtful_labels.json";
const METRICS: &str = "metrics.jsonl";
const RECORD: &str = "run.json";
const REFERENCE: &str = "reference_predictions.jsonl";
const TEST: &str = "test_predictions.jsonl";
const VALIDATION: &str = "validation_results.json";
const SCORE_HEAD: &str = "score_head.json";
const REPORT: &str = "report.html";
pub(crate) const MANIFEST: &str = "release.json";
pub(crate) const SIGNATURE: &str = "model.sig";

/// The files of a base that turn text and images into inputs, in the older and the newer layout, and its `config.json`, by which
/// transformers finds their classes; a release may hold a copy, so that transformers can open its processor.
pub const PROCESSOR_FILES: [&str; 9] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The files of a run that make a release; the model card is written for it.
pub const RELEASED_FILES: [ReleasedFile; 12] = [
    released(ADAPTER_CONFIG, true, true),
    released(ADAPTER_WEIGHTS, true, true),
    released(VALIDATION, true, true),
    released(CONFIG, true, true),
    released(RECORD, true, true),
    released(APPLICABILITY, false, true),
    released(DECISION, false, true),
    released(SCORE_HEAD, false, true),
    released(METRICS, false, true),
    released(REPORT, false, false),
    released(REFERENCE, false, false),
    released(TEST, false, false),
];

/// The files of a run, and of a released version, which is a run's files under a version's name.
///
/// ```text
/// <run>/
///   adapter_config.json, adapter_model.safetensors    the adapter, under PEFT's names
///   applicability.json             tells which criteria apply to a slide, where people said "not applicable" often enough
///   score_head.json                tells scores from what the vision tower sees, alone or beside the adapter (`pq-train --head`)
///   decision.json                  from probabilities to the score that is shown
///   config.toml                    the settings that it was trained with
///   metrics.jsonl                  losses, learning rates and evaluations by step
///   run.json                       what the run was made from, with what, and how it went
///   reference_predictions.jsonl    slides of training and validation, for production to be compared with
///   test_predictions.jsonl         slides of the test, as this model and those that it is compared with score them
///   validation_results.json        how good the adapter is, and whether it may be released
///   doubtful_labels.json           ratings that the model would not have expected, to be looked at again
///   report.html                    the same as a page
///   README.md, DATA_CARD.md        the model card and the data card (released versions only)
///   tokenizer.json, …              the base's processor, where a release holds a copy
///   model.sig                      the signature of a release, where it is signed
///   release.json                   the release's plan and identity (released versions only)
///   data/                          what it was trained on, as files of text: labels, splits, corrections, manifest; not released
///   .fetched                       it came from the Hub, without what stays on a team's machines
///   wandb/                         what is tracked: the spool, its files, and offline files for `wandb sync`
///   tensorboard/                   event files, where they are asked for
///   checkpoints/step-<n>/
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    dir: PathBuf,
}

impl RunFiles {
    /// The run or version in this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last part of the folder's real name, which links do not hide: the run's id, or the version.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn name(&self) -> std::io::Result<String> {
        let real = self.dir.canonicalize()?;
        Ok(real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// The adapter's configuration, as PEFT writes it.
    pub fn adapter_config(&self) -> PathBuf {
        self.dir.join(ADAPTER_CONFIG)
    }

    /// The adapter's weights, as PEFT writes them.
    pub fn adapter_weights(&self) -> PathBuf {
        self.dir.join(ADAPTER_WEIGHTS)
    }

    /// The settings that the run was started with, resolved.
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// Losses, learning rates and evaluations by step.
    pub fn metrics(&self) -> PathBuf {
        self.dir.join(METRICS)
    }

    /// What the run was made from, with what, and how it went: a [`RunRecord`](crate::RunRecord).
    pub fn record(&self) -> PathBuf {
        self.dir.join(RECORD)
    }

    /// Which criteria apply to a slide: [`Applicability`](crate::Applicability).
    pub fn applicability(&self) -> PathBuf {
        self.dir.join(APPLICABILITY)
    }

    /// Scores from what the vision tower sees: [`ScoreHead`](crate::ScoreHead).
    pub fn score_head(&self) -> PathBuf {
        self.dir.join(SCORE_HEAD)
    }

    /// From probabilities to the score that is shown: [`ScoreDecision`](crate::ScoreDecision).
    pub fn decision(&self) -> PathBuf {
        self.dir.join(DECISION)
    }

    /// Scored slides of training and validation.
    pub fn reference_predictions(&self) -> PathBuf {
        self.dir.join(REFERENCE)
    }

    /// Scored slides of the test: by this model, and by each rater that it is compared with under that rater's name.
    pub fn test_predictions(&self) -> PathBuf {
        self.dir.join(TEST)
    }

    /// How good the adapter is: [`ValidationResults`](crate::ValidationResults).
    pub fn validation(&self) -> PathBuf {
        self.dir.join(VALIDATION)
    }

    /// Ratings that the model would not have expected: [`DoubtfulLabels`](crate::DoubtfulLabels).
    pub fn doubtful_labels(&self) -> PathBuf {
        self.dir.join(DOUBTFUL)
    }

    /// The validation as a page.
    pub fn report(&self) -> PathBuf {
        self.dir.join(REPORT)
    }

    /// The model card.
    pub fn card(&self) -> PathBuf {
        self.dir.join("README.md")
    }

    /// What the data are that the model learned from, in numbers.
    pub fn data_card(&self) -> PathBuf {
        self.dir.join("DATA_CARD.md")
    }

    /// The signature of a release, in the layout of OpenSSF model signing.
    pub fn signature(&self) -> PathBuf {
        self.dir.join(SIGNATURE)
    }

    /// The plan and identity of a release: a [`Manifest`](crate::Manifest).
    pub fn manifest(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    /// Says that a version came from the Hub, without the files that stay on a team's machines.
    pub fn fetched(&self) -> PathBuf {
        self.dir.join(".fetched")
    }

    /// What the run was trained on, but for the images: copies of labels, splits, corrections and manifest under their own names.
    /// They stay on the team's machines: a release has none of them.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// What the spools of the tracked run and the tracking service's offline files lie in.
    pub fn tracking(&self) -> PathBuf {
        self.dir.join("wandb")
    }

    /// The folder of TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.dir.join("tensorboard")
    }
}
