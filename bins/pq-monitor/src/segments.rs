//! Moves the days that are over from the log into segments.

use anyhow::Result;
use durable_files::remove_lines;
use jiff::{SignedDuration, Timestamp};
use pq_cli::{Layout, WithHint as _};
use project_files::Contract as _;
use slide_data::FailedInput;
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
        let (scored, failed) = (layout.predictions(), layout.failures());
        tracing::info!(
            "{lines} lines of scoring services were taken into `{}` and `{}`",
            scored.display(),
            failed.display()
        );
    }
    Ok(())
}

/// Drops failures that are too old to count, where their log is large. A report is made in any case.
pub(crate) fn drop_old_failures(layout: &Layout, window_days: f64) {
    /// A log above this size (in bytes) is worth it.
    const WORTH_IT: u64 = 4 << 20;
    let log = layout.failures();
    if std::fs::metadata(&log).map_or(0, |file| file.len()) <= WORTH_IT {
        return;
    }
    let oldest = Timestamp::now() - SignedDuration::from_secs_f64(2.0 * window_days * 86_400.0);
    let is_old =
        |line: &[u8]| FailedInput::parse(&log, None, line).is_ok_and(|failed| failed.failed_at < oldest);
    match remove_lines(&log, is_old) {
        Ok(0) => {}
        Ok(lines) => tracing::info!("{lines} failures were too old to count and are dropped"),
        Err(error) => tracing::warn!("no failure is dropped: {:#}", anyhow::Error::from(error)),
    }
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

#[cfg(test)]
mod tests {
    use project_files::Storage;
    use slide_data::Error;

    use super::*;

    #[test]
    fn failures_that_are_too_old_to_count_leave_a_large_log() {
        let dir = tempfile::tempdir().expect("a folder");
        let storage = Storage { monitoring_dir: dir.path().to_owned(), ..Storage::default() };
        let layout = Layout::new(&storage, std::path::Path::new("outputs"));
        let new = FailedInput::of(&Error::NoSuchSlide(String::new()), "new".to_owned(), "v1");
        let old = FailedInput { failed_at: Timestamp::UNIX_EPOCH, reason: "r".repeat(9000), ..new.clone() };
        let write = |count: usize| {
            FailedInput::append(&layout.failures(), &vec![old.clone(); count]).expect("written");
        };
        FailedInput::append(&layout.failures(), std::slice::from_ref(&new)).expect("written");
        write(100);
        let left = || FailedInput::read_log(&layout.failures()).expect("read").entries;
        drop_old_failures(&layout, 30.0);
        assert_eq!(left().len(), 101, "a small log is left alone");
        write(400);
        drop_old_failures(&layout, 30.0);
        assert_eq!(left(), [new]);
    }
}
