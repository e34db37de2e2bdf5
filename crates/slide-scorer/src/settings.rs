use std::path::Path;

use anyhow::{Context as _, Result};
use pq_cli::{CommonArgs, ConfigError, ProjectConfig, with_overrides};
use project_files::{Contract as _, RunFiles, RunRecord};
use serde::{Deserialize, Serialize};
use slide_data::Rubric;
use vlm_lora::{BaseModelConfig, LoraConfig, TrainingConfig};

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
    /// The image budget.
    pub processor: ProcessorSettings,
    /// The criteria and the prompt.
    pub rubric: Rubric,
}

impl Settings {
    /// The settings of a project.
    ///
    /// # Errors
    /// When a table holds an unknown key or a value outside its domain.
    pub fn load(project: &ProjectConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            model: project.section("model", |_| Ok::<(), ConfigError>(()))?,
            lora: project.section("lora", LoraConfig::validate)?,
            training: project.section("training", TrainingConfig::validate)?,
            processor: project.section("processor", |_| Ok::<(), ConfigError>(()))?,
            rubric: project.section("rubric", Rubric::validate)?,
        })
    }

    /// Reads the settings that a run was trained with.
    ///
    /// # Errors
    /// When the run has none, or they were written by another version and no longer fit.
    pub fn of_run(run: &RunFiles) -> Result<Self> {
        let path = run.config();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("`{}` does not hold a run's settings", path.display()))
    }

    /// As [`of_run`](Self::of_run), with the base where it lies on this machine: as `--set model.…` says, else as the run says,
    /// else, where that is no folder here, as the project's own `training.toml` says. Whether it is the right base is told by
    /// its fingerprint. A folder that PEFT wrote has no settings: those of the project hold.
    ///
    /// # Errors
    /// As [`of_run`](Self::of_run), and when an override names an unknown key or a value outside its domain.
    pub fn of_run_here(run: &RunFiles, common: &CommonArgs, project: &ProjectConfig) -> Result<Self> {
        if !run.config().exists() && run.adapter_config().exists() {
            tracing::warn!(
                "`{}` is an adapter without `config.toml`: base, rubric and image size are taken from this project's configuration",
                run.dir().display()
            );
            return Ok(Self::load(project)?);
        }
        let mut settings = Self::of_run(run)?;
        settings.model = with_overrides(&settings.model, "model", &common.overrides)?;
        let is_hub_id = RunRecord::read_if_present(&run.record())?.is_some_and(|run| run.base_is_hub_id);
        if !is_hub_id && !Path::new(&settings.model.name).is_dir() {
            let here: BaseModelConfig = project.section("model", |_| Ok::<(), ConfigError>(()))?;
            if Path::new(&here.name).is_dir() {
                tracing::info!("the base `{}` is not here; `{}` is tried", settings.model.name, here.name);
                settings.model.name = here.name;
            }
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
