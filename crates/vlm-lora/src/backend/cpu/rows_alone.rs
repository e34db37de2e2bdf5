//! Whether a row of a product depends on those beside it: it must not, so that a slide's scores do not depend on the batch.

use std::ops::Range;

/// Values of which no sum is exact.
pub(super) fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 1009) as f32 * 12.9898).sin()).collect()
}

/// The rows of a batch, taken together and in parts of every length from every place.
pub(super) fn assert_rows_stand_alone(
    m: usize,
    n: usize,
    what: &str,
    product: impl Fn(Range<usize>) -> Vec<f32>,
) {
    let whole = product(0..m);
    for length in 1..m {
        for first in 0..=m - length {
            let part = product(first..first + length);
            let same = whole[first * n..].iter().zip(&part).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && part.len() == length * n, "{what}: {length} rows from {first} of {m}");
        }
    }
}
