//! What each deck gives of a feature.
//!
//! The mean of a short deck lies farther away by chance than that of a long one. Re-labelling takes decks for exchangeable, so each mean is
//! brought to the spread that the means of all have: with the variances between and within decks of a one-way layout (Searle et al. 1992,
//! unweighted means), which are estimated over both sides together.

use crate::features::Column;

/// Numbers that a deck gives of each feature: the mean rank of its slides among all, and its shares of slides below the first and above the
/// ninth decile.
pub(crate) const FUNCTIONS: usize = 3;

/// What the decks give of one column; `means[deck]` is centred, of one spread whatever the deck's size, and 0 for decks without the
/// feature.
#[derive(Debug)]
pub(crate) struct DeckMeans {
    pub(crate) means: Vec<[f64; FUNCTIONS]>,
}

impl DeckMeans {
    pub(crate) fn new(column: &Column) -> Self {
        let (mut means, mut sizes) = (vec![[0.0; FUNCTIONS]; column.has.len()], vec![0.0; column.has.len()]);
        let mut squares = [0.0; FUNCTIONS];
        for (cell, rank) in column.cells.iter().zip(ranks(column)) {
            let functions = [rank, f64::from(u8::from(rank < 0.1)), f64::from(u8::from(rank > 0.9))];
            for (function, value) in functions.into_iter().enumerate() {
                means[cell.deck][function] += cell.weight * value;
                squares[function] += value * value;
            }
            sizes[cell.deck] += 1.0;
        }
        let decks = column.has.iter().filter(|has| **has).count() as f64;
        for function in 0..FUNCTIONS {
            let centre = means.iter().map(|mean| mean[function]).sum::<f64>() / decks;
            let own = means.iter().zip(&sizes).filter(|(_, size)| **size > 0.0);
            let own: Vec<(f64, f64)> = own.map(|(mean, size)| (mean[function], *size)).collect();
            let spread = Spread::of(&own, squares[function], centre);
            let centre = spread.centre(&own);
            for (mean, size) in means.iter_mut().zip(&sizes).filter(|(_, size)| **size > 0.0) {
                mean[function] = (mean[function] - centre) * spread.factor(*size);
            }
        }
        Self { means }
    }
}

/// The variances of a one-way layout.
struct Spread {
    between: f64,
    within: f64,
    /// The mean over decks of one over their size.
    of_size: f64,
}

impl Spread {
    /// From the means and sizes of decks, the sum of squares of all values, and the mean of the means.
    fn of(decks: &[(f64, f64)], squares: f64, centre: f64) -> Self {
        let count = decks.len() as f64;
        let (values, of_means) = decks.iter().fold((0.0, 0.0), |(values, of_means), (mean, size)| {
            (values + size, of_means + size * mean * mean)
        });
        let within = (squares - of_means).max(0.0) / (values - count).max(1.0);
        let of_size = decks.iter().map(|(_, size)| size.recip()).sum::<f64>() / count;
        let spread =
            decks.iter().map(|(mean, _)| (mean - centre).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        Self { between: (spread - within * of_size).max(0.0), within, of_size }
    }

    fn of_mean(&self, size: f64) -> f64 {
        self.between + self.within / size
    }

    /// The mean of the means, each weighing as much as it is sure of. That of all alike would be moved by short decks, and the others, which
    /// lie close together, would seem to lie on one side of it.
    fn centre(&self, decks: &[(f64, f64)]) -> f64 {
        let is_certain = decks.iter().any(|(_, size)| self.of_mean(*size) <= 0.0);
        let weight = |size: f64| if is_certain { 1.0 } else { self.of_mean(size).recip() };
        let (sum, weights) = decks.iter().fold((0.0, 0.0), |(sum, weights), (mean, size)| {
            (sum + weight(*size) * mean, weights + weight(*size))
        });
        sum / weights
    }

    /// What brings the mean of a deck of so many slides to the spread that means have on average.
    fn factor(&self, size: f64) -> f64 {
        let (own, usual) = (self.of_mean(size), self.between + self.within * self.of_size);
        if own > 0.0 { (usual / own).sqrt() } else { 1.0 }
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
