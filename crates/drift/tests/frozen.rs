//! Reports are, to the bit, those of earlier versions: same draws, same quantiles.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{correction, now};
use drift::{DriftConfig, PerformanceConfig, PerformanceInput, compare, measure};
use slide_data::{Correction, Prediction};

/// Corrections of slides of nine decks, of unequal sizes.
fn corrections() -> Vec<Correction> {
    let one = |index: usize| Correction {
        slide_id: format!("s{index:02}"),
        ..correction(index, now(), 1.0 + (index % 5) as f64, 1 + (index * index % 5) as u8)
    };
    (0..40).map(one).collect()
}

fn predictions(name: &str, slides: usize, shift: f64) -> Vec<Prediction> {
    let one = |index: usize| Prediction {
        deck_id: format!("{name}-deck-{}", index * index % 9),
        scored_at: now(),
        features: [("contrast".to_owned(), (index * 37 % 101) as f64 / 8.0 + shift)].into(),
        ..Prediction::sample(&format!("{name}{index:02}"))
    };
    (0..slides).map(one).collect()
}

#[test]
fn the_interval_of_the_accuracy_is_that_of_earlier_versions() {
    let report = measure(&PerformanceInput {
        scored: &predictions("s", 40, 0.0),
        corrections: &corrections(),
        labels: &BTreeMap::new(),
        seen_in_training: &BTreeSet::new(),
        validated: None,
        model_version: None,
        config: &PerformanceConfig::default(),
        now: now(),
    });
    let interval = report.intervals["current_accuracy"];
    let bits = [interval.low, interval.high].map(f64::to_bits);
    assert_eq!(bits, [0.529_411_764_705_882_4f64, 0.652_173_913_043_478_3].map(f64::to_bits), "{interval:?}");
}

#[test]
fn quantiles_and_chances_are_those_of_earlier_versions() {
    let config = DriftConfig { permutations: 199, min_decks: 2, ..DriftConfig::default() };
    let (reference, recent) = (predictions("old", 60, 0.0), predictions("new", 50, 1.5));
    let report = compare(&reference, &recent, None, &config, 0.30, now());
    let feature = &report.features[0];
    let [_, recent] = &feature.quantiles;
    let found =
        [feature.reference_mean, feature.p_value, recent[1], recent[10], report.power.unwrap_or(f64::NAN)];
    assert_eq!(
        found.map(f64::to_bits),
        [6.189_583_333_333_333_f64, 0.1, 2.043_75, 7.687_5, 1.0].map(f64::to_bits),
        "{found:?}"
    );
}
