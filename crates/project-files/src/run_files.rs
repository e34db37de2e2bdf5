use std::path::{Path, PathBuf};

/// The files of a run, and of a released version, which is a run's files under a version's name.
///
/// ```text
/// <run>/
///   adapter_config.json, adapter_model.safetensors    the adapter, under PEFT's names
///   config.toml                    the settings that it was trained with
///   metrics.jsonl                  losses, learning rates and evaluations by step
///   run.json                       what the run was made from, with what, and how it went
///   reference_predictions.jsonl    slides of training and validation, for production to be compared with
///   validation_results.json        how good the adapter is, and whether it may be released
///   report.html                    the same as a page
///   README.md                      the model card (released versions only)
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
        self.dir.join("adapter_config.json")
    }

    /// The adapter's weights, as PEFT writes them.
    pub fn adapter_weights(&self) -> PathBuf {
        self.dir.join("adapter_model.safetensors")
    }

    /// The settings that the run was started with, resolved.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Losses, learning rates and evaluations by step.
    pub fn metrics(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    /// What the run was made from, with what, and how it went: a [`RunRecord`](crate::RunRecord).
    pub fn record(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    /// Scored slides of training and validation.
    pub fn reference_predictions(&self) -> PathBuf {
        self.dir.join("reference_predictions.jsonl")
    }

    /// How good the adapter is: [`ValidationResults`](crate::ValidationResults).
    pub fn validation(&self) -> PathBuf {
        self.dir.join("validation_results.json")
    }

    /// The validation as a page.
    pub fn report(&self) -> PathBuf {
        self.dir.join("report.html")
    }

    /// The model card.
    pub fn card(&self) -> PathBuf {
        self.dir.join("README.md")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// What the tracking service's offline files lie in.
    pub fn tracking(&self) -> PathBuf {
        self.dir.join("wandb")
    }
}
