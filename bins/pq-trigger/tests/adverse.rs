//! `pq-trigger` in bad company: lines that do not belong into a log, clocks that are wrong, a rollback, files that are gone, a disk that is
//! full.

mod project;

use std::process::Command;

use pq_testing::adverse::{self, write_file};
use project::{NOW, command, corrections, decisions, project, release, run};
use serde_json::{Value, json};

#[test]
fn bad_input_is_named_and_nothing_is_decided() {
    let dir = project();
    corrections(dir.path(), 100);
    for (name, text) in [
        ("data/user_feedback/corrections.jsonl", "{\"id\": 3}\n"),
        ("model_registry/version.json", "{\"history\": [{\"version\": \"v1\"}]}"),
        ("monitoring/drift_reports/latest_drift.json", "{\"drift_score\": 0.9}"),
        ("monitoring/performance_metrics/latest_metrics.json", ""),
    ] {
        let kept = std::fs::read(dir.path().join(name)).ok();
        write_file(dir.path(), name, text);
        let output = run(dir.path(), &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains(name) && error.contains("hint: "), "{error}");
        assert!(output.stdout.is_empty());
        match kept {
            Some(bytes) => std::fs::write(dir.path().join(name), bytes).expect("restored"),
            None => std::fs::remove_file(dir.path().join(name)).expect("removed"),
        }
    }
    assert!(decisions(dir.path()).is_empty());
    assert_eq!(run(dir.path(), &["--set", "triggers.max_days=0"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["--set", "triggers.max_drfit_score=0.2"]).status.code(), Some(2));
}

#[test]
fn a_report_that_cannot_be_read_does_not_keep_a_person_waiting() {
    let dir = project();
    write_file(dir.path(), "monitoring/drift_reports/latest_drift.json", "{\"drift_score\": 0.9}");
    write_file(dir.path(), "monitoring/performance_metrics/latest_metrics.json", "");
    let output = run(dir.path(), &["--exit-code", "--manual", "now"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("latest_drift.json") && error.contains("latest_metrics.json"), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("there is no drift report"));
}

#[test]
fn a_torn_journal_is_mended_and_loses_nothing() {
    let dir = project();
    run(dir.path(), &[]);
    let journal = dir.path().join("monitoring/decisions.jsonl");
    let mut text = std::fs::read_to_string(&journal).expect("a journal");
    text.push_str("{\"schema_ver");
    std::fs::write(&journal, text).expect("torn");
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
    let lines = std::fs::read_to_string(&journal).expect("a journal");
    let whole = lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert_eq!(whole, 2);
}

#[test]
fn a_folder_or_file_that_is_not_there_hides_no_reason() {
    let dir = project();
    corrections(dir.path(), 150);
    for (args, named) in [
        (["--corrections", "typo.jsonl"], "typo.jsonl"),
        (["--registry", "nowhere"], "nowhere"),
        (["--monitoring", "monitorin"], "monitorin"),
        (["--set", "storage.data_dir=dtaa"], "dtaa"),
        (["--set", "storage.registry_dir=registri"], "registri"),
        (["--set", "storage.monitoring_dir=watch"], "watch"),
        (["--set", "trigers.min_corrections=1000"], "trigers"),
    ] {
        let output = run(dir.path(), &args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(named) && error.contains("hint: "), "{args:?}: {error}");
    }
    assert!(decisions(dir.path()).is_empty());
}

#[test]
fn a_broken_or_newer_line_in_the_middle_costs_itself_alone() {
    let dir = project();
    corrections(dir.path(), 100);
    let path = dir.path().join("data/user_feedback/corrections.jsonl");
    let lines = std::fs::read_to_string(&path).expect("corrections");
    let (first, rest) = lines.split_once('\n').expect("lines");
    std::fs::write(&path, format!("{first}\n\u{0}\u{1} garbage\n{rest}")).expect("broken");
    let output = run(dir.path(), &["--exit-code", "--dry-run"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("1 lines of `data/user_feedback/corrections.jsonl`"), "{error}");
    std::fs::write(&path, lines.replacen("\"schema_version\":1", "\"schema_version\":9", 1)).expect("newer");
    let output = run(dir.path(), &["--exit-code"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("of version 9"), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("99 corrections to learn from"));
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_decision() {
    let dir = project();
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "monitoring");
    adverse::assert_survives_interrupts(|| command(dir.path(), &[]), dir.path());
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "monitoring");
}

/// What is dated ahead of now is said and concludes nothing; once the clock is right again the loop goes on.
#[test]
fn dates_ahead_and_clocks_that_jump_hold_back_and_do_not_stop_the_loop() {
    let dir = project();
    corrections(dir.path(), 150);
    let decide = |at: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pq-trigger"));
        command.current_dir(dir.path()).env_remove("GITHUB_OUTPUT").args(["--exit-code", "--at", at]);
        let output = command.output().expect("the executable starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    release(dir.path(), "2025-07-01T12:00:00Z");
    let (status, text) = decide(NOW);
    assert!(status == Some(1) && text.contains("v2 is dated 30.0 days ahead"), "{text}");
    release(dir.path(), "2025-05-20T12:00:00Z");
    let sample = include_str!("../../../crates/project-files/samples/v2/latest_drift.json");
    let mut report: Value = serde_json::from_str(sample).expect("a report");
    report["created_at"] = json!("2031-01-01T00:00:00Z");
    write_file(dir.path(), "monitoring/drift_reports/latest_drift.json", &report.to_string());
    // The clock was in the year 2031 for a day, and asked then.
    let (status, text) = decide("2031-01-01T00:00:00Z");
    assert!(status == Some(0) && text.contains("should_retrain=true"), "{text}");
    corrections(dir.path(), 160);
    let (status, text) = decide("2025-06-02T12:00:00Z");
    assert!(status == Some(1) && text.contains("a decision is dated 2038.5 days ahead"), "{text}");
    assert!(text.contains("the drift report is dated 2038.5 days ahead"), "{text}");
    // Neither that decision nor its retraining, of which nobody heard again, holds anything back for years.
    let (status, text) = decide("2025-06-09T12:00:00Z");
    assert!(status == Some(0) && text.contains("160 corrections to learn from"), "{text}");
    assert!(text.contains("the drift report is dated 2031.5 days ahead"), "{text}");
}

/// A torn, foreign, other-version and a future-dated line in the middle of each log that decides.
#[test]
fn bad_lines_in_the_middle_of_every_log_are_counted_and_cost_themselves_alone() {
    let dir = project();
    corrections(dir.path(), 100);
    run(dir.path(), &["--dry-run"]);
    write_file(dir.path(), "monitoring/decisions.jsonl", "");
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
    std::fs::remove_file(dir.path().join("monitoring/retraining.json")).expect("it asked");
    for name in
        ["data/user_feedback/corrections.jsonl", "data/raw/manifest.jsonl", "monitoring/decisions.jsonl"]
    {
        let path = dir.path().join(name);
        let text = std::fs::read_to_string(&path).expect("a log");
        let first = text.lines().next().expect("a line");
        let newer = first
            .replace("\"schema_version\":1", "\"schema_version\":9")
            .replace("\"schema_version\":2", "\"schema_version\":9");
        let bad = [&first[..first.len() / 2], "{\"foreign\": [1]}", "{\"a\": NaN}", "\u{0}\u{0}", &newer];
        std::fs::write(
            &path,
            format!("{first}\n{}\n{}", bad.join("\n"), text.split_once('\n').map_or("", |(_, rest)| rest)),
        )
        .expect("written");
        let output = run(dir.path(), &["--dry-run"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}: {error}");
        assert!(error.contains(&format!("5 lines of `{name}`")), "{name}: {error}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("100 corrections to learn from"), "{name}");
    }
    // A correction that is dated ahead counts for nothing, and is named.
    let path = dir.path().join("data/user_feedback/corrections.jsonl");
    let text = std::fs::read_to_string(&path).expect("corrections").replacen("2025-05-31", "2027-05-31", 1);
    std::fs::write(&path, text).expect("written");
    let text = String::from_utf8_lossy(&run(dir.path(), &["--dry-run"]).stdout).into_owned();
    assert!(text.contains("99 corrections to learn from") && text.contains("1 dated ahead of now"), "{text}");
}

/// What could not be kept was not decided: no workflow hears of it, and the next look asks.
#[test]
fn a_full_disk_asks_for_nothing_and_the_next_look_does() {
    let dir = project();
    corrections(dir.path(), 150);
    write_file(dir.path(), "github_output", "");
    let asks = || {
        let mut asks = command(dir.path(), &["--exit-code"]);
        asks.env("GITHUB_OUTPUT", "github_output");
        asks
    };
    // From no room at all to room for some of what is written.
    let mut blocks = 0;
    while decisions(dir.path()).is_empty() {
        let output = adverse::with_full_disk(&asks(), blocks);
        let heard = std::fs::read_to_string(dir.path().join("github_output")).expect("outputs");
        let flight = dir.path().join("monitoring/retraining.json").exists();
        if output.status.code() == Some(0) {
            assert!(heard.contains("should_retrain=true") && flight && blocks > 0, "{blocks}: {heard}");
        } else {
            adverse::assert_refused(&output, "cannot ");
            assert!(decisions(dir.path()).is_empty() && heard.is_empty() && !flight, "{blocks}: {heard}");
        }
        adverse::assert_whole(dir.path());
        blocks += 1;
    }
    assert!(blocks > 2, "the journal's line is the largest");
    assert_eq!(decisions(dir.path()).len(), 1);
}

/// After a rollback everything is judged against the version that is in use again.
#[test]
fn a_rollback_is_judged_by_the_version_that_is_back() {
    let dir = project();
    corrections(dir.path(), 30);
    let path = dir.path().join("model_registry/version.json");
    let text = std::fs::read_to_string(&path).expect("a registry");
    let mut registry: Value = serde_json::from_str(&text).expect("JSON");
    (registry["version"], registry["aliases"]["champion"]) = (json!("v1"), json!("v1"));
    std::fs::write(&path, registry.to_string()).expect("written");
    // A report about the version that was rolled back, made after its release.
    let sample = include_str!("../../../crates/project-files/samples/v2/latest_drift.json");
    let mut report: Value = serde_json::from_str(sample).expect("a report");
    (report["model_version"], report["created_at"]) = (json!("v2"), json!("2025-05-31T00:00:00Z"));
    (report["drift_score"], report["p_value"], report["status"]) =
        (json!(0.9), json!(1e-6), json!("drifted"));
    write_file(dir.path(), "monitoring/drift_reports/latest_drift.json", &report.to_string());
    let output = run(dir.path(), &["--exit-code"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the drift report is about v2, and v1 is in use"), "{text}");
    assert!(text.contains("517.5 days since the run of v1 read its data"), "{text}");
    assert!(text.contains("30 corrections to learn from since the run of v1 read its data"), "{text}");
    assert_eq!(
        (output.status.code(), &decisions(dir.path())[0]["champion"]),
        (Some(0), &json!("v1")),
        "{text}"
    );
}

/// What was there and is gone could hide corrections, or count slides that are kept for the test; what never was is none.
#[test]
fn a_file_that_was_there_and_is_gone_is_unknown_and_asks_for_nothing() {
    let dir = project();
    assert!(String::from_utf8_lossy(&run(dir.path(), &[]).stdout).contains("corrections  ok       0 "));
    corrections(dir.path(), 150);
    let splits = json!({"schema_version": 1, "groups": {"d": "test"}}).to_string();
    write_file(dir.path(), "data/labeled/splits.json", &splits);
    let text = String::from_utf8_lossy(&run(dir.path(), &[]).stdout).into_owned();
    assert!(text.contains("150 of slides kept for validation or test"), "{text}");
    let names = [
        "data/user_feedback/corrections.jsonl",
        "data/raw/manifest.jsonl",
        "data/labeled/labels.json",
        "data/labeled/splits.json",
        "model_registry/version.json",
    ];
    for name in names {
        let bytes = std::fs::read(dir.path().join(name)).expect("it was there");
        std::fs::remove_file(dir.path().join(name)).expect("removed");
        for args in [&["--exit-code"][..], &["--exit-code", "--dry-run"]] {
            let output = run(dir.path(), args);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let said = format!("corrections  unknown  not counted: `{name}` was there and is missing");
            assert!(output.status.code() == Some(1) && text.contains(&said), "{text}");
            assert!(text.contains("held back"), "{text}");
        }
        std::fs::write(dir.path().join(name), bytes).expect("restored");
    }
    let text = String::from_utf8_lossy(&run(dir.path(), &[]).stdout).into_owned();
    assert!(!text.contains("missing"), "{text}");
}
