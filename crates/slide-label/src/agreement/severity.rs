use super::RatingMatrix;

/// The ridge picks the smallest solution where the data leave it open (raters in unconnected groups, the common shift).
const RIDGE: f64 = 1e-6;

/// How many points each rater scores below the others on the same slides (severity; negative for a lenient rater).
///
/// The least-squares solution of `score = slide + rater` over one criterion, or over all where `criterion` is `None`, with the
/// raters' effects summing to zero. Raters who share no slide with anybody have none.
pub fn severity(matrix: &RatingMatrix, criterion: Option<usize>) -> Vec<f64> {
    let raters = matrix.raters().len();
    let mut equations = Equations { normal: vec![0.0; raters * raters], right: vec![0.0; raters], raters };
    let criteria = criterion.map_or(0..matrix.criteria().len(), |index| index..index + 1);
    let mut scored = Vec::new();
    for slide in 0..matrix.slides().len() {
        for criterion in criteria.clone() {
            scored.clear();
            scored.extend(matrix.scores(slide, criterion));
            if scored.len() >= 2 {
                equations.add(&scored);
            }
        }
    }
    equations.solve().iter().map(|leniency| -leniency).collect()
}

/// The normal equations of the raters' effects; only the upper half is filled until they are solved.
struct Equations {
    normal: Vec<f64>,
    right: Vec<f64>,
    raters: usize,
}

impl Equations {
    /// Adds one slide after its own effect is eliminated: `I − 11ᵀ/m` over its `m` raters.
    fn add(&mut self, scored: &[(usize, usize)]) {
        let share = 1.0 / scored.len() as f64;
        let mean = scored.iter().map(|(_, score)| score).sum::<usize>() as f64 * share;
        for (place, &(rater, score)) in scored.iter().enumerate() {
            self.right[rater] += score as f64 - mean;
            self.normal[rater * self.raters + rater] += 1.0;
            for &(other, _) in &scored[place..] {
                self.normal[rater.min(other) * self.raters + rater.max(other)] -= share;
            }
        }
    }

    fn solve(mut self) -> Vec<f64> {
        for row in 0..self.raters {
            self.normal[row * self.raters + row] += RIDGE;
            for column in 0..row {
                self.normal[row * self.raters + column] = self.normal[column * self.raters + row];
            }
        }
        solve(&mut self.normal, &mut self.right);
        self.right
    }
}

/// Solves the symmetric positive definite system in place by elimination.
fn solve(matrix: &mut [f64], right: &mut [f64]) {
    let n = right.len();
    for pivot in 0..n {
        let (upper, lower) = matrix.split_at_mut((pivot + 1) * n);
        let pivot_row = &upper[pivot * n..];
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_found_although_nobody_rated_everything() {
        // Leniency: Ana 1, Ben 0, Cleo -1; each slide is rated by two of the three.
        let names = ["Ana", "Ben", "Cleo"].map(str::to_owned).to_vec();
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], names);
        for slide in 0..9u32 {
            let (first, second) = [(0, 1), (1, 2), (0, 2)][slide as usize % 3];
            let give = |rater: u32| [2 + 1 - rater as u8 + slide as u8 % 2];
            let (a, b) = (give(first), give(second));
            matrix.push(&format!("s{slide}"), slide, [(first, &a[..]), (second, &b[..])].into_iter());
        }
        let found = severity(&matrix, None);
        for (found, expected) in found.iter().zip([-1.0, 0.0, 1.0]) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn a_rater_alone_has_no_severity() {
        let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], vec!["Ana".to_owned()]);
        matrix.push("s", 0, [(0, &[5u8][..])].into_iter());
        assert_eq!(severity(&matrix, Some(0)), [-0.0]);
    }
}
