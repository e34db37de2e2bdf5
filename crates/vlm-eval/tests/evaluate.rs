//! Promises of `evaluate` and of the results file, through the public interface.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use jiff::Timestamp;
use project_files::Contract as _;
use proptest::prelude::*;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{
    Error, Evaluation, EvaluationInput, EvaluationOptions, Item, Outcome, Rater, Result, ValidationResults,
    evaluate,
};

fn prediction(slide_id: &str, distribution: [f64; 5]) -> Prediction {
    Prediction {
        distributions: Rubric::default().keys().map(|key| (key.to_owned(), distribution)).collect(),
        ..Prediction::sample(slide_id)
    }
}

fn item(index: usize, group: usize, actual: u8, distribution: [f64; 5]) -> Item {
    let slide_id = format!("slide-{index:03}");
    let keys = || Rubric::default().keys().map(str::to_owned).collect::<Vec<_>>();
    let counts = std::array::from_fn(|at| 2 * u32::from(at + 1 == usize::from(actual)));
    let label = Label {
        scores: keys().into_iter().map(|key| (key, Score::new(actual))).collect(),
        distribution: keys().into_iter().map(|key| (key, counts)).collect(),
        ..Label::default()
    };
    Item { prediction: prediction(&slide_id, distribution), label, slide_id, group: format!("deck-{group}") }
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
        cheap_baselines: &[],
        overrides: &[],
        model_version: "test",
        inputs: &ValidationResults::sample().inputs,
        options: EvaluationOptions::default(),
        now: Timestamp::UNIX_EPOCH,
    })
}

fn varied(slides: usize) -> Vec<Item> {
    (0..slides).map(|i| item(i, i / 3, 1 + (i % 5) as u8, sure(1 + (i % 5) as u8))).collect()
}

#[test]
fn a_perfect_rater_passes_and_says_why() {
    let results = run(&varied(90), None).unwrap().results;
    assert_eq!(results.outcome, Outcome::Pass, "{:?}", results.reasons);
    assert_eq!(results.metrics["overall_mae"].to_bits(), 0f64.to_bits());
    assert!((results.metrics["clarity_qwk"] - 1.0).abs() < 1e-12);
    assert_eq!(results.sizes.groups, 30);
    assert!(
        results
            .reasons
            .iter()
            .any(|reason| reason.starts_with("overall: the mean absolute error is 0.000 ["))
    );
}

/// Errors that are nowhere to be seen may still be there: no interval of few slides is a point.
#[test]
fn no_interval_of_few_slides_has_zero_width() {
    for slides in [6, 9, 15, 27] {
        let results = run(&varied(slides), None).unwrap().results;
        let baseline = results.baseline.unwrap();
        let gains = baseline.gains.values().chain(baseline.relative_gains.values());
        let all = results.intervals.values().copied().chain(gains.filter_map(|gain| gain.interval));
        for interval in all.filter(|interval| interval.low.is_finite()) {
            assert!(interval.high - interval.low > 0.01, "{slides} slides: {interval:?}");
        }
        for name in ["overall_mae", "overall_within_1", "overall_qwk", "overall_rps"] {
            assert!(results.intervals.contains_key(name), "{slides} slides: {name}");
        }
    }
}

#[test]
fn a_constant_rater_fails_however_good_the_constant_is() {
    let items: Vec<Item> = (0..30).map(|i| item(i, i, 3 + u8::from(i % 10 == 0), sure(3))).collect();
    let results = run(&items, None).unwrap().results;
    assert!(results.human_agreement > 0.99 && results.metrics["overall_mae"] < 0.2);
    assert_eq!(results.outcome, Outcome::Fail, "{:?}", results.reasons);
    let reasons = results.reasons.concat();
    assert!(reasons.contains("quadratic weighted kappa is 0.000"), "{reasons}");
}

/// The same slides scored by a rater that is off by one on every fourth of them.
fn rater(name: &str, items: &[Item], is_off: impl Fn(usize) -> bool) -> Rater {
    let predictions = items.iter().enumerate().map(|(i, item)| {
        let actual = item.label.score("clarity").unwrap().get();
        let off = if actual == 5 { 4 } else { actual + 1 };
        prediction(&item.slide_id, sure(if is_off(i) { off } else { actual }))
    });
    Rater { name: name.to_owned(), predictions: predictions.collect() }
}

fn beside(items: &[Item], champion: Option<&Rater>, cheap: &[Rater]) -> ValidationResults {
    let input = EvaluationInput {
        rubric: &Rubric::default(),
        items,
        train_labels: None,
        champion,
        before: None,
        cheap_baselines: cheap,
        overrides: &[],
        model_version: "test",
        inputs: &ValidationResults::sample().inputs,
        options: EvaluationOptions::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    evaluate(&input).unwrap().results
}

#[test]
fn the_champion_is_compared_slide_by_slide() {
    let mut items = varied(90);
    let fourth = |i: usize| i.is_multiple_of(4);
    items
        .iter_mut()
        .zip(rater("", &varied(90), fourth).predictions)
        .for_each(|(item, p)| item.prediction = p);
    let half = rater("v1.0.0", &items, |i| i.is_multiple_of(2));
    let results = beside(&items, Some(&half), &[]);
    let champion = results.champion.as_ref().unwrap();
    let gain = champion.gains["overall_mae"];
    assert!((gain.value - (45.0 - 23.0) / 90.0).abs() < 1e-12, "{gain:?}");
    let interval = gain.interval.unwrap();
    assert!(interval.low > 0.1 && interval.high < 0.4, "{interval:?}");
    assert!((champion.metrics["overall_mae"] - 0.5).abs() < 1e-12);
    assert_eq!(results.outcome, Outcome::Pass, "{:?}", results.reasons);
    let better = rater("v1.0.0", &items, |i| i.is_multiple_of(20));
    let results = beside(&items, Some(&better), &[]);
    assert_eq!(results.outcome, Outcome::Fail);
    assert!(results.reasons.iter().all(|reason| reason.contains("(v1.0.0)")), "{:?}", results.reasons);
    let same = rater("v1.0.0", &items, fourth);
    assert_eq!(beside(&items, Some(&same), &[]).outcome, Outcome::Undecided, "equal is not better");
    let absent = Rater { name: "v1.0.0".to_owned(), predictions: Vec::new() };
    assert_eq!(beside(&items, Some(&absent), &[]).outcome, Outcome::Undecided, "it could not be asked");
    let part = Rater { predictions: half.predictions[1..].to_vec(), ..half };
    let input = std::panic::catch_unwind(|| beside(&items, Some(&part), &[]));
    assert!(input.is_err(), "a slide that the champion did not score is an error");
}

#[test]
fn a_cheap_model_that_is_better_is_said_and_fails_the_gate() {
    let mut items = varied(90);
    let third = rater("", &items, |i| i.is_multiple_of(3));
    items.iter_mut().zip(third.predictions).for_each(|(item, prediction)| item.prediction = prediction);
    let cheap = [rater("image numbers", &items, |i| i.is_multiple_of(30))];
    let results = beside(&items, None, &cheap);
    assert_eq!(results.outcome, Outcome::Fail);
    assert!(
        results.warnings.iter().any(|warning| warning.contains("image numbers")),
        "{:?}",
        results.warnings
    );
    let cheap = [rater("image numbers", &items, |i| i.is_multiple_of(2))];
    assert_eq!(beside(&items, None, &cheap).outcome, Outcome::Pass);
}

#[test]
fn parts_are_measured_by_how_much_stands_on_the_slides() {
    let mut items = varied(30);
    let parts = |items: &[Item]| -> Vec<(String, usize)> {
        let results = run(items, None).unwrap().results;
        let parts = results.slices.into_iter().filter(|slice| slice.by == "density");
        parts.map(|slice| (slice.name, slice.slides)).collect()
    };
    assert_eq!(parts(&items), [], "nobody measured it");
    for (at, item) in items.iter_mut().enumerate() {
        item.prediction.features.insert("edge_density".to_owned(), 0.01 * ((at * 7) % 30) as f64);
    }
    let third = |name: &str| (name.to_owned(), 10);
    assert_eq!(parts(&items), [third("sparse third"), third("middle third"), third("dense third")]);
    for item in &mut items {
        item.prediction.features.insert("edge_density".to_owned(), 0.1);
    }
    assert_eq!(parts(&items), [("dense third".to_owned(), 30)], "what is equal is not divided");
    assert_eq!(parts(&items[..14]), [], "too few");
}

#[test]
fn parts_are_measured_by_deck_by_what_applies_and_by_raters() {
    let mut items = varied(12);
    for (at, item) in items.iter_mut().enumerate() {
        item.label.annotators = 2 + at % 2;
        if at < 3 {
            item.label.scores.insert("data_visualization".to_owned(), None);
            item.label.distribution.remove("data_visualization");
            item.label.not_applicable.insert("data_visualization".to_owned(), 2);
        }
    }
    let results = run(&items, None).unwrap().results;
    let find = |by: &str, name: &str| {
        let slice = results.slices.iter().find(|slice| slice.by == by && slice.name == name);
        slice.map(|slice| (slice.slides, slice.groups, slice.ratings))
    };
    assert_eq!(find("data_visualization", "applies"), Some((9, 3, 45)));
    assert_eq!(find("data_visualization", "does not apply"), Some((3, 1, 12)));
    assert_eq!(find("raters", "2 raters").map(|found| found.0), Some(6));
    assert_eq!(find("deck", "deck-0"), Some((3, 1, 12)));
    assert_eq!(results.slices.iter().filter(|slice| slice.by == "deck").count(), 4);
    assert_eq!(
        (results.sizes.not_applicable["data_visualization"], results.sizes.missing["clarity"]),
        (3, 0)
    );
    assert!(results.slices.iter().all(|slice| !slice.metrics.contains_key("kendall")));
}

#[test]
fn people_and_model_are_held_against_the_same_labels() {
    // Raters 2, 2, 5: a 2 meets the median of 2 and 5, which is the even one of 3 and 4, and is two off; the 5 meets 2.
    let mut items = vec![item(0, 0, 2, sure(2)), item(1, 1, 3, sure(3))];
    items[0].label.distribution.insert("design".to_owned(), [0, 2, 0, 0, 1]);
    for item in &mut items {
        item.label.distribution.retain(|key, _| key == "design");
    }
    items[1].label.distribution.clear();
    let ceiling = run(&items, None).unwrap().results.human_ceiling.unwrap();
    assert_eq!(ceiling.ratings, 1);
    assert!((ceiling.person["design_mae"] - (2.0 * 2.0 + 3.0) / 3.0).abs() < 1e-12, "{ceiling:?}");
    assert!((ceiling.model["design_mae"] - (2.0 * 2.0 + 0.0) / 3.0).abs() < 1e-12, "{ceiling:?}");
    assert!(ceiling.noise["design"] > 0.0 && ceiling.metrics["design_mae"] > 0.0, "{ceiling:?}");
    items[0].label.distribution.clear();
    assert_eq!(run(&items, None).unwrap().results.human_ceiling, None, "nobody has a second rater");
}

#[test]
fn what_the_model_never_says_and_what_the_decks_can_tell_is_said() {
    let items: Vec<Item> =
        (0..60).map(|i| item(i, i / 5, 1 + (i % 5) as u8, sure((1 + (i % 5) as u8).max(2)))).collect();
    let results = run(&items, None).unwrap().results;
    let warnings = results.warnings.concat();
    assert!(warnings.contains("clarity: the model never gives 1; people did 12 times"), "{warnings}");
    assert!(
        results.power[0].starts_with("12 decks tell the mean absolute error to ±"),
        "{:?}",
        results.power
    );
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
    assert_eq!(results.outcome, Outcome::Undecided);
    assert!(results.warnings.iter().any(|warning| warning.contains("one deck")));
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
    let results = run(&varied(30), None).unwrap().results;
    results.write(&path).unwrap();
    let read = ValidationResults::read(&path).unwrap();
    // The last digit of a double is not promised by the JSON reader.
    assert_eq!(read.checks.len(), results.checks.len());
    assert_eq!(
        (&read.reasons, read.outcome, &read.sizes),
        (&results.reasons, results.outcome, &results.sizes)
    );
    assert!((read.intervals["overall_qwk"].low - results.intervals["overall_qwk"].low).abs() < 1e-12);
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
    assert!(results.outcome == Outcome::Undecided && results.sizes.groups == 10);
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
                (_, "mae" | "rps") => (0.0, 4.0),
                (_, "bias") => (-4.0, 4.0),
                (_, "alpha") => (f64::NEG_INFINITY, 1.0),
                (_, "qwk" | "spearman" | "kendall") => (-1.0, 1.0),
                _ => (0.0, 1.0),
            };
            prop_assert!((low..=high).contains(value), "{name} {value}");
        }
        for (name, interval) in &results.intervals {
            let value = results.metrics[name];
            prop_assert!(interval.low <= value && value <= interval.high, "{name}: {value}, {interval:?}");
        }
        items.rotate_left(shift % rows.len());
        items.reverse();
        prop_assert_eq!(run(&items, None).unwrap().results, results);
    }
}
