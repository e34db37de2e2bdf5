use std::path::Path;

use anyhow::{Context as _, Result};
use pq_common::{CommonArgs, Config};
use serde::{Deserialize, Serialize};
use slide_data::Rubric;
use vlm_lora::{BaseModelConfig, LoraConfig, TrainingConfig};

/// The tables of `training.toml`.
pub const TRAINING_TABLES: [&str; 5] = ["model", "lora", "training", "wandb", "registry"];
const MODEL_TABLES: [&str; 2] = ["processor", "rubric"];

/// The `[processor]` table of `model.toml`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessorSettings {
    /// Longest edge of a slide before it is cut into tiles; 0 takes the checkpoint's own value.
    pub longest_edge: usize,
}

/// What a model is and how it is asked: everything that scoring must share with training. A run keeps it as `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base.
    pub model: BaseModelConfig,
    /// The adapter.
    pub lora: LoraConfig,
    /// The hyper-parameters.
    pub training: TrainingConfig,
    /// The picture budget.
    pub processor: ProcessorSettings,
    /// The criteria and the prompt.
    pub rubric: Rubric,
}

impl Settings {
    /// Reads `training.toml` and `model.toml` with the overrides of the command line.
    ///
    /// # Errors
    /// When a file is missing, names an unknown key or holds a value outside its domain.
    pub fn load(common: &CommonArgs) -> Result<Self> {
        let training = common.load("training", &TRAINING_TABLES)?;
        let model = common.load("model", &MODEL_TABLES)?;
        let settings = Self {
            model: training.section("model")?,
            lora: training.section("lora")?,
            training: training.section("training")?,
            processor: model.section("processor")?,
            rubric: model.section("rubric")?,
        };
        settings.rubric.validate().context("the rubric in `model.toml` cannot be used")?;
        settings.training.validate().context("`[training]` cannot be used")?;
        settings.lora.validate().context("`[lora]` cannot be used")?;
        Ok(settings)
    }

    /// Reads the settings that a run was trained with.
    ///
    /// # Errors
    /// When the run has none, or they were written by another version and no longer fit.
    pub fn of_run(run: &Path) -> Result<Self> {
        let path = run.join("config.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("`{}` does not hold a run's settings", path.display()))
    }

    /// As [`of_run`](Self::of_run), with the overrides of the table `[model]` on the command line: where the base lies and how it
    /// is held may differ between machines, the rest is what the run was trained with.
    ///
    /// # Errors
    /// As [`of_run`](Self::of_run), and when an override names an unknown key or a value outside its domain.
    pub fn of_run_here(run: &Path, common: &CommonArgs) -> Result<Self> {
        let mut settings = Self::of_run(run)?;
        let is_model = |text: &&String| text.trim_start().starts_with("model.");
        let overrides: Vec<String> = common.overrides.iter().filter(is_model).cloned().collect();
        if !overrides.is_empty() {
            let tables = [&MODEL_TABLES[..], &TRAINING_TABLES[..]].concat();
            settings.model = Config::load(run, "config", &tables, &overrides)?.section("model")?;
        }
        Ok(settings)
    }

    /// The settings as the text of `config.toml`.
    ///
    /// # Errors
    /// When they cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the settings cannot be written as TOML")
    }

    /// The longest edge, where it is set.
    pub fn longest_edge(&self) -> Option<usize> {
        Some(self.processor.longest_edge).filter(|edge| *edge > 0)
    }
}
