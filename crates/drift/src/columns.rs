use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slide_data::{Prediction, Score, expected_score};

/// What a feature says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureGroup {
    /// The slide as a picture, as in `picture.brightness`.
    Picture,
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
    /// Features that fewer than `min_slides` of either side have, or that never vary, are left out: they could only dilute the
    /// score.
    pub(crate) fn new(reference: &[&Prediction], recent: &[&Prediction], min_slides: usize) -> Self {
        let (ours, reference_decks) = cells(reference, 0);
        let (theirs, recent_decks) = cells(recent, reference_decks);
        let names: BTreeSet<&(FeatureGroup, String)> = ours.keys().chain(theirs.keys()).collect();
        let mut columns = Vec::new();
        let mut left_out = Vec::new();
        for key in names {
            match (ours.get(key), theirs.get(key)) {
                (Some(ours), Some(theirs)) if ours.len().min(theirs.len()) >= min_slides => {
                    let mut cells = [ours.as_slice(), theirs.as_slice()].concat();
                    cells.sort_by(|a, b| a.0.total_cmp(&b.0));
                    let varies = cells.first().map(|cell| cell.0) < cells.last().map(|cell| cell.0);
                    if varies {
                        columns.push(Column { group: key.0, name: key.1.clone(), cells });
                    } else {
                        left_out.push(key.1.clone());
                    }
                }
                _ => left_out.push(key.1.clone()),
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
            put(FeatureGroup::Picture, format!("picture.{name}"), *value);
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
