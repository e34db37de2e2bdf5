use super::RatingMatrix;

/// The ridge picks the smallest solution where the data leave it open (raters in unconnected groups, the common shift).
const RIDGE: f64 = 1e-6;

/// How many points each rater scores below the others on the same slides (severity; negative for a lenient rater).
///
/// The least-squares solution of `score = slide + rater` over one criterion, or over all where `criterion` is `None`, with the
/// raters' effects summing to zero. Raters who share no slide with anybody have none.
pub fn severity(matrix: &RatingMatrix, criterion: Option<usize>) -> Vec<f64> {
    let raters = matrix.raters().len();
    let mut normal = vec![0.0; raters * raters];
    let mut right = vec![0.0; raters];
    let criteria = criterion.map_or(0..matrix.criteria().len(), |index| index..index + 1);
    for criterion in criteria {
        for slide in 0..matrix.slides().len() {
            add_slide(matrix, slide, criterion, (&mut normal, &mut right));
        }
    }
    for rater in 0..raters {
        normal[rater * raters + rater] += RIDGE;
    }
    solve(&mut normal, &mut right);
    right.iter().map(|leniency| -leniency).collect()
}

/// Adds one slide to the normal equations after its own effect is eliminated: `I − 11ᵀ/m` over its `m` raters.
fn add_slide(
    matrix: &RatingMatrix,
    slide: usize,
    criterion: usize,
    (normal, right): (&mut [f64], &mut [f64]),
) {
    let scores = matrix.scores(slide, criterion);
    let (mut count, mut sum) = (0.0, 0.0);
    for (_, score) in scores.clone() {
        count += 1.0;
        sum += score as f64;
    }
    if count < 2.0 {
        return;
    }
    let raters = right.len();
    for (rater, score) in scores.clone() {
        right[rater] += score as f64 - sum / count;
        normal[rater * raters + rater] += 1.0;
        for (other, _) in scores.clone() {
            normal[rater * raters + other] -= 1.0 / count;
        }
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
