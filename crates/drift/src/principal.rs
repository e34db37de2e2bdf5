//! Principal components of a few vectors.

/// Sweeps of rotations at most; ten are enough for a hundred dimensions.
const MOST_SWEEPS: usize = 60;
/// Components with less than this share of the largest variance are noise of rounding.
const LEAST_SHARE: f64 = 1e-9;

/// The directions in which vectors vary most.
#[derive(Debug)]
pub(crate) struct Principal {
    centre: Vec<f64>,
    /// Each divided by the deviation along it, so that every component has variance 1.
    directions: Vec<Vec<f64>>,
}

impl Principal {
    /// The first `most` components of these vectors, or as many as they have.
    pub(crate) fn of(vectors: &[Vec<f64>], most: usize) -> Self {
        let (count, width) = (vectors.len().max(1) as f64, vectors.first().map_or(0, Vec::len));
        let centre: Vec<f64> =
            (0..width).map(|at| vectors.iter().map(|vector| vector[at]).sum::<f64>() / count).collect();
        let mut covariance = vec![0.0; width * width];
        for vector in vectors {
            let off: Vec<f64> = vector.iter().zip(&centre).map(|(value, centre)| value - centre).collect();
            for (row, line) in covariance.chunks_exact_mut(width).enumerate() {
                for (entry, other) in line.iter_mut().zip(&off) {
                    *entry += off[row] * other / count;
                }
            }
        }
        let mut pairs = eigen(covariance, width);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let largest = pairs.first().map_or(0.0, |pair| pair.0);
        let kept = pairs.into_iter().take(most);
        let kept = kept.filter(|(variance, _)| *variance > 0.0 && *variance > LEAST_SHARE * largest);
        let scaled = |(variance, direction): (f64, Vec<f64>)| {
            direction.into_iter().map(|value| value / variance.sqrt()).collect()
        };
        Self { centre, directions: kept.map(scaled).collect() }
    }

    /// How many components there are.
    pub(crate) fn count(&self) -> usize {
        self.directions.len()
    }

    /// The components of a vector.
    pub(crate) fn components(&self, vector: &[f64]) -> Vec<f64> {
        let off: Vec<f64> = vector.iter().zip(&self.centre).map(|(value, centre)| value - centre).collect();
        let along = |direction: &Vec<f64>| direction.iter().zip(&off).map(|(a, b)| a * b).sum();
        self.directions.iter().map(along).collect()
    }
}

/// Eigenvalues with their vectors of a symmetric matrix, by rotations that make its largest entries zero row by row (Jacobi 1846).
fn eigen(mut matrix: Vec<f64>, size: usize) -> Vec<(f64, Vec<f64>)> {
    let mut vectors: Vec<f64> = vec![0.0; size * size];
    (0..size).for_each(|at| vectors[at * size + at] = 1.0);
    let scale: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..MOST_SWEEPS {
        let off: f64 = (0..size)
            .flat_map(|row| (0..row).map(move |column| row * size + column))
            .map(|at| matrix[at] * matrix[at])
            .sum();
        if off <= scale * 1e-28 {
            break;
        }
        for row in 1..size {
            for column in 0..row {
                rotate(&mut matrix, &mut vectors, size, column, row);
            }
        }
    }
    let column = |at: usize| (0..size).map(|row| vectors[row * size + at]).collect();
    (0..size).map(|at| (matrix[at * size + at], column(at))).collect()
}

/// Makes the entry of row `p` and column `q` zero.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let entry = matrix[p * size + q];
    if entry == 0.0 {
        return;
    }
    let ratio = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * entry);
    let tangent = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    let turn = |of: &mut [f64], a: usize, b: usize| {
        let (x, y) = (of[a], of[b]);
        of[a] = cosine * x - sine * y;
        of[b] = sine * x + cosine * y;
    };
    for at in 0..size {
        turn(matrix, at * size + p, at * size + q);
    }
    for at in 0..size {
        turn(matrix, p * size + at, q * size + at);
        turn(vectors, at * size + p, at * size + q);
    }
}

#[cfg(test)]
mod tests {
    use pq_testing::assert_close;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        vectors: Vec<Vec<f64>>,
        most: usize,
        /// Products of the components of each two vectors, which no choice of signs changes.
        products: Vec<Vec<f64>>,
    }

    #[test]
    fn components_equal_numpys() {
        #[derive(Deserialize)]
        struct Reference {
            principal: Vec<Case>,
        }
        let text = include_str!("../tests/reference/vision.json");
        let cases = serde_json::from_str::<Reference>(text).unwrap().principal;
        assert!(cases.len() > 1);
        for case in cases {
            let principal = Principal::of(&case.vectors, case.most);
            let rows: Vec<Vec<f64>> =
                case.vectors.iter().map(|vector| principal.components(vector)).collect();
            let product = |a: &Vec<f64>| {
                rows.iter().map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect::<Vec<f64>>()
            };
            assert_close(&rows.iter().flat_map(product).collect::<Vec<f64>>(), &case.products.concat(), 1e-9);
        }
    }

    #[test]
    fn what_does_not_vary_has_no_component() {
        let vectors = vec![vec![1.0, 2.0, 5.0], vec![3.0, 2.0, 5.0], vec![5.0, 2.0, 5.0]];
        let principal = Principal::of(&vectors, 8);
        assert_eq!(principal.count(), 1);
        assert_close(&[principal.components(&vectors[2])[0].abs()], &[1.5f64.sqrt()], 1e-12);
        assert_eq!(Principal::of(&[], 8).count(), 0);
    }
}
