//! How much a linear probe has to say beside an adapter: what validation decks bear out, and nothing else.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test fails by panicking; no share is 0 itself")]

use std::collections::BTreeMap;

use slide_data::{Answer, Label, Prediction, Rubric, Score, Tally};
use vlm_eval::{Item, fit_share};

const SLIDES: usize = 8;

type Said = BTreeMap<String, BTreeMap<String, [f64; 5]>>;

/// What a rater says who sees the truth with an error of this spread: a bell around what was seen.
fn said(truth: f64, spread: f64, random: &mut fastrand::Rng) -> [f64; 5] {
    let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    let mean = (truth + spread * normal).clamp(1.0, 5.0);
    let bell = |score: usize| (-0.5 * ((score as f64 + 1.0 - mean) / 0.7).powi(2)).exp();
    let all: [f64; 5] = std::array::from_fn(bell);
    all.map(|value| value / all.iter().sum::<f64>())
}

/// Decks that three people rated as they are, an adapter that errs by `adapter` points and a head that errs by `head`.
fn drawn(decks: usize, [adapter, head]: [f64; 2], seed: u64) -> (Vec<Item>, Said) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut items, mut all) = (Vec::new(), Said::new());
    for deck in 0..decks {
        for page in 0..SLIDES {
            let slide_id = format!("deck-{deck}-p{page}");
            let mut item = Item {
                slide_id: slide_id.clone(),
                group: format!("deck-{deck}"),
                label: Label::default(),
                prediction: Prediction::sample(&slide_id),
            };
            item.prediction.distributions.clear();
            for key in Rubric::default().keys() {
                let truth = 1.0 + 4.0 * random.f64();
                let answer = Answer::from(Score::new(truth.round() as u8));
                item.label.rate(key, &Tally::of(std::iter::repeat_n(answer, 3)));
                item.prediction.distributions.insert(key.to_owned(), said(truth, adapter, &mut random));
                let told = said(truth, head, &mut random);
                all.entry(slide_id.clone()).or_default().insert(key.to_owned(), told);
            }
            items.push(item);
        }
    }
    (items, all)
}

#[test]
fn two_that_err_apart_are_better_together() {
    let (items, said) = drawn(12, [0.9, 0.9], 1);
    let (share, gain) = fit_share(&Rubric::default(), &items, &said, 0.95);
    assert!((0.3..=0.7).contains(&share), "{share}");
    let (value, interval) = (gain.unwrap().value, gain.unwrap().interval.unwrap());
    assert!(0.0 < interval.low && interval.low < value && value < interval.high, "{gain:?}");
    let (items, said) = drawn(12, [1.5, 0.3], 2);
    assert!(fit_share(&Rubric::default(), &items, &said, 0.95).0 > 0.7, "the better one says more");
}

/// A head that sees nothing has no say, whatever luck the decks bring.
#[test]
fn a_head_that_adds_nothing_is_left_out() {
    for seed in 0..40 {
        let (items, said) = drawn(8, [0.4, 4.0], seed);
        let (share, gain) = fit_share(&Rubric::default(), &items, &said, 0.95);
        assert!(share == 0.0 && gain.is_some(), "{seed}: {share} {gain:?}");
    }
    let (items, _) = drawn(8, [0.8, 0.8], 7);
    let same: Said = items
        .iter()
        .map(|item| (item.slide_id.clone(), item.prediction.distributions.clone().into_iter().collect()))
        .collect();
    assert_eq!(fit_share(&Rubric::default(), &items, &same, 0.95).0, 0.0, "the same twice");
}

#[test]
fn too_few_decks_and_what_is_no_distribution_choose_nothing() {
    let (items, said) = drawn(2, [0.9, 0.9], 1);
    assert_eq!(fit_share(&Rubric::default(), &items, &said, 0.95), (0.0, None));
    let (mut items, said) = drawn(6, [0.9, 0.9], 1);
    assert_eq!(fit_share(&Rubric::default(), &items, &Said::new(), 0.95), (0.0, None));
    for item in &mut items {
        item.prediction.distributions.values_mut().for_each(|p| *p = [f64::NAN; 5]);
    }
    assert_eq!(fit_share(&Rubric::default(), &items, &said, 0.95), (0.0, None));
}
