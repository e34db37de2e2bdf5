//! Where drift reports are written.

use project_files::{Contract as _, Layout};

use crate::{DriftReport, Result};

/// Writes the newest drift report of a project, and a copy under its date beside it.
///
/// # Errors
/// When a file cannot be written; each file is old or new, never half.
pub fn write_drift_report(layout: &Layout, report: &DriftReport) -> Result<()> {
    let dated = report.created_at.strftime("drift-%Y-%m-%dT%H%M%SZ.json").to_string();
    report.write(&layout.drift_reports().join(dated))?;
    Ok(report.write(&layout.latest_drift())?)
}
