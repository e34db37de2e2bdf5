//! A project with a validated run, for whom neither weights nor data matter.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;
use std::process::{Command, Output};

use project_files::{
    Comparison, Contract as _, Gain, Interval, RunFiles, ValidationResults, VersionFile, hash_file,
};
use test_server::hub::{FakeHub, TOKEN};

pub(crate) fn project(mae: f64) -> tempfile::TempDir {
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
    write("outputs/latest/test_predictions.jsonl", "{}");
    write(
        "outputs/latest/run.json",
        r#"{"schema_version":2,"run_id":"r","started_at":"2026-01-02T03:04:05Z","base_model":"a/b",
            "training":{"steps":3},"data":{"slides":9},
            "inputs":{"base_model":"sha256-tensors-v1:1","base_processor":"sha256-processor-v1:2","labels.json":"3"}}"#,
    );
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    let mut results = ValidationResults::sample();
    results.metrics.insert("overall_mae".to_owned(), mae);
    results.intervals.insert("overall_mae".to_owned(), Interval { low: mae - 0.1, high: mae + 0.1 });
    results.judge();
    for (name, hash) in [
        ("base_model", "sha256-tensors-v1:1"),
        ("base_processor", "sha256-processor-v1:2"),
        ("labels.json", "3"),
        ("splits.json", "4"),
        ("manifest.jsonl", "5"),
    ] {
        results.inputs.insert(name.to_owned(), hash.to_owned());
    }
    for path in ValidationResults::of_a_run(&run) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        results.inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    results.write(&run.validation()).unwrap();
    dir
}

/// What a release is told: there are no labels, from which the numbers could be made again. No subcommand takes that.
pub(crate) fn no_data(args: &[&str]) -> &'static [&'static str] {
    const SUBCOMMANDS: [&str; 14] = [
        "history",
        "show",
        "diff",
        "live",
        "rollback",
        "promote",
        "push",
        "fetch",
        "resume",
        "verify",
        "keygen",
        "doctor",
        "export",
        "reproduce",
    ];
    let releases = !args.iter().any(|arg| SUBCOMMANDS.contains(arg));
    if releases { &["--override", "recheck=a project without data"] } else { &[] }
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    command.args(no_data(args)).args(args).current_dir(dir).env("HOME", dir).env("USER", "ann");
    for name in [
        "HF_TOKEN",
        "HF_HOME",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "GITHUB_ACTOR",
        "PQ_SIGNING_KEY",
        "PQ_PUBLIC_KEY",
    ] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn register(dir: &Path, args: &[&str]) -> (i32, String) {
    let output: Output = command(dir, args).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// Another run under the same name: other weights, validated anew.
pub(crate) fn train_again(dir: &Path, weights: &str) {
    let run = RunFiles::new(dir.join("outputs/latest"));
    std::fs::write(run.adapter_weights(), weights).unwrap();
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    let hash = hash_file(&run.adapter_weights()).unwrap().sha256;
    results.inputs.insert("adapter_model.safetensors".to_owned(), hash);
    let gain = Gain { value: 0.1, interval: Some(Interval { low: 0.02, high: 0.18 }) };
    let gains = ["overall_mae", "clarity_mae"].map(|name| (name.to_owned(), gain)).into();
    let versions = VersionFile::read_if_present(&dir.join("model_registry/version.json")).unwrap();
    let champion = versions.and_then(|versions| versions.version);
    results.champion = champion.map(|name| Comparison { name, gains, ..Comparison::default() });
    results.judge();
    results.write(&run.validation()).unwrap();
}

pub(crate) fn with_hub(dir: &Path, args: &[&str], fake: &FakeHub) -> Command {
    let set = ["--set", "registry.huggingface_repo=team/rater", "--set", "registry.license=mit"];
    let mut command = command(dir, &[&set[..], args].concat());
    command.env("HF_TOKEN", TOKEN).env("HF_ENDPOINT", &fake.server.base);
    command
}
