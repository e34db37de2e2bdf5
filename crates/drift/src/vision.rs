//! Whether recent decks as a whole look different to the vision tower.
//!
//! Two tests of vectors, whole decks re-labelled: the maximum mean discrepancy, which sees any difference, and how well a classifier
//! that did not know a deck tells which side it is of (Lopez-Paz and Oquab 2017), which says how different they are. Of each
//! re-labelling the less likely of the two counts, so that two looks are paid for (Westfall and Young 1993). Where the yearly budget
//! asks how rare that is each goes on by itself, and twice the smaller p-value counts (Bonferroni): the discrepancy first, which costs
//! little, and the classifier only where it says anything that the discrepancy does not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slide_data::{Prediction, VisionSketch};

use crate::DriftConfig;
use crate::classifier::{Design, odds};
use crate::distances::Weighted;
use crate::mmd::{MmdInput, Prepared};
use crate::pair::Pair;
use crate::principal::Principal;
use crate::reached::Reached;

/// So many decks of each side are looked at, evenly taken by name.
const MOST_DECKS: usize = 100;
/// So many slides of a deck are looked at, evenly taken, and no more than half of the decks of either side have: decks of fewer slides vary
/// more, so that sides whose decks differ in size could not be re-labelled.
const MOST_SLIDES: usize = 8;
/// So many components are what the classifier knows of a deck.
const COMPONENTS: usize = 10;
/// So many decks are named.
const NAMED: usize = 5;

/// How recent decks differ from those of training as the vision tower sees them. Each deck counts alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionDrift {
    /// The base whose vision tower saw the slides.
    pub base: String,
    /// Slides of the reference that it saw, and their decks.
    pub reference_slides: usize,
    /// Decks of these.
    pub reference_decks: usize,
    /// Recent slides that it saw.
    pub recent_slides: usize,
    /// Decks of these.
    pub recent_decks: usize,
    /// The squared maximum mean discrepancy, about 0 where both sides are alike.
    pub mmd_squared: f64,
    /// Chance of one as large where nothing changed.
    pub mmd_p_value: f64,
    /// Chance that a recent deck looks more recent to the classifier than one of training: 0.5 where it cannot tell, 1 where it always can.
    pub auc: f64,
    /// Chance of one as large where nothing changed.
    pub auc_p_value: f64,
    /// The chance that either is as surprising, corrected for the other features that are looked at.
    pub adjusted_p_value: f64,
    /// Re-labellings of the decks behind these.
    pub permutations: usize,
    /// Kolmogorov–Smirnov statistic of the classifier's odds: the share of slides that lie on the other side of some value.
    pub ks: f64,
    /// Whether `adjusted_p_value` is at most `alpha`.
    pub drifted: bool,
    /// Its part in the score: `ks` where drifted, else 0.
    pub strength: f64,
    /// The recent decks that look least like training to the classifier.
    pub most_unlike: Vec<String>,
}

/// A deck's vectors.
struct Deck {
    name: String,
    vectors: Vec<Vec<f64>>,
}

impl Deck {
    fn mean(&self) -> Vec<f64> {
        let count = self.vectors.len() as f64;
        let sum = |at: usize| self.vectors.iter().map(|vector| vector[at]).sum::<f64>();
        (0..VisionSketch::WIDTH).map(|at| sum(at) / count).collect()
    }
}

/// The decks of both sides that one vision tower saw, the recent ones first.
pub(crate) struct Vision {
    base: String,
    decks: Vec<Deck>,
    recent: usize,
    /// Slides of each side that it saw, and decks, before any was left out.
    sizes: [(usize, usize); 2],
    /// Recent slides that it did not see.
    unseen: usize,
}

impl Vision {
    /// What there is to compare; else why there is nothing.
    pub(crate) fn new(
        reference: &[&Prediction],
        recent: &[&Prediction],
        config: &DriftConfig,
    ) -> Result<Self, String> {
        let base = base(reference).ok_or("the slides of training have none: they were scored by an earlier program, or an adapter changes the vision tower")?;
        let sides = [of_base(recent, &base), of_base(reference, &base)];
        let sizes = [0, 1].map(|side: usize| {
            let decks: &BTreeMap<&str, Vec<Vec<f64>>> = &sides[side];
            (decks.values().map(Vec::len).sum::<usize>(), decks.len())
        });
        let is_enough =
            |(slides, decks): (usize, usize)| slides >= config.min_slides && decks >= config.min_decks;
        if !sizes.into_iter().all(is_enough) {
            let [(recent_slides, recent_decks), (slides, decks)] = sizes;
            return Err(format!(
                "the same vision tower saw {recent_slides} recent slides of {recent_decks} decks and {slides} of {decks} decks of training; at least {} of {} are needed",
                config.min_slides, config.min_decks
            ));
        }
        let most = sides.iter().map(usual_size).fold(MOST_SLIDES, usize::min);
        let [recent_decks, decks] = sides.map(|side| thinned(side, most));
        let count = recent_decks.len();
        let decks = recent_decks.into_iter().chain(decks).collect();
        Ok(Self { base, decks, recent: count, sizes, unseen: recent.len() - sizes[0].0 })
    }

    /// Slides that do not count, in words.
    pub(crate) fn set_aside(&self) -> Option<String> {
        (self.unseen > 0).then(|| {
            format!(
                "vision features: {} recent slides have none of the same base and are not compared",
                self.unseen
            )
        })
    }

    /// Both tests, `families` of which are looked at together with others. How rare what they say is the yearly budget asks where more
    /// slides than the threshold's share lie on the other side.
    ///
    /// # Errors
    /// Says why they cannot be compared.
    pub(crate) fn compare(
        &self,
        config: &DriftConfig,
        families: f64,
        threshold: f64,
    ) -> Result<VisionDrift, String> {
        let means: Vec<Vec<f64>> = self.decks.iter().map(Deck::mean).collect();
        let principal = Principal::of(&means, COMPONENTS);
        if principal.count() == 0 {
            return Err("all slides look the same".to_owned());
        }
        let design = Design::of(&means, &principal);
        let kernel = self.kernel().map_err(|error| error.to_string())?;
        let mut rng = fastrand::Rng::with_seed(config.seed ^ 0x5eed);
        let mut order: Vec<usize> = (0..self.decks.len()).collect();
        // Which fold a deck is in has nothing to do with its name.
        rng.shuffle(&mut order[..self.recent]);
        rng.shuffle(&mut order[self.recent..]);
        let observed = [kernel.squared(&order[..self.recent]), design.auc(&order, self.recent)];
        let (ks, most_unlike) = self.told_apart(&design, &principal, &order);
        let mut tests = Pair { kernel: &kernel, design: &design, recent: self.recent, observed, order, rng };
        let drawn = tests.both(config.permutations);
        let known = if ks > threshold { tests.go_on(&drawn, config) } else { None };
        let [mmd_p_value, auc_p_value] =
            known.map_or_else(|| drawn.p_values(observed), |known| known.map(|known| known.p_value()));
        let either = known.map_or_else(|| drawn.either(observed), |_| 2.0 * mmd_p_value.min(auc_p_value));
        let adjusted_p_value = (families * either).min(1.0);
        let permutations = known.iter().flatten().map(Reached::drawn).max();
        let drifted = adjusted_p_value <= config.alpha;
        let [(recent_slides, recent_decks), (reference_slides, reference_decks)] = self.sizes;
        Ok(VisionDrift {
            base: self.base.clone(),
            reference_slides,
            reference_decks,
            recent_slides,
            recent_decks,
            mmd_squared: observed[0],
            mmd_p_value,
            auc: observed[1],
            auc_p_value,
            adjusted_p_value,
            permutations: permutations.unwrap_or(config.permutations),
            ks,
            drifted,
            strength: if drifted { ks } else { 0.0 },
            most_unlike: if drifted { most_unlike } else { Vec::new() },
        })
    }

    fn kernel(&self) -> crate::Result<Prepared> {
        let features: Vec<f32> = self
            .decks
            .iter()
            .flat_map(|deck| deck.vectors.iter().flatten())
            .map(|value| *value as f32)
            .collect();
        let places = self.decks.iter().enumerate();
        let deck: Vec<usize> =
            places.flat_map(|(place, deck)| std::iter::repeat_n(place, deck.vectors.len())).collect();
        let is_recent: Vec<bool> = (0..self.decks.len()).map(|place| place < self.recent).collect();
        Prepared::new(&MmdInput {
            features: &features,
            width: VisionSketch::WIDTH,
            deck: &deck,
            is_recent: &is_recent,
        })
    }

    /// The share of slides that the classifier puts on the other side of some value, and the recent decks that look least like training to it.
    fn told_apart(&self, design: &Design, principal: &Principal, order: &[usize]) -> (f64, Vec<String>) {
        let (fits, fold) = design.cross_fit(order, self.recent);
        let mut sides = [Vec::new(), Vec::new()];
        let mut recent: Vec<(f64, &str)> = Vec::new();
        for (place, deck) in self.decks.iter().enumerate() {
            let weight = 1.0 / deck.vectors.len() as f64;
            let of = |vector: &Vec<f64>| odds(&fits[fold[place]], &principal.components(vector));
            let own: Vec<f64> = deck.vectors.iter().map(of).collect();
            if place < self.recent {
                recent.push((own.iter().sum::<f64>() * weight, &deck.name));
            }
            sides[usize::from(place < self.recent)].extend(own.into_iter().map(|odds| (odds, weight)));
        }
        recent.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let [reference, now] = sides.map(Weighted::new);
        let names = recent.into_iter().take(NAMED).map(|(_, name)| name.to_owned()).collect();
        (reference.ks(&now), names)
    }
}

/// The base that saw most of the slides.
fn base(slides: &[&Prediction]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sketch in slides.iter().filter_map(|slide| slide.vision.as_ref()) {
        *counts.entry(&sketch.base).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(base, _)| base.to_owned())
}

/// The vectors of each deck that this base saw.
fn of_base<'a>(slides: &[&'a Prediction], base: &str) -> BTreeMap<&'a str, Vec<Vec<f64>>> {
    let mut decks: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for slide in slides {
        let own = slide.vision.as_ref().filter(|sketch| sketch.base == base);
        if let Some(vector) = own.and_then(VisionSketch::vector) {
            decks.entry(&slide.deck_id).or_default().push(vector);
        }
    }
    decks
}

/// The median number of slides of a deck.
fn usual_size(decks: &BTreeMap<&str, Vec<Vec<f64>>>) -> usize {
    let mut sizes: Vec<usize> = decks.values().map(Vec::len).collect();
    sizes.sort_unstable();
    sizes[sizes.len() / 2].max(1)
}

fn thinned(decks: BTreeMap<&str, Vec<Vec<f64>>>, most_slides: usize) -> Vec<Deck> {
    let kept: BTreeSet<usize> = evenly(decks.len(), MOST_DECKS).collect();
    let decks = decks.into_iter().enumerate().filter(|(place, _)| kept.contains(place));
    let deck = |(name, vectors): (&str, Vec<Vec<f64>>)| Deck {
        name: name.to_owned(),
        vectors: evenly(vectors.len(), most_slides).map(|slide| vectors[slide].clone()).collect(),
    };
    decks.map(|(_, of)| deck(of)).collect()
}

/// At most `most` of so many places, evenly.
fn evenly(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let kept = count.min(most);
    (0..kept).map(move |at| at * count / kept.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_evenly() {
        assert_eq!(evenly(3, 8).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(evenly(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(evenly(0, 4).count(), 0);
    }
}
