//! The fitted decision equals what numpy, scipy and scikit-learn make of the same ratings (`reference/make_decision.py`), and what is
//! evaluated is the score that it chose.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use pq_testing::assert_close;
use project_files::{Comparison, Contract as _, DecisionRule, ScoreDecision};
use serde::Deserialize;
use slide_data::{Answer, Label, Prediction, Rubric, Score, Tally};
use vlm_eval::{Evaluation, EvaluationInput, EvaluationOptions, Item, evaluate, fit_decision};

#[derive(Deserialize)]
struct Case {
    slides: Vec<Slide>,
    strength: f64,
    cut_points: Vec<[f64; 4]>,
    temperatures: Vec<f64>,
    /// Rounded, with cut points, with those that match people's shares.
    scores: Vec<BTreeMap<String, f64>>,
    /// As they are, with temperatures: cross-entropy and share within the interval.
    probabilities: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
struct Slide {
    #[serde(rename = "slide_id")]
    id: String,
    group: String,
    p: BTreeMap<String, [f64; 5]>,
    counts: BTreeMap<String, [u32; 5]>,
}

impl Slide {
    fn item(&self) -> Item {
        let mut label = Label::default();
        for (key, counts) in &self.counts {
            let answers = (1..).zip(counts).flat_map(|(score, count)| {
                std::iter::repeat_n(Answer::from(Score::new(score)), *count as usize)
            });
            label.rate(key, &Tally::of(answers));
        }
        let prediction = Prediction { distributions: self.p.clone(), ..Prediction::sample(&self.id) };
        Item { slide_id: self.id.clone(), group: self.group.clone(), label, prediction }
    }
}

fn cases() -> Vec<(Case, Vec<Item>)> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("reference/decision.json")).unwrap();
    cases
        .into_iter()
        .map(|case| {
            let items = case.slides.iter().map(Slide::item).collect();
            (case, items)
        })
        .collect()
}

/// The criteria of the cases, in their order.
fn rubric() -> Rubric {
    let mut rubric = Rubric::default();
    rubric
        .criteria
        .retain(|c| ["clarity", "content_quality", "data_visualization"].contains(&c.key.as_str()));
    rubric.criteria.sort_by(|a, b| a.key.cmp(&b.key));
    rubric
}

fn metrics(compared: &Comparison, names: &[&str]) -> Vec<f64> {
    names.iter().map(|name| compared.metrics[*name]).collect()
}

#[test]
fn a_fit_equals_the_reference() {
    let rubric = rubric();
    let mut rules = Vec::new();
    for (case, mut items) in cases() {
        let found = fit_decision(&rubric, &items, 0.95).unwrap();
        rules.push((found.rule, found.strength));
        assert_eq!((found.strength, found.slides, found.groups), (case.strength, case.slides.len(), 9));
        for ((key, cut_points), temperature) in rubric.keys().zip(&case.cut_points).zip(&case.temperatures) {
            assert_close(&found.criteria[key].cut_points, cut_points, 1e-12);
            assert_close(&[found.criteria[key].temperature], &[*temperature], 1e-6);
        }
        let names = ["mae", "exact", "qwk", "share_gap"];
        for (compared, expected) in found.scores.iter().zip(&case.scores) {
            assert_close(&metrics(compared, &names), &names.map(|name| expected[name]), 1e-12);
        }
        for (compared, expected) in found.probabilities.iter().zip(&case.probabilities) {
            assert_close(&metrics(compared, &["rater_loss", "in_interval"]), expected, 1e-6);
        }
        assert_eq!((found.scores.len(), found.probabilities.len()), (3, 2));
        items.reverse();
        assert_eq!(
            fit_decision(&rubric, &items, 0.95).unwrap(),
            found,
            "the order of the slides does not matter"
        );
    }
    let expected =
        [(DecisionRule::CutPoints, 1.0), (DecisionRule::RoundedMean, 0.0), (DecisionRule::CutPoints, 0.75)];
    assert_eq!(
        rules, expected,
        "a model that gives the ends too seldom, one that is right, one that is unsure"
    );
}

#[test]
fn gains_are_differences_to_rounding_with_intervals_by_deck() {
    let (_, items) = cases().remove(0);
    let found = fit_decision(&rubric(), &items, 0.95).unwrap();
    let [rounded, cuts, _] = found.scores.as_slice() else { panic!("{:?}", found.scores) };
    assert!(rounded.gains.is_empty());
    for (measure, sign) in [("mae", -1.0), ("qwk", 1.0)] {
        let gain = cuts.gains[measure];
        assert_close(&[gain.value], &[sign * (cuts.metrics[measure] - rounded.metrics[measure])], 1e-12);
        let interval = gain.interval.unwrap();
        assert!(interval.low < gain.value && gain.value < interval.high, "{interval:?}");
    }
    let [plain, tempered] = found.probabilities.as_slice() else { panic!("{:?}", found.probabilities) };
    let saved = plain.metrics["rater_loss"] - tempered.metrics["rater_loss"];
    assert_close(&[tempered.gains["rater_loss"].value], &[saved], 1e-12);
}

#[test]
fn few_decks_decide_nothing_and_gaps_are_passed_over() {
    let rubric = rubric();
    let (_, items) = cases().remove(0);
    let of_decks = |count: usize| -> Vec<Item> {
        items.iter().filter(|item| item.group.as_str() < format!("d{count}").as_str()).cloned().collect()
    };
    assert_eq!(fit_decision(&rubric, &of_decks(2), 0.95), None);
    assert_eq!(fit_decision(&rubric, &[], 0.95), None);
    let mut few = of_decks(3);
    assert_eq!(fit_decision(&rubric, &few, 0.95).unwrap().groups, 3);
    for item in &mut few {
        item.prediction.distributions.remove("clarity");
        item.label = Label { scores: item.label.scores.clone(), ..Label::default() };
        if let Some(distribution) = item.prediction.distributions.get_mut("data_visualization") {
            *distribution = [f64::NAN; 5];
        }
    }
    let found = fit_decision(&rubric, &few, 0.95).unwrap();
    assert_eq!(found.criteria.keys().collect::<Vec<_>>(), ["content_quality"]);
}

/// The same score from everybody leaves no kappa, and no rule that is shown to be better.
#[test]
fn where_all_is_alike_the_mean_is_rounded() {
    let (_, mut items) = cases().remove(0);
    for item in &mut items {
        let keys: Vec<String> = item.prediction.distributions.keys().cloned().collect();
        item.label = Label::default();
        for key in keys {
            item.label.rate(&key, &Tally::of([Answer::from(Score::new(3))]));
            item.prediction.distributions.insert(key, [0.1, 0.2, 0.4, 0.2, 0.1]);
        }
    }
    let found = fit_decision(&rubric(), &items, 0.95).unwrap();
    assert_eq!((found.rule, found.strength), (DecisionRule::RoundedMean, 0.0));
    assert!(found.criteria.values().all(|decision| decision.temperature < 1.0), "it may be surer");
    let json = serde_json::to_string(&found).unwrap();
    assert!(!json.contains("NaN") && !json.contains("null,null"), "{json}");
}

fn evaluation(rubric: &Rubric, items: &[Item]) -> Evaluation {
    evaluate(&EvaluationInput {
        rubric,
        items,
        train_labels: None,
        champion: None,
        before: None,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "m",
        inputs: &BTreeMap::new(),
        options: EvaluationOptions { reachable: false, ..EvaluationOptions::default() },
        now: jiff::Timestamp::UNIX_EPOCH,
    })
    .unwrap()
}

#[test]
fn the_chosen_score_is_evaluated_and_rounding_stands_beside_it() {
    let rubric = rubric();
    let (case, mut items) = cases().remove(0);
    let plain = evaluation(&rubric, &items).results;
    assert_eq!(plain.rounded, None, "nothing was chosen");
    let decision: ScoreDecision = fit_decision(&rubric, &items, 0.95).unwrap();
    for item in &mut items {
        item.prediction.decide(None);
    }
    let rounded = evaluation(&rubric, &items).results;
    assert_eq!(
        (&rounded.metrics, &rounded.rounded),
        (&plain.metrics, &None),
        "plain rounding is no other rule"
    );
    for item in &mut items {
        item.prediction.decide(Some(&decision));
    }
    let decided = evaluation(&rubric, &items);
    let beside = decided.results.rounded.as_ref().unwrap();
    assert_eq!(beside.metrics, plain.metrics);
    assert!(
        decided.results.metrics["overall_qwk"] > plain.metrics["overall_qwk"],
        "on what it was fitted on"
    );
    let ranks = [&decided.results, &plain].map(|results| results.metrics["overall_spearman"]);
    assert_close(&ranks[..1], &ranks[1..], 0.0);
    let gain = beside.gains["overall_qwk"].value;
    assert_close(&[gain], &[decided.results.metrics["overall_qwk"] - plain.metrics["overall_qwk"]], 1e-12);
    let given = decided.details.criteria[0].confusion;
    let chosen = items.iter().flat_map(|item| item.prediction.chosen.values());
    let ones = chosen.filter(|score| score.get() == 1).count();
    assert_eq!(
        given.counts.iter().map(|row| row[0]).sum::<f64>() as usize,
        ones,
        "what was chosen is counted"
    );
    assert_close(&[case.strength], &[1.0], 0.0);
    assert!(decision.check().unwrap_err().contains("adapter"), "the caller says for which adapter it is");
}
