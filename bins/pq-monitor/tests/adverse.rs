//! `pq-monitor` in bad company: lines that do not belong into a log, clocks that are wrong, files that are gone, a disk that is full.

mod project;

use std::process::Command;

use pq_testing::adverse::{self, write_file};
use project::{assert_error, command, labels, printed, read, run, scored, with_data};
use serde_json::{Value, json};

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

/// The same of the log of what was drawn: the others are what the estimate is from, and no day is drawn from twice.
#[test]
fn what_does_not_belong_among_the_drawn_slides_changes_nothing() {
    let dir = with_data(0.0);
    write_file(dir.path(), "data/labeled/labels.json", &labels(16, 4));
    let set = ["--json", "--exit-code", "--set", "performance.audits_per_week=700"];
    printed(&run(dir.path(), &set));
    let plain = printed(&run(dir.path(), &set));
    let path = dir.path().join("monitoring/audits.jsonl");
    let good = std::fs::read_to_string(&path).expect("drawn");
    let lines: Vec<&str> = good.lines().collect();
    let newer = lines[0].replace("\"schema_version\":1", "\"schema_version\":7");
    let never = lines[0].replace("\"probability\":", "\"probability\":-");
    let ahead = lines[0].replace("2025-05-30", "2031-05-30");
    let odd = [&lines[0][..60], &newer, &never, "\u{0}\u{0}", "{\"p\": NaN}", "{\"foreign\": 1}", &ahead];
    let (first, last) = lines.split_at(lines.len() / 2);
    let text = [first, &odd, last].concat().join("\n") + "\n";
    std::fs::write(&path, &text).expect("written");
    let output = run(dir.path(), &set);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("6 lines of `monitoring/audits.jsonl`"), "{said}");
    assert_eq!(printed(&output), plain);
    assert_eq!(std::fs::read_to_string(&path).expect("kept"), text, "nothing was drawn");
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
        ("monitoring/failures.jsonl", "[1, 2]\n"),
        ("data/raw/inputs.jsonl", "[1, 2]\n"),
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
