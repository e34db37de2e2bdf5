use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use drift::{ValidationResults, VersionFile};
use jiff::Timestamp;
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{Contract, RunFiles, hash_file};
use slide_data::{Correction, Labels, Prediction, SlideRecord, Split, Splits};

/// What was read, with the SHA-256 of each file.
pub(crate) struct Inputs {
    pub(crate) scored: Vec<Prediction>,
    pub(crate) reference: Vec<Prediction>,
    pub(crate) corrections: Vec<Correction>,
    pub(crate) labels: Labels,
    pub(crate) seen_in_training: BTreeSet<String>,
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
    pub(crate) now: Timestamp,
}

/// Reads what is there. What is not there is warned of and counts as no data.
pub(crate) fn read(layout: &Layout, choice: Choice<'_>) -> Result<Inputs> {
    let mut files = Files::default();
    let scored: Vec<Prediction> = files.log(Some(layout.predictions()))?;
    let latest = || latest(&scored, choice.now);
    let model_version = choice.model_version.map(str::to_owned).or_else(latest);
    let runs = runs(layout, choice.run, model_version.as_deref())?;
    let reference: Vec<Prediction> = files.log(find(&runs, RunFiles::reference_predictions))?;
    let validated = files.document(find(&runs, RunFiles::validation))?;
    let corrections = files.log(Some(layout.corrections()))?;
    let labels: Labels = files.document(Some(layout.labels()))?.unwrap_or_default();
    let mut seen_in_training: BTreeSet<String> =
        reference.iter().map(|slide| slide.slide_id.clone()).collect();
    if let Some(splits) = files.document::<Splits>(Some(layout.splits()))? {
        seen_in_training.extend(trained_on(layout, &splits)?);
    }
    let hashes = files.hashes;
    Ok(Inputs { scored, reference, corrections, labels, seen_in_training, validated, model_version, hashes })
}

fn latest(scored: &[Prediction], now: Timestamp) -> Option<String> {
    let past = scored.iter().filter(|slide| slide.scored_at <= now);
    past.max_by_key(|slide| slide.scored_at).map(|slide| slide.model_version.clone())
}

/// Where the files of the run behind a version may lie, the surest first.
fn runs(layout: &Layout, named: Option<&Path>, version: Option<&str>) -> Result<Vec<RunFiles>> {
    if let Some(dir) = named {
        if !dir.is_dir() {
            let message = format!("there is no folder `{}`", dir.display());
            return Err(Hint::new(message, "name the folder of a run or of a released version").into());
        }
        return Ok(vec![RunFiles::new(dir)]);
    }
    let releases =
        VersionFile::read_if_present(&layout.version_file()).hint("cannot use the registry", REMEDY)?;
    let mut runs = version.map_or_else(Vec::new, |version| runs_of(layout, releases.as_ref(), version));
    runs.push(layout.latest_run());
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

fn trained_on(layout: &Layout, splits: &Splits) -> Result<BTreeSet<String>> {
    let slides = SlideRecord::read_log_if_present(&layout.slides().manifest())
        .hint("cannot tell which slides were trained on", REMEDY)?;
    let is_seen = |group: &str| matches!(splits.groups.get(group), Some(Split::Train | Split::Val));
    let seen = slides.entries.into_iter().filter(|slide| is_seen(&slide.group));
    Ok(seen.map(|slide| slide.slide_id).collect())
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

    fn log<T: Contract>(&mut self, path: Option<PathBuf>) -> Result<Vec<T>> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(Vec::new()) };
        let log = T::read_log(&path).hint("cannot use an input", REMEDY)?;
        self.remember(&path)?;
        Ok(log.entries)
    }

    fn remember(&mut self, path: &Path) -> Result<()> {
        self.hashes.insert(path.display().to_string(), hash_file(path)?.sha256);
        Ok(())
    }
}
