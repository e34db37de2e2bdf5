use serde::{Deserialize, Serialize};

use super::TrainingConfig;
use super::outcome::{BestMetric, Extension};
use crate::fingerprint::BaseIdentity;
use crate::lora::{AdapterSpec, LoraConfig};

/// Version of `trainer_state.json`. Version 1 named the base by the beginnings of its files and the adapter by a hash of the
/// program's own notation for it; neither can be compared with what is known now.
pub(super) const SCHEMA_VERSION: u32 = 2;

/// Where a run stands after a whole optimizer step. Epoch, position in it, shuffling, dropout and learning rate follow from
/// `step` and the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainerState {
    pub(super) schema_version: u32,
    /// Optimizer steps done.
    pub(super) step: usize,
    /// What the run was started with.
    pub(super) config: TrainingConfig,
    /// What the run was started on.
    pub(super) identity: Identity,
    pub(super) progress: Progress,
    /// Where the run went on with another number of steps than it had begun with.
    #[serde(default)]
    pub(super) extensions: Vec<Extension>,
}

/// What must not change between a run and its resumption.
///
/// It is kept as JSON and compared as values, never as the hash of a text: a field that a later version adds with a default is
/// that default in a state that was written before, so the run can still be resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) training_data: String,
    #[serde(default)]
    pub(super) validation_data: Option<String>,
    #[serde(default)]
    pub(super) base: Option<BaseIdentity>,
    pub(super) adapter: AdapterIdentity,
}

/// The adapter that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AdapterIdentity {
    pub(super) config: LoraConfig,
    pub(super) modules: Vec<AdapterSpec>,
}

/// Sums and records over the run so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Over all steps.
    pub(super) run: Interval,
    /// Since the last line of metrics.
    pub(super) interval: Interval,
    pub(super) best: Option<BestMetric>,
    pub(super) evaluations_without_improvement: usize,
    pub(super) eval_seconds: f64,
    /// Whether the evaluation after this step was begun and stopped.
    #[serde(default)]
    pub(super) owes_evaluation: bool,
}

/// Sums over a stretch of steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) steps: usize,
    pub(super) loss: f64,
    pub(super) tokens: u64,
    pub(super) seconds: f64,
}

impl Interval {
    pub(super) fn add(&mut self, loss: f64, tokens: usize, seconds: f64) {
        self.steps += 1;
        self.loss += loss;
        self.tokens += tokens as u64;
        self.seconds += seconds;
    }

    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.steps.max(1) as f64
    }
}

impl TrainerState {
    pub(super) fn new(config: TrainingConfig, identity: Identity) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            step: 0,
            config,
            identity,
            progress: Progress::default(),
            extensions: Vec::new(),
        }
    }

    /// What differs from the run that `self` belongs to, in words; `None` where it may go on.
    pub(super) fn difference(&self, config: &TrainingConfig, identity: &Identity) -> Option<String> {
        let Identity { training_data, validation_data, base, adapter } = &self.identity;
        if *training_data != identity.training_data {
            return Some("the training data changed since the run began".to_owned());
        }
        if *validation_data != identity.validation_data {
            return Some("the validation data changed since the run began".to_owned());
        }
        let base = base_difference(base.as_ref(), identity.base.as_ref());
        if let Some(difference) = base.or_else(|| adapter.difference(&identity.adapter)) {
            return Some(difference);
        }
        let (then, now) = (numeric_settings(&self.config), numeric_settings(config));
        changed_key("training", &then, &now)
    }
}

impl AdapterIdentity {
    fn difference(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let table = |config: &LoraConfig| settings(config);
        let key = changed_key("lora", &table(&self.config), &table(&now.config));
        Some(key.unwrap_or_else(|| {
            "the modules that the adapter is put on changed since the run began".to_owned()
        }))
    }
}

fn base_difference(then: Option<&BaseIdentity>, now: Option<&BaseIdentity>) -> Option<String> {
    match (then, now) {
        (Some(then), Some(now)) => then.difference(now),
        (None, None) => None,
        _ => Some("the base model was named then and is not now, or the other way round".to_owned()),
    }
}

/// The first key whose value differs, in words.
fn changed_key(section: &str, then: &Settings, now: &Settings) -> Option<String> {
    let key = then.keys().chain(now.keys()).find(|key| then.get(*key) != now.get(*key))?;
    let value = |of: &Settings| of.get(key).map_or_else(|| "unset".to_owned(), ToString::to_string);
    Some(format!("`{section}.{key}` was {} and is now {}", value(then), value(now)))
}

/// Settings by key; what is not set is left out.
type Settings = serde_json::Map<String, serde_json::Value>;

fn settings(config: &impl serde::Serialize) -> Settings {
    let mut settings = match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(settings)) => settings,
        _ => Settings::new(),
    };
    settings.retain(|_, value| !value.is_null());
    settings
}

/// The settings that the run's numbers up to a checkpoint depend on. How long it goes on, and how often it is looked at on the
/// way, may change when it is resumed, as in transformers: the schedule is then that of the new number of steps.
fn numeric_settings(config: &TrainingConfig) -> Settings {
    let mut table = settings(config);
    for key in [
        "dataloader_num_workers",
        "early_stopping_patience",
        "eval_steps",
        "gradient_checkpointing",
        "logging_steps",
        "max_steps",
        "num_train_epochs",
        "output_dir",
        "save_steps",
        "save_total_limit",
    ] {
        table.remove(key);
    }
    table
}

#[cfg(test)]
mod tests;
