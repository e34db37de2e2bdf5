//! Each file of a project, read as what it should hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pq_cli::Layout;
use project_files::{
    CATALOG, Contract, Defects, Entry, ExportRecord, JournalEntry, Manifest, RunFiles, RunRecord,
    ValidationResults, VersionFile, input, versions_of, with_causes,
};
use serde::Serialize;
use slide_data::prediction_log::{Columns, PredictionLog, SegmentIndex, replica_failures, replica_logs};

use crate::findings::Findings;

/// One file of the project.
#[derive(Debug, Serialize)]
pub(crate) struct FileRow {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Whether it is there.
    pub(crate) exists: bool,
    /// How many values of each version of its format it holds; empty where the format is not ours.
    pub(crate) versions: BTreeMap<u32, usize>,
    pub(crate) writers: &'static [&'static str],
    pub(crate) readers: &'static [&'static str],
}

impl FileRow {
    /// Whether it is there and in which versions, in words.
    pub(crate) fn state(&self) -> String {
        match (self.exists, self.versions.is_empty()) {
            (false, _) => "not there".to_owned(),
            (true, true) => "there".to_owned(),
            (true, false) => {
                let count = |(version, count): (&u32, &usize)| format!("v{version} × {count}");
                self.versions.iter().map(count).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// The files, and what those that are needed for comparisons hold.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) rows: Vec<FileRow>,
    pub(crate) slides: Option<Vec<slide_data::SlideRecord>>,
    pub(crate) labels: Option<slide_data::Labels>,
    pub(crate) splits: Option<slide_data::Splits>,
    pub(crate) corrections: Option<Vec<slide_data::Correction>>,
    pub(crate) scored: Option<Scored>,
    pub(crate) releases: Option<VersionFile>,
    pub(crate) record: Option<RunRecord>,
    pub(crate) validation: Option<ValidationResults>,
    pub(crate) drift: Option<drift::DriftReport>,
}

/// What the log of scored slides holds.
#[derive(Debug, Default)]
pub(crate) struct Scored {
    /// Slides of each version.
    pub(crate) versions: BTreeMap<String, usize>,
    /// When the last one was scored.
    pub(crate) last: Option<Timestamp>,
}

/// Reads everything that is there; what cannot be read becomes a finding.
pub(crate) fn read(layout: &Layout, findings: &mut Findings) -> Contents {
    let slides = layout.slides();
    let run = layout.latest_run();
    let mut reader = Reader { rows: Vec::new(), findings };
    let mut contents = Contents {
        slides: reader.log("data/raw/manifest.jsonl", &slides.manifest()),
        labels: reader.document("data/labeled/labels.json", &layout.labels()),
        splits: reader.document("data/labeled/splits.json", &layout.splits()),
        corrections: reader.log("data/user_feedback/corrections.jsonl", &layout.corrections()),
        scored: reader.scored(layout),
        releases: reader.document("model_registry/version.json", &layout.version_file()),
        record: reader.document("outputs/<run>/run.json", &run.record()),
        validation: reader.document("outputs/<run>/validation_results.json", &run.validation()),
        drift: reader.document("monitoring/drift_reports/latest_drift.json", &layout.latest_drift()),
        rows: Vec::new(),
    };
    reader.log::<JournalEntry>("model_registry/journal.jsonl", &layout.registry_journal());
    let champion = contents.releases.as_ref().and_then(|releases| releases.version.clone());
    if let Some(champion) = champion {
        let manifest = layout.version(&champion).manifest();
        reader.document::<Manifest>("model_registry/versions/<version>/release.json", &manifest);
    }
    for export in exports(layout) {
        reader.document::<ExportRecord>("model_registry/exports/<export>/export.json", &export);
    }
    reader.log::<slide_data::collect::InputRecord>("data/raw/inputs.jsonl", &slides.inputs());
    reader.log::<slide_data::collect::Forgotten>("data/raw/forgotten.jsonl", &slides.forgotten());
    reader.log::<slide_label::Event>("data/labeled/ratings.jsonl", &layout.journal());
    reader.log::<slide_data::collect::SlideDecision>(
        "data/labeled/slide_decisions.jsonl",
        &layout.slide_decisions(),
    );
    reader.document::<slide_label::PeopleFile>("data/labeled/people.json", &layout.people());
    reader.document::<slide_label::Calibration>("data/labeled/calibration.json", &layout.calibration());
    read_run(&mut reader, &run);
    let performance = layout.latest_performance();
    reader.document::<drift::PerformanceReport>(
        "monitoring/performance_metrics/latest_metrics.json",
        &performance,
    );
    reader.log::<slide_data::KeptSlide>("monitoring/kept/kept_slides.jsonl", &layout.kept().index());
    reader.log::<slide_data::FailedInput>("monitoring/failures.jsonl", &layout.failures());
    for log in replica_failures(layout).unwrap_or_default() {
        reader.log::<slide_data::FailedInput>("monitoring/replicas/<replica>/failures.jsonl", &log);
    }
    reader.log::<slide_data::Audit>("monitoring/audits.jsonl", &layout.audits());
    reader.log::<drift::Decision>("monitoring/decisions.jsonl", &layout.decisions());
    reader.document::<drift::Flight>("monitoring/retraining.json", &layout.retraining());
    for (entry, path) in other_files(layout, &run) {
        reader.other(entry, &path);
    }
    contents.rows = reader.rows;
    contents.rows.sort_by_key(|row| order_of(layout, &row.path));
    contents
}

/// What a run leaves beside its record and its validation.
fn read_run(reader: &mut Reader<'_>, run: &RunFiles) {
    let copy = |name: &str| run.data().join(name);
    reader.log::<slide_data::SlideRecord>("outputs/<run>/data/manifest.jsonl", &copy(input::MANIFEST));
    reader.document::<slide_data::Labels>("outputs/<run>/data/labels.json", &copy(input::LABELS));
    reader.document::<slide_data::Splits>("outputs/<run>/data/splits.json", &copy(input::SPLITS));
    reader.log::<slide_data::Correction>("outputs/<run>/data/corrections.jsonl", &copy(input::CORRECTIONS));
    let applicability = run.applicability();
    reader.document::<project_files::Applicability>("outputs/<run>/applicability.json", &applicability);
    let decision = run.decision();
    reader.document::<project_files::ScoreDecision>("outputs/<run>/decision.json", &decision);
    let head = run.score_head();
    reader.document::<project_files::ScoreHead>("outputs/<run>/score_head.json", &head);
    let doubtful = run.doubtful_labels();
    reader.document::<project_files::DoubtfulLabels>("outputs/<run>/doubtful_labels.json", &doubtful);
    let reference = run.reference_predictions();
    reader.log::<slide_data::Prediction>("outputs/<run>/reference_predictions.jsonl", &reference);
    let test = run.test_predictions();
    reader.log::<slide_data::Prediction>("outputs/<run>/test_predictions.jsonl", &test);
}

/// The records of the exports that were made.
fn exports(layout: &Layout) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(layout.exports()).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let records = folders.map(|entry| entry.path()).filter(|path| path.is_dir());
    records.map(|path| path.join(ExportRecord::FILE)).collect()
}

/// Files in formats that are not ours.
fn other_files(layout: &Layout, run: &RunFiles) -> [(&'static str, PathBuf); 9] {
    [
        ("data/raw/slides/<slide-id>.png", layout.slides().images()),
        ("monitoring/kept/<pixels>.png", layout.kept().root().to_owned()),
        ("monitoring/predictions/<day>-<hash>.parquet", layout.segments()),
        ("monitoring/predictions/lines-<hash>.jsonl", layout.segments()),
        ("outputs/<run>/adapter_config.json", run.adapter_config()),
        ("outputs/<run>/adapter_model.safetensors", run.adapter_weights()),
        ("outputs/<run>/config.toml", run.config()),
        ("outputs/<run>/metrics.jsonl", run.metrics()),
        ("outputs/<run>/report.html", run.report()),
    ]
}

fn order_of(layout: &Layout, path: &Path) -> (usize, PathBuf) {
    let folders = [layout.data(), layout.outputs(), layout.registry(), layout.monitoring()];
    let folder = folders.iter().position(|folder| path.starts_with(folder)).unwrap_or(folders.len());
    (folder, path.to_owned())
}

struct Reader<'a> {
    rows: Vec<FileRow>,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn log<T: Contract>(&mut self, name: &'static str, path: &Path) -> Option<Vec<T>> {
        self.row::<T>(name, path, true);
        if !path.exists() {
            return None;
        }
        match T::read_log(path) {
            Ok(log) => {
                self.defects(path, T::NAME, &log.defects);
                Some(log.entries)
            }
            Err(error) => {
                self.findings.problem(with_causes(&error));
                None
            }
        }
    }

    /// The log of scored slides with its past days.
    fn scored(&mut self, layout: &Layout) -> Option<Scored> {
        let path = layout.predictions();
        self.row::<slide_data::Prediction>("monitoring/predictions.jsonl", &path, true);
        for log in replica_logs(layout).unwrap_or_default() {
            self.row::<slide_data::Prediction>("monitoring/replicas/<replica>/predictions.jsonl", &log, true);
        }
        self.row::<SegmentIndex>("monitoring/predictions/segments.json", &layout.segment_index(), false);
        if !path.exists() && !layout.segments().exists() {
            return None;
        }
        match self.read_scored(layout, &path) {
            Ok(scored) => Some(scored),
            Err(error) => {
                self.findings.problem(with_causes(&error));
                None
            }
        }
    }

    fn read_scored(&mut self, layout: &Layout, path: &Path) -> slide_data::Result<Scored> {
        let mut log = PredictionLog::open(layout)?;
        log.verify(i64::MIN)?;
        self.defects(path, slide_data::Prediction::NAME, log.defects());
        for part in log.unreadable() {
            self.findings.problem(part.reason.clone());
        }
        let mut scored = Scored::default();
        for day in log.days(..) {
            log.for_each_of(day, Columns::Keys, |_, slide| {
                if let Some(count) = scored.versions.get_mut(&slide.model_version) {
                    *count += 1;
                } else {
                    scored.versions.insert(slide.model_version.clone(), 1);
                }
                scored.last = scored.last.max(Some(slide.scored_at));
                Ok(())
            })?;
        }
        Ok(scored)
    }

    fn document<T: Contract>(&mut self, name: &'static str, path: &Path) -> Option<T> {
        self.row::<T>(name, path, false);
        match T::read_if_present(path) {
            Ok(value) => value,
            Err(error) => {
                self.findings.problem(with_causes(&error));
                None
            }
        }
    }

    fn defects(&mut self, path: &Path, name: &str, defects: &Defects) {
        if defects.broken_lines > 0 {
            let (count, path) = (defects.broken_lines, path.display());
            let first = defects.examples.first().map_or(0, |broken| broken.line);
            self.findings
                .problem(format!("{count} lines of `{path}` are no {name}, the first is line {first}"));
        }
        if defects.torn_bytes > 0 {
            self.findings.note(format!("the last line of `{}` is unfinished", path.display()));
        }
    }

    fn row<T: Contract>(&mut self, name: &'static str, path: &Path, is_log: bool) {
        let versions =
            if path.exists() { versions_of::<T>(path, is_log).unwrap_or_default() } else { BTreeMap::new() };
        self.push(name, path, versions);
    }

    fn other(&mut self, name: &'static str, path: &Path) {
        self.push(name, path, BTreeMap::new());
    }

    fn push(&mut self, name: &'static str, path: &Path, versions: BTreeMap<u32, usize>) {
        let entry: Option<&Entry> = CATALOG.iter().find(|entry| entry.path == name);
        let (writers, readers): (&[&str], &[&str]) =
            entry.map_or((&[], &[]), |entry| (entry.writers, entry.readers));
        self.rows.push(FileRow { path: path.to_owned(), exists: path.exists(), versions, writers, readers });
    }
}
