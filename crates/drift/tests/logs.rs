//! What earlier programs wrote, and lines that nobody can read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use drift::{Decision, DriftReport, DriftStatus, PerformanceReport, PerformanceStatus};
use project_files::Contract as _;
use slide_data::Correction;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples")
}

#[test]
fn lines_and_reports_of_earlier_programs_conclude_nothing() {
    let drift = DriftReport::read(&samples().join("v1/latest_drift.json")).unwrap();
    assert_eq!((drift.status, drift.drift_score), (DriftStatus::Insufficient, None));
    let performance = PerformanceReport::read(&samples().join("v1/latest_metrics.json")).unwrap();
    assert_eq!((performance.status, performance.accuracy_drop), (PerformanceStatus::Insufficient, None));
    for version in ["v1", "v2"] {
        let log = Decision::read_log(&samples().join(version).join("decisions.jsonl")).unwrap();
        assert!(log.defects.is_empty() && !log.entries.is_empty(), "{:?}", log.defects);
        assert!(log.entries.iter().all(|decision| decision.schema_version == 2));
    }
}

#[test]
fn bad_lines_of_a_log_are_set_aside_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corrections.jsonl");
    let good = std::fs::read_to_string(samples().join("v1/corrections.jsonl")).unwrap().trim_end().to_owned();
    let newer = good.replace("\"schema_version\":1", "\"schema_version\":9");
    let bad = [&good[..30], "\0\0\0\0", "{\"x\": NaN}", "{\"other\": 1}", &newer, "[]"];
    let text = format!("{good}\n{}\n{good}\n{{\"torn", bad.join("\n"));
    std::fs::write(&path, text).unwrap();
    let log = drift::read_lines_if_present::<Correction>(&path).unwrap();
    assert_eq!((log.entries.len(), log.defects.broken_lines, log.defects.torn_bytes), (2, 6, 6));
    std::fs::write(&path, "{}\n").unwrap();
    assert!(drift::read_lines_if_present::<Correction>(&path).is_err(), "not one line is a correction");
    std::fs::write(&path, format!("{newer}\n")).unwrap();
    let error = drift::read_lines_if_present::<Correction>(&path).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    assert!(drift::read_lines_if_present::<Correction>(&dir.path().join("none")).unwrap().entries.is_empty());
}
