//! `pq-monitor` as people run it: in a fresh folder, with good and little input.

mod project;

use std::fmt::Write as _;
use std::process::Command;

use pq_testing::adverse::write_file;
use project::{NOW, assert_error, labels, printed, project, read, run, scored, with_data};
use serde_json::{Value, json};

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

/// Lines of files that could not be scored, and a few that do not belong among them.
fn failures(decks: usize) -> String {
    let line = |deck: usize| {
        json!({
            "schema_version": 1, "id": format!("f{deck}"), "deck_id": format!("d{deck}"), "failed_at": "2025-05-30T08:00:00Z",
            "model_version": "v1", "kind": if deck.is_multiple_of(2) { "refusal" } else { "error" }, "reason": "cannot be read: no end",
        })
        .to_string()
    };
    let good: Vec<String> = (0..decks).map(line).collect();
    let newer = good[0].replace("\"schema_version\":1", "\"schema_version\":7");
    let other = good[1].replace("\"error\"", "\"mood\"");
    [&good[..], &[newer, other, "{\"torn\": ".to_owned()], &good[..2]].concat().join("\n") + "\n"
}

#[test]
fn files_that_could_not_be_read_are_drift_beside_those_of_collecting() {
    let dir = with_data(0.0);
    write_file(dir.path(), "monitoring/failures.jsonl", &failures(24));
    let set = ["--json", "--exit-code"];
    let inputs = |decks: usize, broken: usize| {
        let input = |deck: usize| {
            let reason = if deck.is_multiple_of(2) { "is empty" } else { "cannot be read: no end" };
            let outcome = if deck < broken {
                json!({"kind": "set_aside", "reason": reason})
            } else {
                json!({"kind": "collected", "slides": 8})
            };
            json!({
                "schema_version": 1, "origin": format!("{deck}.pdf"), "place": format!("/decks/{deck}.pdf"), "size_bytes": 1, "modified_ns": 0,
                "sha256": format!("{deck:064}"), "at": "2025-01-01T00:00:00Z", "outcome": outcome,
            })
        };
        (0..decks).fold(String::new(), |lines, deck| lines + &input(deck).to_string() + "\n")
    };
    write_file(dir.path(), "data/raw/inputs.jsonl", &inputs(24, 0));
    let output = run(dir.path(), &set);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 lines of `monitoring/failures.jsonl`"), "{said}");
    let found = printed(&output);
    let sizes = &found["drift"]["sizes"];
    assert_eq!(
        (&sizes["errors"], &sizes["refusals"], &sizes["recent_decks"]),
        (&json!(12), &json!(12), &json!(16))
    );
    let names = |found: &Value| -> Vec<String> {
        let features = found["drift"]["features"].as_array().expect("features");
        let drifted = features.iter().filter(|feature| feature["drifted"] == true);
        drifted.map(|feature| feature["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&found), ["presence.accepted", "presence.readable"], "{}", found["drift"]["reasons"]);
    // Where as much of what was collected could not be read, nothing has changed; neither is it known to have where nobody knows that.
    write_file(dir.path(), "data/raw/inputs.jsonl", &inputs(60, 36));
    let output = run(dir.path(), &set);
    assert_eq!((output.status.code(), names(&printed(&output)).len()), (Some(0), 0));
    std::fs::remove_file(dir.path().join("data/raw/inputs.jsonl")).expect("removed");
    let output = run(dir.path(), &set);
    assert_eq!((output.status.code(), names(&printed(&output)).len()), (Some(0), 0));
    // Pages of decks that were trained on are no production.
    let trained = failures(24).replace("\"deck_id\":\"d", "\"deck_id\":\"old-");
    write_file(dir.path(), "monitoring/failures.jsonl", &trained);
    let sizes = printed(&run(dir.path(), &set))["drift"]["sizes"].clone();
    assert_eq!((sizes.get("errors"), &sizes["recent_decks"]), (None, &json!(16)), "{sizes}");
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
