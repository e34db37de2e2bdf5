//! The command as a user runs it, with an adapter made beforehand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::adverse;
use pq_testing::project::{Project, code, fake_run, stderr};
use slide_data::Prediction;

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");

#[test]
fn each_slide_is_one_line_on_stdout_and_in_the_log() {
    let project = Project::new(6);
    fake_run(&project);
    std::fs::write(project.path("broken.png"), b"not a picture").unwrap();
    let slide = "data/raw/slides/deck1-p002.png";
    let output = project.run(SCORE, &["--adapter", "outputs/run-1", slide, "broken.png"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("broken.png"), "what cannot be read is named: {}", stderr(&output));
    let lines: Vec<Prediction> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    for distribution in lines[0].distributions.values() {
        assert!((distribution.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert_eq!(lines[0].distributions.len(), 5);
    assert_eq!(project.read("monitoring/predictions.jsonl").lines().count(), 1);
}

#[test]
fn the_batch_does_not_change_a_score() {
    let project = Project::new(6);
    fake_run(&project);
    let scores = |batch: &str| {
        let args = ["--adapter", "outputs/run-1", "--no-log", "--batch", batch, "data/raw/slides"];
        let output = project.run(SCORE, &args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<Prediction>(line).unwrap().expected)
            .collect::<Vec<_>>()
    };
    let (one, many) = (scores("1"), scores("5"));
    assert_eq!((one.len(), many.len()), (18, 18));
    for (a, b) in one.iter().zip(&many) {
        assert!(a.keys().eq(b.keys()), "{a:?} {b:?}");
        pq_testing::assert_close(&a.values().collect::<Vec<_>>(), &b.values().collect::<Vec<_>>(), 1e-4);
    }
}

#[test]
fn nothing_to_rate_with_and_nothing_to_rate_are_said() {
    let project = Project::new(1);
    let none = project.run(SCORE, &["data/raw/slides"]);
    assert!(code(&none) == 2 && stderr(&none).contains("pq-train"), "{}", stderr(&none));
    fake_run(&project);
    let missing = project.run(SCORE, &["--adapter", "outputs/run-1", "nowhere.pdf"]);
    assert!(code(&missing) == 2 && stderr(&missing).contains("nowhere.pdf"), "{}", stderr(&missing));
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_line() {
    let project = Project::new(6);
    fake_run(&project);
    let args = ["--adapter", "outputs/run-1", "--batch", "1", "--html", "report.html", "data/raw/slides"];
    let command = || project.command(SCORE, &args);
    adverse::assert_keeps_what_is_there(command, &project.path("."), "monitoring");
    let log = project.path("monitoring/predictions.jsonl");
    let cut = adverse::interrupted_when(command(), || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    adverse::assert_whole(&project.path("."));
    assert!(!project.path("report.html").exists(), "half a deck is no report");
    adverse::assert_refused(&cut, "interrupted after");
}
