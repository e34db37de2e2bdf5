//! NEON with the extension BF16: 12 × 8 results in 24 registers, each 2 × 2 sums of products of 2 × 4 with 4 × 2 elements
//! (`bfmmla`). Its intrinsics are not stable, inline assembly is.
//!
//! The instruction takes the products of a pair of elements, which are exact, rounds their sum, adds it to the result and rounds
//! that, one pair after the other; both times to odd: to the neighbour with an odd last bit, less than one unit in the last
//! place away. Of `k` elements an element of the result is thus off by at most `(k / 2 + 1) · 2^-23 · Σ |x w|`, and what higher
//! powers add: the bound of `k + 2` sums rounded to nearest. What is denormal counts as zero, going in and coming out. (Arm
//! Architecture Reference Manual for A-profile, DDI 0487: BFMMLA, and `BFMatMulAdd` of the shared pseudocode where `FPCR.EBF`
//! is 0, as it is unless a program sets it.)

use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vcombine_f32, vcombine_u64, vdup_n_u64, vdupq_n_f32, vld1_f32, vld1_u64,
    vld1q_lane_u64, vld1q_u32, vreinterpretq_f32_f64, vreinterpretq_f64_f32, vst1q_f32, vtrn1q_f64,
    vtrn2q_f64, vzip1q_u32, vzip2q_u32,
};
use std::arch::asm;

use super::pairs::{FEW_ROWS, ROWS};
use super::{Out, PANEL, STEP, Source, Start};

/// Columns that are multiplied together.
const COLUMNS: usize = 8;

/// Whether the CPU has what this module uses.
pub(super) fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("bf16")
}

/// `C (rows, 32) = start + A (rows, k) · panel`, where `a` has 12 or 4 rows of `k`.
///
/// # Safety
/// The CPU has the features of [`available`]; `c` has as many rows of 32 elements that no one else
/// uses; `start` likewise has rows to read, which may be one and the same.
pub(super) unsafe fn multiply(a: &[u16], k: usize, b: &[u32], c: Out, start: Start) {
    assert!(a.len() == ROWS * k || a.len() == FEW_ROWS * k, "a block has 12 rows or 4");
    assert!(k.is_multiple_of(STEP) && b.len() == k / 2 * PANEL);
    // SAFETY: the caller's promise.
    unsafe {
        if a.len() == FEW_ROWS * k {
            multiply_pairs::<{ FEW_ROWS / 2 }>(a, b, c, start);
        } else {
            multiply_pairs::<{ ROWS / 2 }>(a, b, c, start);
        }
    }
}

/// As [`multiply`] of so many pairs of rows.
///
/// # Safety
/// As of [`multiply`], of a block that was checked.
#[target_feature(enable = "neon,bf16")]
unsafe fn multiply_pairs<const PAIRS: usize>(a: &[u16], b: &[u32], c: Out, start: Start) {
    let row = a.len() / (2 * PAIRS);
    for column in (0..PANEL).step_by(COLUMNS) {
        let mut sums = [[vdupq_n_f32(0.0); COLUMNS / 2]; PAIRS];
        // SAFETY: these rows and columns lie inside the block, which the caller promises to be there.
        unsafe {
            if let Some(Source { at, stride }) = start {
                for (pair, sums) in sums.iter_mut().enumerate() {
                    let above = at.add(2 * pair * stride + column);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let above = above.add(2 * j);
                        *sum = vcombine_f32(vld1_f32(above), vld1_f32(above.add(stride)));
                    }
                }
            }
            sums = add_products(sums, a.as_ptr(), row, b.as_ptr().add(column));
            for (pair, sums) in sums.iter().enumerate() {
                for (quad, [left, right]) in sums.as_chunks::<2>().0.iter().enumerate() {
                    let (left, right) = (vreinterpretq_f64_f32(*left), vreinterpretq_f64_f32(*right));
                    let above = c.at.add(2 * pair * c.stride + column + 4 * quad);
                    vst1q_f32(above, vreinterpretq_f32_f64(vtrn1q_f64(left, right)));
                    vst1q_f32(above.add(c.stride), vreinterpretq_f32_f64(vtrn2q_f64(left, right)));
                }
            }
        }
    }
}

/// The sums and the products of pairs of rows of `row` elements with eight columns.
///
/// # Safety
/// There are so many rows, and a panel of as many elements a column.
#[target_feature(enable = "neon,bf16")]
#[inline]
unsafe fn add_products<const PAIRS: usize>(
    mut sums: [[float32x4_t; COLUMNS / 2]; PAIRS],
    mut rows: *const u16,
    row: usize,
    mut lines: *const u32,
) -> [[float32x4_t; COLUMNS / 2]; PAIRS] {
    for _ in 0..row / 4 {
        // SAFETY: the caller's promise.
        unsafe {
            let (first, second) = (lines, lines.wrapping_add(PANEL));
            let w: [uint32x4_t; COLUMNS / 2] = {
                let (a, b) = (vld1q_u32(first), vld1q_u32(second));
                let (c, d) = (vld1q_u32(first.add(4)), vld1q_u32(second.add(4)));
                [vzip1q_u32(a, b), vzip2q_u32(a, b), vzip1q_u32(c, d), vzip2q_u32(c, d)]
            };
            for (pair, sums) in sums.iter_mut().enumerate() {
                let above = rows.add(2 * pair * row);
                // Loaded into a lane: moved there, the second row would cost registers that the sums need.
                let first = vcombine_u64(vld1_u64(above.cast()), vdup_n_u64(0));
                let x = vld1q_lane_u64::<1>(above.add(row).cast(), first);
                for (sum, w) in sums.iter_mut().zip(w) {
                    asm!("bfmmla {sum:v}.4s, {x:v}.8h, {w:v}.8h", sum = inout(vreg) *sum, x = in(vreg) x,
                         w = in(vreg) w, options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        (rows, lines) = (rows.wrapping_add(4), lines.wrapping_add(2 * PANEL));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::portable::nearest;
    use super::*;

    /// The nearest towards zero, with an odd last bit where it is not exact.
    fn to_odd(exact: f64) -> f32 {
        let nearest = exact as f32;
        let further = f64::from(nearest).abs() > exact.abs();
        let towards_zero = f32::from_bits(nearest.to_bits() - u32::from(further));
        let inexact = f64::from(towards_zero).to_bits() != exact.to_bits();
        f32::from_bits(towards_zero.to_bits() | u32::from(inexact))
    }

    fn value(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    /// A value for every index, of magnitudes between 2^-4 and 2^4: sums of products of two are exact in f64.
    fn element(i: usize) -> u16 {
        let mixed = (i as u32).wrapping_mul(0x9E37_79B9) >> 8;
        let size = f32::exp2((mixed % 8) as f32 - 4.0);
        nearest((1.0 + (mixed >> 3 & 0x7f) as f32 / 128.0) * if mixed >> 10 & 1 == 0 { size } else { -size })
    }

    /// The instruction as the manual has it, on all pairs of `k` in their order, and how far off it may be.
    #[test]
    fn products_have_the_bits_that_the_manual_describes() {
        if pq_testing::trials::is_skipped_without(pq_testing::trials::Tool::NeonBf16) {
            return;
        }
        for (rows, k) in [(ROWS, 32), (FEW_ROWS, 96), (ROWS, 960)] {
            let a: Vec<u16> = (0..rows * k).map(element).collect();
            let bits = |l: usize, j: usize| element(7 + l * PANEL + j);
            let pair = |i: usize| {
                let (l, j) = (i / PANEL * 2, i % PANEL);
                u32::from(bits(l, j)) | u32::from(bits(l + 1, j)) << 16
            };
            let b: Vec<u32> = (0..k / 2 * PANEL).map(pair).collect();
            let bias: Vec<f32> = (0..PANEL).map(|j| j as f32 - 3.25).collect();
            for start in [None, Some(Source { at: bias.as_ptr(), stride: 0 })] {
                let mut c = vec![f32::NAN; rows * PANEL];
                // SAFETY: `c` has the rows of a block, and there is one to start from.
                unsafe { multiply(&a, k, &b, Out { at: c.as_mut_ptr(), stride: PANEL }, start) };
                for (i, &found) in c.iter().enumerate() {
                    let (r, j) = (i / PANEL, i % PANEL);
                    let initial = if start.is_some() { bias[j] } else { 0.0 };
                    let product = |l: usize| value(a[r * k + l]) * value(bits(l, j));
                    let of_pair = |l: usize| to_odd(product(l) + product(l + 1));
                    let add = |sum: f32, l| to_odd(f64::from(sum) + f64::from(of_pair(l)));
                    let expected = (0..k).step_by(2).fold(initial, add);
                    assert_eq!(
                        found.to_bits(),
                        expected.to_bits(),
                        "({r}, {j}) of k {k}: {found} {expected}"
                    );
                    let exact = (0..k).map(product).fold(f64::from(initial), |sum, term| sum + term);
                    let size = (0..k)
                        .map(|l| product(l).abs())
                        .fold(f64::from(initial.abs()), |sum, term| sum + term);
                    let bound = (k / 2 + 1) as f64 * f64::exp2(-23.0) * size * 1.001;
                    assert!((f64::from(found) - exact).abs() <= bound, "({r}, {j}) of k {k}");
                }
            }
        }
    }
}
