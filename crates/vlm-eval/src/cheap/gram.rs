//! Products of all pairs of rows, and systems of equations over them.

/// Mean and standard deviation of each column.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Scale {
    /// # Panics
    /// When the rows are not equally long.
    pub(super) fn of(rows: &[Vec<f32>]) -> Self {
        let (width, n) = (rows.first().map_or(0, Vec::len), rows.len() as f64);
        let (mut mean, mut deviation) = (vec![0.0; width], vec![0.0; width]);
        for row in rows {
            assert_eq!(row.len(), width, "rows are equally long");
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / n);
        }
        for row in rows {
            for ((sum, mean), value) in deviation.iter_mut().zip(&mean).zip(row) {
                *sum += (f64::from(*value) - mean).powi(2) / n;
            }
        }
        for value in &mut deviation {
            *value = f64::sqrt(*value);
        }
        Self { mean, deviation }
    }

    /// Moves each column to mean 0 and standard deviation 1; a column that never changes becomes 0.
    pub(super) fn apply(&self, row: &mut [f32]) {
        for ((value, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
            let scaled = (f64::from(*value) - mean) / deviation;
            *value = if *deviation > 1e-12 { scaled as f32 } else { 0.0 };
        }
    }
}

impl Scale {
    /// Weights and intercept for rows as they were, given those for scaled ones.
    pub(super) fn undo(&self, weights: &[f64], intercept: f64) -> (Vec<f32>, f64) {
        let per_unit =
            |(weight, deviation): (&f64, &f64)| if *deviation > 1e-12 { weight / deviation } else { 0.0 };
        let weights: Vec<f64> = weights.iter().zip(&self.deviation).map(per_unit).collect();
        let moved: f64 = weights.iter().zip(&self.mean).map(|(weight, mean)| weight * mean).sum();
        (weights.into_iter().map(|weight| weight as f32).collect(), intercept - moved)
    }
}

/// The inner product of each row with each.
#[derive(Debug, Clone)]
pub(super) struct Gram {
    n: usize,
    values: Vec<f64>,
}

impl Gram {
    pub(super) fn of(rows: &[Vec<f32>]) -> Self {
        let n = rows.len();
        let mut values = vec![0.0; n * n];
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate().take(i + 1) {
                let product = dot(a, b);
                values[i * n + j] = product;
                values[j * n + i] = product;
            }
        }
        Self { n, values }
    }

    pub(super) fn get(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.n + j]
    }

    /// For each of some rows the mean of its products with them all.
    pub(super) fn means(&self, rows: &[usize]) -> Vec<f64> {
        let mean = |i: &usize| rows.iter().map(|j| self.get(*i, *j)).sum::<f64>() / rows.len() as f64;
        rows.iter().map(mean).collect()
    }

    /// The products among some rows, whose [`means`](Self::means) these are, after their mean was taken off each row.
    pub(super) fn centred(&self, rows: &[usize], means: &[f64]) -> Vec<f64> {
        let n = rows.len();
        let all = means.iter().sum::<f64>() / n as f64;
        let mut centred = Vec::with_capacity(n * n);
        for (i, a) in rows.iter().zip(means) {
            centred.extend(rows.iter().zip(means).map(|(j, b)| self.get(*i, *j) - a - b + all));
        }
        centred
    }
}

/// The inner product, summed in eight lanes of f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let mut rest = 0.0;
    for (x, y) in a.remainder().iter().zip(b.remainder()) {
        rest += f64::from(*x) * f64::from(*y);
    }
    let mut lanes = [0.0; 8];
    for (x, y) in a.zip(b) {
        for lane in 0..8 {
            lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    rest + lanes.iter().sum::<f64>()
}

/// A symmetric positive definite matrix as the product of a triangle and its transpose.
pub(super) struct Cholesky {
    n: usize,
    /// The transpose of the lower triangle, row by row: what is summed up together lies together.
    upper: Vec<f64>,
}

impl Cholesky {
    /// Factors a matrix of `n` rows after `more` was added to its diagonal; `None` where it is not positive definite. Reads the
    /// lower triangle.
    pub(super) fn of(matrix: &[f64], n: usize, more: &[f64]) -> Option<Self> {
        let mut upper = vec![0.0; n * n];
        let mut known = vec![0.0; n];
        for j in 0..n {
            let (above, from) = upper.split_at_mut(j * n);
            let (row, known) = (&mut from[j..n], &mut known[j..]);
            known.fill(0.0);
            add_products(known, above, n);
            let pivot = matrix[j * n + j] + more[j] - known[0];
            if pivot.is_nan() || pivot <= 0.0 {
                return None;
            }
            row[0] = pivot.sqrt();
            for i in 1..row.len() {
                row[i] = (matrix[(j + i) * n + j] - known[i]) / row[0];
            }
        }
        Some(Self { n, upper })
    }

    /// The solution of the system with this right-hand side.
    pub(super) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let (n, upper) = (self.n, &self.upper);
        let mut x = right.to_vec();
        let mut known = vec![0.0; n];
        for (i, row) in upper.chunks_exact(n.max(1)).enumerate() {
            x[i] = (x[i] - known[i]) / row[i];
            add_scaled(&mut known[i..], &row[i..], x[i]);
        }
        for (i, row) in upper.chunks_exact(n.max(1)).enumerate().rev() {
            let (unsolved, solved) = x.split_at_mut(i + 1);
            let factors = row[i + 1..].iter().zip(&*solved).rev();
            unsolved[i] = factors.fold(unsolved[i], |rest, (factor, x)| rest - factor * x) / row[i];
        }
        x
    }
}

/// Adds the product of the first number of each row's end, which is as long as the sums, with that end. Four rows at a time leave the
/// order of each sum as it is, so that its digits are those of a plain loop.
fn add_products(sums: &mut [f64], rows: &[f64], n: usize) {
    let len = sums.len();
    let mut fours = rows.chunks_exact(4 * n);
    for four in &mut fours {
        let [a, b, c, d] = std::array::from_fn(|at| &four[(at + 1) * n - len..][..len]);
        let factors = [a[0], b[0], c[0], d[0]];
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + a[at] * factors[0] + b[at] * factors[1] + c[at] * factors[2] + d[at] * factors[3];
        }
    }
    for row in fours.remainder().chunks_exact(n) {
        let end = &row[n - len..];
        add_scaled(sums, end, end[0]);
    }
}

fn add_scaled(sums: &mut [f64], values: &[f64], factor: f64) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_an_indefinite_one_refused() {
        let matrix = [3.0, 1.0, 0.5, 1.0, 2.0, -0.3, 0.5, -0.3, 4.0];
        let x = Cholesky::of(&matrix, 3, &[1.0; 3]).unwrap().solve(&[1.0, -2.0, 0.25]);
        for (i, right) in [1.0, -2.0, 0.25].iter().enumerate() {
            let left: f64 = (0..3).map(|j| (matrix[i * 3 + j] + f64::from(u8::from(i == j))) * x[j]).sum();
            assert!((left - right).abs() < 1e-12, "{i}: {left} {right}");
        }
        assert!(Cholesky::of(&[1.0, 2.0, 2.0, 1.0], 2, &[0.0; 2]).is_none());
        assert!(Cholesky::of(&[f64::NAN], 1, &[1.0]).is_none());
    }

    /// The reference is the textbook's loop, whose sums have the same order.
    #[test]
    #[expect(clippy::float_cmp, reason = "the same sums in the same order")]
    fn the_digits_are_those_of_a_plain_loop() {
        let n = 23;
        let rows: Vec<Vec<f32>> = (0..n)
            .map(|i| (0..31).map(|c| ((i * 37 + c * c * 11) % 17) as f32 / 7.0 - 1.1).collect())
            .collect();
        let matrix = Gram::of(&rows).values;
        let more: Vec<f64> = (0..n).map(|i| 0.3 + i as f64 / 9.0).collect();
        let mut lower = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
                let left = matrix[i * n + j] + if i == j { more[i] } else { 0.0 } - known;
                lower[i][j] = if i == j { left.sqrt() } else { left / lower[j][j] };
            }
        }
        let found = Cholesky::of(&matrix, n, &more).unwrap();
        for (i, row) in lower.iter().enumerate() {
            assert!(
                row[..=i].iter().enumerate().all(|(j, value)| found.upper[j * n + i] == *value),
                "row {i}"
            );
        }
    }

    #[test]
    fn centred_products_are_those_of_centred_rows() {
        let rows = vec![vec![1.0, 2.0, -3.0], vec![0.5, 0.0, 4.0], vec![9.0, 9.0, 9.0], vec![-2.0, 1.0, 1.0]];
        let some = [0, 1, 3];
        let gram = Gram::of(&rows);
        let centred = gram.centred(&some, &gram.means(&some));
        let mean: Vec<f32> = (0..3).map(|c| some.iter().map(|r| rows[*r][c]).sum::<f32>() / 3.0).collect();
        let off = |row: usize| rows[row].iter().zip(&mean).map(|(a, b)| a - b).collect::<Vec<f32>>();
        for (i, a) in some.iter().enumerate() {
            for (j, b) in some.iter().enumerate() {
                assert!((centred[i * 3 + j] - dot(&off(*a), &off(*b))).abs() < 1e-5);
            }
        }
    }
}
