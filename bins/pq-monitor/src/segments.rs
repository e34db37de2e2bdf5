//! Moves the days that are over from the log into segments.

use anyhow::Result;
use jiff::Timestamp;
use pq_cli::{Layout, WithHint as _};
use slide_data::prediction_log::{Compacted, compact, day_of, gather};

/// A log above this size (in bytes) is worth dividing; below it is read in a moment, and stays one file.
const LARGE: u64 = 64 << 20;

/// Takes what several scoring services have logged into the log.
pub(crate) fn gather_replicas(layout: &Layout) -> Result<()> {
    let lines = gather(layout).hint(
        "what the scoring services logged is not taken together",
        "check that the monitoring folder can be written and that the disk is not full; run it again, nothing is lost",
    )?;
    if lines > 0 {
        tracing::info!(
            "{lines} lines of scoring services were taken into `{}`",
            layout.predictions().display()
        );
    }
    Ok(())
}

/// Moves the days before today.
pub(crate) fn move_days(layout: &Layout) -> Result<()> {
    // The clock decides, not the time that a report is made for: lines of today are still being written.
    let moved = compact(layout, day_of(Timestamp::now())).hint(
        "the days that are over stay in the log",
        "check that the monitoring folder can be written and that the disk is not full",
    )?;
    say(layout, moved);
    Ok(())
}

/// As [`move_days`], where the log is large. A report is made in any case.
pub(crate) fn move_days_of_large_log(layout: &Layout) {
    let size = std::fs::metadata(layout.predictions()).map_or(0, |file| file.len());
    if size > LARGE
        && let Err(error) = move_days(layout)
    {
        tracing::warn!("{error:#}");
    }
}

fn say(layout: &Layout, moved: Compacted) {
    let Compacted { days, slides, lines } = moved;
    let folder = layout.segments();
    if slides > 0 {
        tracing::info!("{slides} slides of {days} days were moved into `{}`", folder.display());
    }
    if lines > 0 {
        tracing::info!("{lines} lines that no segment can hold were moved into `{}`", folder.display());
    }
}
