//! One frozen file of every version of every format is read for ever; a newer one is refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use project_files::{
    CATALOG, Contract, Error, ExportRecord, JournalEntry, Manifest, RunRecord, Shape, ValidationResults,
    VersionFile,
};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/project-files/samples")
}

/// The sample of a version of the format that `path` of the catalog has.
fn sample(path: &str, version: u32) -> PathBuf {
    samples().join(format!("v{version}")).join(path.rsplit('/').next().unwrap())
}

/// Reads the samples of all versions, and refuses the next one; returns the path.
fn check<T: Contract>(path: &'static str) -> &'static str {
    let entry = CATALOG
        .iter()
        .find(|entry| entry.path == path)
        .unwrap_or_else(|| panic!("`{path}` is in no catalog"));
    assert_eq!(entry.version, T::VERSION, "`{path}`: the catalog and the type name the same version");
    let read = |path: &Path| -> Result<usize, Error> {
        match entry.shape {
            Shape::Log => T::read_log(path).map(|log| {
                assert!(log.defects.is_empty(), "{}: {:?}", path.display(), log.defects);
                log.entries.len()
            }),
            _ => T::read(path).map(|_| 1),
        }
    };
    for version in 1..=T::VERSION {
        let sample = sample(path, version);
        let count =
            read(&sample).unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        assert!(count > 0, "{} holds something", sample.display());
    }
    let newest = std::fs::read_to_string(sample(path, T::VERSION)).unwrap();
    let (now, next) =
        (format!("\"schema_version\":{}", T::VERSION), format!("\"schema_version\":{}", T::VERSION + 1));
    let newer = newest.replace("\"schema_version\": ", "\"schema_version\":").replace(&now, &next);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("newer");
    std::fs::write(&file, newer).unwrap();
    let error = read(&file).unwrap_err();
    assert!(matches!(error, Error::Newer { found, .. } if found == T::VERSION + 1), "`{path}`: {error}");
    assert!(error.to_string().contains(T::NAME), "{error}");
    path
}

#[test]
fn every_version_of_every_format_is_read_and_a_newer_one_is_refused() {
    let checked = [
        check::<slide_data::SlideRecord>("data/raw/manifest.jsonl"),
        check::<slide_data::collect::InputRecord>("data/raw/inputs.jsonl"),
        check::<slide_data::collect::Forgotten>("data/raw/forgotten.jsonl"),
        check::<slide_label::Event>("data/labeled/ratings.jsonl"),
        check::<slide_label::PeopleFile>("data/labeled/people.json"),
        check::<slide_label::Calibration>("data/labeled/calibration.json"),
        check::<slide_data::Labels>("data/labeled/labels.json"),
        check::<slide_data::Splits>("data/labeled/splits.json"),
        check::<slide_data::collect::SlideDecision>("data/labeled/slide_decisions.jsonl"),
        check::<slide_data::Correction>("data/user_feedback/corrections.jsonl"),
        check::<RunRecord>("outputs/<run>/run.json"),
        check::<slide_data::SlideRecord>("outputs/<run>/data/manifest.jsonl"),
        check::<slide_data::Labels>("outputs/<run>/data/labels.json"),
        check::<slide_data::Splits>("outputs/<run>/data/splits.json"),
        check::<slide_data::Correction>("outputs/<run>/data/corrections.jsonl"),
        check::<slide_data::Prediction>("outputs/<run>/reference_predictions.jsonl"),
        check::<slide_data::Prediction>("outputs/<run>/test_predictions.jsonl"),
        check::<ValidationResults>("outputs/<run>/validation_results.json"),
        check::<VersionFile>("model_registry/version.json"),
        check::<JournalEntry>("model_registry/journal.jsonl"),
        check::<Manifest>("model_registry/versions/<version>/release.json"),
        check::<ExportRecord>("model_registry/exports/<export>/export.json"),
        check::<slide_data::Prediction>("monitoring/predictions.jsonl"),
        check::<slide_data::Prediction>("monitoring/replicas/<replica>/predictions.jsonl"),
        check::<slide_data::prediction_log::SegmentIndex>("monitoring/predictions/segments.json"),
        check::<drift::DriftReport>("monitoring/drift_reports/latest_drift.json"),
        check::<drift::PerformanceReport>("monitoring/performance_metrics/latest_metrics.json"),
        check::<project_files::Applicability>("outputs/<run>/applicability.json"),
        check::<project_files::ScoreDecision>("outputs/<run>/decision.json"),
        check::<project_files::ScoreHead>("outputs/<run>/score_head.json"),
        check::<project_files::DoubtfulLabels>("outputs/<run>/doubtful_labels.json"),
        check::<slide_data::KeptSlide>("monitoring/kept/kept_slides.jsonl"),
        check::<slide_data::FailedInput>("monitoring/failures.jsonl"),
        check::<slide_data::FailedInput>("monitoring/replicas/<replica>/failures.jsonl"),
        check::<slide_data::Audit>("monitoring/audits.jsonl"),
        check::<drift::Decision>("monitoring/decisions.jsonl"),
        check::<drift::Flight>("monitoring/retraining.json"),
    ];
    let mut ours: Vec<&str> =
        CATALOG.iter().filter(|entry| entry.version > 0).map(|entry| entry.path).collect();
    let mut seen = checked;
    ours.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen.as_slice(), ours, "every format of the catalog is checked here");
}

/// The rows of the table of contracts in ARCHITECTURE.md, as far as the catalog says the same.
fn documented() -> Vec<[String; 5]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let known = CATALOG.iter().any(|entry| cells.get(1).is_some_and(|cell| cell == entry.path));
        (known && cells.len() >= 7).then(|| std::array::from_fn(|at| cells[at + 1].clone()))
    });
    rows.collect()
}

#[test]
fn the_table_in_the_documentation_is_the_catalog() {
    let version = |version: u32| version.to_string();
    let catalog: Vec<[String; 5]> = CATALOG
        .iter()
        .map(|entry| {
            [
                entry.path.to_owned(),
                entry.type_name.to_owned(),
                version(entry.version),
                entry.writers.join(", "),
                entry.readers.join(", "),
            ]
        })
        .collect();
    assert_eq!(documented(), catalog);
}
