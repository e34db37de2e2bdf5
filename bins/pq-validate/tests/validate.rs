//! The command as a user runs it, with an adapter made beforehand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::adverse;
use pq_testing::project::{Project, code, fake_run, stderr};

const VALIDATE: &str = env!("CARGO_BIN_EXE_pq-validate");

#[test]
fn a_poor_adapter_does_not_pass_and_the_reasons_are_written() {
    let project = Project::new(6);
    fake_run(&project);
    let output = project.run(VALIDATE, &["outputs/run-1", "--with-base"]);
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    // Six slides of two decks tell nothing for certain, and nothing good.
    assert!([1, 3].contains(&code(&output)), "{}", stderr(&output));
    assert!(
        printed.contains("at least 5 are asked") && printed.contains("base without adapter"),
        "{printed}"
    );
    let results: serde_json::Value =
        serde_json::from_str(&project.read("outputs/run-1/validation_results.json")).unwrap();
    assert_eq!(results["passes_threshold"], false);
    assert!(results["metrics"]["overall_mae"].as_f64().unwrap() > 0.0);
    assert_eq!(results["sizes"]["slides"], 6);
    assert_eq!(results["outcome"], if code(&output) == 1 { "fail" } else { "undecided" });
    let predictions = project.read("outputs/run-1/test_predictions.jsonl");
    assert_eq!(predictions.lines().count(), 30, "of the adapter, of the base and of three cheap models");
    let cheap = results["cheap_baselines"].as_array().unwrap();
    assert_eq!(cheap.len(), 3);
    for cheap in cheap {
        let name = cheap["name"].as_str().unwrap();
        assert!(cheap["metrics"]["overall_mae"].as_f64().is_some_and(|mae| mae <= 4.0), "{cheap}");
        assert!(cheap["gains"]["overall_mae"]["value"].is_number(), "{cheap}");
        assert!(printed.contains(name), "{printed}");
    }
    let kept = std::fs::read_dir(project.path("data/cache/features")).unwrap().count();
    assert!(kept > 0, "what the vision tower says is kept for the next validation");
    assert_eq!(results["inputs"]["test_predictions.jsonl"].as_str().unwrap().len(), 64);
    let refused = project.run(VALIDATE, &["outputs/run-1", "--override", "qwk=never mind"]);
    assert!(code(&refused) == 2 && stderr(&refused).contains("cannot be set aside"), "{}", stderr(&refused));
    assert_eq!(results["inputs"]["adapter_model.safetensors"].as_str().unwrap().len(), 64);
    let (base, name) = (&results["inputs"]["base_model"], &results["inputs"]["base_model_name"]);
    assert!(base.as_str().unwrap().starts_with("sha256-tensors-v1:"), "{base}");
    assert_eq!(name.as_str().unwrap(), pq_testing::project::base_model().display().to_string());
    assert!(project.read("outputs/run-1/report.html").contains("<html"));
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    let project = Project::new(3);
    let output = project.run(VALIDATE, &["outputs/nothing"]);
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("outputs/nothing") && stderr(&output).contains("hint:"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_report() {
    let project = Project::new(6);
    fake_run(&project);
    let command = || project.command(VALIDATE, &["outputs/run-1"]);
    adverse::assert_keeps_what_is_there(command, &project.path("."), "outputs/run-1");
    adverse::assert_survives_interrupts(command, &project.path("."));
    adverse::assert_keeps_what_is_there(command, &project.path("."), "outputs/run-1");
}

#[test]
fn what_shards_have_looked_at_gives_the_same_numbers_and_is_not_looked_at_again() {
    let (alone, sharded) = (Project::new(6), Project::new(6));
    for project in [&alone, &sharded] {
        fake_run(project);
    }
    let validate = |project: &Project| {
        let output = project.run(VALIDATE, &["outputs/run-1"]);
        assert!([1, 3].contains(&code(&output)), "{}", stderr(&output));
    };
    let kept = |project: &Project| {
        // Folders of a base's features hold files by their pixels.
        let mut folders = vec![project.path("data/cache/features")];
        let mut count = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { count += 1 }
            }
        }
        count
    };
    for shard in ["0/3", "2/3", "1/3", "1/3"] {
        let output = sharded.run(VALIDATE, &["outputs/run-1", "--shard", shard]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
    assert!(!sharded.path("outputs/run-1/validation_results.json").exists());
    let before = kept(&sharded);
    validate(&sharded);
    assert_eq!(kept(&sharded), before, "everything was there");
    validate(&alone);
    assert_eq!(kept(&alone), before);
    let told = |project: &Project| {
        let results: serde_json::Value =
            serde_json::from_str(&project.read("outputs/run-1/validation_results.json")).unwrap();
        let lines = project.read("outputs/run-1/test_predictions.jsonl");
        let shares = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["distributions"].to_string()
        });
        (results["metrics"].to_string(), shares.collect::<Vec<_>>())
    };
    assert_eq!(told(&sharded), told(&alone));
    let refused = sharded.run(VALIDATE, &["outputs/run-1", "--shard", "3/3"]);
    assert!(code(&refused) == 2 && stderr(&refused).contains("no shard 3 of 3"), "{}", stderr(&refused));
}
