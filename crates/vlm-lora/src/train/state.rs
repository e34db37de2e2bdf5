use serde::{Deserialize, Serialize};

use super::TrainingConfig;
use super::outcome::BestMetric;

/// Version of `trainer_state.json`.
pub(super) const SCHEMA_VERSION: u32 = 1;

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
}

/// What must not change between a run and its resumption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) training_data: String,
    pub(super) validation_data: Option<String>,
    pub(super) base: String,
    pub(super) adapter: String,
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
        Self { schema_version: SCHEMA_VERSION, step: 0, config, identity, progress: Progress::default() }
    }

    /// What differs from the run that `self` belongs to, in words; `None` where it may go on.
    pub(super) fn difference(&self, config: &TrainingConfig, identity: &Identity) -> Option<String> {
        for (what, then, now) in [
            ("the training data", Some(&self.identity.training_data), Some(&identity.training_data)),
            (
                "the validation data",
                self.identity.validation_data.as_ref(),
                identity.validation_data.as_ref(),
            ),
            ("the base model", Some(&self.identity.base), Some(&identity.base)),
            ("the adapter's configuration", Some(&self.identity.adapter), Some(&identity.adapter)),
        ] {
            if then != now {
                return Some(format!("{what} changed since the run began"));
            }
        }
        let (then, now) = (numeric_settings(&self.config), numeric_settings(config));
        let key = then.keys().chain(now.keys()).find(|key| then.get(*key) != now.get(*key))?;
        let value = |of: &toml::Table| of.get(key).map_or_else(|| "unset".to_owned(), ToString::to_string);
        Some(format!("`training.{key}` was {} and is now {}", value(&then), value(&now)))
    }
}

/// The settings that the run's numbers depend on.
fn numeric_settings(config: &TrainingConfig) -> toml::Table {
    let mut table = toml::Table::try_from(config).unwrap_or_default();
    for key in [
        "dataloader_num_workers",
        "gradient_checkpointing",
        "logging_steps",
        "output_dir",
        "save_total_limit",
    ] {
        table.remove(key);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let text = |text: &str| text.to_owned();
        Identity { training_data: text("a"), validation_data: None, base: text("b"), adapter: text("c") }
    }

    #[test]
    fn a_run_goes_on_with_the_same_inputs_only() {
        let config = TrainingConfig::default();
        let state = TrainerState::new(config.clone(), identity());
        assert_eq!(state.difference(&config, &identity()), None);
        let harmless = TrainingConfig { output_dir: "elsewhere".into(), ..config.clone() };
        assert_eq!(state.difference(&harmless, &identity()), None);

        let faster = TrainingConfig { learning_rate: 1.0, ..config.clone() };
        let text = state.difference(&faster, &identity()).unwrap();
        assert!(text.contains("`training.learning_rate` was 0.0002 and is now 1.0"), "{text}");
        let better = TrainingConfig { greater_is_better: Some(true), ..config.clone() };
        assert!(state.difference(&better, &identity()).unwrap().contains("was unset"));
        let other = Identity { training_data: "x".to_owned(), ..identity() };
        assert!(state.difference(&config, &other).unwrap().contains("the training data"));
    }

    #[test]
    fn the_state_survives_json_to_the_bit() {
        let mut state = TrainerState::new(TrainingConfig::default(), identity());
        state.progress.run.add(0.1 + 0.2, 7, 1.0 / 3.0);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<TrainerState>(&text).unwrap(), state);
    }
}
