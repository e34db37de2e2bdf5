//! Draws pairs of versions of a deck, of which a few slides were worked on, and asks what is said of them.

#![allow(dead_code, unreachable_pub, reason = "tests and benches use their part")]

use std::collections::BTreeMap;

use fastrand::Rng;
use project_files::ErrorSpread;
use slide_data::{PageMatch, Prediction, Rubric, Tendency};
use vlm_eval::{VersionSlide, compare_versions};

use crate::simulation::{CRITERIA, Design, Seen, World, keys, model, normal};

/// Slides of a deck, of those redrawn, and of these with a criterion that became better.
pub const SLIDES: usize = 12;

/// What an author does to a deck.
#[derive(Clone, Copy)]
pub struct Work {
    /// Slides that are drawn anew.
    pub redrawn: usize,
    /// Of these, slides of which one criterion becomes better.
    pub improved: usize,
    /// By how many points.
    pub by: f64,
}

/// A model and how it was validated.
#[derive(Clone, Copy)]
pub struct Setting {
    pub noise: f64,
    pub of_deck: f64,
    /// Decks that it was validated on.
    pub decks: usize,
}

/// What was said over many pairs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    pub pairs: usize,
    /// Pairs whose improved criterion is called better, on the whole or on one of its slides.
    pub found: usize,
    /// Pairs of which something is called better that did not become so.
    pub wrong_better: usize,
    /// Pairs of which something is called worse; nothing did.
    pub wrong_worse: usize,
}

/// How far the model errs, as a validation of its own finds it.
fn spread(setting: Setting, rng: &mut Rng) -> BTreeMap<String, ErrorSpread> {
    let mut world = World::draw(&Design::new(setting.decks, 8..=12), rng);
    world.rate(&mut model(setting.noise, setting.of_deck), rng);
    crate::coverage::results(&world).error_spread
}

/// The qualities of a deck before the work, and where it is done: slides in order, the improved ones first.
struct Draft {
    quality: Vec<[f64; CRITERIA]>,
    places: Vec<usize>,
    improved: usize,
}

impl Draft {
    fn draw(work: Work, rng: &mut Rng) -> Self {
        let improved = rng.usize(..CRITERIA);
        let of_deck = 3.1 + 0.5 * normal(rng);
        let mut quality: Vec<[f64; CRITERIA]> = (0..SLIDES)
            .map(|_| {
                let of_slide = of_deck + 0.8 * normal(rng);
                std::array::from_fn(|_| (of_slide + 0.8 * normal(rng)).clamp(1.0, 5.0))
            })
            .collect();
        let mut places: Vec<usize> = (0..SLIDES).collect();
        rng.shuffle(&mut places);
        places.truncate(work.redrawn);
        for place in &places[..work.improved] {
            // There must be room for it.
            let own = &mut quality[*place][improved];
            *own = own.min(5.0 - work.by);
        }
        Self { quality, places, improved }
    }
}

fn scored(quality: &[f64; CRITERIA], deck: f64, setting: Setting, rng: &mut Rng) -> Prediction {
    let mut prediction = Prediction::sample("slide");
    let mut rate = model(setting.noise, setting.of_deck);
    for (criterion, key) in keys().into_iter().enumerate() {
        let seen = Seen { criterion, quality: quality[criterion], label: None, deck };
        prediction.distributions.insert(key, rate(&seen, rng));
    }
    prediction.decide(None);
    prediction
}

/// Slides with their places.
pub fn numbered(slides: &[Prediction]) -> Vec<VersionSlide<'_>> {
    (1..).zip(slides).map(|(number, slide)| VersionSlide { number, scores: Some(slide) }).collect()
}

/// One pair: what of it is said.
fn pair(setting: Setting, work: Work, spreads: &BTreeMap<String, ErrorSpread>, rng: &mut Rng) -> [bool; 3] {
    let (draft, deck) = (Draft::draw(work, rng), normal(rng));
    let before: Vec<Prediction> = draft.quality.iter().map(|q| scored(q, deck, setting, rng)).collect();
    let mut after = before.clone();
    for (at, place) in draft.places.iter().enumerate() {
        let mut quality = draft.quality[*place];
        quality[draft.improved] += if at < work.improved { work.by } else { 0.0 };
        after[*place] = scored(&quality, deck, setting, rng);
    }
    let matched = |place: usize| {
        if draft.places.contains(&place) {
            PageMatch::Changed(place, place)
        } else {
            PageMatch::Kept(place, place)
        }
    };
    let matches: Vec<PageMatch> = (0..SLIDES).map(matched).collect();
    let versions =
        compare_versions(&Rubric::default(), &matches, &numbered(&before), &numbered(&after), spreads);
    let key = keys()[draft.improved].clone();
    let improved = &draft.places[..work.improved];
    let slides = versions.changed.iter().flat_map(|slide| {
        let is_improved = improved.contains(&(slide.after - 1));
        slide.differences.iter().map(move |found| (is_improved, found))
    });
    let whole = versions.criteria.iter().map(|found| (work.improved > 0, found));
    let mut said = [false; 3];
    for (is_improved, found) in slides.chain(whole) {
        let is_true = is_improved && found.criterion == key;
        said[0] |= is_true && found.tendency == Tendency::Better;
        said[1] |= !is_true && found.tendency == Tendency::Better;
        said[2] |= found.tendency == Tendency::Worse;
    }
    said
}

/// Draws pairs, each with a validation of its own.
pub fn count(setting: Setting, work: Work, pairs: usize, seed: u64) -> Said {
    let mut said = Said { pairs, ..Said::default() };
    let mut rng = Rng::with_seed(seed);
    for _ in 0..pairs {
        let spreads = spread(setting, &mut rng);
        let [found, better, worse] = pair(setting, work, &spreads, &mut rng);
        said.found += usize::from(found);
        said.wrong_better += usize::from(better);
        said.wrong_worse += usize::from(worse);
    }
    said
}
