//! What is kept of a decision.

use anyhow::Result;
use drift::{Decision, Flight, MonitoringConfig};
use pq_cli::{Layout, Verdict, WithHint as _};
use project_files::Contract as _;

pub(crate) const ADVICE: &str = "check that the monitoring folder can be written";

/// Keeps the decision, and first the retraining that it asks for: a decision that could not be kept must not be lost from sight. Where
/// the decision itself cannot be kept nobody asked, and the next look may.
pub(crate) fn decision(layout: &Layout, decision: &Decision, config: &MonitoringConfig) -> Result<()> {
    if decision.should_retrain {
        Flight::of(decision, &config.triggers)
            .write(&layout.retraining())
            .hint("cannot keep the decision", ADVICE)?;
    }
    let kept = Decision::append(&layout.decisions(), std::slice::from_ref(decision));
    if kept.is_err() && decision.should_retrain {
        // Where that fails too, it counts as running until it expires.
        let _ = std::fs::remove_file(layout.retraining());
    }
    kept.hint("cannot keep the decision", ADVICE)
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
