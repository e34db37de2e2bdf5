//! What people and scripts read on standard output.

use std::io::Write as _;

use anyhow::Result;
use drift::{DriftReport, DriftStatus, PerformanceReport, PerformanceStatus};
use pq_cli::Layout;
use serde_json::json;

/// Prints both reports: in words, or whole as JSON.
pub(crate) fn reports(
    as_json: bool,
    layout: &Layout,
    drift: &DriftReport,
    performance: &PerformanceReport,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &json!({ "drift": drift, "performance": performance }))?;
        writeln!(out)?;
        return Ok(());
    }
    let drift_word = match drift.status {
        DriftStatus::Stable => "stable",
        DriftStatus::Drifted => "drifted",
        DriftStatus::Insufficient => "too little data",
    };
    let performance_word = match performance.status {
        PerformanceStatus::Measured => "measured",
        PerformanceStatus::Insufficient => "too little data",
    };
    for (name, word, reasons) in
        [("drift", drift_word, &drift.reasons), ("accuracy", performance_word, &performance.reasons)]
    {
        writeln!(out, "{name}: {word}")?;
        for reason in reasons {
            writeln!(out, "  {reason}")?;
        }
    }
    writeln!(
        out,
        "reports: {}, {}",
        layout.latest_drift().with_extension("html").display(),
        layout.latest_performance().display()
    )?;
    Ok(())
}
