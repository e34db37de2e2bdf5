use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slide_data::{Prediction, Score, expected_score};

use crate::DriftConfig;
use crate::distances::Weighted;

/// What a feature says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureGroup {
    /// The slide as an image, as in `picture.brightness`.
    #[serde(rename = "picture")]
    Image,
    /// What the model says: `score.<criterion>` (its mean), `score.all` (the mean over criteria) and `entropy.<criterion>` (its doubt, 0 to 1).
    Model,
    /// Whether a slide has a score or a property at all: `presence.<criterion>`, `presence.picture.<property>`.
    Presence,
}

/// A slide's value of a feature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) value: f64,
    pub(crate) deck: usize,
    /// One over the deck's slides that have the feature, so that each deck weighs 1.
    pub(crate) weight: f64,
    /// The place of the slide on its side.
    pub(crate) slide: usize,
}

/// One feature of all slides of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) group: FeatureGroup,
    /// In rising order of the values.
    pub(crate) cells: Vec<Cell>,
    /// Which decks have the feature.
    pub(crate) has: Vec<bool>,
}

/// The features of the reference and of recent slides; decks are numbered, the reference's first.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// The names of the decks.
    pub(crate) decks: Vec<String>,
    pub(crate) reference_decks: usize,
    /// Features that one side has on too few slides or decks, or that are the same on all.
    pub(crate) left_out: Vec<String>,
}

type Key = (FeatureGroup, String);
type Cells = BTreeMap<Key, Vec<Cell>>;

impl Table {
    /// Features that fewer than `min_slides` or `min_decks` of either side have, or that never vary, are left out: there is nothing to
    /// compare. That a feature is missing is a feature of its own.
    pub(crate) fn new(reference: &[&Prediction], recent: &[&Prediction], config: &DriftConfig) -> Self {
        let keys = Keys::of(reference.iter().chain(recent));
        let (mut cells, mut decks) = (Cells::new(), Vec::new());
        for (side, is_reference) in [(reference, true), (recent, false)] {
            let names: BTreeSet<&str> = side.iter().map(|slide| slide.deck_id.as_str()).collect();
            let number: BTreeMap<&str, usize> = names.iter().copied().zip(decks.len()..).collect();
            decks.extend(names.iter().map(|name| (*name).to_owned()));
            keys.fill(side, &number, is_reference, &mut cells);
        }
        let reference_decks =
            reference.iter().map(|slide| slide.deck_id.as_str()).collect::<BTreeSet<_>>().len();
        let (mut columns, mut left_out) = (Vec::new(), Vec::new());
        for ((group, name), cells) in cells {
            let column = Column::new(group, name, cells, decks.len());
            if column.is_comparable(reference_decks, config) {
                columns.push(column);
            } else if group != FeatureGroup::Presence {
                left_out.push(column.name);
            }
        }
        Self { columns, decks, reference_decks, left_out }
    }
}

/// Which criteria and properties there are on either side.
struct Keys {
    criteria: BTreeSet<String>,
    properties: BTreeSet<String>,
}

impl Keys {
    fn of<'a>(slides: impl Iterator<Item = &'a &'a Prediction>) -> Self {
        let mut keys = Self { criteria: BTreeSet::new(), properties: BTreeSet::new() };
        for slide in slides {
            keys.criteria.extend(slide.distributions.keys().cloned());
            keys.properties.extend(slide.features.keys().cloned());
        }
        keys
    }

    fn fill(
        &self,
        side: &[&Prediction],
        number: &BTreeMap<&str, usize>,
        is_reference: bool,
        cells: &mut Cells,
    ) {
        // Of slides that were trained on only the image is kept: a deck of the reference without any score was never scored.
        let has_score = |slide: &&&Prediction| slide.distributions.values().any(is_distribution);
        let scored: BTreeSet<&str> =
            side.iter().filter(has_score).map(|slide| slide.deck_id.as_str()).collect();
        for (place, slide) in side.iter().enumerate() {
            let deck = number[slide.deck_id.as_str()];
            let mut put = |group, name: String, value: f64| {
                let cell = Cell { value, deck, weight: 1.0, slide: place };
                cells.entry((group, name)).or_default().push(cell);
            };
            self.image(slide, &mut put);
            if !is_reference || scored.contains(slide.deck_id.as_str()) {
                self.scores(slide, &mut put);
            }
        }
    }

    fn image(&self, slide: &Prediction, put: &mut impl FnMut(FeatureGroup, String, f64)) {
        for name in &self.properties {
            let value = slide.features.get(name).filter(|value| value.is_finite());
            if let Some(value) = value {
                put(FeatureGroup::Image, format!("picture.{name}"), *value);
            }
            put(
                FeatureGroup::Presence,
                format!("presence.picture.{name}"),
                f64::from(u8::from(value.is_some())),
            );
        }
    }

    fn scores(&self, slide: &Prediction, put: &mut impl FnMut(FeatureGroup, String, f64)) {
        let mut means = Vec::new();
        for key in &self.criteria {
            let distribution = slide.distributions.get(key).filter(|shares| is_distribution(shares));
            if let Some(shares) = distribution {
                means.push(expected_score(shares));
                put(FeatureGroup::Model, format!("score.{key}"), expected_score(shares));
                put(FeatureGroup::Model, format!("entropy.{key}"), entropy(shares));
            }
            put(
                FeatureGroup::Presence,
                format!("presence.{key}"),
                f64::from(u8::from(distribution.is_some())),
            );
        }
        if let Some(mean) = statistics::mean(&means).filter(|_| self.criteria.len() > 1) {
            put(FeatureGroup::Model, "score.all".to_owned(), mean);
        }
    }
}

impl Column {
    fn new(group: FeatureGroup, name: String, mut cells: Vec<Cell>, decks: usize) -> Self {
        let mut slides = vec![0usize; decks];
        for cell in &cells {
            slides[cell.deck] += 1;
        }
        for cell in &mut cells {
            cell.weight = 1.0 / slides[cell.deck] as f64;
        }
        cells.sort_by(|a, b| a.value.total_cmp(&b.value).then(a.deck.cmp(&b.deck)));
        let has = slides.iter().map(|count| *count > 0).collect();
        Self { name, group, cells, has }
    }

    /// How many slides of each side (reference, recent) have it.
    pub(crate) fn slides(&self, reference_decks: usize) -> [usize; 2] {
        let reference = self.cells.iter().filter(|cell| cell.deck < reference_decks).count();
        [reference, self.cells.len() - reference]
    }

    /// How many decks of each side (reference, recent) have it.
    pub(crate) fn decks(&self, reference_decks: usize) -> [usize; 2] {
        let count = |has: &[bool]| has.iter().filter(|has| **has).count();
        [count(&self.has[..reference_decks]), count(&self.has[reference_decks..])]
    }

    fn is_comparable(&self, reference_decks: usize, config: &DriftConfig) -> bool {
        let varies = self.cells.first().map(|cell| cell.value) < self.cells.last().map(|cell| cell.value);
        varies
            && self.slides(reference_decks).into_iter().all(|slides| slides >= config.min_slides)
            && self.decks(reference_decks).into_iter().all(|decks| decks >= config.min_decks)
    }

    /// The values of each side (reference, recent), each deck weighing alike.
    pub(crate) fn sides(&self, reference_decks: usize) -> [Weighted; 2] {
        let side = |recent: bool| {
            let own = self.cells.iter().filter(|cell| (cell.deck >= reference_decks) == recent);
            Weighted::new(own.map(|cell| (cell.value, cell.weight)).collect())
        };
        [side(false), side(true)]
    }
}

/// Whether five numbers are shares that sum to 1; what else a log may hold is a score that is missing.
pub(crate) fn is_distribution(shares: &[f64; Score::LEVELS]) -> bool {
    shares.iter().all(|share| *share >= 0.0) && (shares.iter().sum::<f64>() - 1.0).abs() <= 0.01
}

/// The entropy of a distribution as a share of the largest possible, 0 to 1.
fn entropy(distribution: &[f64; Score::LEVELS]) -> f64 {
    let total: f64 = distribution.iter().sum();
    let term = |p: &f64| if *p > 0.0 { -(p / total) * (p / total).ln() } else { 0.0 };
    distribution.iter().map(term).sum::<f64>() / (Score::LEVELS as f64).ln()
}
