//! What each deck gives of a feature.

use crate::features::Column;

/// Numbers that a deck gives of each feature: the mean rank of its slides among all, and its shares of slides below the first and above the
/// ninth decile.
pub(crate) const FUNCTIONS: usize = 3;

/// What the decks give of one column; `means[deck]` is centred, and 0 for decks without the feature.
#[derive(Debug)]
pub(crate) struct DeckMeans {
    pub(crate) means: Vec<[f64; FUNCTIONS]>,
}

impl DeckMeans {
    pub(crate) fn new(column: &Column) -> Self {
        let mut means = vec![[0.0; FUNCTIONS]; column.has.len()];
        for (cell, rank) in column.cells.iter().zip(ranks(column)) {
            let functions = [rank, f64::from(u8::from(rank < 0.1)), f64::from(u8::from(rank > 0.9))];
            for (mean, value) in means[cell.deck].iter_mut().zip(functions) {
                *mean += cell.weight * value;
            }
        }
        let decks = column.has.iter().filter(|has| **has).count() as f64;
        for function in 0..FUNCTIONS {
            let centre = means.iter().map(|mean| mean[function]).sum::<f64>() / decks;
            for (mean, _) in means.iter_mut().zip(&column.has).filter(|(_, has)| **has) {
                mean[function] -= centre;
            }
        }
        Self { means }
    }
}

/// The place of each cell among all, 0 to 1, each deck weighing alike; equal values share the middle of their places.
fn ranks(column: &Column) -> Vec<f64> {
    let total: f64 = column.cells.iter().map(|cell| cell.weight).sum();
    let mut ranks = Vec::with_capacity(column.cells.len());
    let mut below = 0.0;
    for ties in column.cells.chunk_by(|a, b| a.value.total_cmp(&b.value).is_eq()) {
        let weight: f64 = ties.iter().map(|cell| cell.weight).sum();
        ranks.extend(std::iter::repeat_n((below + weight / 2.0) / total, ties.len()));
        below += weight;
    }
    ranks
}
