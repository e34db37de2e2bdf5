//! Promises of `evaluate` and of the results file, through the public interface.

use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::Contract as _;
use proptest::prelude::*;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{
    Comparison, Error, Evaluation, EvaluationInput, EvaluationOptions, Interval, Item, Result,
    ValidationResults, evaluate,
};

fn prediction(slide_id: &str, distribution: [f64; 5]) -> Prediction {
    Prediction {
        distributions: Rubric::default().keys().map(|key| (key.to_owned(), distribution)).collect(),
        ..Prediction::sample(slide_id)
    }
}

fn item(index: usize, group: usize, actual: u8, distribution: [f64; 5]) -> Item {
    let slide_id = format!("slide-{index:03}");
    let scores = Rubric::default().keys().map(|key| (key.to_owned(), Score::new(actual))).collect();
    Item {
        prediction: prediction(&slide_id, distribution),
        label: Label { scores, ..Label::default() },
        slide_id,
        group: format!("deck-{group}"),
    }
}

fn sure(score: u8) -> [f64; 5] {
    std::array::from_fn(|i| f64::from(u8::from(i + 1 == usize::from(score))))
}

fn run(items: &[Item], train_labels: Option<&[Label]>) -> Result<Evaluation> {
    evaluate(&EvaluationInput {
        rubric: &Rubric::default(),
        items,
        train_labels,
        champion: None,
        before: None,
        model_version: "test",
        inputs: &BTreeMap::new(),
        options: EvaluationOptions {
            bootstrap: vlm_eval::BootstrapOptions { samples: 50, ..Default::default() },
            ..Default::default()
        },
        now: Timestamp::UNIX_EPOCH,
    })
}

fn varied(slides: usize) -> Vec<Item> {
    (0..slides).map(|i| item(i, i / 3, 1 + (i % 5) as u8, sure(1 + (i % 5) as u8))).collect()
}

#[test]
fn a_perfect_rater_passes_and_says_why() {
    let results = run(&varied(30), None).unwrap().results;
    assert!(results.passes_threshold);
    assert_eq!(results.metrics["overall_mae"].to_bits(), 0f64.to_bits());
    assert!((results.metrics["clarity_qwk"] - 1.0).abs() < 1e-12);
    assert_eq!(results.sizes.groups, 10);
    assert_eq!(
        results.reasons.len(),
        4,
        "three checks and where the constant came from: {:?}",
        results.reasons
    );
}

#[test]
fn a_constant_rater_fails_however_good_the_constant_is() {
    let items: Vec<Item> = (0..30).map(|i| item(i, i, 3 + u8::from(i % 10 == 0), sure(3))).collect();
    let results = run(&items, None).unwrap().results;
    assert!(results.human_agreement > 0.99 && results.metrics["overall_mae"] < 0.2);
    assert!(!results.passes_threshold);
    assert!(results.reasons[2].contains("not better"), "{:?}", results.reasons);
}

#[test]
fn the_constant_is_chosen_on_train_labels_where_given() {
    let train: Vec<Label> = varied(5)
        .into_iter()
        .map(|mut item| {
            item.label.scores.insert("clarity".to_owned(), Score::new(5));
            item.label
        })
        .collect();
    let baseline = run(&varied(30), Some(&train)).unwrap().results.baseline.unwrap();
    assert_eq!((baseline.chosen_on.as_str(), baseline.constants["clarity"]), ("train", 5));
    assert_eq!(baseline.constants["design"], 3);
    assert!(!baseline.metrics.contains_key("overall_ece"));
}

#[test]
fn criteria_that_do_not_apply_are_left_out() {
    let mut items = varied(12);
    for item in &mut items {
        item.label.scores.insert("data_visualization".to_owned(), None);
        item.prediction.distributions.remove("data_visualization");
    }
    let results = run(&items, None).unwrap().results;
    assert_eq!((results.sizes.ratings, results.sizes.criteria["data_visualization"]), (48, 0));
    assert!(!results.metrics.keys().any(|name| name.starts_with("data_visualization")));
}

#[test]
fn one_deck_gives_no_intervals_and_says_so() {
    let items: Vec<Item> = (0..10).map(|i| item(i, 0, 1 + (i % 5) as u8, sure(3))).collect();
    let results = run(&items, None).unwrap().results;
    assert!(results.intervals.is_empty());
    assert!(results.reasons.iter().any(|reason| reason.contains("one deck")));
}

#[test]
fn bad_input_is_named() {
    assert!(matches!(run(&[], None), Err(Error::Empty { slides: 0 })));
    let twice = [item(1, 0, 3, sure(3)), item(1, 0, 3, sure(3))];
    assert!(matches!(run(&twice, None), Err(Error::Repeated { slide_id }) if slide_id == "slide-001"));
    let mut mixed = varied(3);
    mixed[1].prediction.slide_id = "other".to_owned();
    assert!(matches!(run(&mixed, None), Err(Error::Mismatch { expected, .. }) if expected == "slide-001"));
    let mut missing = varied(3);
    missing[2].prediction.distributions.remove("design");
    assert!(matches!(run(&missing, None), Err(Error::Missing { criterion, .. }) if criterion == "design"));
    for bad in [[0.0; 5], [f64::NAN; 5], [-0.2, 0.3, 0.3, 0.3, 0.3], [1.0; 5]] {
        assert!(matches!(run(&[item(0, 0, 3, bad)], None), Err(Error::Distribution { .. })), "{bad:?}");
    }
}

#[test]
fn results_survive_writing_and_reading() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run").join("validation_results.json");
    let mut results = run(&varied(30), None).unwrap().results;
    results.champion = Some(Comparison { name: "v3".to_owned(), metrics: results.metrics.clone() });
    // The last digit of a double is not promised by the JSON reader.
    results.baseline.as_mut().unwrap().mae_gain_interval = Some(Interval { low: 0.25, high: 1.5 });
    results.write(&path).unwrap();
    assert_eq!(ValidationResults::read(&path).unwrap(), results);
    let text = std::fs::read_to_string(&path).unwrap();
    for name in ["human_agreement", "threshold", "passes_threshold", "overall_within_1", "clarity_mae"] {
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_first_released_form_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.json");
    std::fs::write(&path, include_str!("../../project-files/samples/v1/validation_results.json")).unwrap();
    let results = ValidationResults::read(&path).unwrap();
    assert!(results.passes_threshold && results.sizes.groups == 10);
    std::fs::write(
        &path,
        include_str!("../../project-files/samples/v1/validation_results.json").replacen('1', "99", 1),
    )
    .unwrap();
    assert!(matches!(ValidationResults::read(&path), Err(project_files::Error::Newer { found: 99, .. })));
    std::fs::write(&path, "{\"schema_version\": 1").unwrap();
    assert!(ValidationResults::read(&path).unwrap_err().to_string().contains("v1.json"));
}

fn any_item() -> impl Strategy<Value = (usize, u8, [f64; 5])> {
    (0..6usize, 1..=5u8, prop::array::uniform5(0.01..1.0f64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn metrics_keep_their_bounds_and_ignore_the_order(rows in prop::collection::vec(any_item(), 1..25), shift in 0..25usize) {
        let mut items: Vec<Item> = rows.iter().enumerate().map(|(i, (group, actual, raw))| {
            let total: f64 = raw.iter().sum();
            item(i, *group, *actual, raw.map(|p| p / total))
        }).collect();
        let results = run(&items, None).unwrap().results;
        for (name, value) in &results.metrics {
            let (low, high) = match name.rsplit_once('_').unwrap() {
                (_, "mae") => (0.0, 4.0),
                (_, "qwk" | "spearman") => (-1.0, 1.0),
                _ => (0.0, 1.0),
            };
            prop_assert!((low..=high).contains(value), "{name} {value}");
        }
        for interval in results.intervals.values() {
            prop_assert!(interval.low <= interval.high);
        }
        items.rotate_left(shift % rows.len());
        items.reverse();
        prop_assert_eq!(run(&items, None).unwrap().results, results);
    }
}
