//! Cheap models of the same ratings: what a trained adapter must beat to have been worth its training.
//!
//! All three learn from the training slides alone and take seconds: ridge regression on what the frozen vision tower sees, the
//! most similar rated slides, and ridge regression on the properties of the image and their products. How strongly each is
//! smoothed is chosen by cross-validation over whole groups of slides.

mod applies;
mod gram;
mod head;
mod logistic;
mod nearest;
mod ridge;

use std::collections::BTreeMap;

use slide_data::{Label, Rubric, Score, Target};

use crate::table::Distribution;
pub use applies::fit_applicability;
pub(crate) use applies::measures as applicability_measures;
use gram::{Gram, Scale};
pub use head::{fit_head, fit_share};
use nearest::Nearest;
pub use nearest::Neighbour;
use ridge::Ridge;

/// Slides that a cheap model learns from at most; of more, equally spaced ones in the order of their groups are taken.
const MOST_SLIDES: usize = 1000;
/// Parts of the groups in cross-validation.
const FOLDS: usize = 5;

/// An image as numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageNumbers {
    /// Mean over the image of each feature of the frozen vision tower.
    pub mean: Vec<f32>,
    /// Maximum and standard deviation of each.
    pub spread: Vec<f32>,
    /// Measured properties such as brightness ([`slide_data::image_features`]).
    pub properties: BTreeMap<String, f64>,
}

/// A rated slide to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSlide {
    /// The slide.
    pub slide_id: String,
    /// Slides of one group (a deck with its near-duplicates) stay together in cross-validation.
    pub group: String,
    /// What people say of it.
    pub label: Label,
    /// Its image.
    pub numbers: ImageNumbers,
}

/// A distribution over 1 to 5 for each criterion, in the rubric's order.
type Forecast = Vec<Distribution>;

/// Cheap models that were fitted to the same slides.
#[derive(Debug, Clone)]
pub struct CheapModels {
    keys: Vec<String>,
    features: Regression,
    properties: Regression,
    nearest: Nearest,
}

impl CheapModels {
    /// Ridge regression on the pooled features of the vision tower.
    pub const LINEAR_PROBE: &str = "linear probe on frozen image features";
    /// The mean of the most similar rated slides.
    pub const NEAREST: &str = "most similar rated slides";
    /// Ridge regression on properties of the image.
    pub const PROPERTIES: &str = "brightness, ink and other image properties";
    /// The models, in the order in which they are shown.
    pub const NAMES: [&str; 3] = [Self::LINEAR_PROBE, Self::NEAREST, Self::PROPERTIES];

    /// Fits all models, or `None` where the slides are of fewer than two groups: nothing could be chosen by cross-validation.
    ///
    /// # Panics
    /// When the numbers of two slides are not equally many.
    pub fn fit(rubric: &Rubric, slides: &[KnownSlide]) -> Option<Self> {
        let known = thinned(slides);
        let keys: Vec<String> = rubric.keys().map(str::to_owned).collect();
        let rated = Rated::new(&keys, &known);
        if rated.groups < 2 {
            return None;
        }
        Some(Self {
            features: Regression::fit(&rated, known.iter().map(|slide| features(&slide.numbers)).collect()),
            properties: Regression::fit(&rated, known.iter().map(|slide| products(&slide.numbers)).collect()),
            nearest: Nearest::fit(&rated, &known),
            keys,
        })
    }

    /// What each model says of an image, by its name: a distribution over 1 to 5 for each criterion. Of a criterion that no slide
    /// they learned from is rated on, they say that each score is as likely as another.
    pub fn rate(&self, image: &ImageNumbers) -> BTreeMap<&'static str, BTreeMap<String, Distribution>> {
        let named = |forecast: Forecast| self.keys.iter().cloned().zip(forecast).collect();
        [
            (Self::LINEAR_PROBE, named(self.features.rate(&features(image)))),
            (Self::NEAREST, named(self.nearest.rate(image))),
            (Self::PROPERTIES, named(self.properties.rate(&products(image)))),
        ]
        .into()
    }

    /// What the linear probe says of each slide, learned from the slides of other groups alone: distributions by slide and criterion.
    /// Of a criterion that too few others are rated on it says nothing.
    ///
    /// # Panics
    /// When the numbers of two slides are not equally many.
    pub fn held_out(
        rubric: &Rubric,
        slides: &[KnownSlide],
    ) -> BTreeMap<String, BTreeMap<String, Distribution>> {
        let mut all: Vec<&KnownSlide> = slides.iter().collect();
        all.sort_by(|a, b| (&a.group, &a.slide_id).cmp(&(&b.group, &b.slide_id)));
        let groups: Vec<&str> = all.iter().map(|slide| slide.group.as_str()).collect();
        let keys: Vec<String> = rubric.keys().map(str::to_owned).collect();
        let mut told = BTreeMap::new();
        for part in folds(&groups).unwrap_or_default() {
            let rest = (0..all.len()).filter(|place| !part.contains(place)).map(|place| all[place]);
            let known = thinned(rest);
            let rows = known.iter().map(|slide| features(&slide.numbers)).collect();
            let probe = Regression::fit(&Rated::new(&keys, &known), rows);
            told.extend(part.into_iter().map(|place| {
                (all[place].slide_id.clone(), probe.known(&keys, &features(&all[place].numbers)))
            }));
        }
        told
    }

    /// The slides that were learned from, the most similar first.
    pub fn nearest(&self, image: &ImageNumbers, count: usize) -> Vec<Neighbour> {
        self.nearest.of(image, count)
    }
}

/// The slides in the order of their groups, at most as many as are learned from.
fn thinned<'a>(slides: impl IntoIterator<Item = &'a KnownSlide>) -> Vec<&'a KnownSlide> {
    let mut known: Vec<&KnownSlide> = slides.into_iter().collect();
    known.sort_by(|a, b| (&a.group, &a.slide_id).cmp(&(&b.group, &b.slide_id)));
    if known.len() <= MOST_SLIDES {
        return known;
    }
    (0..MOST_SLIDES).map(|at| known[at * known.len() / MOST_SLIDES]).collect()
}

/// Places of slides, whose groups these are in order, in parts of whole groups; `None` where all are of one group.
fn folds<G: PartialEq>(group_of: &[G]) -> Option<Vec<Vec<usize>>> {
    let mut groups = 0;
    let mut parts = vec![Vec::new(); FOLDS];
    for (place, group) in group_of.iter().enumerate() {
        groups += usize::from(place == 0 || group_of[place - 1] != *group);
        parts[(groups - 1) % FOLDS].push(place);
    }
    parts.retain(|part: &Vec<usize>| !part.is_empty());
    (groups >= 2).then_some(parts)
}

/// What is learned: the targets of the criteria by slide.
struct Rated {
    /// Slide by slide the group's place in the order of names.
    group_of: Vec<usize>,
    groups: usize,
    /// For each criterion the slides that are rated on it and their distributions.
    criteria: Vec<(Vec<usize>, Vec<Distribution>)>,
}

impl Rated {
    fn new(keys: &[String], known: &[&KnownSlide]) -> Self {
        let mut groups = 0;
        let mut group_of = Vec::with_capacity(known.len());
        for (at, slide) in known.iter().enumerate() {
            groups += usize::from(at == 0 || known[at - 1].group != slide.group);
            group_of.push(groups - 1);
        }
        let of = |key: &String| {
            let target = |(at, slide): (usize, &&KnownSlide)| match slide.label.target(key) {
                Target::Scored(target) => Some((at, *target.distribution())),
                Target::NotApplicable { .. } | Target::Missing => None,
            };
            known.iter().enumerate().filter_map(target).unzip()
        };
        Self { group_of, groups, criteria: keys.iter().map(of).collect() }
    }
}

/// Ridge regression for each criterion.
#[derive(Debug, Clone)]
struct Regression {
    scale: Scale,
    criteria: Vec<Option<Ridge>>,
}

impl Regression {
    fn fit(rated: &Rated, mut rows: Vec<Vec<f32>>) -> Self {
        let scale = Scale::of(&rows);
        for row in &mut rows {
            scale.apply(row);
        }
        let gram = Gram::of(&rows);
        let fit = |(slides, targets): &(Vec<usize>, Vec<Distribution>)| {
            Ridge::fit(&rows, &gram, slides, targets, &rated.group_of)
        };
        Self { scale, criteria: rated.criteria.iter().map(fit).collect() }
    }

    /// What it says of the criteria that it could learn.
    fn known(&self, keys: &[String], numbers: &[f32]) -> BTreeMap<String, Distribution> {
        let said = keys.iter().zip(&self.criteria).zip(self.rate(numbers));
        said.filter(|((_, ridge), _)| ridge.is_some()).map(|((key, _), p)| (key.clone(), p)).collect()
    }

    fn rate(&self, numbers: &[f32]) -> Forecast {
        let mut row = numbers.to_vec();
        self.scale.apply(&mut row);
        self.criteria.iter().map(|ridge| ridge.as_ref().map_or(UNIFORM, |ridge| ridge.rate(&row))).collect()
    }
}

const UNIFORM: Distribution = [1.0 / Score::LEVELS as f64; Score::LEVELS];

fn features(image: &ImageNumbers) -> Vec<f32> {
    [image.mean.as_slice(), &image.spread].concat()
}

fn measured(image: &ImageNumbers) -> Vec<f32> {
    image.properties.values().map(|value| *value as f32).collect()
}

/// The properties, their squares and products of two.
fn products(image: &ImageNumbers) -> Vec<f32> {
    let of = &measured(image);
    let pairs = (0..of.len()).flat_map(|a| (0..=a).map(move |b| of[a] * of[b]));
    of.iter().copied().chain(pairs).collect()
}
