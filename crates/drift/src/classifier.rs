//! A classifier that tells decks apart: logistic regression on principal components, cross-fitted by deck.

use crate::principal::Principal;

/// Newton steps at most; a handful is enough.
const MOST_STEPS: usize = 50;
/// A fit is done where no coefficient moves by more.
const TOLERANCE: f64 = 1e-10;
/// Parts that the decks of each side are divided into; each part is judged by a fit on the others.
const FOLDS: usize = 5;

/// Decks as rows of principal components, a one behind each for the constant.
#[derive(Debug)]
pub(crate) struct Design {
    width: usize,
    rows: Vec<f64>,
}

/// What one fit makes of a row: coefficients, and the constant last.
pub(crate) type Fit = Vec<f64>;

/// What is minimized, at some coefficients, with its derivatives.
struct Loss {
    value: f64,
    gradient: Vec<f64>,
    /// Row by row, what lies on and below the diagonal.
    hessian: Vec<f64>,
}

impl Design {
    /// Decks × `width` numbers.
    pub(crate) fn new(width: usize, rows: &[f64]) -> Self {
        let with_one = |row: &[f64]| row.iter().copied().chain([1.0]).collect::<Vec<f64>>();
        Self { width, rows: rows.chunks_exact(width.max(1)).flat_map(with_one).collect() }
    }

    /// The components of the mean vector of each deck.
    pub(crate) fn of(means: &[Vec<f64>], principal: &Principal) -> Self {
        let rows: Vec<f64> = means.iter().flat_map(|mean| principal.components(mean)).collect();
        Self::new(principal.count(), &rows)
    }

    /// Components of a deck, and a one.
    fn row(&self, deck: usize) -> &[f64] {
        let size = self.width + 1;
        &self.rows[deck * size..(deck + 1) * size]
    }

    fn decks(&self) -> usize {
        self.rows.len() / (self.width + 1)
    }

    /// The fits of the labelling that calls the first `recent` decks of `order` recent, with the fold of each deck. The decks of each
    /// side go into the folds by turns.
    pub(crate) fn cross_fit(&self, order: &[usize], recent: usize) -> (Vec<Fit>, Vec<usize>) {
        let folds = FOLDS.min(recent).min(order.len() - recent).max(2);
        let (mut fold, mut is_recent) = (vec![0; self.decks()], vec![false; self.decks()]);
        for (place, deck) in order.iter().enumerate() {
            is_recent[*deck] = place < recent;
            fold[*deck] = if place < recent { place % folds } else { (place - recent) % folds };
        }
        let fit = |own: usize| {
            let others: Vec<usize> = order.iter().copied().filter(|deck| fold[*deck] != own).collect();
            self.fit(&others, &is_recent)
        };
        ((0..folds).map(fit).collect(), fold)
    }

    /// How recent each deck looks to the fit that did not know it: the logarithm of the odds.
    pub(crate) fn held_out(&self, (fits, fold): &(Vec<Fit>, Vec<usize>)) -> Vec<f64> {
        (0..self.decks()).map(|deck| product(&fits[fold[deck]], self.row(deck))).collect()
    }

    /// The area under the curve of [`held_out`](Self::held_out).
    pub(crate) fn auc(&self, order: &[usize], recent: usize) -> f64 {
        let scores = self.held_out(&self.cross_fit(order, recent));
        let side = |decks: &[usize]| decks.iter().map(|deck| scores[*deck]).collect::<Vec<f64>>();
        auc(&side(&order[recent..]), &side(&order[..recent]))
    }

    /// Logistic regression with half the squared length of the coefficients as penalty, the constant free (scikit-learn's
    /// `LogisticRegression(C=1)`), by Newton's method.
    pub(crate) fn fit(&self, decks: &[usize], is_recent: &[bool]) -> Fit {
        let mut fit = vec![0.0; self.width + 1];
        let mut loss = self.loss(&fit, decks, is_recent);
        for _ in 0..MOST_STEPS {
            let mut step = loss.gradient;
            if !solve(&mut loss.hessian, &mut step) {
                break;
            }
            // Far from the optimum a whole step may be too long.
            let mut share = 1.0;
            let (next, next_loss) = loop {
                let next: Fit = fit.iter().zip(&step).map(|(at, step)| at - share * step).collect();
                let next_loss = self.loss(&next, decks, is_recent);
                if next_loss.value <= loss.value || share < 1e-6 {
                    break (next, next_loss);
                }
                share /= 2.0;
            };
            let moved = step.iter().fold(0.0f64, |most, step| most.max((share * step).abs()));
            (fit, loss) = (next, next_loss);
            if moved < TOLERANCE {
                break;
            }
        }
        fit
    }

    fn loss(&self, fit: &[f64], decks: &[usize], is_recent: &[bool]) -> Loss {
        /// So many factors of at most 2 are multiplied before their logarithm is taken: one logarithm for many decks.
        const FACTORS: usize = 512;
        let (width, size) = (self.width, self.width + 1);
        let mut value = fit[..width].iter().map(|weight| weight * weight).sum::<f64>() / 2.0;
        let mut gradient = fit.to_vec();
        gradient[width] = 0.0;
        let mut hessian = vec![0.0; size * size];
        (0..width).for_each(|at| hessian[at * size + at] = 1.0);
        for decks in decks.chunks(FACTORS) {
            let mut factors = 1.0;
            for deck in decks {
                let (row, is_recent) = (self.row(*deck), is_recent[*deck]);
                let odds = product(fit, row);
                // ln(1 + e^margin) = max(margin, 0) + ln(1 + e^-|margin|), which overflows neither way.
                let small = (-odds.abs()).exp();
                value += if is_recent { -odds } else { odds }.max(0.0);
                factors *= 1.0 + small;
                let share = if odds < 0.0 { small } else { 1.0 } / (1.0 + small);
                add_row(&mut gradient, share - f64::from(u8::from(is_recent)), row);
                let weight = share * (1.0 - share);
                for (at, line) in hessian.chunks_exact_mut(size).enumerate() {
                    add_row(&mut line[..=at], weight * row[at], row);
                }
            }
            value += factors.ln();
        }
        Loss { value, gradient, hessian }
    }
}

/// Adds so many times the beginning of a row.
fn add_row(sums: &mut [f64], times: f64, row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += times * value;
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The logarithm of the odds that a row is recent.
pub(crate) fn odds(fit: &[f64], row: &[f64]) -> f64 {
    product(row, fit) + fit[row.len()]
}

/// Solves for a symmetric positive matrix, given by its lower half, in place (Cholesky); `false` where it is not positive.
fn solve(matrix: &mut [f64], vector: &mut [f64]) -> bool {
    let size = vector.len();
    for row in 0..size {
        for column in 0..=row {
            let (own, other) = (row * size, column * size);
            let sum: f64 = (0..column).map(|at| matrix[own + at] * matrix[other + at]).sum();
            let rest = matrix[own + column] - sum;
            if row > column {
                matrix[own + column] = rest / matrix[other + column];
            } else if rest > 0.0 {
                matrix[own + row] = rest.sqrt();
            } else {
                return false;
            }
        }
    }
    for row in 0..size {
        let sum: f64 = (0..row).map(|at| matrix[row * size + at] * vector[at]).sum();
        vector[row] = (vector[row] - sum) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let sum: f64 = (row + 1..size).map(|at| matrix[at * size + row] * vector[at]).sum();
        vector[row] = (vector[row] - sum) / matrix[row * size + row];
    }
    true
}

/// The chance that a recent number is larger than one of the reference, equal ones counting half (Mann and Whitney 1947).
pub(crate) fn auc(reference: &[f64], recent: &[f64]) -> f64 {
    let sorted = statistics::sorted(reference);
    let below = |value: &f64| {
        let less = sorted.partition_point(|other| other < value);
        let not_more = sorted.partition_point(|other| other <= value);
        (less + not_more) as f64 / 2.0
    };
    recent.iter().map(below).sum::<f64>() / (reference.len() * recent.len()) as f64
}

#[cfg(test)]
mod tests {
    use pq_testing::assert_close;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        rows: Vec<Vec<f64>>,
        order: Vec<usize>,
        recent: usize,
        coefficients: Vec<f64>,
        held_out: Vec<f64>,
        auc: f64,
    }

    fn cases() -> Vec<Case> {
        #[derive(Deserialize)]
        struct Reference {
            classifier: Vec<Case>,
        }
        let text = include_str!("../tests/reference/vision.json");
        serde_json::from_str::<Reference>(text).unwrap().classifier
    }

    #[test]
    fn fits_odds_and_area_equal_scikit_learns() {
        let cases = cases();
        assert!(cases.len() > 2);
        for case in cases {
            let design = Design::new(case.rows[0].len(), &case.rows.concat());
            let mut is_recent = vec![false; case.rows.len()];
            case.order[..case.recent].iter().for_each(|deck| is_recent[*deck] = true);
            assert_close(&design.fit(&case.order, &is_recent), &case.coefficients, 1e-6);
            let scores = design.held_out(&design.cross_fit(&case.order, case.recent));
            assert_close(&scores, &case.held_out, 1e-6);
            assert_close(&[design.auc(&case.order, case.recent)], &[case.auc], 1e-12);
        }
    }

    #[test]
    fn equal_numbers_count_half() {
        assert_close(&[auc(&[1.0, 2.0], &[2.0, 3.0])], &[0.875], 1e-15);
        assert_close(&[auc(&[1.0; 3], &[1.0; 4])], &[0.5], 1e-15);
    }
}
