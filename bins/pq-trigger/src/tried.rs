//! What was tried since the version in use was trained, and is not in use.

use drift::Flight;
use jiff::Timestamp;
use pq_cli::Layout;
use project_files::{
    Contract as _, Event, Journal, Outcome, Release, RunFiles, RunRecord, ValidationResults, VersionFile,
};

use crate::inputs::record;

/// Runs of later versions, which were gone back from, and those that were asked for since the version in use was released, and refused.
///
/// A training that nobody asked for here is somebody's experiment. What cannot be read is none of them: it holds back no retraining.
pub(crate) fn runs(
    layout: &Layout,
    releases: &VersionFile,
    champion: Option<&Release>,
    asked: &[Flight],
) -> Vec<RunRecord> {
    let Some(champion) = champion else { return Vec::new() };
    let later = releases.history.iter().filter(|release| release.released_at > champion.released_at);
    let gone_back_from = later.filter_map(|release| RunRecord::read(&record(layout, release)?).ok());
    let is_released = |run: &RunRecord| releases.history.iter().any(|release| release.run_id == run.run_id);
    // Links are left out: the newest run has one.
    let folders = std::fs::read_dir(layout.outputs()).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let refused = folders.filter_map(|folder| refused(&RunFiles::new(folder.path())));
    let is_of = |run: &RunRecord, ask: &Flight| (ask.asked_at..ask.expires_at).contains(&run.started_at);
    let since = || asked.iter().filter(|ask| ask.asked_at >= champion.released_at);
    let refused = refused.filter(|run| since().any(|ask| is_of(run, ask)) && !is_released(run));
    gone_back_from.chain(refused).collect()
}

/// The record of a run that has not learned, or that the gate did not let pass.
fn refused(files: &RunFiles) -> Option<RunRecord> {
    let run = RunRecord::read(&files.record()).ok()?;
    let verdict = run.training.as_ref().and_then(|training| training.verdict.as_ref());
    let has_not_learned = verdict.is_some_and(|verdict| !verdict.learned);
    let stays =
        || ValidationResults::read(&files.validation()).is_ok_and(|found| found.outcome != Outcome::Pass);
    (has_not_learned || stays()).then_some(run)
}

/// When a person put the version in use that is in use, or went back to it; a release is none of that.
pub(crate) fn put_in_use(layout: &Layout, now: Timestamp) -> Option<Timestamp> {
    let path = layout.registry_journal();
    let journal = Journal::read(&path)
        .inspect_err(|error| {
            let why = project_files::with_causes(error);
            tracing::warn!("not seen when the version was put in use: {why}");
        })
        .ok()?;
    let entry = journal.at(now)?;
    matches!(entry.event, Event::RolledBack | Event::Promoted).then_some(entry.at)
}
