//! Where the data are at hand, a release needs numbers that follow from them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use project_files::{Contract as _, RunFiles, ValidationResults, hash_file};
use slide_data::{Label, Labels, Prediction, Rubric, Score, SlideRecord, Split, Splits};
use vlm_eval::{EvaluationInput, EvaluationOptions, Item, evaluate};

fn label(score: u8) -> Label {
    let keys = || Rubric::default().keys().map(str::to_owned).collect::<Vec<_>>();
    Label {
        scores: keys().into_iter().map(|key| (key, Score::new(score))).collect(),
        distribution: keys()
            .into_iter()
            .map(|key| (key, std::array::from_fn(|at| 2 * u32::from(at + 1 == usize::from(score)))))
            .collect(),
        annotators: 2,
        ..Label::default()
    }
}

fn sure(score: u8) -> BTreeMap<String, [f64; 5]> {
    let forecast = std::array::from_fn(|at| f64::from(u8::from(at + 1 == usize::from(score))));
    Rubric::default().keys().map(|key| (key.to_owned(), forecast)).collect()
}

/// Ten decks of six slides, of which two are trained on, and a run that rates most of the others as people do.
fn project(dir: &Path) -> (RunFiles, ValidationResults) {
    let raw = dir.join("data/raw");
    let run = RunFiles::new(dir.join("outputs/latest"));
    for folder in [&raw, &dir.join("data/labeled"), &dir.join("config"), run.dir()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let (mut labels, mut splits) = (Labels::default(), Splits { schema_version: 1, ..Splits::default() });
    let (mut records, mut items, mut train) = (Vec::new(), Vec::new(), Vec::new());
    for deck in 0..10 {
        let name = format!("deck{deck}");
        splits.groups.insert(name.clone(), if deck < 2 { Split::Train } else { Split::Test });
        for number in 1..=6_usize {
            let record = SlideRecord::sample(&name, number);
            let score = 1 + ((deck + number) % 5) as u8;
            let said = if number % 5 == 2 { if score == 5 { 4 } else { score + 1 } } else { score };
            labels.slides.insert(record.slide_id.clone(), label(score));
            let prediction = Prediction {
                distributions: sure(said),
                model_version: "latest".to_owned(),
                ..Prediction::sample(&record.slide_id)
            };
            if deck < 2 {
                train.push(label(score));
            } else {
                let (slide_id, group) = (record.slide_id.clone(), record.group.clone());
                items.push(Item { slide_id, group, label: label(score), prediction });
            }
            records.push(record);
        }
    }
    SlideRecord::append(&raw.join("manifest.jsonl"), &records).unwrap();
    labels.write(&dir.join("data/labeled/labels.json")).unwrap();
    splits.write(&dir.join("data/labeled/splits.json")).unwrap();
    Prediction::replace_log(&run.test_predictions(), items.iter().map(|item| &item.prediction)).unwrap();
    for (path, text) in [
        (run.adapter_config(), "{}"),
        (run.adapter_weights(), "weights"),
        (run.config(), "[model]"),
        (
            run.record(),
            r#"{"schema_version":2,"run_id":"r","started_at":"2026-01-02T03:04:05Z","base_model":"a/b",
                "inputs":{"base_model":"sha256-tensors-v1:1","base_processor":"sha256-processor-v1:2"}}"#,
        ),
    ] {
        std::fs::write(path, text).unwrap();
    }
    let results = validated(dir, &run, &items, &train);
    (run, results)
}

/// The run's results, as validating writes them.
fn validated(dir: &Path, run: &RunFiles, items: &[Item], train: &[Label]) -> ValidationResults {
    let mut inputs: BTreeMap<String, String> =
        [("base_model", "sha256-tensors-v1:1"), ("base_processor", "sha256-processor-v1:2")]
            .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
            .into();
    let data = ["data/raw/manifest.jsonl", "data/labeled/labels.json", "data/labeled/splits.json"];
    let files = data.iter().map(|path| dir.join(path)).chain(ValidationResults::of_a_run(run));
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    let input = EvaluationInput {
        rubric: &Rubric::default(),
        items,
        train_labels: Some(train),
        champion: None,
        before: None,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "latest",
        inputs: &inputs,
        options: EvaluationOptions::default(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let results = evaluate(&input).unwrap().results;
    results.write(&run.validation()).unwrap();
    results
}

fn register(dir: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    let output =
        command.current_dir(dir).env("HOME", dir).env("USER", "ann").env_remove("HF_TOKEN").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn numbers_that_follow_from_the_predictions_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let (_, results) = project(dir.path());
    assert!(results.passes_threshold, "{:?}", results.reasons);
    let (code, text) = register(dir.path());
    assert!(code == 0 && text.contains("v1.0.0 released"), "{text}");
}

#[test]
fn numbers_that_were_improved_by_hand_are_refused() {
    type Change = fn(&mut ValidationResults);
    let changes: [(&str, Change); 4] = [
        ("metrics.overall_mae", |r| *r.metrics.get_mut("overall_mae").unwrap() -= 0.01),
        ("intervals.clarity_qwk.low", |r| r.intervals.get_mut("clarity_qwk").unwrap().low += 0.01),
        ("baseline.constants.design", |r| {
            _ = r.baseline.as_mut().unwrap().constants.insert("design".to_owned(), 1);
        }),
        ("human_ceiling.ratings", |r| r.human_ceiling.as_mut().unwrap().ratings += 1),
    ];
    for (place, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let (run, mut results) = project(dir.path());
        change(&mut results);
        results.judge();
        results.write(&run.validation()).unwrap();
        let (code, text) = register(dir.path());
        assert!(code == 1 && text.contains(place), "{place}: {text}");
        assert!(!dir.path().join("model_registry/version.json").exists());
    }
}

#[test]
fn data_that_changed_since_and_predictions_that_are_missing_are_refused() {
    for file in ["raw/manifest.jsonl", "labeled/labels.json", "labeled/splits.json"] {
        let dir = tempfile::tempdir().unwrap();
        project(dir.path());
        let path = dir.path().join("data").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.push(b'\n');
        std::fs::write(&path, bytes).unwrap();
        let (code, text) = register(dir.path());
        assert!(code == 1 && text.contains("changed since the run was validated"), "{file}: {text}");
        std::fs::remove_file(&path).unwrap();
        let (code, text) = register(dir.path());
        assert!(code == 1 && text.contains("is missing in the data folder"), "{file}: {text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = project(dir.path());
    std::fs::remove_file(run.test_predictions()).unwrap();
    let (code, text) = register(dir.path());
    assert!(code == 2 && text.contains("test_predictions.jsonl"), "{text}");
}
