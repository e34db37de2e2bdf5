use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use drift::{
    CollectedFile, Found, LookThrough, MonitoringConfig, ValidationResults, VersionFile, collected_files,
    look_through, read_lines_if_present,
};
use jiff::Timestamp;
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{Contract, RunFiles, RunRecord, hash_file};
use slide_data::prediction_log::PredictionLog;
use slide_data::{Audit, FailedInput, InputRecord, Labels, Prediction, SlideRecord, Split, Splits};

/// What was read, with the SHA-256 of each file.
pub(crate) struct Inputs {
    /// What of the log of scored slides is looked at.
    pub(crate) found: Found,
    /// Lines of it that cannot be read.
    pub(crate) broken_lines: usize,
    pub(crate) audits: Vec<Audit>,
    /// What could not be scored, and what became of the files that were collected.
    pub(crate) failed: Vec<FailedInput>,
    pub(crate) collected: Vec<CollectedFile>,
    pub(crate) reference: Vec<Prediction>,
    pub(crate) labels: Labels,
    pub(crate) validated: Option<ValidationResults>,
    pub(crate) model_version: Option<String>,
    pub(crate) hashes: BTreeMap<String, String>,
}

const REMEDY: &str = "mend the file, or restore it from a copy";

/// What is looked at, where it does not follow from the layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// The run to compare with.
    pub(crate) run: Option<&'a Path>,
    /// The version whose scores are looked at.
    pub(crate) model_version: Option<&'a str>,
    /// Whether slides are drawn to be rated.
    pub(crate) draws: bool,
    pub(crate) now: Timestamp,
}

/// Reads what is there. What is not there is warned of and counts as no data.
pub(crate) fn read(layout: &Layout, config: &MonitoringConfig, choice: Choice<'_>) -> Result<Inputs> {
    let mut files = Files::default();
    let mut log = PredictionLog::open(layout).hint("cannot use an input", REMEDY)?;
    let releases =
        VersionFile::read_if_present(&layout.version_file()).hint("cannot use the registry", REMEDY)?;
    let model_version = version(choice, releases.as_ref(), &log)?;
    let runs = runs(layout, choice.run, releases.as_ref(), model_version.as_deref())?;
    let (reference, _) = files.log::<Prediction>(find(&runs, RunFiles::reference_predictions))?;
    let validated = files.document(find(&runs, RunFiles::validation))?;
    let record = runs.iter().map(RunFiles::record).find(|path| path.exists());
    let read_at = files.document::<RunRecord>(record)?.map(|record| record.started_at);
    let (audits, _) = files.log::<Audit>(Some(layout.audits()))?;
    let (mut failed, _) = files.log::<FailedInput>(Some(layout.failures()))?;
    let (collected, _) = files.log::<InputRecord>(Some(layout.slides().inputs()))?;
    let labels: Labels = files.document(Some(layout.labels()))?.unwrap_or_default();
    let mut seen_in_training: BTreeSet<String> =
        reference.iter().map(|slide| slide.slide_id.clone()).collect();
    let mut seen_decks: BTreeSet<String> = reference.iter().map(|slide| slide.deck_id.clone()).collect();
    if let Some(splits) = files.document::<Splits>(Some(layout.splits()))? {
        for slide in trained_on(layout, &splits, read_at)? {
            seen_in_training.insert(slide.slide_id);
            seen_decks.insert(slide.deck_id);
        }
    }
    failed.retain(|failed| failed.deck_id.as_ref().is_none_or(|deck| !seen_decks.contains(deck)));
    let look = LookThrough {
        model_version: model_version.as_deref(),
        seen_in_training: &seen_in_training,
        drawn: choice.draws.then_some(audits.as_slice()),
        config,
        now: choice.now,
    };
    let found = look_through(&mut log, &look).hint("cannot use an input", REMEDY)?;
    for part in log.unreadable() {
        tracing::warn!("{}", part.reason);
    }
    let mut hashes = files.hashes;
    hashes.extend(log.inputs(found.first_day));
    Ok(Inputs {
        found,
        broken_lines: log.defects().broken_lines,
        audits,
        failed,
        collected: collected_files(&collected, read_at),
        reference,
        labels,
        validated,
        model_version,
        hashes,
    })
}

/// The version that was named, else the one in use, whichever scored last; where nothing was released, the one that scored last.
fn version(
    choice: Choice<'_>,
    releases: Option<&VersionFile>,
    log: &PredictionLog,
) -> Result<Option<String>> {
    let champion = || releases.and_then(|releases| releases.champion().or_else(|| releases.last()));
    let named = choice.model_version.map(str::to_owned);
    match named.or_else(|| champion().map(|release| release.version.clone())) {
        Some(version) => Ok(Some(version)),
        None => log.latest_version(choice.now).hint("cannot use an input", REMEDY),
    }
}

/// Where the files of the run behind a version may lie, the surest first.
fn runs(
    layout: &Layout,
    named: Option<&Path>,
    releases: Option<&VersionFile>,
    version: Option<&str>,
) -> Result<Vec<RunFiles>> {
    if let Some(dir) = named {
        if !dir.is_dir() {
            let message = format!("there is no folder `{}`", dir.display());
            return Err(Hint::new(message, "name the folder of a run or of a released version").into());
        }
        return Ok(vec![RunFiles::new(dir)]);
    }
    let mut runs = version.map_or_else(Vec::new, |version| runs_of(layout, releases, version));
    // Where a version is released, another run says nothing of it.
    if releases.is_none_or(|releases| releases.history.is_empty()) {
        runs.push(layout.latest_run());
    }
    Ok(runs)
}

/// Where the run that a version came from may lie.
fn runs_of(layout: &Layout, releases: Option<&VersionFile>, version: &str) -> Vec<RunFiles> {
    // A version is a name; whatever else a log may hold does not lead out of these folders.
    let is_name = |name: &&str| Path::new(name).file_name().is_some_and(|file| file == *name);
    let Some(version) = Some(version).filter(is_name) else { return Vec::new() };
    let release = releases.and_then(|releases| releases.release(version).ok());
    let run_id = release.map(|release| release.run_id.as_str()).filter(is_name);
    let of_release = run_id.map(|run_id| layout.run(run_id));
    [layout.version(version)].into_iter().chain(of_release).chain([layout.run(version)]).collect()
}

fn find(runs: &[RunFiles], file: impl Fn(&RunFiles) -> PathBuf) -> Option<PathBuf> {
    let found = runs.iter().map(&file).find(|path| path.exists());
    if found.is_none() {
        let name = runs.last().map(file).unwrap_or_default();
        tracing::warn!(
            "there is no `{}` of the run: train and validate first, or name the run with --run",
            name.file_name().unwrap_or_default().display()
        );
    }
    found
}

/// The slides that the run may have been trained or chosen on: those that were collected when it read its data.
fn trained_on(layout: &Layout, splits: &Splits, read_at: Option<Timestamp>) -> Result<Vec<SlideRecord>> {
    let slides = SlideRecord::read_log_if_present(&layout.slides().manifest())
        .hint("cannot tell which slides were trained on", REMEDY)?;
    let is_seen = |slide: &SlideRecord| {
        matches!(splits.groups.get(&slide.group), Some(Split::Train | Split::Val))
            && read_at.is_none_or(|read_at| slide.collected_at <= read_at)
    };
    Ok(slides.entries.into_iter().filter(is_seen).collect())
}

/// Reads files and remembers their hashes.
#[derive(Default)]
struct Files {
    hashes: BTreeMap<String, String>,
}

impl Files {
    fn document<T: Contract>(&mut self, path: Option<PathBuf>) -> Result<Option<T>> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
        let value = T::read(&path).hint("cannot use an input", REMEDY)?;
        self.remember(&path)?;
        Ok(Some(value))
    }

    /// The entries, and how many lines cannot be read: they are warned of and passed over.
    fn log<T: Contract>(&mut self, path: Option<PathBuf>) -> Result<(Vec<T>, usize)> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok((Vec::new(), 0)) };
        let log = read_lines_if_present::<T>(&path).hint("cannot use an input", REMEDY)?;
        self.remember(&path)?;
        Ok((log.entries, log.defects.broken_lines))
    }

    fn remember(&mut self, path: &Path) -> Result<()> {
        self.hashes.insert(path.display().to_string(), hash_file(path)?.sha256);
        Ok(())
    }
}
