//! Intervals are, to the bit, those of earlier versions: same draws, same quantiles.

use std::collections::BTreeMap;

use jiff::Timestamp;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{EvaluationInput, EvaluationOptions, Item, evaluate};

/// Half of the mass on one score, the rest on its neighbours: no function whose last bit depends on the machine.
fn distribution(center: usize) -> [f64; 5] {
    let mut distribution = [0.0; 5];
    for (at, mass) in [(center, 0.5), (center.saturating_sub(1), 0.25), ((center + 1).min(4), 0.25)] {
        distribution[at] += mass;
    }
    distribution
}

fn item(rubric: &Rubric, index: usize) -> Item {
    let slide_id = format!("slide-{index:02}");
    let key = |c: usize| rubric.criteria[c].key.clone();
    let score = |c: usize| Score::new(1 + ((index * 7 + c * 3) % 5) as u8);
    let label = Label { scores: (0..5).map(|c| (key(c), score(c))).collect(), ..Label::default() };
    let prediction = Prediction {
        distributions: (0..5).map(|c| (key(c), distribution((index * 7 + c * 3 + index % 3) % 5))).collect(),
        ..Prediction::sample(&slide_id)
    };
    Item { slide_id, group: format!("deck-{}", index / 4), label, prediction }
}

#[test]
fn intervals_are_those_of_earlier_versions() {
    let rubric = Rubric::default();
    let items: Vec<Item> = (0..40).map(|index| item(&rubric, index)).collect();
    let input = EvaluationInput {
        rubric: &rubric,
        items: &items,
        train_labels: None,
        champion: None,
        before: None,
        model_version: "v1",
        inputs: &BTreeMap::new(),
        options: EvaluationOptions::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    let intervals = evaluate(&input).expect("items are valid").results.intervals;
    let expected: &[(&str, f64, f64)] = &[
        ("clarity_ece", 0.175, 0.312_5),
        ("clarity_mae", 1.125, 1.55),
        ("clarity_qwk", -0.166_785_296_110_016_63, 0.388_267_783_857_728_9),
        ("clarity_spearman", -0.153_709_160_654_400_82, 0.394_995_092_599_26),
        ("overall_ece", 0.175, 0.325),
        ("overall_exact", 0.275, 0.425),
        ("overall_mae", 1.14, 1.46),
        ("overall_qwk", 0.087_500_000_000_000_02, 0.287_5),
        ("overall_spearman", 0.087_5, 0.287_5),
        ("overall_within_1", 0.54, 0.67),
    ];
    for (name, low, high) in expected {
        let interval = intervals[*name];
        let bits = [interval.low, interval.high].map(f64::to_bits);
        assert_eq!(bits, [low, high].map(|end| end.to_bits()), "{name}: {interval:?}");
    }
}
