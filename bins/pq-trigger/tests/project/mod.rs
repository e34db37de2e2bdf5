//! A project's folder with a release and corrections, for the tests of the command.
#![allow(dead_code, reason = "the tests need different parts")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse::write_file;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const NOW: &str = "2025-06-01T12:00:00Z";

/// A project's folder with the default configuration and a release five days ago.
pub(crate) fn project() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_file(dir.path(), "config/monitoring.toml", include_str!("../../../../config/monitoring.toml"));
    release(dir.path(), "2025-05-27T12:00:00Z");
    std::fs::create_dir_all(dir.path().join("data")).expect("a data folder");
    dir
}

/// One collected and rated slide, `s0`, which may be trained on.
pub(crate) fn rated(dir: &Path) {
    rated_slides(dir, 1);
}

/// So many of them, `s0` and on.
fn rated_slides(dir: &Path, total: usize) {
    let slide = |index: usize| {
        let slide = json!({
            "schema_version": 1, "slide_id": format!("s{index}"), "deck_id": "d", "number": index + 1, "sha256": "aa", "phash": "00", "width": 1,
            "height": 1, "group": "d", "source": {"kind": "generated", "origin": "", "sha256": ""}, "collected_at": "2025-01-01T00:00:00Z",
        });
        format!("{slide}\n")
    };
    write_file(dir, "data/raw/manifest.jsonl", &(0..total).map(slide).collect::<String>());
    let label = json!({"clarity": 3, "annotators": 1, "distribution": {"clarity": [0, 0, 1, 0, 0]}, "notes": "", "image_path": ""});
    let labels: serde_json::Map<String, Value> =
        (0..total).map(|index| (format!("s{index}"), label.clone())).collect();
    write_file(dir, "data/labeled/labels.json", &Value::Object(labels).to_string());
}

pub(crate) fn release(dir: &Path, at: &str) {
    let release = |version: &str, at: &str| json!({"version": version, "released_at": at, "run_id": "r", "human_agreement": 0.9, "metrics": {}, "files": {}});
    let history = json!([release("v2", at), release("v1", "2024-01-01T00:00:00Z")]);
    write_file(
        dir,
        "model_registry/version.json",
        &json!({"schema_version": 1, "version": "v2", "aliases": {"champion": "v2"}, "history": history})
            .to_string(),
    );
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the executable starts")
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-trigger"));
    command.current_dir(dir).env_remove("GITHUB_OUTPUT").args(["--by", "anna"]).args(args);
    if !args.contains(&"--at") {
        command.args(["--at", NOW]);
    }
    command
}

/// Corrections of so many slides.
pub(crate) fn corrections(dir: &Path, total: usize) {
    let lines = (0..total).fold(String::new(), |mut lines, index| {
        let line = json!({
            "schema_version": 1, "id": format!("c{index}"), "slide_id": format!("s{index}"), "model_version": "v2", "annotator": "user",
            "corrected_at": "2025-05-31T08:00:00Z", "predicted": {"clarity": 3.0}, "scores": {"clarity": 4},
        });
        let _ = writeln!(lines, "{line}");
        lines
    });
    write_file(dir, "data/user_feedback/corrections.jsonl", &lines);
    rated_slides(dir, total);
}

pub(crate) fn decisions(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("monitoring/decisions.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
