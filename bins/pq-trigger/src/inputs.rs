use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use drift::{
    Decision, DriftReport, Flight, Known, Learnable, Look, PerformanceReport, TriggerConfig, Usable,
    VersionFile, read_lines_if_present, usable,
};
use jiff::Timestamp;
use pq_cli::Layout;
use project_files::{Contract, Release, RunFiles, RunRecord, input, sha256_hex};
use slide_data::{Correction, KeptSlide, Labels, Rubric, SlideRecord, Splits};

use crate::tried;

/// What was read, with the SHA-256 of each file.
pub(crate) struct Inputs {
    pub(crate) usable: Usable,
    pub(crate) known: Known,
    pub(crate) releases: VersionFile,
    pub(crate) drift: Option<DriftReport>,
    pub(crate) performance: Option<PerformanceReport>,
    pub(crate) past: Vec<Decision>,
    pub(crate) broken_decisions: usize,
    pub(crate) flight: Option<Flight>,
    pub(crate) hashes: BTreeMap<String, String>,
}

/// What is looked at, where it does not follow from the layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// The corrections.
    pub(crate) corrections: Option<&'a Path>,
    /// Whether a person asks, who need not wait for pq-monitor: a report that cannot be read counts as none.
    pub(crate) is_manual: bool,
    /// What is trained on: other criteria teach nothing.
    pub(crate) rubric: &'a Rubric,
    /// How long a retraining may run.
    pub(crate) triggers: &'a TriggerConfig,
    pub(crate) now: Timestamp,
}

/// Reads what is there. A file or folder that was named and is not there is an error: it could hide a reason to retrain.
pub(crate) fn read(layout: &Layout, choice: Choice<'_>) -> drift::Result<Inputs> {
    layout.require_data()?;
    layout.require_registry()?;
    layout.require_monitoring()?;
    let mut files = Files::default();
    let path = corrections_path(layout, choice.corrections)?;
    let releases: VersionFile = files.document(&layout.version_file())?.unwrap_or_default();
    let mut log: Vec<Correction> = files.log(&path)?;
    for correction in &mut log {
        correction.scores.retain(|key, _| choice.rubric.keys().any(|known| known == key));
    }
    let bytes = if path.exists() { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
    let champion = releases.champion().or_else(|| releases.last());
    let run = match champion.and_then(|release| record(layout, release)) {
        Some(path) => files.document::<RunRecord>(&path)?,
        None => None,
    };
    let read_at = champion.map(|release| release.released_at);
    let known = run.as_ref().map(|run| Known::new(run, &bytes));
    let known = known.unwrap_or_else(|| Known { read_at, ..Known::default() });
    let past = read_lines_if_present::<Decision>(&layout.decisions())?;
    let asked = Look { past: &past.entries, ..Look::default() };
    let asked: Vec<Flight> = asked.asked().map(|ask| Flight::of(ask, choice.triggers)).collect();
    let tried = tried::runs(layout, &releases, champion, &asked);
    let known = Known {
        tried: tried.iter().map(|run| Known::new(run, &bytes)).collect(),
        put_in_use: tried::put_in_use(layout, choice.now),
        ..known
    };
    let learnable = learnable(layout, &mut files)?;
    let labels = files.hashes.get(&name(&layout.labels())).cloned().unwrap_or_default();
    let missing = missing(layout, &path, run.as_ref(), &past.entries);
    Ok(Inputs {
        usable: usable(&log, &learnable, &known, &labels, choice.now).without(missing),
        known,
        releases,
        drift: files.report(&layout.latest_drift(), choice.is_manual)?,
        performance: files.report(&layout.latest_performance(), choice.is_manual)?,
        past: past.entries,
        broken_decisions: past.defects.broken_lines,
        flight: files.document(&layout.retraining())?,
        hashes: files.hashes,
    })
}

fn corrections_path(layout: &Layout, named: Option<&Path>) -> drift::Result<PathBuf> {
    let Some(path) = named else { return Ok(layout.corrections()) };
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(project_files::Error::NoFile { path: path.to_owned(), setting: "--corrections" }.into())
}

/// The record of the run that a version came from, where one is left.
pub(crate) fn record(layout: &Layout, release: &Release) -> Option<PathBuf> {
    // A run's id is a name; whatever else a registry may hold does not lead out of the folder of runs.
    let is_name = Path::new(&release.run_id).file_name().is_some_and(|file| *file == *release.run_id);
    let of_run = is_name.then(|| layout.run(&release.run_id));
    let places = [Some(layout.version(&release.version)), of_run].into_iter().flatten();
    places.map(|run: RunFiles| run.record()).find(|path| path.exists())
}

/// The files that are gone: the run of the version in use read them, or an earlier decision looked at them. One that never was is empty.
fn missing(layout: &Layout, corrections: &Path, run: Option<&RunRecord>, past: &[Decision]) -> Vec<String> {
    let is_of_run = |input: &str| run.is_some_and(|run| run.inputs.contains_key(input));
    let places = [
        (corrections.to_owned(), is_of_run(input::CORRECTIONS)),
        (layout.slides().manifest(), is_of_run(input::MANIFEST)),
        (layout.labels(), is_of_run(input::LABELS)),
        (layout.splits(), is_of_run(input::SPLITS)),
        (layout.version_file(), false),
    ];
    let was_seen = |path: &Path| past.iter().any(|past| past.inputs.contains_key(&name(path)));
    let is_gone = |(path, was_read): &(PathBuf, bool)| !path.exists() && (*was_read || was_seen(path));
    places.iter().filter(|place| is_gone(place)).map(|(path, _)| name(path)).collect()
}

fn learnable(layout: &Layout, files: &mut Files) -> drift::Result<Learnable> {
    let slides: Vec<SlideRecord> = files.log(&layout.slides().manifest())?;
    let labels: Labels = files.document(&layout.labels())?.unwrap_or_default();
    let splits: Splits = files.document(&layout.splits())?.unwrap_or_default();
    let kept: Vec<KeptSlide> = files.log(&layout.kept().index())?;
    Ok(Learnable::new(&slides, &labels, &splits).with_kept(kept.into_iter().map(|slide| slide.slide_id)))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Reads files and remembers their hashes.
#[derive(Default)]
struct Files {
    hashes: BTreeMap<String, String>,
}

impl Files {
    fn document<T: Contract>(&mut self, path: &Path) -> drift::Result<Option<T>> {
        let value = T::read_if_present(path)?;
        self.remember(path)?;
        Ok(value)
    }

    fn report<T: Contract>(&mut self, path: &Path, is_manual: bool) -> drift::Result<Option<T>> {
        self.document(path).or_else(|error| {
            if !is_manual {
                return Err(error);
            }
            tracing::warn!("decided without a report: {}", project_files::with_causes(&error));
            Ok(None)
        })
    }

    fn log<T: Contract>(&mut self, path: &Path) -> drift::Result<Vec<T>> {
        let log = read_lines_if_present(path)?;
        self.remember(path)?;
        Ok(log.entries)
    }

    fn remember(&mut self, path: &Path) -> drift::Result<()> {
        match std::fs::read(path) {
            Ok(bytes) => {
                self.hashes.insert(name(path), sha256_hex(&bytes));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(project_files::Error::from(durable_files::io_error("read", path)(error)).into())
            }
        }
    }
}
