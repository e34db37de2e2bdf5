//! `pq-monitor` as people run it: in a fresh folder, with good, little and bad input.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse::{self, write_file};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: &str = "2025-06-01T12:00:00Z";

/// A project's folder with the default configuration.
fn project() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_file(dir.path(), "config/monitoring.toml", include_str!("../../../config/monitoring.toml"));
    std::fs::create_dir_all(dir.path().join("data")).expect("a data folder");
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the executable starts")
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-monitor"));
    command.current_dir(dir).args(["--at", NOW]).args(args);
    command
}

fn read(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join(name)).expect("the report is there")).expect("JSON")
}

/// Lines of scored slides: `decks` decks of eight, the image brighter by `shift`.
fn scored(name: &str, decks: usize, shift: f64) -> String {
    let mut rng = fastrand::Rng::with_seed(decks as u64);
    let mut lines = String::new();
    for deck in 0..decks {
        for slide in 0..8 {
            let brightness = rng.f64() + shift;
            let p = 0.2 + 0.6 * rng.f64();
            let id = format!("{name}-{deck}-{slide}");
            let line = json!({
                "schema_version": 1, "slide_id": id, "deck_id": format!("{name}-{deck}"), "sha256": id,
                "scored_at": "2025-05-30T08:00:00Z", "model_version": "v1", "latency_ms": 12.5,
                "distributions": {"clarity": [0.0, 0.0, 1.0 - p, p, 0.0]}, "expected": {"clarity": 3.0 + p},
                "features": {"brightness": brightness, "contrast": rng.f64() + shift},
            });
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

/// Labels of the first decks' slides, all with one score.
fn labels(decks: usize, score: u8) -> String {
    let slides = (0..decks * 8).map(|index| {
        let votes: Vec<u8> = (1..=5).map(|level| u8::from(level == score)).collect();
        let label = json!({"clarity": score, "annotators": 1, "distribution": {"clarity": votes}, "notes": "", "image_path": ""});
        (format!("new-{}-{}", index / 8, index % 8), label)
    });
    Value::Object(slides.collect()).to_string()
}

fn corrections(total: usize, score: u8) -> String {
    (0..total).fold(String::new(), |mut lines, index| {
        let line = json!({
            "schema_version": 1, "id": format!("c{index}"), "slide_id": format!("new-{}-{}", index / 8, index % 8),
            "model_version": "v1", "annotator": "user", "corrected_at": "2025-05-31T08:00:00Z",
            "predicted": {"clarity": 3.4}, "scores": {"clarity": score}, "notes": "",
        });
        let _ = writeln!(lines, "{line}");
        lines
    })
}

fn with_data(shift: f64) -> TempDir {
    let dir = project();
    write_file(dir.path(), "monitoring/predictions.jsonl", &scored("new", 16, shift));
    write_file(dir.path(), "outputs/latest/reference_predictions.jsonl", &scored("old", 24, 0.0));
    let validated = json!({
        "schema_version": 1, "created_at": "2025-05-01T08:00:00Z", "model_version": "v1", "human_agreement": 0.95,
        "threshold": 0.85, "passes_threshold": true, "reasons": [], "metrics": {"clarity_within_1": 0.95}, "more": [1],
        "intervals": {"overall_within_1": {"low": 0.93, "high": 0.97}},
    });
    write_file(dir.path(), "outputs/latest/validation_results.json", &validated.to_string());
    dir
}

fn assert_error(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is missing: {error}");
    }
}

#[test]
fn nothing_yet_is_too_little_data() {
    let dir = project();
    let output = run(dir.path(), &["--exit-code"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let drift = read(dir.path(), "monitoring/drift_reports/latest_drift.json");
    assert_eq!((&drift["status"], &drift["drift_score"]), (&json!("insufficient"), &Value::Null));
    let metrics = read(dir.path(), "monitoring/performance_metrics/latest_metrics.json");
    assert_eq!((&metrics["status"], &metrics["current_accuracy"]), (&json!("insufficient"), &Value::Null));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("drift: too little data") && text.contains("0 recently scored slides"), "{text}");
}

#[test]
fn unchanged_slides_are_stable_and_accuracy_comes_from_the_audit() {
    let dir = with_data(0.0);
    // Corrections of what is wrong say nothing of accuracy.
    write_file(dir.path(), "data/user_feedback/corrections.jsonl", &corrections(40, 1));
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 4));
    let output = run(dir.path(), &["--exit-code", "--json", "--set", "performance.audits_per_week=700"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("only JSON on stdout");
    assert_eq!(printed["drift"]["status"], "stable", "{}", printed["drift"]["reasons"]);
    assert_eq!(printed["performance"]["status"], "measured", "{}", printed["performance"]["reasons"]);
    assert_eq!(printed["performance"]["current_accuracy"], 1.0);
    assert_eq!(printed["performance"]["baseline_accuracy"], 0.95);
    assert_eq!(printed["drift"], read(dir.path(), "monitoring/drift_reports/latest_drift.json"));
    let page = std::fs::read_to_string(dir.path().join("monitoring/drift_reports/latest_drift.html"));
    assert!(page.expect("a page").contains("No drift seen"));
    let inputs = printed["drift"]["inputs"].as_object().expect("hashes");
    assert_eq!(inputs.len(), 4, "{inputs:?}");
    let audits = std::fs::read(dir.path().join("monitoring/audits.jsonl")).expect("an audit was drawn");
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
    let again = std::fs::read(dir.path().join("monitoring/audits.jsonl")).expect("it is kept");
    assert_eq!(again, audits, "a day is drawn from once");
}

#[test]
fn brighter_slides_are_drift_and_wrong_scores_a_drop() {
    let dir = with_data(0.8);
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 1));
    let output = run(dir.path(), &["--exit-code", "--set", "performance.audits_per_week=700"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let drift = read(dir.path(), "monitoring/drift_reports/latest_drift.json");
    assert_eq!((&drift["status"], &drift["schema_version"]), (&json!("drifted"), &json!(2)));
    assert_eq!(drift["features"][0]["group"], "picture");
    let metrics = read(dir.path(), "monitoring/performance_metrics/latest_metrics.json");
    assert_eq!(metrics["status"], "measured", "{}", metrics["reasons"]);
    assert!(metrics["current_accuracy"].as_f64().is_some_and(|accuracy| accuracy < 0.05), "{metrics}");
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0), "without --exit-code a report is a success");
}

#[test]
fn the_version_in_use_is_watched_whatever_scored_last() {
    let dir = with_data(0.0);
    let release = |version: &str| {
        json!({
            "version": version, "released_at": "2025-05-20T00:00:00Z", "run_id": "latest", "human_agreement": 0.9, "metrics": {}, "files": {},
        })
    };
    let history = json!({"schema_version": 1, "version": "v1", "aliases": {"champion": "v1"}, "history": [release("v1"), release("v2")]});
    write_file(dir.path(), "model_registry/version.json", &history.to_string());
    let experiment = scored("odd", 3, 5.0).replace("\"v1\"", "\"run-b\"").replace("2025-05-30", "2025-06-01");
    let rolled_back = scored("back", 3, 5.0).replace("\"v1\"", "\"v2\"").replace("2025-05-30", "2025-05-31");
    let log = scored("new", 16, 0.0) + &experiment + &rolled_back;
    write_file(dir.path(), "monitoring/predictions.jsonl", &log);
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
    let drift = read(dir.path(), "monitoring/drift_reports/latest_drift.json");
    assert_eq!((&drift["model_version"], &drift["sizes"]["recent_slides"]), (&json!("v1"), &json!(128)));
    assert_eq!(
        (&drift["status"], &drift["sizes"]["other_versions"]),
        (&json!("stable"), &json!(48)),
        "{}",
        drift["reasons"]
    );
}

#[test]
fn bad_lines_are_set_aside_and_too_many_are_an_alarm() {
    let dir = with_data(0.0);
    let good = scored("new", 16, 0.0);
    let newer = good.lines().next().expect("a line").replace("\"schema_version\":1", "\"schema_version\":7");
    let bad = ["\u{0}\u{0}", "{\"brightness\": NaN}", "{\"foreign\": 1}", &newer, &newer[..50]];
    write_file(dir.path(), "monitoring/predictions.jsonl", &format!("{}\n{good}", bad[0]));
    assert_eq!(run(dir.path(), &["--exit-code"]).status.code(), Some(0));
    write_file(dir.path(), "monitoring/predictions.jsonl", &format!("{}\n{good}", bad.join("\n")));
    let output = run(dir.path(), &["--exit-code"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let drift = read(dir.path(), "monitoring/drift_reports/latest_drift.json");
    assert_eq!((&drift["status"], &drift["sizes"]["broken_lines"]), (&json!("insufficient"), &json!(5)));
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 of 133 lines of the log cannot be read"));
}

/// One of everything that gets into a log by accident, in the middle of it.
#[test]
fn what_does_not_belong_into_a_log_changes_nothing_but_its_count() {
    let dir = with_data(0.0);
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 4));
    let good = scored("new", 128, 0.0);
    write_file(dir.path(), "monitoring/predictions.jsonl", &good);
    let set = ["--json", "--exit-code", "--set", "performance.audits_per_week=700"];
    let mut plain = printed(&run(dir.path(), &set));
    let lines: Vec<&str> = good.lines().collect();
    let newer = lines[0].replace("\"schema_version\":1", "\"schema_version\":7");
    let torn = &lines[0][..60];
    let odd = [torn, &newer, "\u{0}\u{0}", "{\"brightness\": NaN}", "{\"foreign\": 1}", "null", "\u{feff}{}"];
    let ahead = scored("ahead", 2, 5.0).replace("2025-05-30", "2031-05-30");
    let middle = format!("{}\n{ahead}", odd.join("\n"));
    let log = format!("{}\n{middle}{}\n", lines[..500].join("\n"), lines[500..].join("\n"));
    write_file(dir.path(), "monitoring/predictions.jsonl", &log);
    let output = run(dir.path(), &set);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = printed(&output);
    let said = found["drift"]["reasons"].to_string();
    for part in ["16 slides are dated ahead of now", "7 lines of the log cannot be read and are passed over"]
    {
        assert!(said.contains(part), "{said}");
    }
    for report in [&mut plain, &mut found] {
        report["drift"]["reasons"] = json!([]);
        (report["drift"]["sizes"]["dated_ahead"], report["drift"]["sizes"]["broken_lines"]) =
            (json!(0), json!(0));
    }
    assert_eq!(found, plain);
}

/// A look while the clock is wrong concludes nothing, and the next one says what it would have said.
#[test]
fn a_clock_that_was_wrong_leaves_nothing_behind() {
    let dir = with_data(0.0);
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 4));
    let set = ["--json", "--exit-code", "--set", "performance.audits_per_week=700"];
    let plain = printed(&run(dir.path(), &set));
    for at in ["2031-01-01T00:00:00Z", "2019-01-01T00:00:00Z"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pq-monitor"));
        let output =
            command.current_dir(dir.path()).args(["--at", at]).args(set).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let wrong = printed(&output);
        for report in ["drift", "performance"] {
            assert_eq!(wrong[report]["status"], "insufficient", "{at}: {}", wrong[report]["reasons"]);
        }
    }
    assert_eq!(printed(&run(dir.path(), &set)), plain);
}

/// A release without the files of its run is compared with nothing, and no other run stands in for it.
#[test]
fn a_version_whose_files_are_gone_is_not_healthy() {
    let dir = with_data(0.0);
    let release = json!({
        "version": "v1", "released_at": "2025-05-20T00:00:00Z", "run_id": "gone", "human_agreement": 0.9, "metrics": {}, "files": {},
    });
    let history = json!({"schema_version": 1, "version": "v1", "history": [release]});
    write_file(dir.path(), "model_registry/version.json", &history.to_string());
    let output = run(dir.path(), &["--json", "--exit-code"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("reference_predictions.jsonl") && said.contains("validation_results.json"),
        "{said}"
    );
    let found = printed(&output);
    for (report, number) in [("drift", "drift_score"), ("performance", "p_value")] {
        let found = (&found[report]["status"], &found[report][number]);
        assert_eq!(found, (&json!("insufficient"), &Value::Null));
    }
}

/// Both reports as they are printed, without the names of the files that they come from.
fn printed(output: &Output) -> Value {
    let mut printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for report in ["drift", "performance"] {
        printed[report].as_object_mut().expect("a report").remove("inputs");
    }
    printed
}

#[test]
fn a_log_whose_days_were_moved_gives_the_same_reports_and_a_part_cut_short_none() {
    let dir = with_data(0.7);
    let torn = scored("new", 16, 0.7) + "not a slide\n{\"schema_ver";
    write_file(dir.path(), "monitoring/predictions.jsonl", &torn);
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 4));
    let set = ["--json", "--exit-code", "--set", "performance.audits_per_week=700"];
    let plain = printed(&run(dir.path(), &set));
    assert_eq!(
        (&plain["drift"]["status"], &plain["performance"]["status"]),
        (&json!("drifted"), &json!("measured"))
    );
    let compact = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pq-monitor"));
        let output =
            command.current_dir(dir.path()).arg("--compact").output().expect("the executable starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = compact();
    assert!(
        said.contains("128 slides of 1 days were moved") && said.contains("1 lines that no segment"),
        "{said}"
    );
    let left = std::fs::read_to_string(dir.path().join("monitoring/predictions.jsonl")).expect("it stays");
    assert_eq!(left, "{\"schema_ver", "the torn line is the writer's");
    assert_eq!(printed(&run(dir.path(), &set)), plain);
    compact();
    assert_eq!(printed(&run(dir.path(), &set)), plain, "there is nothing left to move");

    let index = read(dir.path(), "monitoring/predictions/segments.json");
    let name = index["parts"][0]["file"].as_str().expect("a name");
    let part = dir.path().join("monitoring/predictions").join(name);
    let bytes = std::fs::read(&part).expect("the part");
    std::fs::write(&part, &bytes[..bytes.len() / 2]).expect("cut short");
    let output = run(dir.path(), &set);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let cut = printed(&output);
    for report in ["drift", "performance"] {
        assert_eq!(cut[report]["status"], "insufficient");
        assert!(cut[report]["reasons"].to_string().contains(name), "{}", cut[report]["reasons"]);
    }
    std::fs::write(&part, bytes).expect("restored from a copy");
    assert_eq!(printed(&run(dir.path(), &set)), plain);
}

#[test]
fn a_released_version_is_compared_with_its_own_run() {
    let dir = with_data(0.5);
    write_file(dir.path(), "outputs/run-7/reference_predictions.jsonl", &scored("same", 24, 0.5));
    let release = json!({
        "version": "v1", "released_at": NOW, "run_id": "run-7", "human_agreement": 0.9, "metrics": {}, "files": {},
    });
    let history = json!({"schema_version": 1, "version": "v1", "history": [release]});
    write_file(dir.path(), "model_registry/version.json", &history.to_string());
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
    assert_eq!(read(dir.path(), "monitoring/drift_reports/latest_drift.json")["status"], "stable");
    assert_eq!(run(dir.path(), &["--run", "outputs/latest"]).status.code(), Some(0));
    assert_eq!(read(dir.path(), "monitoring/drift_reports/latest_drift.json")["status"], "drifted");
}

#[test]
fn a_torn_last_line_is_left_out_with_a_warning() {
    let dir = with_data(0.0);
    write_file(dir.path(), "monitoring/predictions.jsonl", &(scored("new", 16, 0.0) + "{\"schema_ver"));
    let output = run(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unfinished"));
    let drift = read(dir.path(), "monitoring/drift_reports/latest_drift.json");
    assert_eq!(drift["sizes"]["recent_slides"], 128);
}

#[test]
fn bad_input_is_named_and_nothing_is_written() {
    let dir = with_data(0.0);
    for (name, text) in [
        ("monitoring/predictions.jsonl", "{}\n"),
        ("outputs/latest/reference_predictions.jsonl", "\u{0}\u{1}garbage\n"),
        ("outputs/latest/validation_results.json", "{\"human_agreement\": \"much\"}"),
        ("monitoring/audits.jsonl", "[1, 2]\n"),
        ("data/labeled/labels.json", "{\"s\": {\"clarity\": 7}}"),
        ("model_registry/version.json", "{\"history\": 3}"),
    ] {
        let kept = std::fs::read(dir.path().join(name)).ok();
        write_file(dir.path(), name, text);
        assert_error(&run(dir.path(), &[]), &[name, "hint: "]);
        assert!(!dir.path().join("monitoring/drift_reports").exists(), "{name}");
        match kept {
            Some(bytes) => std::fs::write(dir.path().join(name), bytes).expect("restored"),
            None => std::fs::remove_file(dir.path().join(name)).expect("removed"),
        }
    }
    assert_eq!(run(dir.path(), &[]).status.code(), Some(0));
}

#[test]
fn wrong_arguments_and_configuration_are_named() {
    let dir = project();
    assert_error(&run(dir.path(), &["--data", "dta"]), &["`dta`", "hint: "]);
    assert_error(&run(dir.path(), &["--run", "outputs/none"]), &["`outputs/none`"]);
    assert_error(&run(dir.path(), &["--set", "drift.alpha=7"]), &["`drift.alpha`", "between 0 and 1"]);
    assert_error(
        &run(dir.path(), &["--set", "drift.windw_days=7"]),
        &["drift.windw_days", "did you mean `window_days`?"],
    );
    assert_error(&run(dir.path(), &["--at", "yesterday"]), &["--at"]);
    assert_error(&run(dir.path(), &["--config", "elsewhere"]), &["`elsewhere`"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let dir = with_data(0.0);
    write_file(dir.path(), "monitoring/drift_reports", "a file where the folder should be");
    assert_error(&run(dir.path(), &[]), &["monitoring/drift_reports", "hint: "]);
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_report() {
    let dir = with_data(0.0);
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "monitoring");
    adverse::assert_survives_interrupts(|| command(dir.path(), &[]), dir.path());
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "monitoring");
}
