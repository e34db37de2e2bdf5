//! Logistic regression with a quadratic penalty, in its dual form, fitted by Newton's method (Hastie, Tibshirani and Friedman, *The
//! Elements of Statistical Learning*, sections 4.4.1 and 12.3.3). Targets are probabilities: the share of people who say yes.

use super::gram::{Cholesky, Gram};

/// Penalties that are tried, for rows whose mean squared length is 1.
pub(super) const PENALTIES: [f64; 7] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// The intercept is the weight of a feature with this square on every row: next to free.
const FREE: f64 = 1e4;
/// Newton steps at most; a handful is usual.
const STEPS: usize = 50;

/// A fit in terms of the rows that were learned from.
pub(super) struct Logistic<'a> {
    gram: &'a Gram,
    rows: &'a [usize],
    length: f64,
    factors: Vec<f64>,
}

impl<'a> Logistic<'a> {
    /// Fits the probabilities of some rows; `None` where the equations cannot be solved.
    pub(super) fn fit(gram: &'a Gram, rows: &'a [usize], targets: &[f64], penalty: f64) -> Option<Self> {
        let n = rows.len();
        let length = rows.iter().map(|row| gram.get(*row, *row)).sum::<f64>() / n as f64;
        let length = if length > 0.0 { length } else { 1.0 };
        let kernel: Vec<f64> =
            rows.iter().flat_map(|a| rows.iter().map(move |b| gram.get(*a, *b) / length + FREE)).collect();
        let (mut factors, mut odds) = (vec![0.0; n], vec![0.0; n]);
        for _ in 0..STEPS {
            let p: Vec<f64> = odds.iter().map(|odds: &f64| sigmoid(*odds)).collect();
            let weights: Vec<f64> = p.iter().map(|p| (p * (1.0 - p)).max(1e-9)).collect();
            let right: Vec<f64> = (0..n).map(|at| odds[at] + (targets[at] - p[at]) / weights[at]).collect();
            let diagonal: Vec<f64> = weights.iter().map(|weight| penalty / weight).collect();
            factors = Cholesky::of(&kernel, n, &diagonal)?.solve(&right);
            let next: Vec<f64> = kernel
                .chunks_exact(n)
                .map(|row| row.iter().zip(&factors).map(|(product, factor)| product * factor).sum())
                .collect();
            let moved = next.iter().zip(&odds).map(|(a, b): (&f64, &f64)| (a - b).abs()).fold(0.0, f64::max);
            odds = next;
            if moved < 1e-9 {
                break;
            }
        }
        factors.iter().all(|factor| factor.is_finite()).then_some(Self { gram, rows, length, factors })
    }

    /// The log-odds of another row of the same products.
    pub(super) fn log_odds(&self, row: usize) -> f64 {
        let terms = self.rows.iter().zip(&self.factors);
        terms.map(|(other, factor)| factor * (self.gram.get(row, *other) / self.length + FREE)).sum()
    }

    /// One weight a column, and the intercept.
    pub(super) fn primal(&self, rows: &[Vec<f32>]) -> (Vec<f64>, f64) {
        let mut weights = vec![0.0; rows.first().map_or(0, Vec::len)];
        for (row, factor) in self.rows.iter().zip(&self.factors) {
            let scaled = factor / self.length;
            weights.iter_mut().zip(&rows[*row]).for_each(|(sum, value)| *sum += scaled * f64::from(*value));
        }
        (weights, FREE * self.factors.iter().sum::<f64>())
    }
}

pub(super) fn sigmoid(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// −log-likelihood of a probability under a target that is itself one.
pub(super) fn log_loss(odds: f64, target: f64) -> f64 {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    softplus(odds) - target * odds
}
