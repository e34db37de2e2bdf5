//! `pq-trigger` as people and workflows run it: in a fresh folder, with good and bad input.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse::{self, write_file};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: &str = "2025-06-01T12:00:00Z";

/// A project's folder with the default configuration and a release five days ago.
fn project() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_file(dir.path(), "config/monitoring.toml", include_str!("../../../config/monitoring.toml"));
    release(dir.path(), "2025-05-27T12:00:00Z");
    std::fs::create_dir_all(dir.path().join("data")).expect("a data folder");
    dir
}

/// One collected and rated slide, `s`, which may be trained on.
fn rated(dir: &Path) {
    let slide = json!({
        "schema_version": 1, "slide_id": "s", "deck_id": "d", "number": 1, "sha256": "aa", "phash": "00", "width": 1, "height": 1, "group": "d",
        "source": {"kind": "generated", "origin": "", "sha256": ""}, "collected_at": "2025-01-01T00:00:00Z",
    });
    write_file(dir, "data/raw/manifest.jsonl", &format!("{slide}\n"));
    let label = json!({"s": {"clarity": 4, "annotators": 1, "distribution": {"clarity": [0, 0, 0, 1, 0]}, "notes": "", "image_path": ""}});
    write_file(dir, "data/labeled/labels.json", &label.to_string());
}

fn release(dir: &Path, at: &str) {
    let release = |version: &str, at: &str| json!({"version": version, "released_at": at, "run_id": "r", "human_agreement": 0.9, "metrics": {}, "files": {}});
    let history = json!([release("v2", at), release("v1", "2024-01-01T00:00:00Z")]);
    write_file(
        dir,
        "model_registry/version.json",
        &json!({"schema_version": 1, "version": "v2", "aliases": {"champion": "v2"}, "history": history})
            .to_string(),
    );
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the executable starts")
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-trigger"));
    command.current_dir(dir).env_remove("GITHUB_OUTPUT").args(["--at", NOW, "--by", "anna"]).args(args);
    command
}

fn corrections(dir: &Path, total: usize) {
    let lines = (0..total).fold(String::new(), |mut lines, index| {
        let line = json!({
            "schema_version": 1, "id": format!("c{index}"), "slide_id": "s", "model_version": "v2", "annotator": "user",
            "corrected_at": "2025-05-31T08:00:00Z", "predicted": {"clarity": 3.0}, "scores": {"clarity": 4},
        });
        let _ = writeln!(lines, "{line}");
        lines
    });
    write_file(dir, "data/user_feedback/corrections.jsonl", &lines);
    rated(dir);
}

fn decisions(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("monitoring/decisions.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn no_reason_is_no_and_is_kept() {
    let dir = project();
    let output = run(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text,
        "corrections  ok       0 corrections to learn from since the run of v2 read its data, 100 are asked\n\
         time         ok       5.0 days since the run of v2 read its data, 7 are allowed; 0 more slides and corrections to learn from, 20 are asked\n\
         drift        unknown  there is no drift report\n\
         performance  unknown  there is no performance report\n\
         should_retrain=false\n"
    );
    assert_eq!(run(dir.path(), &["--exit-code"]).status.code(), Some(1));
    let kept = decisions(dir.path());
    assert_eq!(
        (kept.len(), &kept[0]["should_retrain"], &kept[0]["decided_at"]),
        (2, &json!(false), &json!(NOW))
    );
    assert_eq!(kept[0]["triggers"].as_array().map(Vec::len), Some(4));
    assert_eq!(kept[0]["last_release"]["version"], "v2");
    assert_eq!((&kept[0]["asked_by"], &kept[0]["champion"]), (&json!("anna"), &json!("v2")));
    assert!(kept[0]["inputs"]["model_registry/version.json"].as_str().is_some_and(|hash| hash.len() == 64));
}

#[test]
fn a_hundred_corrections_are_a_reason_for_people_and_workflows() {
    let dir = project();
    corrections(dir.path(), 100);
    write_file(dir.path(), "github_output", "before=1\n");
    let output =
        command(dir.path(), &["--exit-code", "--json"]).env("GITHUB_OUTPUT", "github_output").output();
    let output = output.expect("the executable starts");
    assert_eq!(output.status.code(), Some(0));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("only JSON on stdout");
    assert_eq!(
        (&printed["should_retrain"], &printed["triggers"][0]["state"]),
        (&json!(true), &json!("fired"))
    );
    let published = std::fs::read_to_string(dir.path().join("github_output")).expect("outputs");
    assert_eq!(
        published,
        "before=1\nshould_retrain=true\nreason=100 corrections to learn from since the run of v2 read its data, 100 are asked\n"
    );
    let dir = project();
    corrections(dir.path(), 99);
    assert_eq!(run(dir.path(), &["--exit-code"]).status.code(), Some(1));
    assert_eq!(
        run(dir.path(), &["--exit-code", "--set", "triggers.min_corrections=99"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_week_is_a_reason_where_there_is_something_new() {
    let dir = project();
    release(dir.path(), "2025-05-25T12:00:00Z");
    assert_eq!(run(dir.path(), &["--exit-code"]).status.code(), Some(1), "nothing to learn from");
    corrections(dir.path(), 20);
    assert_eq!(run(dir.path(), &["--exit-code", "--dry-run"]).status.code(), Some(0));
    release(dir.path(), "2025-05-26T12:00:00Z");
    assert_eq!(run(dir.path(), &["--exit-code", "--dry-run"]).status.code(), Some(1));
}

#[test]
fn corrections_that_cannot_be_learned_from_are_named() {
    let dir = project();
    corrections(dir.path(), 120);
    std::fs::remove_file(dir.path().join("data/raw/manifest.jsonl")).expect("removed");
    let output = run(dir.path(), &["--exit-code"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("120 more cannot be learned from: 120 of slides that were neither collected nor kept"),
        "{text}"
    );
    assert_eq!(
        decisions(dir.path())[0]["unusable_corrections"]["of slides that were neither collected nor kept"],
        120
    );
}

#[test]
fn of_several_at_once_one_asks_and_the_same_inputs_ask_once() {
    let dir = project();
    corrections(dir.path(), 120);
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut child = command(dir.path(), &["--exit-code"]);
            child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            child.spawn().expect("the executable starts")
        })
        .collect();
    let yes = children
        .into_iter()
        .map(|mut child| child.wait().expect("it ends"))
        .filter(|status| status.code() == Some(0))
        .count();
    assert_eq!((yes, decisions(dir.path()).len()), (1, 6));
    let flight: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("monitoring/retraining.json")).expect("kept"))
            .expect("JSON");
    assert_eq!((&flight["owner"], &flight["expires_at"]), (&json!("anna"), &json!("2025-06-02T12:00:00Z")));
    assert_eq!(run(dir.path(), &["--done"]).status.code(), Some(0));
    let later = ["--at", "2025-06-20T12:00:00Z", "--exit-code"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-trigger"));
    let output =
        command.current_dir(dir.path()).env_remove("GITHUB_OUTPUT").args(later).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("on the same labels and corrections"), "{text}");
}

#[test]
fn a_person_asks_through_the_same_journal_and_every_input_is_explained() {
    let dir = project();
    let output = run(dir.path(), &["--exit-code", "--manual", "a new rubric", "--explain"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("manual       RETRAIN  anna asked: a new rubric"), "{text}");
    assert!(text.contains("asked by     anna") && text.contains("model_registry/version.json"), "{text}");
    assert_eq!(decisions(dir.path())[0]["triggers"][4]["name"], "manual");
    let again = run(dir.path(), &["--exit-code", "--manual", "again"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stdout).contains("a retraining that anna asked for"));
}

#[test]
fn without_any_release_or_file_nothing_is_judged() {
    let dir = project();
    std::fs::remove_dir_all(dir.path().join("model_registry")).expect("removed");
    let output = run(dir.path(), &["--exit-code"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing was released yet"));
}

#[test]
fn a_dry_run_keeps_nothing() {
    let dir = project();
    let output = command(dir.path(), &["--dry-run"]).env("GITHUB_OUTPUT", "github_output").output();
    assert_eq!(output.expect("the executable starts").status.code(), Some(0));
    assert!(!dir.path().join("github_output").exists() && !dir.path().join("monitoring").exists());
}

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
fn data_that_lies_elsewhere_is_found() {
    let dir = project();
    corrections(dir.path(), 150);
    std::fs::rename(dir.path().join("data"), dir.path().join("elsewhere")).expect("moved");
    write_file(dir.path(), "config/data.toml", "[storage]\ndata_dir = \"elsewhere\"\n");
    let output = run(dir.path(), &["--exit-code"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("150 corrections to learn from"));
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
