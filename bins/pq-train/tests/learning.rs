//! What a run says of itself: what it is measured by, whether it learned, what it began with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::project::{Project, code, stderr, trained};
use serde_json::Value;

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");

fn train(project: &Project, run: &str, more: &[&str]) -> Value {
    let output = project.run(TRAIN, &[&["--run", run], more].concat());
    assert!(trained(&output), "{}", stderr(&output));
    record(project, run)
}

fn record(project: &Project, run: &str) -> Value {
    serde_json::from_str(&project.read(&format!("outputs/{run}/run.json"))).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

const CRITERIA: [&str; 5] = ["clarity", "design", "data_visualization", "readability", "content_quality"];

/// The error of the best constants on the validation slides, from the files alone.
fn constant_mae(project: &Project) -> f64 {
    let file = |name: &str| serde_json::from_str::<Value>(&project.read(name)).unwrap();
    let (labels, splits) = (file("data/labeled/labels.json"), file("data/labeled/splits.json"));
    let scores = |split: &str, key: &str| -> Vec<i64> {
        let is_of = |slide: &str| splits["groups"][slide.split("-p").next().unwrap()] == split;
        let of_split = labels.as_object().unwrap().iter().filter(|(slide, _)| is_of(slide));
        of_split.filter_map(|(_, label)| label[key].as_i64()).collect()
    };
    let cost =
        |scores: &[i64], constant: i64| scores.iter().map(|score| (score - constant).abs()).sum::<i64>();
    let (mut error, mut count) = (0, 0);
    for key in CRITERIA {
        let (train, val) = (scores("train", key), scores("val", key));
        let constant = (1..=5).min_by_key(|constant| cost(&train, *constant)).unwrap();
        error += cost(&val, constant);
        count += val.len();
    }
    error as f64 / count as f64
}

#[test]
fn a_run_says_what_it_is_measured_by_and_whether_it_learned() {
    let project = Project::new(6);
    let output = project.run(TRAIN, &["--run", "one", "--set", "training.max_steps=4"]);
    assert!(stderr(&output).contains("before the first step the error"), "{}", stderr(&output));
    let run = record(&project, "one");
    let (outlook, verdict) = (&run["outlook"], &run["training"]["verdict"]);
    assert!((number(&outlook["constant_mae"]) - constant_mae(&project)).abs() < 1e-12, "{outlook}");
    let best = number(&run["training"]["best"]["value"]);
    let learned = best < number(&outlook["constant_mae"]);
    assert_eq!(verdict["learned"], learned);
    assert_eq!(code(&output), i32::from(!learned), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(verdict["sentence"].as_str().unwrap()), "{said}");
    // Labels without counts are certain, so that nothing stands between them and a cross-entropy of zero.
    assert!(number(&outlook["rater_entropy"]).abs() < 1e-12 && number(&outlook["start_score_loss"]) > 0.5);
    assert!(project.read("outputs/one/metrics.jsonl").contains("eval_score_loss"));
}

#[test]
fn broken_pictures_are_known_before_the_first_step() {
    let project = Project::new(6);
    let splits = project.run(TRAIN, &["--run", "first", "--set", "training.max_steps=1"]);
    assert!(trained(&splits), "{}", stderr(&splits));
    let groups: Value = serde_json::from_str(&project.read("data/labeled/splits.json")).unwrap();
    let deck = |split: &str| {
        groups["groups"].as_object().unwrap().iter().find(|(_, of)| *of == split).unwrap().0.clone()
    };
    let picture = |deck: &str| project.path(&format!("data/raw/slides/{deck}-p002.png"));
    let (train, val, test) = (deck("train"), deck("val"), deck("test"));
    let bytes = std::fs::read(picture(&train)).unwrap();
    std::fs::write(picture(&train), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_file(picture(&val)).unwrap();
    let output = project.run(TRAIN, &["--run", "second"]);
    let said = stderr(&output);
    assert!(code(&output) == 2 && said.contains("2 of the pictures") && said.contains("-p002.png"), "{said}");
    assert!(!project.path("outputs/second/metrics.jsonl").exists());
    std::fs::write(picture(&train), &bytes).unwrap();
    std::fs::write(picture(&val), &bytes).unwrap();
    std::fs::remove_file(picture(&test)).unwrap();
    train_again(&project);
}

/// The test set is not read in training.
fn train_again(project: &Project) {
    train(project, "third", &["--set", "training.max_steps=1"]);
}

#[test]
fn a_criterion_that_nobody_taught_is_not_scored() {
    let project = Project::new(6);
    let mut labels: Value = serde_json::from_str(&project.read("data/labeled/labels.json")).unwrap();
    let untaught = "design";
    for label in labels.as_object_mut().unwrap().values_mut() {
        label[untaught] = Value::Null;
    }
    project.write("data/labeled/labels.json", &labels.to_string());
    let run = train(&project, "one", &["--set", "training.max_steps=2"]);
    assert_eq!(run["untaught"], serde_json::json!([untaught]));
    let predictions = project.read("outputs/one/reference_predictions.jsonl");
    let scored: Vec<Value> = predictions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with_scores =
        scored.iter().filter(|line| line["expected"].as_object().is_some_and(|scores| !scores.is_empty()));
    let with_scores: Vec<&Value> = with_scores.collect();
    assert!(!with_scores.is_empty());
    for line in with_scores {
        assert!(
            line["expected"].get(untaught).is_none() && line["expected"].get("clarity").is_some(),
            "{line}"
        );
    }
}

#[test]
fn a_run_begins_where_another_ended() {
    let project = Project::new(6);
    let one =
        train(&project, "one", &["--set", "training.max_steps=4", "--set", "training.learning_rate=0.01"]);
    let two =
        train(&project, "two", &["--from", "one", "--set", "training.max_steps=2", "--set", "lora.r=3"]);
    assert_eq!(two["started_from"]["name"], "one");
    let (ended, began) = (number(&one["training"]["best"]["value"]), number(&two["outlook"]["start_mae"]));
    assert!((ended - began).abs() < 1e-12, "{ended} {began}");
    let config: toml::Table = project.read("outputs/two/config.toml").parse().unwrap();
    assert_eq!(config["lora"]["r"].as_integer(), Some(16), "the adapter's own rank");

    for (name, words) in [("nowhere", "`nowhere` is not there"), ("champion", "no version is in use")] {
        let refused = project.run(TRAIN, &["--run", "three", "--from", name]);
        assert!(code(&refused) == 2 && stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}

#[test]
fn a_run_goes_on_with_more_steps() {
    let project = Project::new(6);
    train(&project, "one", &["--set", "training.max_steps=2"]);
    let more = train(&project, "one", &["--resume", "--set", "training.max_steps=5"]);
    assert_eq!(
        (&more["training"]["steps"], &more["training"]["extended_at"]),
        (&5.into(), &serde_json::json!([2]))
    );
    let fewer = project.run(TRAIN, &["--run", "one", "--resume", "--set", "training.max_steps=3"]);
    assert!(code(&fewer) == 2 && stderr(&fewer).contains("5 steps are done"), "{}", stderr(&fewer));
}

/// A hint is for the failure that it stands under.
#[test]
fn a_loss_that_is_not_finite_is_not_to_be_resumed() {
    let project = Project::new(6);
    let rate = ["--set", "training.learning_rate=1e30", "--set", "training.warmup_ratio=0"];
    let output =
        project.run(TRAIN, &[&["--run", "one", "--set", "training.max_steps=6"], &rate[..]].concat());
    let said = stderr(&output);
    assert!(
        code(&output) == 2 && said.contains("not finite") && said.contains("lower `training.learning_rate`"),
        "{said}"
    );
    assert!(!said.contains("carries on"), "{said}");
}

/// What people copy out of a notebook.
#[test]
fn keys_of_transformers_that_ask_for_what_is_done_are_taken() {
    let project = Project::new(6);
    let config = project.read("config/training.toml");
    let copied = config.replace(
        "[training]",
        "[training]\noptim = \"adamw_torch\"\neval_strategy = \"steps\"\nfp16 = false\nremove_unused_columns = false",
    );
    assert_ne!(config, copied);
    project.write("config/training.toml", &copied);
    let output = project.run(
        TRAIN,
        &["--run", "one", "--set", "training.max_steps=-1", "--set", "training.num_train_epochs=1"],
    );
    assert!(
        trained(&output) && stderr(&output).contains("`training.optim` has no effect"),
        "{}",
        stderr(&output)
    );
    let refused = project.run(TRAIN, &["--run", "two", "--set", "training.optim=adafactor"]);
    assert!(code(&refused) == 2 && stderr(&refused).contains("`training.optim`"), "{}", stderr(&refused));
}
