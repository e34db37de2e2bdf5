//! What a run says at its end.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use pq_cli::{Verdict, WithHint as _};
use project_files::{LearningVerdict, ScoreHead};
use vlm_lora::{Error, TrainOutcome};

use crate::run::RunDir;

/// The outcome, or the error with what helps against it.
pub(crate) fn finished(outcome: vlm_lora::Result<TrainOutcome>, dir: &RunDir) -> Result<TrainOutcome> {
    const WHAT: &str = "the training did not finish";
    let carry_on = || {
        if dir.has_checkpoint() {
            format!("`--resume --run {}` carries on from the last checkpoint", dir.name)
        } else {
            "nothing was saved yet: begin again".to_owned()
        }
    };
    let remedy = match &outcome {
        Err(Error::Resume { .. }) => {
            "resume with the base, data and settings that the run began with, or begin a new run with another --run"
                .to_owned()
        }
        Err(Error::NotFinite { .. }) => {
            "lower `training.learning_rate`, or keep `training.max_grad_norm` above 0; resumed, the step would fail again"
                .to_owned()
        }
        Err(Error::OutOfMemory { .. }) => {
            "`pq-train --plan` says what a run takes and which setting lowers it".to_owned()
        }
        Err(Error::Image { .. }) => format!("`pq-collect verify` checks the pictures; {}", carry_on()),
        Err(Error::InvalidConfig { .. } | Error::Unsupported { .. } | Error::Text { .. }) => {
            "see training.toml and model.toml; `docs/configuration.md` explains each key".to_owned()
        }
        // What the system says has hints of its own, as on a full disk.
        Err(Error::Io { .. }) => return outcome.context(WHAT),
        _ => carry_on(),
    };
    outcome.hint(WHAT, remedy)
}

/// Two lines for people, or the outcome as JSON. A run that is no better than the best constant has not passed.
pub(crate) fn print(
    dir: &Path,
    outcome: &TrainOutcome,
    learning: Option<&LearningVerdict>,
    json: bool,
) -> Result<Verdict> {
    let verdict =
        if learning.is_some_and(|verdict| !verdict.learned) { Verdict::Fail } else { Verdict::Pass };
    let mut out = std::io::stdout().lock();
    if json {
        let mut all = serde_json::to_value(outcome)?;
        all["verdict"] = serde_json::to_value(learning)?;
        writeln!(out, "{all}")?;
        return Ok(verdict);
    }
    let best = outcome
        .best
        .as_ref()
        .map(|best| format!("; best {} {:.3} at step {}", best.metric, best.value, best.step));
    writeln!(
        out,
        "trained {} steps in {:.0} s ({:.2} % of the weights){}: {}",
        outcome.steps,
        outcome.train_seconds + outcome.eval_seconds,
        100.0 * outcome.trainable_parameters as f64
            / (outcome.trainable_parameters + outcome.base_parameters) as f64,
        best.unwrap_or_default(),
        dir.display()
    )?;
    if let Some(learning) = learning {
        writeln!(out, "{}", learning.sentence)?;
    }
    Ok(verdict)
}

/// What a head that stands alone reached, or all of that as JSON. One that is no better than the best constant has not passed.
pub(crate) fn print_head(
    head: &ScoreHead,
    outcome: &TrainOutcome,
    learning: &LearningVerdict,
    json: bool,
) -> Result<Verdict> {
    let mut out = std::io::stdout().lock();
    if json {
        let mut all = serde_json::to_value(outcome)?;
        all["verdict"] = serde_json::to_value(learning)?;
        writeln!(out, "{all}")?;
    } else {
        let (slides, seconds) = (head.slides, outcome.train_seconds);
        let dir = outcome.output_dir.display();
        writeln!(out, "a head on what the vision tower sees, from {slides} slides in {seconds:.1} s: {dir}")?;
        writeln!(out, "{}", learning.sentence)?;
    }
    Ok(if learning.learned { Verdict::Pass } else { Verdict::Fail })
}
