//! Which adapters learned from slides: what they were taught stays in their weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use durable_files::{FileLock, count_lines, hash_file};
use pq_cli::{Hint, Layout};
use project_files::{ExportRecord, Manifest as Release, RunFiles, RunRecord, input};
use slide_data::{Contract as _, Labels, SlideRecord, Split, Splits};

use super::asked::Asked;
use super::hand::{Hand, Traces, entries};

const TRAINED: &str = "trained on";
const CHOSEN: &str = "chosen by";
pub(crate) const MEASURED: &str = "measured on";
const TRAINED_OR_CHOSEN: &str = "trained on or chosen by";
const BEGAN_WITH: &str = "began with an adapter that was trained on";

/// Runs, released versions and exports that depend on the slides, each with how.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    pub(crate) runs: BTreeMap<String, String>,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) exports: BTreeSet<String>,
    /// Runs that kept nothing that says what they were made from.
    pub(crate) unknown: BTreeSet<String>,
}

/// The folders of runs.
pub(crate) fn runs(layout: &Layout) -> Vec<RunFiles> {
    folders(layout.outputs())
}

fn folders(folder: &Path) -> Vec<RunFiles> {
    let is_run = |path: &std::path::PathBuf| {
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !is_hidden && std::fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir())
    };
    entries(folder).into_iter().filter(is_run).map(RunFiles::new).collect()
}

fn name(files: &RunFiles) -> String {
    files.dir().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Looks through all runs, versions and exports.
///
/// # Errors
/// When a file cannot be read, or a run is being trained.
pub(crate) fn dependents(layout: &Layout, traces: &Traces<'_>) -> Result<Dependents> {
    let mut found = Dependents::default();
    let (runs, versions) = (runs(layout), folders(&layout.versions()));
    for run in &runs {
        is_free(run)?;
        match use_of(run, traces)? {
            Some(how) => found.runs.extend([(name(run), how.to_owned())]),
            None if says_nothing(run) => found.unknown.extend([name(run)]),
            None => {}
        }
    }
    released(&mut found, &versions, traces)?;
    follow(&mut found, &runs, &versions)?;
    released(&mut found, &versions, traces)?;
    for export in entries(&layout.exports()).into_iter().filter(|path| path.join(ExportRecord::FILE).exists())
    {
        let record = ExportRecord::read(&export.join(ExportRecord::FILE))?;
        if found.versions.contains_key(&record.version) {
            found.exports.insert(export.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Adds the versions that were released from these runs, or that hold scored slides of their own.
fn released(found: &mut Dependents, versions: &[RunFiles], traces: &Traces<'_>) -> Result<()> {
    for version in versions {
        let of_run = Release::read_if_present(&version.manifest())?
            .and_then(|release| found.runs.get(&release.run_id).cloned());
        let how = of_run.or(use_of(version, traces)?.map(str::to_owned));
        found.versions.extend(how.map(|how| (name(version), how)));
    }
    Ok(())
}

/// A run that is being trained would go on with what is forgotten.
fn is_free(run: &RunFiles) -> Result<()> {
    let lock = run.dir().with_file_name(format!(".{}.lock", name(run)));
    if lock.exists() && FileLock::try_exclusive(run.dir())?.is_none() {
        let busy = format!("the run `{}` is being trained", name(run));
        return Err(Hint::new(busy, "stop it (Ctrl-C), or wait for its end; nothing was changed").into());
    }
    Ok(())
}

/// How a run, or a version, depends on the slides: the strongest way.
fn use_of(run: &RunFiles, traces: &Traces<'_>) -> Result<Option<&'static str>> {
    let manifest = run.data().join(input::MANIFEST);
    if manifest.exists() {
        return use_by_copies(run, traces);
    }
    let has = |log: &Path| count_lines(log, |line| traces.in_line(line)).map(|count| count > 0);
    if has(&run.reference_predictions())? {
        return Ok(Some(TRAINED_OR_CHOSEN));
    }
    Ok(has(&run.test_predictions())?.then_some(MEASURED))
}

fn use_by_copies(run: &RunFiles, traces: &Traces<'_>) -> Result<Option<&'static str>> {
    let slides = SlideRecord::read_log_if_present(&run.data().join(input::MANIFEST))?.entries;
    let splits = Splits::read_if_present(&run.data().join(input::SPLITS))?.unwrap_or_default();
    let labels = Labels::read_if_present(&run.data().join(input::LABELS))?.unwrap_or_default();
    let corrected =
        RunRecord::read_if_present(&run.record())?.map(|record| record.corrections).unwrap_or_default();
    let corrected: BTreeSet<&String> = corrected.values().collect();
    let is_used = |slide: &&SlideRecord| {
        let is_taught = labels.slides.contains_key(&slide.slide_id) || corrected.contains(&slide.slide_id);
        traces.gone.is_deck(&slide.deck_id) && is_taught && slide.duplicate_of.is_none() && !slide.excluded
    };
    let used: BTreeSet<Split> = slides.iter().filter(is_used).filter_map(|slide| splits.of(slide)).collect();
    Ok(used.first().map(|split| match split {
        Split::Train => TRAINED,
        Split::Val => CHOSEN,
        Split::Test => MEASURED,
    }))
}

/// Whether a run with an adapter kept neither copies of its data nor predictions.
fn says_nothing(run: &RunFiles) -> bool {
    let kept = [run.data().join(input::MANIFEST), run.reference_predictions()];
    run.adapter_weights().exists() && !kept.iter().any(|path| path.exists())
}

/// Adds the runs and versions that began with an adapter of those that learned from the slides.
fn follow(found: &mut Dependents, runs: &[RunFiles], versions: &[RunFiles]) -> Result<()> {
    let learned = |how: &String| how != MEASURED;
    loop {
        let mut weights = BTreeSet::new();
        for (all, named) in [(runs, &found.runs), (versions, &found.versions)] {
            for files in all.iter().filter(|files| named.get(&name(files)).is_some_and(learned)) {
                if files.adapter_weights().exists() {
                    weights.insert(hash_file(&files.adapter_weights())?.sha256);
                }
            }
        }
        let mut is_more = false;
        for (all, named) in [(runs, &mut found.runs), (versions, &mut found.versions)] {
            for files in all {
                if named.get(&name(files)).is_some_and(learned) {
                    continue;
                }
                let began =
                    RunRecord::read_if_present(&files.record())?.and_then(|record| record.started_from);
                if began.is_some_and(|began| weights.contains(&began.sha256)) {
                    named.insert(name(files), BEGAN_WITH.to_owned());
                    is_more = true;
                }
            }
        }
        if !is_more {
            return Ok(());
        }
    }
}

/// Takes the slides out of a run's copies of its data, of its predictions and its lists. The page of its validation, which shows
/// slides, goes where the run depends on them.
pub(crate) fn clear(run: &RunFiles, hand: &Hand<'_>, traces: &Traces<'_>, who: &Asked) -> Result<usize> {
    let (gone, data) = (traces.gone, run.data());
    let mut removed = 0;
    removed += hand.lines(&run.reference_predictions(), traces)?;
    removed += hand.lines(&run.test_predictions(), traces)?;
    removed += hand.lines(&data.join(input::CORRECTIONS), traces)?;
    removed += hand
        .log::<SlideRecord>(&data.join(input::MANIFEST), |slides| gone.clear_manifest(slides, &|_| false))?;
    removed += hand.aside(&data.join(input::MANIFEST), traces)?;
    removed += hand.document::<Labels>(&data.join(input::LABELS), |labels| gone.clear_labels(labels))?;
    removed += hand.document::<Splits>(&data.join(input::SPLITS), |splits| {
        gone.clear_splits(splits, &who.by, &who.event(), who.at)
    })?;
    removed += hand.document::<RunRecord>(&run.record(), |record| {
        let before = record.corrections.len();
        record.corrections.retain(|_, slide| !gone.is_slide(slide));
        before - record.corrections.len()
    })?;
    for list in [run.doubtful_labels(), run.validation()] {
        removed += hand.json(&list, traces)?;
    }
    Ok(removed)
}
