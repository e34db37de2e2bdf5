//! The command as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse;
use project_files::{Baseline, Contract as _, RunFiles, ValidationResults, hash_file};

fn project(mae: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("config/training.toml", "[registry]\nmax_mae = 0.6\n");
    write("outputs/latest/adapter_config.json", "{}");
    write("outputs/latest/adapter_model.safetensors", "weights");
    write("outputs/latest/config.toml", "[model]");
    write(
        "outputs/latest/run.json",
        r#"{"schema_version":2,"run_id":"r","started_at":"2026-01-02T03:04:05Z","base_model":"a/b",
            "training":{"steps":3},"data":{"slides":9},"inputs":{}}"#,
    );
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    let mut results = ValidationResults {
        schema_version: 1,
        human_agreement: 0.9,
        passes_threshold: true,
        reasons: vec!["said so".to_owned()],
        metrics: [("overall_mae".to_owned(), mae)].into(),
        baseline: Some(Baseline {
            chosen_on: "train".to_owned(),
            constants: [].into(),
            metrics: [("overall_mae".to_owned(), 1.0)].into(),
            mae_gain: 1.0 - mae,
            mae_gain_interval: None,
        }),
        ..ValidationResults::default()
    };
    for path in [run.adapter_config(), run.adapter_weights(), run.config()] {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        results.inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    results.write(&run.validation()).unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    command.args(args).current_dir(dir).env_remove("HF_TOKEN").env("HOME", dir);
    command
}

fn register(dir: &Path, args: &[&str]) -> (i32, String) {
    let output: Output = command(dir, args).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn a_validated_run_becomes_a_version_once() {
    let dir = project(0.4);
    assert_eq!(register(dir.path(), &["--dry-run"]).0, 0);
    assert!(!dir.path().join("model_registry/version.json").exists(), "a dry run writes nothing");
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 0 && text.contains("v1 released"), "{text}");
    assert!(dir.path().join("model_registry/versions/v1/README.md").exists());
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 0 && text.contains("nothing to do"), "{text}");
    let (code, text) = register(dir.path(), &["history", "--json"]);
    assert!(code == 0 && text.matches("\"released_at\"").count() == 1, "{text}");
    assert_eq!(register(dir.path(), &["verify"]).0, 0);
}

#[test]
fn the_gate_says_no_in_words() {
    let dir = project(0.6);
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 1 && text.contains("the mean absolute error is 0.60; that is not enough"), "{text}");
    assert!(!dir.path().join("model_registry/version.json").exists());
}

#[test]
fn a_run_that_is_not_what_was_validated_is_refused() {
    for (file, text) in
        [("adapter_config.json", "{\"lora_alpha\":999}"), ("config.toml", "[rubric]"), ("run.json", "{}")]
    {
        let dir = project(0.4);
        std::fs::write(dir.path().join("outputs/latest").join(file), text).unwrap();
        let (code, text) = register(dir.path(), &[]);
        assert!(code == 2 && text.contains(file), "{file}: {text}");
        std::fs::remove_file(dir.path().join("outputs/latest").join(file)).unwrap();
        let (code, text) = register(dir.path(), &[]);
        assert!(code == 2 && text.contains(file), "{file}: {text}");
        assert!(!dir.path().join("model_registry/version.json").exists());
    }
}

#[test]
fn what_is_missing_is_named() {
    let dir = project(0.4);
    let (code, text) = register(dir.path(), &["outputs/other"]);
    assert!(code == 2 && text.contains("outputs/other") && text.contains("pq-validate"), "{text}");
    let (code, text) = register(dir.path(), &["rollback", "v7"]);
    assert!(code == 2 && text.contains("`v7`") && text.contains("history"), "{text}");
    std::fs::write(dir.path().join("model_registry/version.json"), "{").unwrap();
    let (code, text) = register(dir.path(), &["history"]);
    assert!(code == 2 && text.contains("version.json"), "{text}");
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_version() {
    let dir = project(0.4);
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "model_registry");
    adverse::assert_survives_interrupts(|| command(dir.path(), &[]), dir.path());
    assert_eq!(register(dir.path(), &["verify"]).0, 0);
    let (_, text) = register(dir.path(), &["history", "--json"]);
    assert_eq!(text.matches("\"released_at\"").count(), 1, "{text}");
}
