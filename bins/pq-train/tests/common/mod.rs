//! Runs of the command as several processes, and how far two runs lie apart.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses some of it, and fails by panicking"
)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pq_testing::max_difference;
use pq_testing::project::{Project, stderr, trained};
use serde_json::Value;

pub(crate) const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");
/// As far as losses may lie apart where gradients are added in another order.
const TOLERANCE: f64 = 1e-5;
/// Fifty steps of four batches.
pub(crate) const SETTINGS: [&str; 10] = [
    "--set",
    "training.gradient_accumulation_steps=4",
    "--set",
    "training.max_steps=50",
    "--set",
    "training.logging_steps=1",
    "--set",
    "training.eval_steps=10",
    "--set",
    "training.save_steps=10",
];

/// The command with the settings of these tests.
pub(crate) fn command(project: &Project, args: &[&str]) -> Command {
    let mut command = project.command(TRAIN, args);
    command.args(SETTINGS);
    command
}

/// A run of one process.
pub(crate) fn alone(project: &Project, args: &[&str]) -> Output {
    let output = command(project, args).output().unwrap();
    assert!(trained(&output), "{}", stderr(&output));
    output
}

/// The values of a key of `metrics.jsonl`, by step.
pub(crate) fn values(project: &Project, run: &str, key: &str) -> Vec<(u64, f64)> {
    let text =
        std::fs::read_to_string(project.path(&format!("outputs/{run}/metrics.jsonl"))).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| Some((line["step"].as_u64()?, line[key].as_f64()?))).collect()
}

fn apart(project: &Project, one: &str, other: &str, key: &str) -> f64 {
    let (one, other) = (values(project, one, key), values(project, other, key));
    let steps = |values: &[(u64, f64)]| values.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert_eq!(steps(&one), steps(&other), "{key}");
    assert!(!one.is_empty(), "{key}");
    let of = |values: Vec<(u64, f64)>| values.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    max_difference(of(one), of(other))
}

/// Asserts that two runs have the same losses, as far as the order of additions lets them.
pub(crate) fn assert_same_run(project: &Project, one: &str, other: &str) {
    for key in ["loss", "eval_loss", "eval_score_loss"] {
        let apart = apart(project, one, other, key);
        assert!(apart <= TOLERANCE, "{one}, {other}: {key} {apart:e} apart");
    }
}

pub(crate) fn adapter(project: &Project, run: &str) -> Vec<u8> {
    std::fs::read(project.path(&format!("outputs/{run}/adapter_model.safetensors"))).unwrap()
}

/// Waits until a run has made so many steps.
pub(crate) fn until_steps(project: &Project, run: &str, steps: usize) {
    let begun = Instant::now();
    while values(project, run, "loss").len() < steps {
        assert!(begun.elapsed() < Duration::from_mins(2), "no {steps} steps");
        std::thread::sleep(Duration::from_millis(10));
    }
}
