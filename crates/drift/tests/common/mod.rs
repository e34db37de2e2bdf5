//! Made-up slides whose features vary between decks and within them.
#![allow(dead_code, reason = "not every test program needs all of it")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use slide_data::{Correction, Prediction, Score, expected_score};

pub(crate) const CRITERIA: [&str; 5] =
    ["clarity", "design", "data_visualization", "readability", "content_quality"];
const FEATURES: [&str; 4] = ["brightness", "contrast", "edge_density", "saturation"];

pub(crate) fn now() -> Timestamp {
    "2025-06-01T12:00:00Z".parse().expect("a timestamp")
}

/// A user's score of the clarity of a slide that nobody else corrected.
pub(crate) fn correction(id: usize, at: Timestamp, predicted: f64, score: u8) -> Correction {
    Correction {
        schema_version: 1,
        id: format!("c{id}"),
        slide_id: format!("slide-{id}"),
        model_version: "v1".to_owned(),
        annotator: "user".to_owned(),
        corrected_at: at,
        predicted: [("clarity".to_owned(), predicted)].into(),
        scores: [("clarity".to_owned(), Score::new(score))].into(),
        notes: String::new(),
    }
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) decks: usize,
    pub(crate) slides: usize,
    /// Added to every image feature, in standard deviations.
    pub(crate) image_shift: f64,
    /// Added to every criterion's center, in standard deviations.
    pub(crate) score_shift: f64,
}

impl Side {
    pub(crate) fn new(decks: usize, slides: usize) -> Self {
        Self { decks, slides, image_shift: 0.0, score_shift: 0.0 }
    }
}

/// A standard normal draw: the sum of twelve uniform ones, less six.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// Three tenths of each feature's variance lie between decks.
fn draw(rng: &mut fastrand::Rng, deck: f64) -> f64 {
    0.3f64.sqrt() * deck + 0.7f64.sqrt() * normal(rng)
}

pub(crate) fn slides(name: &str, side: Side, rng: &mut fastrand::Rng) -> Vec<Prediction> {
    let mut slides = Vec::new();
    for deck in 0..side.decks {
        let effects: Vec<f64> = (0..FEATURES.len() + CRITERIA.len()).map(|_| normal(rng)).collect();
        for slide in 0..side.slides {
            let slide_id = format!("{name}-{deck}-{slide}");
            let images = FEATURES.iter().zip(&effects);
            let features: BTreeMap<String, f64> =
                images.map(|(key, deck)| ((*key).to_owned(), draw(rng, *deck) + side.image_shift)).collect();
            let scores = CRITERIA.iter().zip(&effects[FEATURES.len()..]);
            let distributions: BTreeMap<String, [f64; 5]> = scores
                .map(|(key, deck)| {
                    ((*key).to_owned(), distribution(3.0 + 0.8 * (draw(rng, *deck) + side.score_shift)))
                })
                .collect();
            slides.push(Prediction {
                sha256: format!("pixels of {slide_id}"),
                deck_id: format!("{name}-{deck}"),
                scored_at: now(),
                expected: distributions.iter().map(|(k, d)| (k.clone(), expected_score(d))).collect(),
                distributions,
                features,
                ..Prediction::sample(&slide_id)
            });
        }
    }
    slides
}

pub(crate) fn distribution(center: f64) -> [f64; 5] {
    let raw: [f64; 5] = std::array::from_fn(|i| (-1.5 * (i as f64 + 1.0 - center).powi(2)).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|p| p / total)
}
