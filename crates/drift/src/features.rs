use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slide_data::{Prediction, Score, expected_score};

use crate::DriftConfig;
use crate::distances::Weighted;
use crate::failures::{self, Part, Parts};

/// What a feature says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureGroup {
    /// The slide as an image, as in `picture.brightness`.
    #[serde(rename = "picture")]
    Image,
    /// What the model says: `score.<criterion>` (its mean), `score.all` (the mean over criteria) and `entropy.<criterion>` (its doubt, 0 to 1).
    Model,
    /// Whether a slide has a score or a property at all: `presence.<criterion>`, `presence.picture.<property>`; and whether what was handed in
    /// became a slide: `presence.readable` (no error), `presence.accepted` (no refusal).
    Presence,
}

/// A slide's value of a feature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) value: f64,
    pub(crate) deck: usize,
    /// One over the deck's slides that have the feature, so that each deck weighs 1.
    pub(crate) weight: f64,
    /// The place of the slide on its side; none has the largest number.
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
    /// The names of the decks, those of which nothing but failures is known among them.
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
    pub(crate) fn new(
        reference: &[&Prediction],
        recent: &[&Prediction],
        handed_in: &Parts,
        config: &DriftConfig,
    ) -> Self {
        let keys = Keys::of(reference, recent);
        let (mut cells, mut decks) = (Cells::new(), Vec::new());
        let mut reference_decks = 0;
        for (side, parts, is_reference) in
            [(reference, &handed_in.reference, true), (recent, &handed_in.recent, false)]
        {
            let of_slides = side.iter().map(|slide| slide.deck_id.as_str());
            let names: BTreeSet<&str> =
                of_slides.chain(parts.iter().map(|part| part.deck.as_str())).collect();
            let number: BTreeMap<&str, usize> = names.iter().copied().zip(decks.len()..).collect();
            decks.extend(names.iter().map(|name| (*name).to_owned()));
            keys.fill(side, &number, is_reference, &mut cells);
            add_failures(parts, &number, &mut cells);
            if is_reference {
                reference_decks = decks.len();
            }
        }
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

fn add_failures(parts: &[Part], number: &BTreeMap<&str, usize>, cells: &mut Cells) {
    for (name, values) in failures::features(parts) {
        let own = cells.entry((FeatureGroup::Presence, name.to_owned())).or_default();
        // No slide stands for a part.
        let cell =
            |(deck, value): (&str, f64)| Cell { value, deck: number[deck], weight: 1.0, slide: usize::MAX };
        own.extend(values.into_iter().map(cell));
    }
}

/// Which criteria and properties there are on either side.
struct Keys {
    criteria: BTreeSet<String>,
    properties: BTreeSet<String>,
    /// The properties that the program knew which made the reference: of others it says nothing that they are missing there.
    known: BTreeSet<String>,
}

impl Keys {
    fn of(reference: &[&Prediction], recent: &[&Prediction]) -> Self {
        let (mut criteria, mut properties) = (BTreeSet::new(), BTreeSet::new());
        let mut known = BTreeSet::new();
        for slide in reference {
            add_new(&mut known, slide.features.keys());
        }
        for slide in reference.iter().chain(recent) {
            add_new(&mut criteria, slide.distributions.keys());
            add_new(&mut properties, slide.features.keys());
        }
        Self { criteria, properties, known }
    }

    /// Column by column, so that a name is made once and not for each slide.
    fn fill(
        &self,
        side: &[&Prediction],
        number: &BTreeMap<&str, usize>,
        is_reference: bool,
        cells: &mut Cells,
    ) {
        let decks: Vec<usize> = side.iter().map(|slide| number[slide.deck_id.as_str()]).collect();
        let mut put = |group, name: String, values: Vec<(usize, f64)>| {
            if !values.is_empty() {
                let cell =
                    |(slide, value): (usize, f64)| Cell { value, deck: decks[slide], weight: 1.0, slide };
                cells.entry((group, name)).or_default().extend(values.into_iter().map(cell));
            }
        };
        self.images(side, &mut put);
        // Of slides that were trained on only the image is kept: a deck of the reference without any score was never scored.
        let has_score = |slide: &&&Prediction| slide.distributions.values().any(is_distribution);
        let scored: BTreeSet<&str> =
            side.iter().filter(has_score).map(|slide| slide.deck_id.as_str()).collect();
        let counts = |slide: &Prediction| !is_reference || scored.contains(slide.deck_id.as_str());
        let counted: Vec<usize> = (0..side.len()).filter(|place| counts(side[*place])).collect();
        self.scores(side, &counted, &mut put);
    }

    fn images(&self, side: &[&Prediction], put: &mut impl FnMut(FeatureGroup, String, Vec<(usize, f64)>)) {
        for name in &self.properties {
            let value =
                |slide: &Prediction| slide.features.get(name).copied().filter(|value| value.is_finite());
            let values: Vec<Option<f64>> = side.iter().map(|slide| value(slide)).collect();
            put(FeatureGroup::Image, format!("picture.{name}"), there(&values));
            if self.known.contains(name) {
                put(
                    FeatureGroup::Presence,
                    format!("presence.picture.{name}"),
                    presence(0..side.len(), &values),
                );
            }
        }
    }

    fn scores(
        &self,
        side: &[&Prediction],
        counted: &[usize],
        put: &mut impl FnMut(FeatureGroup, String, Vec<(usize, f64)>),
    ) {
        let mut means: Vec<Vec<f64>> = vec![Vec::new(); side.len()];
        for key in &self.criteria {
            let (mut scores, mut entropies) = (vec![None; side.len()], vec![None; side.len()]);
            for place in counted {
                let distribution = side[*place].distributions.get(key);
                if let Some(shares) = distribution.filter(|shares| is_distribution(shares)) {
                    scores[*place] = Some(expected_score(shares));
                    entropies[*place] = Some(entropy(shares));
                    means[*place].push(expected_score(shares));
                }
            }
            put(FeatureGroup::Model, format!("score.{key}"), there(&scores));
            put(FeatureGroup::Model, format!("entropy.{key}"), there(&entropies));
            put(
                FeatureGroup::Presence,
                format!("presence.{key}"),
                presence(counted.iter().copied(), &scores),
            );
        }
        if self.criteria.len() > 1 {
            let all: Vec<Option<f64>> = means.iter().map(|means| statistics::mean(means)).collect();
            put(FeatureGroup::Model, "score.all".to_owned(), there(&all));
        }
    }
}

/// Adds the keys that are not there; most are, and are not copied.
fn add_new<'a>(known: &mut BTreeSet<String>, keys: impl Iterator<Item = &'a String>) {
    for key in keys {
        if !known.contains(key) {
            known.insert(key.clone());
        }
    }
}

/// The values that there are, with the places of their slides.
fn there(values: &[Option<f64>]) -> Vec<(usize, f64)> {
    values.iter().enumerate().filter_map(|(place, value)| Some((place, (*value)?))).collect()
}

/// Of these slides 1 where there is a value, else 0.
fn presence(places: impl Iterator<Item = usize>, values: &[Option<f64>]) -> Vec<(usize, f64)> {
    places.map(|place| (place, f64::from(u8::from(values[place].is_some())))).collect()
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
