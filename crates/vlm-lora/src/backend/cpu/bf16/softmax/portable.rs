//! In plain loops, which compilers vectorise.

use super::super::super::loss::negligible_is_zero;
use super::super::super::simd::{LANES, lane_max, sum_lanes};
use super::super::portable::nearest;
use super::{Scores, Upstream, check_lengths};

/// `exp(x · scale - largest)` of the visible scores as bf16, zeros after them; returns the largest, scaled, and the sum of
/// what was rounded.
pub(in super::super::super) fn exponentials(scores: Scores<'_>, bits: &mut [u16]) -> (f32, f32) {
    check_lengths(scores, &[bits.len()]);
    let Scores { row, visible, scale } = scores;
    let largest = lane_max(&row[..visible]) * scale;
    let (seen, hidden) = bits.split_at_mut(visible);
    let mut sums = [0.0; LANES];
    for (x, bits) in row[..visible].chunks(LANES).zip(seen.chunks_mut(LANES)) {
        for ((sum, &x), bits) in sums.iter_mut().zip(x).zip(bits) {
            let value = negligible_is_zero(x * scale - largest);
            *sum += value;
            *bits = nearest(value);
        }
    }
    hidden.fill(0);
    (largest, sum_lanes(sums))
}

/// Probabilities `p = exp(x · scale - lse)` and `p · (dp - delta) · scale`, the gradients of the scores, as bf16; zeros
/// behind the visible ones.
pub(in super::super::super) fn probabilities(
    scores: Scores<'_>,
    upstream: Upstream<'_>,
    p_bits: &mut [u16],
    ds_bits: &mut [u16],
) {
    let (Scores { row, visible, scale }, Upstream { dp, lse, delta }) = (scores, upstream);
    check_lengths(scores, &[dp.len(), p_bits.len(), ds_bits.len()]);
    let outputs = p_bits[..visible].iter_mut().zip(&mut ds_bits[..visible]);
    for ((p_bits, ds_bits), (&x, &dp)) in outputs.zip(row.iter().zip(dp)) {
        let p = negligible_is_zero(x * scale - lse);
        *p_bits = nearest(p);
        *ds_bits = nearest(p * (dp - delta) * scale);
    }
    p_bits[visible..].fill(0);
    ds_bits[visible..].fill(0);
}
