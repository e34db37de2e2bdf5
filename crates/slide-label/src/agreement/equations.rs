use std::ops::Range;

use super::RatingMatrix;

/// The least-squares equations of `score = slide + rater + noise` for the raters' effects (leniencies), each slide's own effect
/// eliminated: `normal · effects = right`.
#[derive(Debug, Clone)]
pub(super) struct Equations {
    /// `XᵀX`, row by row.
    normal: Vec<f64>,
    /// `Xᵀy`.
    pub(super) right: Vec<f64>,
    /// `yᵀy`: the scores' squared distances from the means of their slides.
    square: f64,
    /// How many scores there are, less one for each slide.
    pub(super) freedom: f64,
}

/// The raters' effects under a penalty.
pub(super) struct Solution {
    pub(super) effects: Vec<f64>,
    /// Of the normal equations with their penalty.
    pub(super) log_determinant: f64,
}

/// The mean of each rating of a slide, with its rater, over the criteria that all of them scored; `None` where there is none.
fn means(matrix: &RatingMatrix, slide: usize) -> Option<Vec<(usize, f64)>> {
    let raters = matrix.ratings(slide).len();
    let mut sums: Vec<(usize, f64)> =
        matrix.ratings(slide).map(|rating| (matrix.rater(rating), 0.0)).collect();
    let mut shared = 0.0;
    for criterion in 0..matrix.criteria().len() {
        if matrix.scores(slide, criterion).count() == raters {
            shared += 1.0;
            let scores = matrix.scores(slide, criterion);
            sums.iter_mut().zip(scores).for_each(|((_, sum), (_, score))| *sum += score as f64);
        }
    }
    if shared == 0.0 {
        return None;
    }
    for (_, sum) in &mut sums {
        *sum /= shared;
    }
    Some(sums)
}

impl Equations {
    fn new(raters: usize) -> Self {
        Self { normal: vec![0.0; raters * raters], right: vec![0.0; raters], square: 0.0, freedom: 0.0 }
    }

    /// Of these criteria, each score by itself.
    pub(super) fn of_criteria(matrix: &RatingMatrix, criteria: Range<usize>) -> Self {
        let mut equations = Self::new(matrix.raters().len());
        let mut scored = Vec::new();
        for slide in 0..matrix.slides().len() {
            for criterion in criteria.clone() {
                scored.clear();
                let scores = matrix.scores(slide, criterion);
                scored.extend(scores.map(|(rater, score)| (rater, score as f64)));
                equations.add(&scored);
            }
        }
        equations
    }

    /// Of each rating's mean over the criteria that all raters of its slide scored. What somebody gives to all criteria of one
    /// slide alike, because they liked it, counts once here and not once a criterion.
    pub(super) fn of_means(matrix: &RatingMatrix) -> Self {
        let mut equations = Self::new(matrix.raters().len());
        for slide in 0..matrix.slides().len() {
            if let Some(means) = means(matrix, slide) {
                equations.add(&means);
            }
        }
        equations
    }

    /// Adds one slide after its own effect is eliminated: `I − 11ᵀ/m` over its `m` raters.
    fn add(&mut self, scored: &[(usize, f64)]) {
        if scored.len() < 2 {
            return;
        }
        let raters = self.right.len();
        let share = 1.0 / scored.len() as f64;
        let mean = scored.iter().map(|(_, score)| score).sum::<f64>() * share;
        self.freedom += scored.len() as f64 - 1.0;
        for &(rater, score) in scored {
            self.square += (score - mean) * (score - mean);
            self.right[rater] += score - mean;
            self.normal[rater * raters + rater] += 1.0;
            for &(other, _) in scored {
                self.normal[rater * raters + other] -= share;
            }
        }
    }

    /// What the effects leave unexplained, `yᵀy − rightᵀ · effects`, at the solution under a penalty.
    pub(super) fn unexplained(&self, effects: &[f64]) -> f64 {
        self.square - dot(&self.right, effects)
    }

    /// What is left where these effects, which cost `freedom`, are taken out of the scores.
    pub(super) fn without(&self, effects: &[f64], freedom: f64) -> Self {
        let raters = effects.len();
        let taken: Vec<f64> =
            (0..raters).map(|row| dot(&self.normal[row * raters..][..raters], effects)).collect();
        let square = self.square - 2.0 * dot(&self.right, effects) + dot(effects, &taken);
        let right = self.right.iter().zip(&taken).map(|(right, taken)| right - taken).collect();
        let freedom = if self.freedom > 0.0 { (self.freedom - freedom).max(1.0) } else { 0.0 };
        Self { normal: self.normal.clone(), right, square, freedom }
    }

    /// The effects under the penalty `ridge · effects²`, by elimination.
    pub(super) fn solve(&self, ridge: f64) -> Solution {
        let n = self.right.len();
        let (mut matrix, mut right, mut log_determinant) = (self.normal.clone(), self.right.clone(), 0.0);
        (0..n).for_each(|row| matrix[row * n + row] += ridge);
        for pivot in 0..n {
            let (upper, lower) = matrix.split_at_mut((pivot + 1) * n);
            let pivot_row = &upper[pivot * n..];
            log_determinant += pivot_row[pivot].max(f64::MIN_POSITIVE).ln();
            for row in pivot + 1..n {
                let target = &mut lower[(row - pivot - 1) * n..(row - pivot) * n];
                let factor = target[pivot] / pivot_row[pivot];
                if factor != 0.0 {
                    target[pivot..].iter_mut().zip(&pivot_row[pivot..]).for_each(|(t, p)| *t -= factor * p);
                    right[row] -= factor * right[pivot];
                }
            }
        }
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|column| matrix[row * n + column] * right[column]).sum();
            right[row] = (right[row] - known) / matrix[row * n + row];
        }
        Solution { effects: right, log_determinant }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
