//! What is kept of a decision.

use anyhow::Result;
use drift::{Decision, Flight, MonitoringConfig};
use pq_cli::{Layout, Verdict, WithHint as _};
use project_files::Contract as _;

pub(crate) const ADVICE: &str = "check that the monitoring folder can be written";

/// Keeps the decision, and first the retraining that it asks for: a decision that could not be kept must not be lost from sight.
pub(crate) fn decision(layout: &Layout, decision: &Decision, config: &MonitoringConfig) -> Result<()> {
    if decision.should_retrain {
        Flight::of(decision, &config.triggers)
            .write(&layout.retraining())
            .hint("cannot keep the decision", ADVICE)?;
    }
    Decision::append(&layout.decisions(), std::slice::from_ref(decision))
        .hint("cannot keep the decision", ADVICE)
}

pub(crate) fn done(layout: &Layout) -> Result<Verdict> {
    let path = layout.retraining();
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::info!("`{}` is removed: no retraining runs", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!("no retraining was running");
        }
        Err(error) => return Err(error).hint(format!("cannot remove `{}`", path.display()), ADVICE),
    }
    Ok(Verdict::Pass)
}
