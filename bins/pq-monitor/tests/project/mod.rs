//! A project's folder with slides that were scored, for the tests of the command.
#![allow(dead_code, reason = "the tests need different parts")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse::write_file;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const NOW: &str = "2025-06-01T12:00:00Z";

/// A project's folder with the default configuration.
pub(crate) fn project() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_file(dir.path(), "config/monitoring.toml", include_str!("../../../../config/monitoring.toml"));
    std::fs::create_dir_all(dir.path().join("data")).expect("a data folder");
    dir
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the executable starts")
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-monitor"));
    command.current_dir(dir).args(["--at", NOW]).args(args);
    command
}

pub(crate) fn read(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join(name)).expect("the report is there")).expect("JSON")
}

/// Lines of scored slides: `decks` decks of eight, the image brighter by `shift`.
pub(crate) fn scored(name: &str, decks: usize, shift: f64) -> String {
    let mut rng = fastrand::Rng::with_seed(decks as u64);
    let mut lines = String::new();
    for deck in 0..decks {
        for slide in 0..8 {
            let brightness = rng.f64() + shift;
            let p = 0.2 + 0.6 * rng.f64();
            let id = format!("{name}-{deck}-{slide}");
            let line = json!({
                "schema_version": 1, "slide_id": id, "deck_id": format!("{name}-{deck}"), "sha256": id,
                "scored_at": "2025-05-30T08:00:00Z", "model_version": "v1", "latency_ms": 12.5,
                "distributions": {"clarity": [0.0, 0.0, 1.0 - p, p, 0.0]}, "expected": {"clarity": 3.0 + p},
                "features": {"brightness": brightness, "contrast": rng.f64() + shift},
            });
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

/// Labels of the first decks' slides, all with one score.
pub(crate) fn labels(decks: usize, score: u8) -> String {
    let slides = (0..decks * 8).map(|index| {
        let votes: Vec<u8> = (1..=5).map(|level| u8::from(level == score)).collect();
        let label = json!({"clarity": score, "annotators": 1, "distribution": {"clarity": votes}, "notes": "", "image_path": ""});
        (format!("new-{}-{}", index / 8, index % 8), label)
    });
    Value::Object(slides.collect()).to_string()
}

pub(crate) fn with_data(shift: f64) -> TempDir {
    let dir = project();
    write_file(dir.path(), "monitoring/predictions.jsonl", &scored("new", 16, shift));
    write_file(dir.path(), "outputs/latest/reference_predictions.jsonl", &scored("old", 24, 0.0));
    let validated = json!({
        "schema_version": 1, "created_at": "2025-05-01T08:00:00Z", "model_version": "v1", "human_agreement": 0.95,
        "threshold": 0.85, "passes_threshold": true, "reasons": [], "metrics": {"clarity_within_1": 0.95}, "more": [1],
        "intervals": {"overall_within_1": {"low": 0.93, "high": 0.97}},
    });
    write_file(dir.path(), "outputs/latest/validation_results.json", &validated.to_string());
    dir
}

pub(crate) fn assert_error(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is missing: {error}");
    }
}

/// Both reports as they are printed, without the names of the files that they come from.
pub(crate) fn printed(output: &Output) -> Value {
    let mut printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for report in ["drift", "performance"] {
        printed[report].as_object_mut().expect("a report").remove("inputs");
    }
    printed
}
