//! `pq-trigger` as people and workflows run it: in a fresh folder, with good input.

mod project;

use std::process::Command;

use pq_testing::adverse::write_file;
use project::{NOW, command, corrections, decisions, project, release, run};
use serde_json::{Value, json};

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
fn what_failed_may_be_asked_for_again_and_what_is_over_may_not() {
    for (failed, asks_again) in [(true, true), (false, false)] {
        let dir = project();
        corrections(dir.path(), 120);
        assert_eq!(run(dir.path(), &["--exit-code"]).status.code(), Some(0));
        let args = if failed { &["--done", "--failed"][..] } else { &["--done"] };
        // Said twice, it is said once.
        for _ in 0..2 {
            assert_eq!(run(dir.path(), args).status.code(), Some(0));
        }
        assert!(!dir.path().join("monitoring/retraining.json").exists());
        let kept = decisions(dir.path());
        let back = kept.last().expect("a decision");
        assert_eq!((kept.len(), back["takes_back"].is_string()), (1 + usize::from(failed), failed), "{back}");
        // At once, without the days of rest.
        let output = run(dir.path(), &["--exit-code", "--at", "2025-06-02T12:00:00Z"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code() == Some(0), asks_again, "{text}");
    }
    let dir = project();
    assert_eq!(run(dir.path(), &["--done", "--failed"]).status.code(), Some(0), "nothing ran");
    assert!(decisions(dir.path()).is_empty());
    assert_eq!(run(dir.path(), &["--failed"]).status.code(), Some(2));
}
