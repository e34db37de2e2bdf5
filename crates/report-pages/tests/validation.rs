//! The validation report holds what it should, escaped, in one self-contained file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{HOSTILE, assert_self_contained, image, keep, prediction};
use jiff::Timestamp;
use report_pages::{ValidationReport, render_validation_report};
use slide_data::{Label, Rubric, Score};
use vlm_eval::{Evaluation, EvaluationInput, EvaluationOptions, Item, Rater, evaluate};

fn evaluation(rubric: &Rubric, shift: f64) -> Evaluation {
    let item = |index: usize| {
        let slide_id = if index == 0 { HOSTILE.to_owned() } else { format!("seed-deck-{index:02}") };
        let truth = |c: usize| 1.0 + ((index * 7 + c * 3 + index % 3) % 41) as f64 / 10.0;
        let score = |c: usize| Score::new(truth(c).round() as u8);
        let scores = rubric.keys().zip(0..).map(|(key, c)| (key.to_owned(), score(c))).collect();
        let counts = |c: usize| -> [u32; 5] {
            std::array::from_fn(|i| {
                u32::from(Some(i) == score(c).map(Score::index)) * 2 + u32::from(i == (index + c) % 5)
            })
        };
        Item {
            prediction: prediction(&slide_id, index, shift),
            group: format!("deck-{}", index / 5),
            label: Label {
                scores,
                distribution: rubric.keys().zip(0..).map(|(key, c)| (key.to_owned(), counts(c))).collect(),
                ..Label::default()
            },
            slide_id,
        }
    };
    let items: Vec<Item> = (0..60).map(item).collect();
    let inputs = BTreeMap::from([("labels.json".to_owned(), "9f".repeat(32))]);
    let input = EvaluationInput {
        rubric,
        items: &items,
        train_labels: None,
        champion: None,
        before: None,
        cheap_baselines: &[],
        overrides: &[],
        model_version: "run 2025-03-01",
        inputs: &inputs,
        options: EvaluationOptions::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    let before = Rater {
        name: "Before training".to_owned(),
        predictions: (0..60).map(|i| prediction(&items[i].slide_id, i + 3, shift)).collect(),
    };
    evaluate(&EvaluationInput { before: Some(&before), ..input }).expect("items are valid")
}

#[test]
fn a_validation_report_says_the_verdict_first_and_shows_the_misses() {
    let rubric = Rubric::default();
    for (name, shift, verdict) in [("undecided.html", 0.0, "Undecided"), ("failed.html", 1.2, "Not passed")] {
        let evaluation = evaluation(&rubric, shift);
        let images = evaluation.worst_slides(12).zip(0..).map(|(id, i)| (id.to_owned(), image(i))).collect();
        let page = render_validation_report(&ValidationReport {
            evaluation: &evaluation,
            rubric: &rubric,
            title: HOSTILE,
            facts: &[("Adapter".to_owned(), HOSTILE.to_owned())],
            images: &images,
            names: &[("deck-1".to_owned(), "acme.pdf".to_owned())].into(),
            caveats: &["A tiny model on drawn decks says nothing about real ones.".to_owned()],
        })
        .unwrap();
        keep(name, &page);
        assert_self_contained(&page);
        assert!(page.contains(&format!("<h2 id=\"verdict\">{verdict}")), "{name}");
        assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 12);
        for part in [
            "Data visualization",
            "Before training",
            "One more person",
            "Best constant",
            "labels.json",
            "within one point",
            "Points of error saved",
            "acme.pdf",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for unwanted in [" %, ", ">-0.00<", "[-0.00"] {
            let numbers = page.split_once("id=\"metrics\"").unwrap().1;
            assert!(!numbers.contains(unwanted), "a unit stands once, and zero has no sign: {unwanted}");
        }
        for reason in &evaluation.results.reasons {
            let start: String = reason.chars().take(30).collect();
            assert!(page.contains(&start.replace('\'', "&#x27;")), "{reason}");
        }
    }
}
