//! Rated slides that look like a scored one, and whether any does.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use pq_cli::Layout;
use project_files::{Contract as _, RunFiles, input};
use report_pages::Familiar;
use slide_data::{Labels, Prediction, Rubric, Score, VisionSketch};
use statistics::{quantile, sorted};

/// So many similar slides are looked at.
const NEIGHBOURS: usize = 5;
/// A slide is unlike what is known where it is farther from every rated slide than this share of the rated slides is from those of other
/// decks.
const USUAL: f64 = 0.99;
/// With fewer slides or decks nothing is said of what is unlike them.
const MIN_SLIDES: usize = 50;
const MIN_DECKS: usize = 5;
/// Of more slides than these the distances among themselves are told by an even part.
const COMPARED: usize = 1000;

/// The slides that a version was trained on and compared with, as its vision tower saw them, and what people gave them.
#[derive(Default)]
pub(crate) struct RatedSlides {
    base: String,
    slides: Vec<Rated>,
    /// From here on a slide is unlike them.
    far: Option<f64>,
}

struct Rated {
    deck_id: String,
    seen: Vec<f64>,
    scores: BTreeMap<String, Score>,
}

impl RatedSlides {
    /// Of a run or a version; none where it brought no such slides, or their labels are not here.
    pub(crate) fn of_version(run: &RunFiles, layout: &Layout, rubric: &Rubric) -> Result<Self> {
        let own = run.data().join(input::LABELS);
        let path = if own.exists() { own } else { layout.labels() };
        if !path.exists() {
            return Ok(Self::default());
        }
        let labels = Labels::read_for(&path, rubric)?;
        let reference = Prediction::read_log_if_present(&run.reference_predictions())?.entries;
        Ok(Self::new(&reference, &labels))
    }

    fn new(reference: &[Prediction], labels: &Labels) -> Self {
        let base =
            reference.iter().find_map(|slide| Some(slide.vision.as_ref()?.base.clone())).unwrap_or_default();
        let rated = |slide: &Prediction| {
            let label = labels.slides.get(&slide.slide_id)?;
            let sketch = slide.vision.as_ref().filter(|sketch| sketch.base == base)?;
            let scores: BTreeMap<String, Score> =
                label.scored().map(|(key, score)| (key.to_owned(), score)).collect();
            let is_rated = !scores.is_empty();
            is_rated.then_some(Rated { deck_id: slide.deck_id.clone(), seen: sketch.vector()?, scores })
        };
        let slides: Vec<Rated> = reference.iter().filter_map(rated).collect();
        let far = limit(&slides);
        Self { base, slides, far }
    }

    /// What is known of slides like this one; those of its own deck do not count.
    pub(crate) fn like(&self, prediction: &Prediction) -> Familiar {
        let sketch = prediction.vision.as_ref().filter(|sketch| sketch.base == self.base);
        let Some(seen) = sketch.and_then(VisionSketch::vector) else { return Familiar::default() };
        let mut near = self.distances(&seen, &prediction.deck_id);
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ratings: BTreeMap<String, Vec<Score>> = BTreeMap::new();
        for (_, slide) in near.iter().take(NEIGHBOURS) {
            for (key, score) in &slide.scores {
                ratings.entry(key.clone()).or_default().push(*score);
            }
        }
        let is_unlike = self.far.zip(near.first()).is_some_and(|(far, (nearest, _))| *nearest > far);
        Familiar { ratings, is_unlike }
    }

    fn distances(&self, seen: &[f64], deck_id: &str) -> Vec<(f64, &Rated)> {
        let others = self.slides.iter().filter(|slide| slide.deck_id != deck_id);
        others.map(|slide| (distance(seen, &slide.seen), slide)).collect()
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// How far most of the slides are from the nearest of another deck.
fn limit(slides: &[Rated]) -> Option<f64> {
    let decks: BTreeSet<&str> = slides.iter().map(|slide| slide.deck_id.as_str()).collect();
    if slides.len() < MIN_SLIDES || decks.len() < MIN_DECKS {
        return None;
    }
    let nearest = |slide: &Rated| {
        let others = slides.iter().filter(|other| other.deck_id != slide.deck_id);
        others.map(|other| distance(&slide.seen, &other.seen)).reduce(f64::min)
    };
    let step = slides.len().div_ceil(COMPARED);
    let own: Vec<f64> = slides.iter().step_by(step).filter_map(nearest).collect();
    quantile(&sorted(&own), USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slide_data::Label;

    /// A number between -1 and 1 that follows from another.
    fn draw(seed: u64) -> f32 {
        let mut mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 40) as f32 / f32::from(1_u16 << 12).powi(2) * 2.0 - 1.0
    }

    fn slide(deck: u64, number: u64, shift: f32) -> Prediction {
        let seen = std::array::from_fn(|at| draw((deck * 1000 + number) * 64 + at as u64) + shift);
        Prediction {
            deck_id: format!("deck{deck}"),
            vision: VisionSketch::new("base", &seen),
            ..Prediction::sample(&format!("d{deck}-{number}"))
        }
    }

    fn known(decks: u64) -> (Vec<Prediction>, Labels) {
        let slides: Vec<Prediction> =
            (0..decks).flat_map(|deck| (0..10).map(move |number| slide(deck, number, 0.0))).collect();
        let mut labels = Labels::default();
        for (at, slide) in slides.iter().enumerate() {
            let mut label = Label { annotators: 1, ..Label::default() };
            label.scores.insert("clarity".to_owned(), Score::new(1 + (at % 5) as u8));
            labels.slides.insert(slide.slide_id.clone(), label);
        }
        (slides, labels)
    }

    #[test]
    fn the_nearest_slides_of_other_decks_say_what_people_gave() {
        let (mut slides, labels) = known(8);
        let copy = Prediction { deck_id: "new".to_owned(), ..slides[13].clone() };
        let rated = RatedSlides::new(&slides, &labels);
        let found = rated.like(&copy);
        assert_eq!(found.ratings["clarity"].len(), NEIGHBOURS);
        assert_eq!(
            found.ratings["clarity"][0],
            labels.slides["d1-3"].score("clarity").unwrap(),
            "itself comes first"
        );
        assert!(!found.is_unlike);
        let own = rated.like(&slides[13]);
        assert_eq!(own.ratings["clarity"].len(), NEIGHBOURS, "its own deck is passed over");
        for slide in &mut slides {
            slide.vision = None;
        }
        assert_eq!(RatedSlides::new(&slides, &labels).like(&copy), Familiar::default());
        let other = Prediction { vision: VisionSketch::new("another base", &[0.0; 64]), ..copy };
        assert_eq!(rated.like(&other), Familiar::default(), "sketches of different bases are not compared");
    }

    #[test]
    fn what_is_like_the_rated_slides_is_seldom_called_unlike_and_what_is_not_always() {
        let (slides, labels) = known(40);
        let rated = RatedSlides::new(&slides, &labels);
        let share = |shift: f32| {
            let new = (100..140).flat_map(|deck| (0..10).map(move |number| slide(deck, number, shift)));
            new.filter(|slide| rated.like(slide).is_unlike).count() as f64 / 400.0
        };
        // Of 400, 1 % are 4; 12 would be more than four deviations above.
        assert!(share(0.0) <= 0.03, "{}", share(0.0));
        assert!(share(1.5) >= 0.99, "{}", share(1.5));
        let (few, labels) = known(4);
        assert!(
            !RatedSlides::new(&few, &labels).like(&slide(100, 0, 9.0)).is_unlike,
            "of too few nothing is said"
        );
    }
}
