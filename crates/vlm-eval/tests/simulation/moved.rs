//! Labels that were moved by two points, and how many of them the head of the queue of doubts finds.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests and benches use their part")]

use std::collections::BTreeSet;

use fastrand::Rng;
use slide_data::{Rubric, Score};
use vlm_eval::{Item, doubtful};

use crate::simulation::{Design, World, model};

/// One label in twenty is moved, and as many are looked at.
pub const SHARE: f64 = 0.05;

/// Decks like the demo's: 16 of ten slides, with a model that is as good as the demo's.
pub fn drawn(rng: &mut Rng) -> Vec<Item> {
    let mut world = World::draw(&Design::new(16, 8..=12), rng);
    world.rate(&mut model(0.45, 0.2), rng);
    world.items
}

/// Moves a share of the labels by two points within the scale, with all that their raters said; the moved ones.
pub fn move_labels(items: &mut [Item], rubric: &Rubric, rng: &mut Rng) -> BTreeSet<(String, String)> {
    let mut rated: Vec<(usize, &str)> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let has_answer =
            |key: &&str| item.label.score(key).is_some() && item.prediction.distributions.contains_key(*key);
        rated.extend(rubric.keys().filter(has_answer).map(|key| (place, key)));
    }
    rng.shuffle(&mut rated);
    rated.truncate((SHARE * rated.len() as f64).round() as usize);
    let mut moved = BTreeSet::new();
    for (place, key) in rated {
        let label = &mut items[place].label;
        let old = label.score(key).unwrap().get();
        let up = if old <= 2 {
            true
        } else if old >= 4 {
            false
        } else {
            rng.bool()
        };
        let new = if up { old + 2 } else { old - 2 };
        label.scores.insert(key.to_owned(), Score::new(new));
        if let Some(counts) = label.distribution.get_mut(key) {
            let before = std::mem::take(counts);
            for (at, count) in before.into_iter().enumerate() {
                counts[if up { (at + 2).min(4) } else { at.saturating_sub(2) }] += count;
            }
        }
        moved.insert((items[place].slide_id.clone(), key.to_owned()));
    }
    moved
}

/// The share of moved labels among as many of the first as were moved.
pub fn precision(items: &[Item], rubric: &Rubric, moved: &BTreeSet<(String, String)>) -> f64 {
    let first = doubtful(rubric, items).into_iter().take(moved.len());
    let found =
        first.filter(|doubt| moved.contains(&(doubt.slide_id.clone(), doubt.criterion.clone()))).count();
    found as f64 / moved.len().max(1) as f64
}
