//! What a refused challenger, or a version that was gone back from, had learned from is not asked for again correction by correction.

mod project;

use std::path::Path;

use pq_testing::adverse::write_file;
use project::{corrections, project, run};
use project_files::{Event, Journal, JournalEntry, sha256_hex};
use serde_json::{Value, json};

/// A run's record that read the corrections that are there now, or none.
fn run_record(dir: &Path, name: &str, started_at: &str, has_read: bool) {
    let sample = include_str!("../../../crates/project-files/samples/v3/run.json");
    let mut record: Value = serde_json::from_str(sample).expect("a record");
    let folder = Path::new(name).file_name().expect("a name").to_string_lossy().into_owned();
    (record["run_id"], record["started_at"]) = (json!(folder), json!(started_at));
    record["data"]["train_slides"] = json!(1000);
    if has_read {
        let log = std::fs::read(dir.join("data/user_feedback/corrections.jsonl")).expect("corrections");
        record["inputs"]["corrections.jsonl"] = json!(sha256_hex(&log));
    }
    write_file(dir, &format!("{name}/run.json"), &record.to_string());
}

fn said(dir: &Path) -> (Option<i32>, String) {
    let output = run(dir, &["--exit-code", "--dry-run", "--set", "triggers.cooldown_days=1"]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn after_a_refusal_as_many_new_corrections_are_asked_again() {
    let dir = project();
    run_record(dir.path(), "model_registry/versions/v2", "2025-05-27T12:00:00Z", false);
    corrections(dir.path(), 120);
    let (status, text) = said(dir.path());
    assert!(
        status == Some(0) && text.contains("120 corrections to learn from since the run of v2"),
        "{text}"
    );
    // An experiment changes nothing, however it ends; neither does a run that nobody has judged yet, or one that passed.
    run_record(dir.path(), "outputs/experiment", "2025-05-31T09:00:00Z", true);
    let sample = include_str!("../../../crates/project-files/samples/v2/validation_results.json");
    write_file(dir.path(), "outputs/experiment/validation_results.json", sample);
    assert_eq!(said(dir.path()).1, text);
    assert_eq!(run(dir.path(), &["--exit-code", "--at", "2025-05-31T10:00:00Z"]).status.code(), Some(0));
    assert_eq!(run(dir.path(), &["--done"]).status.code(), Some(0));
    run_record(dir.path(), "outputs/challenger", "2025-05-31T12:00:00Z", true);
    assert!(said(dir.path()).1.contains("120 corrections to learn from since the run of v2"));
    for (outcome, counts) in [("pass", 120), ("undecided", 0), ("fail", 0)] {
        let mut results: Value = serde_json::from_str(sample).expect("results");
        results["outcome"] = json!(outcome);
        write_file(dir.path(), "outputs/challenger/validation_results.json", &results.to_string());
        let (_, text) = said(dir.path());
        assert!(text.contains(&format!("{counts} corrections to learn from")), "{outcome}: {text}");
    }
    corrections(dir.path(), 219);
    let (status, text) = said(dir.path());
    let wanted = "99 corrections to learn from since the run of v2 and 1 tried after it read their data, 100 are asked";
    assert!(status == Some(1) && text.contains(wanted), "{text}");
    corrections(dir.path(), 220);
    assert_eq!(said(dir.path()).0, Some(0));
}

#[test]
fn after_a_rollback_it_rests_and_what_the_version_had_learned_counts_no_more() {
    let dir = project();
    corrections(dir.path(), 120);
    run_record(dir.path(), "model_registry/versions/v1", "2025-05-20T12:00:00Z", false);
    run_record(dir.path(), "model_registry/versions/v2", "2025-05-31T09:00:00Z", true);
    let path = dir.path().join("model_registry/version.json");
    let mut registry: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    (registry["version"], registry["aliases"]["champion"]) = (json!("v1"), json!("v1"));
    std::fs::write(&path, registry.to_string()).expect("written");
    corrections(dir.path(), 121);
    let (status, text) = said(dir.path());
    assert!(
        status == Some(1) && text.contains("1 corrections to learn from since the run of v1 and 1 tried"),
        "{text}"
    );
    corrections(dir.path(), 220);
    assert_eq!(said(dir.path()).0, Some(0));
    let live = |at: &str, event, version: &str| JournalEntry {
        at: at.parse().expect("a time"),
        event,
        live: Some(version.to_owned()),
        ..JournalEntry::default()
    };
    let entries = vec![
        live("2025-05-27T12:00:00Z", Event::Released, "v2"),
        live("2025-06-01T02:24:00Z", Event::RolledBack, "v1"),
    ];
    Journal::append(&dir.path().join("model_registry/journal.jsonl"), entries).expect("a journal");
    let (status, text) = said(dir.path());
    assert!(status == Some(1) && text.contains("put in use 0.4 days ago, and 1 are for rest"), "{text}");
}
