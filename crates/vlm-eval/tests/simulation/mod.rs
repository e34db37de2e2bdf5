//! Drawn decks with people's ratings, and raters of every kind, for what only many draws can show.
//!
//! A slide has a hidden quality on each criterion: its deck's, its own, and the criterion's. Three people see it with noise of
//! 0.6 points. One criterion does not apply to six of ten slides, and one rating of twenty is missing.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests and benches use their part, and fail by panicking"
)]

use std::ops::RangeInclusive;

use fastrand::Rng;
use slide_data::{Label, Prediction, Rubric, Score, Tally};
use vlm_eval::Item;

pub const CRITERIA: usize = 5;
/// The criterion that mostly does not apply: data visualization.
pub const RARE: usize = 2;

/// The middle of the scale, as people use it.
const CENTER: f64 = 3.1;

/// A draw from the standard normal (Box and Muller).
pub fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

/// What is drawn.
#[derive(Clone)]
pub struct Design {
    pub decks: usize,
    pub slides: RangeInclusive<usize>,
    pub raters: usize,
    /// The raters' noise in points.
    pub noise: f64,
    /// Standard deviations of a deck's, a slide's and a criterion's part of the quality.
    pub spread: [f64; 3],
}

impl Design {
    pub fn new(decks: usize, slides: RangeInclusive<usize>) -> Self {
        Self { decks, slides, raters: 3, noise: 0.6, spread: [0.5, 0.8, 0.8] }
    }
}

/// Rated slides with what nobody sees.
pub struct World {
    pub items: Vec<Item>,
    /// The hidden quality of each slide and criterion.
    pub quality: Vec<[f64; CRITERIA]>,
    /// The deck of each slide.
    pub deck: Vec<usize>,
}

pub fn keys() -> [String; CRITERIA] {
    let rubric = Rubric::default();
    std::array::from_fn(|c| rubric.criteria[c].key.clone())
}

impl World {
    pub fn draw(design: &Design, rng: &mut Rng) -> Self {
        let keys = keys();
        let mut world = Self { items: Vec::new(), quality: Vec::new(), deck: Vec::new() };
        for deck in 0..design.decks {
            let of_deck = CENTER + design.spread[0] * normal(rng);
            for slide in 0..rng.usize(design.slides.clone()) {
                let of_slide = of_deck + design.spread[1] * normal(rng);
                let quality = std::array::from_fn(|_| of_slide + design.spread[2] * normal(rng));
                let slide_id = format!("d{deck:03}-s{slide:03}");
                world.items.push(Item {
                    label: label(design, &quality, &keys, rng),
                    prediction: Prediction::sample(&slide_id),
                    group: format!("deck-{deck:03}"),
                    slide_id,
                });
                world.quality.push(quality);
                world.deck.push(deck);
            }
        }
        world
    }

    /// Has a rater answer for every slide and criterion.
    pub fn rate(&mut self, rater: &mut Rater, rng: &mut Rng) {
        let keys = keys();
        let of_deck: Vec<f64> = (0..1000).map(|_| normal(rng)).collect();
        for (place, item) in self.items.iter_mut().enumerate() {
            for (c, key) in keys.iter().enumerate() {
                let seen = Seen {
                    criterion: c,
                    quality: self.quality[place][c],
                    label: item.label.score(key).map(Score::get),
                    deck: of_deck[self.deck[place]],
                };
                item.prediction.distributions.insert(key.clone(), rater(&seen, rng));
            }
        }
    }
}

/// What a simulated rater may look at.
pub struct Seen {
    pub criterion: usize,
    pub quality: f64,
    /// What people say, for raters that copy.
    pub label: Option<u8>,
    /// A number for the deck, standard normal, for raters whose errors are alike within a deck.
    pub deck: f64,
}

/// A rater's distribution for one criterion of one slide.
pub type Rater<'a> = dyn FnMut(&Seen, &mut Rng) -> [f64; 5] + 'a;

fn label(design: &Design, quality: &[f64; CRITERIA], keys: &[String; CRITERIA], rng: &mut Rng) -> Label {
    let mut label = Label { annotators: design.raters, ..Label::default() };
    for (c, key) in keys.iter().enumerate() {
        let counts = raters(design, quality[c], rng);
        if rng.f64() < 0.05 {
            continue; // nobody said anything
        }
        if c == RARE && rng.f64() < 0.6 {
            label.scores.insert(key.clone(), None);
            label.not_applicable.insert(key.clone(), design.raters as u32);
            continue;
        }
        let answers = (1..=5u8).zip(counts).flat_map(|(score, count)| {
            std::iter::repeat_n(slide_data::Answer::from(Score::new(score)), count as usize)
        });
        label.scores.insert(key.clone(), Tally::of(answers).target().score());
        label.distribution.insert(key.clone(), counts);
    }
    label
}

fn raters(design: &Design, quality: f64, rng: &mut Rng) -> [u32; 5] {
    let mut counts = [0; 5];
    for _ in 0..design.raters {
        let given = (quality + design.noise * normal(rng)).round().clamp(1.0, 5.0);
        counts[given as usize - 1] += 1;
    }
    counts
}

/// A forecast around a value, as sure as a normal density with this standard deviation.
pub fn around(value: f64, deviation: f64) -> [f64; 5] {
    let density = |score: f64| (-((score - value) / deviation).powi(2) / 2.0).exp();
    let raw: [f64; 5] = std::array::from_fn(|at| density(at as f64 + 1.0) + 1e-12);
    let total: f64 = raw.iter().sum();
    raw.map(|p| p / total)
}

pub fn sure(score: u8) -> [f64; 5] {
    std::array::from_fn(|at| f64::from(u8::from(at + 1 == usize::from(score))))
}

/// A model that sees the quality with noise of its own, alike within a deck in part.
pub fn model(noise: f64, of_deck: f64) -> impl FnMut(&Seen, &mut Rng) -> [f64; 5] {
    move |seen, rng| around(seen.quality + noise * normal(rng) + of_deck * seen.deck, 0.7)
}
