use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// All steps were done.
    Finished,
    /// The metric did not improve for `early_stopping_patience` evaluations.
    EarlyStopped,
    /// An observer asked for it; the run can be resumed.
    Stopped,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestMetric {
    /// The metric's name, as in `eval_loss`.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The step after which it was measured.
    pub step: usize,
    /// `eval_loss` of that evaluation, which decides between equal values; `None` where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
}

/// A resumption with another number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Optimizer steps that were done.
    pub at: usize,
    /// Optimizer steps that the run was to have until then.
    pub total_steps_before: usize,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainOutcome {
    /// How it ended.
    pub status: RunStatus,
    /// Optimizer steps done, those before a resumption included.
    pub steps: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
    /// Where the run went on with another number of steps: its learning rates are then not those of one run of `total_steps`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// Passes over the samples.
    pub epochs: f64,
    /// Mean loss over all steps.
    pub train_loss: f64,
    /// The evaluation whose adapter stands in the run's folder; `None` where nothing was evaluated.
    pub best: Option<BestMetric>,
    /// Seconds of training, those before a resumption included.
    pub train_seconds: f64,
    /// Seconds of evaluation, those before a resumption included.
    pub eval_seconds: f64,
    /// Tokens that went through the model in training, images included.
    pub tokens: u64,
    /// Trained values.
    pub trainable_parameters: usize,
    /// Values of the frozen base.
    pub base_parameters: usize,
    /// The run's folder.
    pub output_dir: PathBuf,
}
