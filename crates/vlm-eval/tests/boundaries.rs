//! Where the measures and the evaluation turn: ends of ranges, ties, what is undefined.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use pq_testing::assert_close;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{
    Confusion, Error, Evaluation, EvaluationInput, EvaluationOptions, Item, Measures, Rater, Result,
    best_constants, evaluate, expected_calibration_error, rounded, spearman,
};

fn score(value: u8) -> Score {
    Score::new(value).unwrap()
}

fn sure(value: u8) -> [f64; 5] {
    std::array::from_fn(|i| f64::from(u8::from(i + 1 == usize::from(value))))
}

fn label(key: &str, value: Option<u8>, counts: [u32; 5]) -> Label {
    Label {
        scores: [(key.to_owned(), value.map(score))].into(),
        distribution: [(key.to_owned(), counts)].into(),
        ..Label::default()
    }
}

fn item(index: usize, group: usize, actual: u8, distribution: [f64; 5]) -> Item {
    let slide_id = format!("slide-{index:03}");
    let keys = || Rubric::default().keys().map(str::to_owned).collect::<Vec<_>>();
    let prediction = Prediction {
        distributions: keys().into_iter().map(|key| (key, distribution)).collect(),
        ..Prediction::sample(&slide_id)
    };
    let scores = keys().into_iter().map(|key| (key, Score::new(actual))).collect();
    Item { slide_id, group: format!("deck-{group}"), label: Label { scores, ..Label::default() }, prediction }
}

fn run(items: &[Item]) -> Result<Evaluation> {
    run_beside(items, 0.95, None, None)
}

fn run_beside(
    items: &[Item],
    confidence: f64,
    champion: Option<&Rater>,
    before: Option<&Rater>,
) -> Result<Evaluation> {
    evaluate(&EvaluationInput {
        rubric: &Rubric::default(),
        items,
        train_labels: None,
        champion,
        before,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "v7",
        inputs: &[("data".to_owned(), "abc".to_owned())].into(),
        options: EvaluationOptions { confidence, ..EvaluationOptions::default() },
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn a_confusion_by_hand() {
    let mut confusion = Confusion::default();
    for (actual, predicted, weight) in [(1, 1, 2.0), (2, 3, 1.0), (5, 2, 0.5), (4, 4, 1.5)] {
        confusion.add(score(actual), score(predicted), weight);
    }
    confusion.add(score(2), score(3), 1.0);
    assert_close(&[confusion.total(), confusion.counts[1][2], confusion.counts[4][1]], &[6.0, 2.0, 0.5], 0.0);
    let measures = Measures::of_confusion(&confusion);
    assert_close(&[measures.mae.unwrap()], &[(2.0 + 3.0 * 0.5) / 6.0], 1e-15);
    assert_close(&[measures.within_1.unwrap(), measures.exact.unwrap()], &[5.5 / 6.0, 3.5 / 6.0], 1e-15);
    // Rows 2, 2, 0, 1.5, 0.5; columns 2, 0.5, 2, 1.5, 0. Observed 2·1 + 0.5·9; by chance the sum over both.
    let (rows, columns) = ([2.0, 2.0, 0.0, 1.5, 0.5], [2.0, 0.5, 2.0, 1.5, 0.0]);
    let mut chance = 0.0;
    for (a, row) in rows.iter().enumerate() {
        for (p, column) in columns.iter().enumerate() {
            chance += (a.abs_diff(p) * a.abs_diff(p)) as f64 * row * column / 6.0;
        }
    }
    assert_close(&[measures.qwk.unwrap()], &[1.0 - 6.5 / chance], 1e-12);
    assert_eq!((measures.spearman, measures.ece), (None, None));
    assert_close(&[measures.bias.unwrap()], &[(2.0 - 3.0 * 0.5) / 6.0], 1e-15);
    let values = measures.values();
    assert_eq!(Measures::NAMES.len(), values.len());
    assert_eq!(Measures::NAMES[..3], ["mae", "within_1", "exact"]);
    assert_eq!(values[..3], [measures.mae, measures.within_1, measures.exact]);
}

#[test]
fn nothing_was_compared_and_nothing_is_measured() {
    assert_eq!(Measures::of_confusion(&Confusion::default()), Measures::default());
    assert_eq!(expected_calibration_error([]), None);
    assert_eq!(spearman(&[], &[]), None);
}

#[test]
fn ranks_correlate_only_where_both_sides_vary() {
    assert_eq!(spearman(&[1.0, 2.0, 3.0], &[2.0, 2.0, 2.0]), None);
    assert_eq!(spearman(&[2.0, 2.0, 2.0], &[1.0, 2.0, 3.0]), None);
    assert_eq!(spearman(&[1.0, 2.0], &[1.0, 2.0, 3.0]), None);
    assert_eq!(spearman(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]), None);
    assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 2.0, f64::NAN]), None);
    let found = [
        spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 25.0]),
        spearman(&[3.0, 2.0, 1.0], &[10.0, 20.0, 25.0]),
        spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]),
        spearman(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]), // ranks 1.5, 1.5, 3 and 1, 2, 3
    ];
    assert_close(&found.map(Option::unwrap), &[1.0, -1.0, 0.6, 0.75_f64.sqrt()], 1e-12);
}

#[test]
fn calibration_bins_are_closed_above() {
    // One bin of two: they even out. A tenth more is another bin, where they do not.
    let error = |pairs: &[(f64, bool)]| expected_calibration_error(pairs.iter().copied()).unwrap();
    assert_close(
        &[
            error(&[(0.6, true), (0.55, false)]),
            error(&[(0.6, true), (0.65, false)]),
            error(&[(0.7, true), (0.6, false)]),
            error(&[(1.0, true), (1.0, true)]),
            error(&[(0.0, false)]),
            error(&[(0.05, true), (0.1, false)]),
            error(&[(0.05, true), (0.15, false)]),
        ],
        &[
            (1.0_f64 - 1.15).abs() / 2.0,
            f64::midpoint(0.4, 0.65),
            f64::midpoint(0.3, 0.6),
            0.0,
            0.0,
            (1.0 - 0.15) / 2.0,
            f64::midpoint(0.95, 0.15),
        ],
        1e-12,
    );
}

#[test]
fn scores_are_means_rounded_with_halves_up() {
    for (distribution, expected) in
        [([0.5, 0.5, 0.0, 0.0, 0.0], 2), ([0.0, 0.0, 0.0, 0.51, 0.49], 4), ([0.2, 0.2, 0.2, 0.2, 0.2], 3)]
    {
        assert_eq!(rounded(&distribution), score(expected), "{distribution:?}");
    }
    assert_eq!(rounded(&[f64::NAN; 5]), Score::MIN);
}

#[test]
fn of_equally_good_constants_the_lowest() {
    let rubric = Rubric::default();
    let constant = |scores: &[u8]| {
        let labels: Vec<Label> = scores.iter().map(|&value| label("design", Some(value), [0; 5])).collect();
        best_constants(&rubric, &labels)["design"].get()
    };
    assert_eq!(
        [constant(&[2, 4]), constant(&[1, 1, 5]), constant(&[5, 5, 1]), constant(&[1, 5, 5, 5])],
        [2, 1, 5, 5]
    );
    assert_eq!([constant(&[1, 2, 4]), constant(&[3]), constant(&[5, 4, 4, 1, 1])], [2, 3, 4]);
    assert!(best_constants(&rubric, &[label("design", None, [0; 5])]).is_empty());
}

#[test]
fn the_confidence_is_between_zero_and_one() {
    let items: Vec<Item> = (0..4).map(|i| item(i, i, 3, sure(3))).collect();
    for confidence in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
        let found = run_beside(&items, confidence, None, None);
        assert!(matches!(found, Err(Error::Option { key: "confidence", .. })), "{confidence}");
    }
    assert!(run_beside(&items, 0.5, None, None).is_ok());
}

/// Two decks, one always right and one always wrong by two: with one degree of freedom almost anything remains possible.
#[test]
fn two_decks_are_enough_for_an_interval_that_says_little() {
    let items: Vec<Item> = (0..8).map(|i| item(i, i % 2, 3, sure(if i % 2 == 0 { 3 } else { 5 }))).collect();
    let results = run(&items).unwrap().results;
    let interval = results.intervals["overall_mae"];
    assert_close(&[interval.low, results.metrics["overall_mae"], interval.high], &[0.0, 1.0, 4.0], 1e-12);
    let half = run_beside(&items, 0.2, None, None).unwrap().results.intervals["overall_mae"];
    assert!(half.low > 0.5 && half.high < 1.5, "{half:?}");
}

/// Kappa of a criterion that two of six decks rate, each with one score, is undefined without one of them.
#[test]
fn what_is_undefined_without_a_deck_has_no_interval() {
    let mut items: Vec<Item> = (0..12).map(|i| item(i, i / 2, 1 + (i % 5) as u8, sure(3))).collect();
    for (index, item) in items.iter_mut().enumerate() {
        let constant = (index < 4).then_some(if index < 2 { 1 } else { 3 });
        item.label.scores.insert("design".to_owned(), constant.and_then(Score::new));
        item.prediction.distributions.insert("design".to_owned(), sure(constant.unwrap_or(5)));
    }
    let results = run(&items).unwrap().results;
    assert_close(&[results.metrics["design_qwk"]], &[1.0], 1e-12);
    assert!(!results.intervals.contains_key("design_qwk"));
    assert!(results.intervals.contains_key("design_mae") && results.intervals.contains_key("overall_qwk"));
}

#[test]
fn the_gain_over_the_constant_is_a_difference_of_errors() {
    let wrong = |i: usize| sure(if i.is_multiple_of(4) { 2 } else { 1 + (i % 5) as u8 });
    let items: Vec<Item> = (0..40).map(|i| item(i, i / 2, 1 + (i % 5) as u8, wrong(i))).collect();
    let results = run(&items).unwrap().results;
    let baseline = results.baseline.unwrap();
    let (constant, model) = (baseline.metrics["overall_mae"], results.metrics["overall_mae"]);
    assert_close(&[constant, model], &[1.2, 0.35], 1e-12);
    assert_close(&[baseline.gains["overall_mae"].value], &[constant - model], 1e-12);
    assert_close(&[baseline.relative_gains["overall"].value], &[1.0 - model / constant], 1e-12);
    let interval = baseline.gains["overall_mae"].interval.unwrap();
    assert!(
        interval.low < 0.85 && 0.85 < interval.high && interval.low > 0.3 && interval.high < 1.4,
        "{interval:?}"
    );
    assert!(!baseline.metrics.keys().any(|name| name.ends_with("_spearman") || name.ends_with("_ece")));
    assert!(baseline.metrics.contains_key("overall_within_1"));
}

#[test]
fn what_was_given_stands_in_the_results() {
    let items: Vec<Item> = (0..10).map(|i| item(i, i, 1 + (i % 5) as u8, sure(1 + (i % 5) as u8))).collect();
    let named = |name: &str| Rater { name: name.to_owned(), predictions: Vec::new() };
    let results =
        run_beside(&items, 0.95, Some(&named("v3")), Some(&named("before training"))).unwrap().results;
    let names = (results.champion.unwrap().name, results.before.unwrap().name);
    assert_eq!((names.0.as_str(), names.1.as_str()), ("v3", "before training"));
    assert_eq!((results.model_version.as_str(), results.inputs["data"].as_str()), ("v7", "abc"));
    assert_eq!((results.sizes.slides, results.sizes.groups, results.sizes.ratings), (10, 10, 50));
    assert_eq!(results.sizes.criteria["design"], 10);
    assert_eq!((results.human_agreement, results.threshold), (1.0, 0.85));
}

#[test]
fn a_distribution_sums_to_one_within_a_hundredth() {
    let scaled = |factor: f64| sure(3).map(|p| p * factor);
    for (factor, is_valid) in [(1.009, true), (0.991, true), (1.011, false), (0.989, false)] {
        assert_eq!(run(&[item(0, 0, 3, scaled(factor))]).is_ok(), is_valid, "{factor}");
    }
    assert!(run(&[item(0, 0, 3, [0.0, 0.0, 1.005, -0.005, 0.0])]).is_err());
    assert!(run(&[item(0, 0, 3, [f64::INFINITY, 0.0, 0.0, 0.0, 0.0])]).is_err());
}

/// Of equally probable scores the lowest counts as the most probable.
#[test]
fn the_most_probable_score_decides_what_is_correct() {
    let accuracy = |actual: u8, distribution: [f64; 5]| {
        let details = run(&[item(0, 0, actual, distribution)]).unwrap().details;
        let bins = &details.criteria[0].calibration;
        assert_eq!((bins.len(), bins[0].count), (1, 5));
        (bins[0].confidence, bins[0].accuracy)
    };
    assert_eq!(accuracy(2, [0.1, 0.4, 0.4, 0.1, 0.0]), (0.4, 1.0));
    assert_eq!(accuracy(3, [0.1, 0.4, 0.4, 0.1, 0.0]), (0.4, 0.0));
    assert_eq!(accuracy(4, [0.1, 0.2, 0.2, 0.5, 0.0]), (0.5, 1.0));
}

#[test]
fn misses_are_summed_and_the_worst_come_first() {
    let mut items =
        vec![item(0, 0, 3, sure(3)), item(1, 0, 3, sure(4)), item(2, 1, 1, sure(5)), item(3, 1, 5, sure(3))];
    // One criterion off by three is worse than all of them by one.
    for (key, distribution) in &mut items[3].prediction.distributions {
        *distribution = sure(if key == "design" { 2 } else { 5 });
    }
    let evaluation = run(&items).unwrap();
    let misses: Vec<_> = evaluation
        .details
        .misses
        .iter()
        .map(|miss| (miss.slide_id.as_str(), miss.error, miss.largest))
        .collect();
    assert_eq!(misses, [("slide-002", 20, 4), ("slide-003", 3, 3), ("slide-001", 5, 1)]);
    assert_eq!(evaluation.details.misses[1].scores["design"], (score(5), score(2)));
    assert_eq!(evaluation.details.errors, [0, 1, 0, 0, 9, 5, 0, 0, 5]);
    assert_eq!(evaluation.worst_slides(2).collect::<Vec<_>>(), ["slide-002", "slide-003"]);
    assert_eq!(evaluation.worst_slides(9).count(), 3);
}

#[test]
fn a_slide_without_ratings_counts_for_nothing_and_needs_no_prediction() {
    let mut items = vec![item(0, 0, 3, sure(3)), item(1, 1, 3, sure(3))];
    items[1].label = Label::default();
    items[1].prediction.slide_id = "another".to_owned();
    let results = run(&items).unwrap().results;
    assert_eq!((results.sizes.slides, results.sizes.groups, results.sizes.ratings), (1, 1, 5));
    items[0].label = Label::default();
    assert!(matches!(run(&items), Err(Error::Empty { slides: 2 })));
}
