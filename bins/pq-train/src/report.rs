//! What a run says at its end.

use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use pq_cli::Verdict;
use vlm_lora::TrainOutcome;

/// One line for people, or the outcome as JSON.
pub(crate) fn print(dir: &Path, outcome: &TrainOutcome, json: bool) -> Result<Verdict> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(outcome)?)?;
        return Ok(Verdict::Pass);
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
    Ok(Verdict::Pass)
}
