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
    let (mut labels, mut splits) =
        (Labels::default(), Splits { schema_version: Splits::VERSION, ..Splits::default() });
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
    for (path, text) in
        [(run.adapter_config(), "{}"), (run.adapter_weights(), "weights"), (run.config(), "[model]")]
    {
        std::fs::write(path, text).unwrap();
    }
    let mut inputs = of_base();
    inputs.extend(keep_data(dir, &run));
    let record = serde_json::json!({
        "schema_version": 3, "run_id": "r", "started_at": "2026-01-02T03:04:05Z", "base_model": "a/b", "inputs": inputs,
    });
    std::fs::write(run.record(), record.to_string()).unwrap();
    let results = validated(dir, &run, &items, &train);
    (run, results)
}

const DATA: [&str; 3] = ["data/raw/manifest.jsonl", "data/labeled/labels.json", "data/labeled/splits.json"];

fn of_base() -> BTreeMap<String, String> {
    [("base_model", "sha256-tensors-v1:1"), ("base_processor", "sha256-processor-v1:2")]
        .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
        .into()
}

/// Copies the data beside the run, as training does; returns their hashes by name.
fn keep_data(dir: &Path, run: &RunFiles) -> BTreeMap<String, String> {
    std::fs::create_dir_all(run.data()).unwrap();
    let kept = DATA.map(|path| {
        let path = dir.join(path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        std::fs::copy(&path, run.data().join(&name)).unwrap();
        (name, hash_file(&path).unwrap().sha256)
    });
    kept.into()
}

/// The run's results, as validating writes them.
fn validated(dir: &Path, run: &RunFiles, items: &[Item], train: &[Label]) -> ValidationResults {
    let mut inputs = of_base();
    let files = DATA.iter().map(|path| dir.join(path)).chain(ValidationResults::of_a_run(run));
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
    register_with(dir, &[])
}

fn register_with(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    let output = command
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env("USER", "ann")
        .env_remove("HF_TOKEN")
        .output()
        .unwrap();
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

/// Puts the data out of reach; returns how the command is told of a folder that is not there.
fn without_data(dir: &Path) -> Vec<&'static str> {
    std::fs::rename(dir.join("data"), dir.join("away")).unwrap();
    vec!["--set", "storage.data_dir=elsewhere"]
}

#[test]
fn where_the_data_folder_is_not_there_the_copies_of_the_run_tell() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mut results) = project(dir.path());
    let args = without_data(dir.path());
    let honest = results.clone();
    *results.metrics.get_mut("overall_mae").unwrap() -= 0.01;
    results.judge();
    results.write(&run.validation()).unwrap();
    let (code, text) = register_with(dir.path(), &args);
    assert!(code == 1 && text.contains("metrics.overall_mae"), "{text}");
    let set_aside = [&args[..], &["--override", "recheck=never mind"]].concat();
    let (code, text) = register_with(dir.path(), &set_aside);
    assert!(
        code == 1 && text.contains("metrics.overall_mae"),
        "what is known to be wrong is not set aside: {text}"
    );
    honest.write(&run.validation()).unwrap();
    let (code, text) = register_with(dir.path(), &set_aside);
    assert!(code == 0 && text.contains("v1.0.0 released") && text.contains("the run's copies"), "{text}");
    let card = std::fs::read_to_string(dir.path().join("model_registry/versions/v1.0.0/README.md")).unwrap();
    assert!(!card.contains("recheck"), "nothing had to be set aside: {card}");
}

type Harm = fn(&Path);

#[test]
fn without_data_and_copies_a_release_needs_a_persons_word_which_the_card_shows() {
    let names = ["manifest.jsonl", "labels.json", "splits.json"];
    let harms: [(Harm, &str); 2] = [
        (|path| std::fs::remove_file(path).unwrap(), "nor among the run's copies"),
        (|path| std::fs::write(path, "{}").unwrap(), "is not what its record names"),
    ];
    for name in names {
        for (harm, words) in harms {
            let dir = tempfile::tempdir().unwrap();
            let (run, _) = project(dir.path());
            let args = without_data(dir.path());
            harm(&run.data().join(name));
            let (code, text) = register_with(dir.path(), &args);
            assert!(code == 1 && text.contains(name) && text.contains(words), "{name}: {text}");
            assert!(text.contains("hint: ") && text.contains("--override recheck=REASON"), "{text}");
            let (_, text) = register_with(dir.path(), &[&args[..], &["--json"]].concat());
            assert!(text.contains("\"hint\":"), "{text}");
            assert!(!dir.path().join("model_registry/version.json").exists());
            for unfit in ["recheck", "recheck= ", "max_mae=a first trial"] {
                let (code, text) = register_with(dir.path(), &[&args[..], &["--override", unfit]].concat());
                assert!(code == 2 && text.contains("--override"), "{unfit}: {text}");
            }
            let reason = "recheck=the data lie with the team in Lund";
            let (code, text) = register_with(dir.path(), &[&args[..], &["--override", reason]].concat());
            assert!(code == 0 && text.contains("v1.0.0 released"), "{text}");
            let card = dir.path().join("model_registry/versions/v1.0.0/README.md");
            let card = std::fs::read_to_string(card).unwrap();
            assert!(
                card.contains("`recheck`") && card.contains("the data lie with the team in Lund"),
                "{card}"
            );
        }
    }
}

#[test]
fn a_run_that_was_validated_on_newer_labels_is_not_told_by_its_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (run, mut results) = project(dir.path());
    results.inputs.insert("labels.json".to_owned(), "00".repeat(32));
    results.write(&run.validation()).unwrap();
    let (code, text) = register_with(dir.path(), &without_data(dir.path()));
    assert!(code == 1 && text.contains("validated on another"), "{text}");
}
