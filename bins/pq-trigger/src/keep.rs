//! What is kept of a decision.

use anyhow::Result;
use drift::{Decision, Flight, MonitoringConfig, Request};
use durable_files::FileLock;
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

/// Ends the retraining that was asked for. One that failed is first taken back, so that the next look may ask for the same again.
pub(crate) fn done(layout: &Layout, failed: Option<Request<'_>>) -> Result<Verdict> {
    let path = layout.retraining();
    if path.parent().is_none_or(|folder| !folder.is_dir()) {
        tracing::info!("no retraining was running");
        return Ok(Verdict::Pass);
    }
    let _lock = FileLock::exclusive(&path).hint("cannot end the retraining", ADVICE)?;
    if let Some(request) = failed {
        let flight = Flight::read_if_present(&path).hint("cannot say that it failed", ADVICE)?;
        if let Some(flight) = flight {
            let line = flight.taken_back(request.by, request.now);
            Decision::append(&layout.decisions(), &[line]).hint("cannot say that it failed", ADVICE)?;
            tracing::info!("what {} asked for at {} may be asked for again", flight.owner, flight.asked_at);
        }
    }
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::info!("`{}` is removed: no retraining runs", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!("no retraining was running");
        }
        Err(error) => return Err(error).hint(format!("cannot remove `{}`", path.display()), ADVICE),
    }
    Ok(Verdict::Pass)
}
