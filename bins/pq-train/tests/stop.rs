//! Ctrl-C within an evaluation: the run stops there, and the resumed one is what it would have been.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::adverse::interrupted_when;
use pq_testing::project::{Project, code, stderr, trained};
use serde_json::Value;

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");
/// Two steps and one evaluation, after the second; most slides are for validation, so that it takes much longer than a step.
const SETTINGS: [&str; 6] =
    ["--set", "training.max_steps=2", "--set", "splits.val=0.8", "--set", "splits.test=0.05"];

/// The lines of `metrics.jsonl`, as far as they are whole.
fn metrics(project: &Project, run: &str) -> Vec<Value> {
    let text =
        std::fs::read_to_string(project.path(&format!("outputs/{run}/metrics.jsonl"))).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn evaluations(project: &Project, run: &str) -> Vec<u64> {
    let lines = metrics(project, run).into_iter().filter(|line| line["eval_mae"].is_number());
    lines.map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn ctrl_c_within_an_evaluation_stops_there_and_the_resumed_run_makes_it() {
    let project = Project::new(40);
    let whole = project.run(TRAIN, &[&["--run", "whole"], &SETTINGS[..]].concat());
    assert!(trained(&whole), "{}", stderr(&whole));
    assert_eq!(evaluations(&project, "whole"), [2]);

    let command = project.command(TRAIN, &[&["--run", "stopped"], &SETTINGS[..]].concat());
    let has_stepped =
        || metrics(&project, "stopped").iter().filter(|line| line["loss"].is_number()).count() == 2;
    let stopped = interrupted_when(command, has_stepped);
    assert_eq!(code(&stopped), 4, "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("--resume --run stopped"), "{}", stderr(&stopped));
    let state: Value =
        serde_json::from_str(&project.read("outputs/stopped/checkpoints/step-2/trainer_state.json")).unwrap();
    assert_eq!(state["progress"]["owes_evaluation"], true, "the signal came while slides were rated");
    assert!(evaluations(&project, "stopped").is_empty(), "{:?}", metrics(&project, "stopped"));

    let resumed = project.run(TRAIN, &[&["--resume", "--run", "stopped"], &SETTINGS[..]].concat());
    assert!(trained(&resumed), "{}", stderr(&resumed));
    assert_eq!(evaluations(&project, "stopped"), [2], "the one that was stopped is made");
    let adapter =
        |run: &str| std::fs::read(project.path(&format!("outputs/{run}/adapter_model.safetensors"))).unwrap();
    assert!(adapter("whole") == adapter("stopped"), "the same bytes");
}

#[test]
fn ctrl_c_before_the_first_step_ends_the_measurement() {
    let project = Project::new(40);
    let command = project.command(TRAIN, &[&["--run", "early"], &SETTINGS[..]].concat());
    // The run's own settings are written before anything is measured.
    let has_begun = || project.path("outputs/early/config.toml").exists();
    let stopped = interrupted_when(command, has_begun);
    // On a fast machine all slides may be measured before the signal comes: then there is a run to carry on, without a step.
    assert!(matches!(code(&stopped), 2 | 4) && stderr(&stopped).contains("stopped"), "{}", stderr(&stopped));
    assert!(metrics(&project, "early").is_empty());
}
