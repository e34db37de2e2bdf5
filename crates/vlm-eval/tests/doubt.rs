//! The queue of doubtful labels finds labels that were moved, and nothing that somebody decided.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "simulation/moved.rs"]
mod moved;
#[path = "simulation/mod.rs"]
mod simulation;

use std::collections::BTreeMap;

use fastrand::Rng;
use slide_data::{Answer, Label, Prediction, Rubric, Score, Tally};
use vlm_eval::{CheapModels, ImageNumbers, Item, KnownSlide, doubtful};

/// The bench has more draws (`cargo bench -p vlm-eval --bench doubtful`).
#[test]
fn most_of_the_first_doubts_are_labels_that_were_moved() {
    let rubric = Rubric::default();
    let mut rng = Rng::with_seed(11);
    let draws = 20;
    let found: Vec<f64> = (0..draws)
        .map(|_| {
            let mut items = moved::drawn(&mut rng);
            let moved = moved::move_labels(&mut items, &rubric, &mut rng);
            assert!(moved.len() > 20, "{}", moved.len());
            moved::precision(&items, &rubric, &moved)
        })
        .collect();
    let mean = found.iter().sum::<f64>() / f64::from(draws);
    assert!(mean >= 0.6, "{mean}: {found:?}");
}

fn item(slide_id: &str, score: u8, distribution: [f64; 5]) -> Item {
    let mut label = Label::default();
    label.rate("clarity", &Tally::of([Answer::from(Score::new(score))]));
    let distributions = [("clarity".to_owned(), distribution)].into();
    let prediction = Prediction { distributions, ..Prediction::sample(slide_id) };
    Item { slide_id: slide_id.to_owned(), group: "g".to_owned(), label, prediction }
}

#[test]
fn the_surer_the_other_score_the_larger_the_doubt_and_what_is_decided_or_unknown_is_none() {
    let rubric = Rubric::default();
    let sure = item("sure", 5, [0.9, 0.1, 0.0, 0.0, 0.0]);
    let unsure = item("unsure", 5, [0.2; 5]);
    let right = item("right", 5, [0.0, 0.0, 0.0, 0.1, 0.9]);
    let mut decided = item("decided", 5, [1.0, 0.0, 0.0, 0.0, 0.0]);
    decided.label.decided.insert(
        "clarity".to_owned(),
        slide_data::Decision {
            by: slide_data::Authority::Adjudication,
            at: Some(jiff::Timestamp::UNIX_EPOCH),
            id: "w".to_owned(),
        },
    );
    let odd = item("odd", 5, [f64::NAN; 5]);
    let mut unknown = item("unknown", 5, [0.2; 5]);
    unknown.prediction.distributions.clear();
    let found = doubtful(&rubric, &[right, decided, odd, unsure, unknown, sure]);
    let told: Vec<(&str, f64)> =
        found.iter().map(|doubt| (doubt.slide_id.as_str(), doubt.distance)).collect();
    let expected = [("sure", 3.9), ("unsure", 2.0), ("right", 0.1)];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((slide, distance), (name, value)) in told.into_iter().zip(expected) {
        assert!(slide == name && (distance - value).abs() < 1e-12, "{slide} {distance}");
    }
}

/// What is told of a slide does not depend on its own label, nor on those of its deck.
#[test]
fn a_probe_that_is_held_out_has_not_seen_the_deck() {
    let mut rng = Rng::with_seed(3);
    let rubric = Rubric::default();
    let mut known: Vec<KnownSlide> = (0..40)
        .map(|at| {
            let mean: Vec<f32> = (0..6).map(|_| rng.f32()).collect();
            let mut label = Label::default();
            let score = 1 + (mean[0] * 4.99) as u8;
            label.rate("clarity", &Tally::of([Answer::from(Score::new(score))]));
            let numbers = ImageNumbers { mean, spread: vec![rng.f32()], ..ImageNumbers::default() };
            KnownSlide { slide_id: format!("s{at:02}"), group: format!("g{}", at % 8), label, numbers }
        })
        .collect();
    let before = CheapModels::held_out(&rubric, &known);
    assert_eq!(before.len(), 40);
    assert!(before.values().all(|told| told.keys().eq(["clarity"])), "nothing of what nobody rated");
    for slide in known.iter_mut().filter(|slide| slide.group == "g3") {
        slide.label.rate("clarity", &Tally::of([Answer::from(Score::new(1))]));
    }
    known.reverse();
    let after = CheapModels::held_out(&rubric, &known);
    let of = |told: &BTreeMap<String, BTreeMap<String, [f64; 5]>>, deck: usize| {
        (0..40).filter(|at| at % 8 == deck).map(|at| told[&format!("s{at:02}")].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&before, 3), of(&after, 3), "its own labels changed, and those of no other deck");
    assert_ne!(of(&before, 1), of(&after, 1), "others learned from them");
    assert!(CheapModels::held_out(&rubric, &known[..1]).is_empty());
}
