use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::outcome::TrainOutcome;
use crate::model::IntegerCheck;

/// Named measures in the order in which they are to be shown.
pub type Metrics = Vec<(String, f64)>;

/// What a run is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStart {
    /// Training samples.
    pub samples: usize,
    /// Optimizer steps that are already done, where the run is resumed.
    pub completed_steps: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
    /// Trained values.
    pub trainable_parameters: usize,
    /// Values of the frozen base.
    pub base_parameters: usize,
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
    /// Passes over the samples so far.
    pub epoch: f64,
    /// Weighted mean loss of the step's supervised tokens.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate that the step used.
    pub learning_rate: f64,
    /// Tokens that went through the model, images included.
    pub tokens: usize,
    /// Time of the step.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// A line of `metrics.jsonl` about training; the loss is the mean since the line before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogReport {
    /// Optimizer steps so far.
    pub step: usize,
    /// Passes over the samples so far.
    pub epoch: f64,
    /// Mean loss of the steps since the line before.
    pub loss: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Norm of the last step's gradient before clipping.
    pub grad_norm: f64,
    /// Tokens a second since the line before, images included.
    pub tokens_per_second: f64,
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationReport<'a> {
    /// Optimizer steps so far.
    pub step: usize,
    /// Passes over the samples so far.
    pub epoch: f64,
    /// The measures; each name begins with `eval_`.
    pub metrics: &'a Metrics,
    /// The metric that picks the best checkpoint.
    pub metric: &'a str,
    /// Whether this evaluation is the best so far.
    pub is_best: bool,
    /// Time of the evaluation.
    pub elapsed: Duration,
}

/// A checkpoint that is now on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointReport<'a> {
    /// Optimizer steps so far.
    pub step: usize,
    /// The checkpoint's folder.
    pub path: &'a Path,
    /// Whether it is the best so far.
    pub is_best: bool,
}

/// Is told what a run does, and may end it.
pub trait Observer {
    /// Before the first step.
    fn on_start(&mut self, _start: &RunStart) {}
    /// After products in integers were compared with exact ones on the first image, where the base is held so that there are any.
    fn on_integer_check(&mut self, _check: &IntegerCheck) {}
    /// After each optimizer step.
    fn on_step(&mut self, _step: &StepReport) {}
    /// After each line of training metrics.
    fn on_log(&mut self, _log: &LogReport) {}
    /// After each evaluation.
    fn on_evaluate(&mut self, _evaluation: &EvaluationReport<'_>) {}
    /// After each checkpoint.
    fn on_checkpoint(&mut self, _checkpoint: &CheckpointReport<'_>) {}
    /// After the last step, when the run's files are written.
    fn on_end(&mut self, _outcome: &TrainOutcome) {}
    /// Asked before each pass: `true` ends the run at the last whole step, with a checkpoint to resume from.
    fn should_stop(&self) -> bool {
        false
    }
}

/// A flag that ends the run when it is set, for instance by a Ctrl-C handler.
impl Observer for Arc<AtomicBool> {
    fn should_stop(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn on_start(&mut self, start: &RunStart) {
        (**self).on_start(start);
    }
    fn on_integer_check(&mut self, check: &IntegerCheck) {
        (**self).on_integer_check(check);
    }
    fn on_step(&mut self, step: &StepReport) {
        (**self).on_step(step);
    }
    fn on_log(&mut self, log: &LogReport) {
        (**self).on_log(log);
    }
    fn on_evaluate(&mut self, evaluation: &EvaluationReport<'_>) {
        (**self).on_evaluate(evaluation);
    }
    fn on_checkpoint(&mut self, checkpoint: &CheckpointReport<'_>) {
        (**self).on_checkpoint(checkpoint);
    }
    fn on_end(&mut self, outcome: &TrainOutcome) {
        (**self).on_end(outcome);
    }
    fn should_stop(&self) -> bool {
        (**self).should_stop()
    }
}
