//! The metrics equal scikit-learn's, scipy's, krippendorff's and numpy's on the same ratings (`reference/make_metrics.py`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use slide_data::{Label, Prediction, Rubric, Score};
use vlm_eval::{EvaluationInput, EvaluationOptions, Item, evaluate};

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    slides: Vec<Slide>,
    metrics: BTreeMap<String, f64>,
    overall_mae_interval: [f64; 2],
    human_ceiling: Ceiling,
    constants: BTreeMap<String, u8>,
    constant_mae: f64,
}

#[derive(Deserialize)]
struct Ceiling {
    person: BTreeMap<String, f64>,
    model: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Slide {
    #[serde(rename = "slide_id")]
    id: String,
    group: String,
    labels: BTreeMap<String, Option<Score>>,
    p: BTreeMap<String, [f64; 5]>,
    distribution: BTreeMap<String, [u32; 5]>,
}

fn item(slide: &Slide) -> Item {
    Item {
        slide_id: slide.id.clone(),
        group: slide.group.clone(),
        label: Label {
            scores: slide.labels.clone(),
            distribution: slide.distribution.clone(),
            ..Label::default()
        },
        prediction: Prediction { distributions: slide.p.clone(), ..Prediction::sample(&slide.id) },
    }
}

#[test]
fn every_metric_equals_the_reference() {
    let reference: Reference = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    assert_eq!(reference.cases.len(), 2);
    for case in &reference.cases {
        let items: Vec<Item> = case.slides.iter().map(item).collect();
        let input = EvaluationInput {
            rubric: &Rubric::default(),
            items: &items,
            train_labels: None,
            champion: None,
            before: None,
            cheap_baselines: &[],
            overrides: &[],
            model_version: "test",
            inputs: &BTreeMap::new(),
            options: EvaluationOptions::default(),
            now: Timestamp::UNIX_EPOCH,
        };
        let results = evaluate(&input).unwrap().results;
        let close = |what: &str, actual: f64, expected: f64, tolerance: f64| {
            let name = &case.name;
            assert!((actual - expected).abs() < tolerance, "{name} {what}: {actual}, reference {expected}");
        };
        assert_eq!(results.metrics.len(), case.metrics.len());
        for (name, expected) in &case.metrics {
            close(name, results.metrics[name], *expected, 1e-12);
        }
        let interval = results.intervals["overall_mae"];
        close("interval low", interval.low, case.overall_mae_interval[0], 1e-9);
        close("interval high", interval.high, case.overall_mae_interval[1], 1e-9);
        let ceiling = results.human_ceiling.unwrap();
        for (found, expected) in
            [(&ceiling.person, &case.human_ceiling.person), (&ceiling.model, &case.human_ceiling.model)]
        {
            for (name, expected) in expected {
                close(name, found[&format!("overall_{name}")], *expected, 1e-12);
            }
        }
        let baseline = results.baseline.unwrap();
        assert_eq!(baseline.constants, case.constants);
        close("constant mae", baseline.metrics["overall_mae"], case.constant_mae, 1e-12);
        assert_eq!(results.human_agreement.to_bits(), results.metrics["overall_within_1"].to_bits());
    }
}
