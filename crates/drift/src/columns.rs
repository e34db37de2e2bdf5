use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slide_data::{Prediction, Score, expected_score};

use crate::DriftConfig;

/// What a feature says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureGroup {
    /// The slide as an image, as in `picture.brightness`.
    #[serde(rename = "picture")]
    Image,
    /// What the model says: `score.<criterion>` (its mean) and `entropy.<criterion>` (its doubt, 0 to 1).
    Model,
}

/// One feature of all slides of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) group: FeatureGroup,
    /// Value and deck of each slide, in rising order of the values.
    pub(crate) cells: Vec<(f64, usize)>,
    /// Which decks have the feature.
    has: Vec<bool>,
    /// How many of them are recent.
    recent_decks: usize,
}

/// The features of the reference and of recent slides; decks are numbered, the reference's first.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) reference_decks: usize,
    pub(crate) recent_decks: usize,
    /// Features that one side has on too few slides, or that are the same on all.
    pub(crate) left_out: Vec<String>,
}

impl Table {
    /// Features that fewer than `min_slides` or `min_decks` of either side have, or that never vary, are left out: they could only dilute the
    /// score.
    pub(crate) fn new(reference: &[&Prediction], recent: &[&Prediction], config: &DriftConfig) -> Self {
        let (ours, reference_decks) = cells(reference, 0);
        let (theirs, recent_decks) = cells(recent, reference_decks);
        let names: BTreeSet<&(FeatureGroup, String)> = ours.keys().chain(theirs.keys()).collect();
        let mut columns = Vec::new();
        let mut left_out = Vec::new();
        for key in names {
            let side = |cells: &Cells| cells.get(key).cloned().unwrap_or_default();
            match Column::new(key, side(&ours), side(&theirs), config) {
                Some(column) => columns.push(column),
                None => left_out.push(key.1.clone()),
            }
        }
        Self { columns, reference_decks, recent_decks, left_out }
    }

    /// Whether each deck is recent.
    pub(crate) fn labels(&self) -> Vec<bool> {
        (0..self.reference_decks + self.recent_decks).map(|deck| deck >= self.reference_decks).collect()
    }
}

impl Column {
    fn new(
        (group, name): &(FeatureGroup, String),
        ours: Vec<(f64, usize)>,
        theirs: Vec<(f64, usize)>,
        config: &DriftConfig,
    ) -> Option<Self> {
        let decks = |cells: &[(f64, usize)]| cells.iter().map(|(_, deck)| *deck).collect::<BTreeSet<_>>();
        let (our_decks, their_decks) = (decks(&ours), decks(&theirs));
        let recent_decks = their_decks.len();
        let is_enough = ours.len().min(theirs.len()) >= config.min_slides
            && our_decks.len().min(recent_decks) >= config.min_decks;
        let mut cells = [ours, theirs].concat();
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        let varies = cells.first().map(|cell| cell.0) < cells.last().map(|cell| cell.0);
        let count = their_decks.last().map_or(0, |last| last + 1);
        let has = (0..count).map(|deck| our_decks.contains(&deck) || their_decks.contains(&deck)).collect();
        (is_enough && varies).then(|| Self { name: name.clone(), group: *group, cells, has, recent_decks })
    }

    /// Calls as many decks recent as are, the first in `order` among those that have the feature: a re-labelling that leaves
    /// decks without the feature aside.
    pub(crate) fn label_first(&self, order: &[usize], is_recent: &mut [bool]) {
        is_recent.fill(false);
        let having = order.iter().filter(|deck| self.has.get(**deck).copied().unwrap_or(false));
        for deck in having.take(self.recent_decks) {
            is_recent[*deck] = true;
        }
    }

    /// The values of each side (reference, recent), in rising order.
    pub(crate) fn sides(&self, is_recent: &[bool]) -> (Vec<f64>, Vec<f64>) {
        let side = |recent: bool| {
            self.cells
                .iter()
                .filter(|(_, deck)| is_recent[*deck] == recent)
                .map(|(value, _)| *value)
                .collect()
        };
        (side(false), side(true))
    }
}

type Cells = BTreeMap<(FeatureGroup, String), Vec<(f64, usize)>>;

fn cells(predictions: &[&Prediction], first_deck: usize) -> (Cells, usize) {
    let decks: BTreeSet<&str> = predictions.iter().map(|prediction| prediction.deck_id.as_str()).collect();
    let number: BTreeMap<&str, usize> = decks.iter().copied().zip(first_deck..).collect();
    let mut cells = Cells::new();
    for prediction in predictions {
        let deck = number[prediction.deck_id.as_str()];
        let mut put = |group, name: String, value: f64| {
            if value.is_finite() {
                cells.entry((group, name)).or_default().push((value, deck));
            }
        };
        for (name, value) in &prediction.features {
            put(FeatureGroup::Image, format!("picture.{name}"), *value);
        }
        for (key, distribution) in &prediction.distributions {
            put(FeatureGroup::Model, format!("score.{key}"), expected_score(distribution));
            put(FeatureGroup::Model, format!("entropy.{key}"), entropy(distribution));
        }
    }
    (cells, decks.len())
}

/// The entropy of a distribution as a share of the largest possible, 0 to 1; NaN where it is no distribution.
fn entropy(distribution: &[f64; Score::LEVELS]) -> f64 {
    let total: f64 = distribution.iter().sum();
    let term = |p: &f64| if *p > 0.0 { -(p / total) * (p / total).ln() } else { 0.0 };
    if distribution.iter().any(|p| *p < 0.0) || total <= 0.0 {
        return f64::NAN;
    }
    distribution.iter().map(term).sum::<f64>() / (Score::LEVELS as f64).ln()
}
