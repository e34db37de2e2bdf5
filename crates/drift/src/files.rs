//! Where drift reports are written.

use project_files::{Contract as _, Layout};
use slide_data::write_atomic;

use crate::html::render_drift_report;
use crate::{DriftReport, Result};

/// Writes the newest drift report of a project, as JSON and as a page, and a copy of the JSON under its date beside them.
///
/// # Errors
/// When a file cannot be written; each file is old or new, never half.
pub fn write_drift_report(layout: &Layout, report: &DriftReport) -> Result<()> {
    let dated = report.created_at.strftime("drift-%Y-%m-%dT%H%M%SZ.json").to_string();
    report.write(&layout.drift_reports().join(dated))?;
    let latest = layout.latest_drift();
    write_atomic(&latest.with_extension("html"), render_drift_report(report)?.as_bytes())
        .map_err(project_files::Error::from)?;
    Ok(report.write(&latest)?)
}
