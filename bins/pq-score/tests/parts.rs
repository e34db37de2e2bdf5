//! Scoring in shards, as a user runs it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use pq_testing::SmallDisk;
use pq_testing::project::{Project, code, fake_run, stderr};
use slide_data::{Contract as _, Prediction};

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");
const AT: &str = "2026-11-30T06:00:00Z";

pq_testing::tests! {
    shards_of_any_launcher_give_what_one_process_gives;
    merging_fills_the_log_once_and_prints_lines;
    a_shard_that_is_there_is_not_scored_again;
    a_slide_that_cannot_be_read_is_named_and_tried_again;
    another_model_another_manifest_another_number_of_shards_are_refused;
    a_manifest_that_changes_meanwhile_is_refused;
    launchers_that_contradict_each_other_are_refused;
    what_is_not_meant_is_refused;
    a_full_disk_leaves_no_part: needs FullDisk;
}

fn project(decks: usize) -> Project {
    let project = Project::new(decks);
    fake_run(&project);
    project
}

fn command(project: &Project, folder: &str, more: &[&str]) -> Command {
    let args =
        ["--adapter", "outputs/run-1", "data/raw/manifest.jsonl", "--parts", folder, "--scored-at", AT];
    project.command(SCORE, &[&args[..], more].concat())
}

fn shard(project: &Project, folder: &str, more: &[&str]) -> Output {
    command(project, folder, more).output().unwrap()
}

#[track_caller]
fn scored(output: &Output) {
    assert_eq!(code(output), 0, "{}", stderr(output));
}

fn merge(project: &Project, folder: &str, more: &[&str]) -> Output {
    project.bare_command(SCORE).args(["merge", folder]).args(more).output().unwrap()
}

#[track_caller]
fn merged(project: &Project, folder: &str) -> Vec<u8> {
    scored(&merge(project, folder, &["--no-log"]));
    std::fs::read(project.path(folder).join("scored.parquet")).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn parts(project: &Project, folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project.path(folder)).unwrap().flatten();
    let mut parts: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    parts.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("part-"));
    parts.sort();
    parts
}

fn shards_of_any_launcher_give_what_one_process_gives() {
    let project = project(6);
    scored(&shard(&project, "alone", &[]));
    let expected = merged(&project, "alone");
    let launchers = [
        ("slurm", ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"]),
        ("kubernetes", ["JOB_COMPLETION_INDEX", "PQ_SHARDS"]),
        ("torchrun", ["RANK", "WORLD_SIZE"]),
    ];
    for (folder, [index, count]) in launchers {
        for number in 0..3 {
            let mut command = command(&project, folder, &[]);
            scored(&command.env(index, number.to_string()).env(count, "3").output().unwrap());
        }
        assert_eq!(parts(&project, folder).len(), 3);
        assert_eq!(merged(&project, folder), expected, "{folder}");
    }
    // Several at once, more than there are batches, and one of them twice.
    let ask = |number: &str| {
        let mut command = command(&project, "many", &["--shard", &format!("{number}/7")]);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let running = ["0", "1", "2", "3", "4", "5", "6", "3"].map(ask);
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(merged(&project, "many"), expected);
}

fn merging_fills_the_log_once_and_prints_lines() {
    let project = project(4);
    scored(&shard(&project, "parts", &["--shard", "0/2"]));
    let early = merge(&project, "parts", &["--json"]);
    assert_eq!(
        (code(&early), stdout(&early).trim()),
        (1, r#"{"missing":[1],"shards":2}"#),
        "{}",
        stderr(&early)
    );
    assert!(
        !project.path("parts/scored.parquet").exists() && !project.path("monitoring/predictions").exists()
    );
    scored(&shard(&project, "parts", &["--shard", "1/2"]));
    let told = merge(&project, "parts", &["--json", "--output", "scores.jsonl"]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&told)).unwrap();
    assert!(json["scored"] == 12 && json["logged"] == true && json["output"] == "scores.jsonl", "{json}");
    let lines = Prediction::read_log(&project.path("scores.jsonl")).unwrap().entries;
    assert_eq!(lines.len(), 12);
    assert!(lines.iter().all(|line| line.scored_at.to_string() == AT && line.distributions.len() == 5));
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line.id.clone().unwrap()).collect();
    assert_eq!(ids.len(), 12);
    let segments = || std::fs::read_dir(project.path("monitoring/predictions")).unwrap().count();
    let before = segments();
    let again: serde_json::Value =
        serde_json::from_str(&stdout(&merge(&project, "parts", &["--json"]))).unwrap();
    assert!(again["logged"] == false && segments() == before, "{again}");
}

fn a_shard_that_is_there_is_not_scored_again() {
    let project = project(3);
    scored(&shard(&project, "parts", &["--shard", "1/2"]));
    let (path, before) = (parts(&project, "parts"), std::fs::read(&parts(&project, "parts")[0]).unwrap());
    // Without the model nothing could be scored.
    let weights = project.path("outputs/run-1/adapter_model.safetensors");
    let time = |path: &PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    let written = time(&path[0]);
    let again = shard(&project, "parts", &["--shard", "1/2"]);
    assert!(code(&again) == 0 && stderr(&again).contains("there already"), "{}", stderr(&again));
    assert_eq!(time(&path[0]), written);
    assert!(weights.exists());
    // What is cut short is written anew, and becomes what it was.
    std::fs::write(&path[0], &before[..before.len() / 2]).unwrap();
    let cut = merge(&project, "parts", &[]);
    assert!(code(&cut) == 1 && stderr(&cut).contains("is cut short or was changed"), "{}", stderr(&cut));
    scored(&shard(&project, "parts", &["--shard", "1/2"]));
    assert_eq!((parts(&project, "parts"), std::fs::read(&path[0]).unwrap()), (path, before));
}

fn a_slide_that_cannot_be_read_is_named_and_tried_again() {
    let project = project(4);
    let slide = project.path("data/raw/slides/deck1-p002.png");
    let bytes = std::fs::read(&slide).unwrap();
    std::fs::write(&slide, b"no image").unwrap();
    let shards = ["0/2", "1/2"];
    let codes = shards.map(|own| code(&shard(&project, "parts", &["--shard", own])));
    assert_eq!(codes.iter().sum::<i32>(), 1, "of one shard a slide is left out");
    let output = merge(&project, "parts", &["--json", "--no-log"]);
    let told: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (code(&output), &told["left_out"][0]["slide_id"]),
        (1, &serde_json::json!("deck1-p002")),
        "{told}"
    );
    std::fs::write(&slide, bytes).unwrap();
    for own in &shards {
        scored(&shard(&project, "parts", &["--shard", own]));
    }
    scored(&shard(&project, "alone", &[]));
    assert_eq!(parts(&project, "parts").len(), 2, "the part that left it out is gone");
    assert_eq!(merged(&project, "parts"), merged(&project, "alone"));
}

fn another_model_another_manifest_another_number_of_shards_are_refused() {
    let project = project(4);
    scored(&shard(&project, "parts", &["--shard", "0/2"]));
    let before = std::fs::read(project.path("parts/plan.json")).unwrap();
    let refused = |output: Output, why: &str| {
        let said = stderr(&output);
        assert!(code(&output) == 2 && said.contains(why) && said.contains("hint:"), "{why}: {said}");
        assert_eq!(parts(&project, "parts").len(), 1, "{why}");
        assert_eq!(std::fs::read(project.path("parts/plan.json")).unwrap(), before, "{why}");
    };
    refused(shard(&project, "parts", &["--shard", "1/3"]), "shards: 2 there, 3 here");
    refused(shard(&project, "parts", &["--shard", "1/2", "--batch", "3"]), "--batch");
    let manifest = project.read("data/raw/manifest.jsonl");
    let shorter: Vec<&str> = manifest.lines().skip(1).collect();
    project.write("data/raw/manifest.jsonl", &(shorter.join("\n") + "\n"));
    refused(shard(&project, "parts", &["--shard", "1/2"]), "the manifest:");
    project.write("data/raw/manifest.jsonl", &manifest);
    let settings = project.read("outputs/run-1/config.toml").replace("Clarity", "Clearness");
    project.write("outputs/run-1/config.toml", &settings);
    refused(shard(&project, "parts", &["--shard", "1/2"]), "the model's files or settings");
    // A part that came from elsewhere under the same folder's name.
    scored(&shard(&project, "other", &["--shard", "1/2"]));
    let stranger = parts(&project, "other").remove(0);
    std::fs::copy(&stranger, project.path("parts").join(stranger.file_name().unwrap())).unwrap();
    let output = merge(&project, "parts", &[]);
    assert!(
        code(&output) == 2 && stderr(&output).contains("belongs to another scoring"),
        "{}",
        stderr(&output)
    );
    assert!(!project.path("parts/scored.parquet").exists());
}

fn a_manifest_that_changes_meanwhile_is_refused() {
    let project = project(4);
    scored(&shard(&project, "parts", &["--shard", "0/2"]));
    let manifest = project.read("data/raw/manifest.jsonl");
    project.write("data/raw/manifest.jsonl", &format!("{manifest}{{torn"));
    let output = shard(&project, "parts", &["--shard", "1/2"]);
    assert!(
        code(&output) == 2 && stderr(&output).contains("lines that cannot be read"),
        "{}",
        stderr(&output)
    );
}

fn launchers_that_contradict_each_other_are_refused() {
    let project = project(1);
    let ask = |variables: &[(&str, &str)], more: &[&str]| {
        let mut command = command(&project, "parts", more);
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let both = [("RANK", "1"), ("WORLD_SIZE", "2"), ("JOB_COMPLETION_INDEX", "0"), ("PQ_SHARDS", "2")];
    let output = ask(&both, &[]);
    let said = stderr(&output);
    assert!(
        code(&output) == 2 && said.contains("JOB_COMPLETION_INDEX") && said.contains("WORLD_SIZE"),
        "{said}"
    );
    let half = ask(&[("JOB_COMPLETION_INDEX", "0")], &[]);
    assert!(code(&half) == 2 && stderr(&half).contains("PQ_SHARDS"), "{}", stderr(&half));
    assert!(!project.path("parts").exists(), "nothing was begun");
    scored(&ask(&both, &["--shard", "0/1"]));
}

fn what_is_not_meant_is_refused() {
    let project = project(1);
    let refused = |args: &[&str], why: &str| {
        let output = project.run(SCORE, args);
        assert!(code(&output) == 2 && stderr(&output).contains(why), "{args:?}: {}", stderr(&output));
    };
    refused(&["data/raw/manifest.jsonl", "--shard", "0/2"], "--parts");
    refused(&["data/raw/manifest.jsonl", "--parts", "p", "--shard", "2/2"], "there is no shard 2 of 2");
    refused(&["data/raw/manifest.jsonl", "--parts", "p", "--shard", "/2"], "none says so");
    refused(&["--adapter", "outputs/run-1", "a.jsonl", "--parts", "p"], "a.jsonl");
    refused(&["--adapter", "outputs/run-1", "a.jsonl", "b.jsonl", "--parts", "p"], "one manifest");
    refused(&["data/raw/manifest.jsonl", "--parts", "p", "--html", "r.html"], "--html");
    refused(&["data/raw/manifest.jsonl", "--scored-at", AT], "--parts");
    let empty = merge(&project, "nowhere", &[]);
    assert!(code(&empty) == 2 && stderr(&empty).contains("plan.json"), "{}", stderr(&empty));
    assert!(!project.path("p").exists());
}

fn a_full_disk_leaves_no_part() {
    let project = project(4);
    let disk = SmallDisk::at(&project.path("parts"), "1m");
    scored(&shard(&project, "parts", &["--shard", "0/2"]));
    let names = || {
        let entries = std::fs::read_dir(project.path("parts")).unwrap().flatten();
        entries.map(|entry| entry.file_name()).filter(|name| name != "ballast").collect::<Vec<_>>()
    };
    let before = names();
    disk.fill();
    let output = shard(&project, "parts", &["--shard", "1/2"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert_eq!(names().len(), before.len(), "nothing is left half-written: {:?}", names());
    disk.make_room();
    scored(&shard(&project, "parts", &["--shard", "1/2"]));
    disk.fill();
    let output = merge(&project, "parts", &["--no-log"]);
    assert_eq!((code(&output), names().len()), (2, before.len() + 1), "{}", stderr(&output));
    disk.make_room();
    scored(&merge(&project, "parts", &["--no-log"]));
}
