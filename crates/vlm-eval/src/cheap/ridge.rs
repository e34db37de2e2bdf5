//! Ridge regression of the five probabilities, in its dual form, as there are fewer slides than features: with centred rows X and
//! targets Y the weights are Xᵀ (X Xᵀ + λ I)⁻¹ Y (Saunders, Gammerman and Vovk, *Ridge Regression Learning Algorithm in Dual
//! Variables*, 1998).

use slide_data::{Score, expected_score};

use super::gram::{Cholesky, Gram, dot};
use super::{UNIFORM, folds};
use crate::table::Distribution;

const LEVELS: usize = Score::LEVELS;

/// Penalties that are tried, as multiples of the mean squared length of the centred rows.
const PENALTIES: [f64; 9] = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];

/// One linear function of a row for each score.
#[derive(Debug, Clone)]
pub(super) struct Ridge {
    weights: [Vec<f32>; LEVELS],
    intercept: Distribution,
}

impl Ridge {
    /// Fits the slides that are rated; `None` where they are of fewer than two groups.
    pub(super) fn fit(
        rows: &[Vec<f32>],
        gram: &Gram,
        slides: &[usize],
        targets: &[Distribution],
        group_of: &[usize],
    ) -> Option<Self> {
        let folds = folds(&slides.iter().map(|slide| group_of[*slide]).collect::<Vec<_>>())?;
        let data = Data { gram, slides, targets };
        let penalty = data.best_penalty(&folds)?;
        let all: Vec<usize> = (0..slides.len()).collect();
        let dual = data.system(&all).solve(penalty)?;
        Some(Self::of_dual(rows, slides, &dual))
    }

    fn of_dual(rows: &[Vec<f32>], slides: &[usize], dual: &Dual) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let n = slides.len() as f64;
        let mut centre = vec![0.0; width];
        for slide in slides {
            centre.iter_mut().zip(&rows[*slide]).for_each(|(sum, value)| *sum += f64::from(*value) / n);
        }
        let mut intercept = dual.target;
        let weights = std::array::from_fn(|level| {
            let mut weights = vec![0.0; width];
            for (slide, factor) in slides.iter().zip(&dual.factors[level]) {
                weights
                    .iter_mut()
                    .zip(&rows[*slide])
                    .for_each(|(sum, value)| *sum += factor * f64::from(*value));
            }
            intercept[level] -= weights.iter().zip(&centre).map(|(weight, mean)| weight * mean).sum::<f64>();
            weights.into_iter().map(|weight| weight as f32).collect()
        });
        Self { weights, intercept }
    }

    /// Weights and intercept of each score.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&[f32], f64)> {
        self.weights.iter().map(Vec::as_slice).zip(self.intercept)
    }

    /// The probabilities of 1 to 5: what the regression says, without what is below 0, divided by its sum.
    pub(super) fn rate(&self, row: &[f32]) -> Distribution {
        normalized(std::array::from_fn(|level| self.intercept[level] + dot(&self.weights[level], row)))
    }
}

fn normalized(values: Distribution) -> Distribution {
    let kept = values.map(|value| value.max(0.0));
    let sum: f64 = kept.iter().sum();
    if sum > 0.0 && sum.is_finite() { kept.map(|value| value / sum) } else { UNIFORM }
}

/// The rated slides of one criterion.
struct Data<'a> {
    gram: &'a Gram,
    slides: &'a [usize],
    targets: &'a [Distribution],
}

impl Data<'_> {
    /// The penalty whose expected scores err least, squared, on groups that were left out.
    fn best_penalty(&self, folds: &[Vec<usize>]) -> Option<f64> {
        let mut errors = [0.0; PENALTIES.len()];
        for held_out in folds {
            let learned: Vec<usize> =
                (0..self.slides.len()).filter(|place| !held_out.contains(place)).collect();
            let system = self.system(&learned);
            for (penalty, error) in PENALTIES.iter().zip(&mut errors) {
                *error += system.solve(*penalty).map_or(f64::INFINITY, |dual| {
                    held_out.iter().map(|place| self.squared_error(&system, &dual, *place)).sum()
                });
            }
        }
        let best = PENALTIES.iter().zip(errors).filter(|(_, error)| error.is_finite());
        best.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(penalty, _)| *penalty)
    }

    fn squared_error(&self, system: &System, dual: &Dual, place: usize) -> f64 {
        let row = self.slides[place];
        let products: Vec<f64> = system.rows.iter().map(|other| self.gram.get(row, *other)).collect();
        let said = normalized(dual.predict(&products, &system.means));
        (expected_score(&said) - expected_score(&self.targets[place])).powi(2)
    }

    /// The equations of some of the slides.
    fn system(&self, places: &[usize]) -> System {
        let n = places.len();
        let rows: Vec<usize> = places.iter().map(|place| self.slides[*place]).collect();
        let means = self.gram.means(&rows);
        let matrix = self.gram.centred(&rows, &means);
        let length = (0..n).map(|at| matrix[at * n + at]).sum::<f64>() / n as f64;
        let column = |level: usize| places.iter().map(move |place| self.targets[*place][level]);
        let target: Distribution = std::array::from_fn(|level| column(level).sum::<f64>() / n as f64);
        let right = std::array::from_fn(|level| column(level).map(|value| value - target[level]).collect());
        System { rows, means, matrix, length, target, right }
    }
}

/// The equations (K + λ I) α = Y of centred products K and targets Y.
struct System {
    rows: Vec<usize>,
    means: Vec<f64>,
    matrix: Vec<f64>,
    /// The mean squared length of the centred rows.
    length: f64,
    /// The mean target.
    target: Distribution,
    right: [Vec<f64>; LEVELS],
}

impl System {
    fn solve(&self, penalty: f64) -> Option<Dual> {
        let n = self.rows.len();
        let factored = Cholesky::of(&self.matrix, n, &vec![(penalty * self.length).max(1e-9); n])?;
        Some(Dual { target: self.target, factors: self.right.each_ref().map(|right| factored.solve(right)) })
    }
}

/// A fit in terms of the slides that were learned from.
struct Dual {
    target: Distribution,
    factors: [Vec<f64>; LEVELS],
}

impl Dual {
    /// What a row whose products with those that were learned from are given is said to be, `means` being the mean products of these.
    fn predict(&self, products: &[f64], means: &[f64]) -> Distribution {
        std::array::from_fn(|level| {
            let terms = self.factors[level].iter().zip(products).zip(means);
            self.target[level] + terms.map(|((factor, own), mean)| factor * (own - mean)).sum::<f64>()
        })
    }
}
