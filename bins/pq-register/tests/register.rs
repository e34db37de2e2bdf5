//! The command as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse;

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
    write(
        "outputs/latest/run.json",
        r#"{"base_model":"a/b","training":{"steps":3},"data":{"slides":9},"inputs":{}}"#,
    );
    let results = format!(
        r#"{{"human_agreement":0.9,"passes_threshold":true,"metrics":{{"overall_mae":{mae}}},"reasons":["said so"]}}"#
    );
    write("outputs/latest/validation_results.json", &results);
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
    assert!(code == 1 && text.contains("0.600 is not below 0.600"), "{text}");
    assert!(!dir.path().join("model_registry/version.json").exists());
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
