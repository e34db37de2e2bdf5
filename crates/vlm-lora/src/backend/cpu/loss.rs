//! Softmax cross-entropy with its gradient.

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::simd::{LANES, lane_max, simd_fn, sum_lanes};
use crate::backend::RowTarget;

simd_fn! {
    /// Overwrites a row by `exp(x - largest)` and returns the sum, whose parts of a thousand terms are added in f64.
    fn exponentials(row: &mut [T], largest: T) -> f64 {
        let mut total = 0.0;
        for part in row.chunks_mut(1024) {
            let mut lanes = [T::ZERO; LANES];
            let (chunks, rest) = part.as_chunks_mut::<LANES>();
            for chunk in chunks {
                for (sum, x) in lanes.iter_mut().zip(chunk) {
                    *x = negligible_is_zero(*x - largest);
                    *sum += *x;
                }
            }
            for (sum, x) in lanes.iter_mut().zip(rest) {
                *x = negligible_is_zero(*x - largest);
                *sum += *x;
            }
            total += sum_lanes(lanes).to_f64();
        }
        total
    }
}

simd_fn! {
    fn scale_row(row: &mut [T], factor: T) {
        for x in row {
            *x *= factor;
        }
    }
}

simd_fn! {
    fn largest_of(row: &[T]) -> T {
        lane_max(row)
    }
}

#[inline(always)]
pub(super) fn negligible_is_zero<T: Real>(difference: T) -> T {
    let value = difference.exp();
    if difference < T::NEGLIGIBLE { T::ZERO } else { value }
}

/// The weighted loss of each row; the logits become `scale · d loss / d logits`. Tokens are inside the vocabulary.
pub(super) fn cross_entropy<T: Real>(
    simd: Simd,
    logits: &mut [T],
    vocabulary: usize,
    targets: &[RowTarget<'_>],
    scale: f64,
) -> Vec<f64> {
    logits
        .par_chunks_mut(vocabulary)
        .zip(targets)
        .map(|(row, target)| row_loss(simd, row, target, scale))
        .collect()
}

fn row_loss<T: Real>(simd: Simd, row: &mut [T], target: &RowTarget<'_>, scale: f64) -> f64 {
    let weight = f64::from(target.weight);
    let mass: f64 = target.tokens.iter().map(|&(_, probability)| f64::from(probability)).sum();
    let expected: f64 =
        target.tokens.iter().map(|&(token, p)| f64::from(p) * row[token as usize].to_f64()).sum();
    let largest = largest_of(simd, row);
    let total = exponentials(simd, row, largest);
    let log_sum = largest.to_f64() + total.ln();
    scale_row(simd, row, T::of(scale * weight * mass / total));
    for &(token, probability) in target.tokens {
        row[token as usize] -= T::of(scale * weight * f64::from(probability));
    }
    weight * (mass * log_sum - expected)
}
