//! In AVX-512.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_NLE_UQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_add_ps,
    _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps,
    _mm512_mask_loadu_ps, _mm512_maskz_scalef_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_si512,
    _mm512_sub_ps,
};
use std::f32::consts::LOG2_E;

use super::super::avx512;
use super::{STEP, Scores, Upstream, check_lengths};

/// Lanes of a register.
const LANES: usize = 16;
/// Exponents of two at or below this become exact zeros: denormal numbers would slow the products down.
const NEGLIGIBLE: f32 = -92.0;
/// `2^f - 1` on `|f| <= 1/2` without its constant: a fit of least relative error, 1.8e-7 in f32, highest power first.
#[expect(clippy::approx_constant, reason = "the last is fitted with the others")]
const POWER_OF_TWO: [f32; 5] = [0.001_326_472_7, 0.009_671_513, 0.055_507_336, 0.240_222_42, 0.693_147];

fn check(scores: Scores<'_>, outputs: &[usize]) {
    assert!(avx512::available(), "the kernel was chosen on a CPU that lacks it");
    check_lengths(scores, outputs);
}

/// `exp(x · scale - largest)` of the visible scores as bf16, zeros after them; returns the largest, scaled, and the sum of
/// what was rounded. Dividing the outputs by the sum instead of the probabilities saves two passes.
pub(in super::super::super) fn exponentials(scores: Scores<'_>, bits: &mut [u16]) -> (f32, f32) {
    check(scores, &[bits.len()]);
    // SAFETY: the features were just asserted, and that the slices are of one length of whole steps.
    unsafe { exponentials_avx512(scores, bits) }
}

/// Probabilities `p = exp(x · scale - lse)` and `p · (dp - delta) · scale`, the gradients of the scores, as bf16; zeros
/// behind the visible ones.
pub(in super::super::super) fn probabilities(
    scores: Scores<'_>,
    upstream: Upstream<'_>,
    p_bits: &mut [u16],
    ds_bits: &mut [u16],
) {
    check(scores, &[upstream.dp.len(), p_bits.len(), ds_bits.len()]);
    // SAFETY: as above.
    unsafe { probabilities_avx512(scores, upstream, p_bits, ds_bits) }
}

/// Which lanes of the sixteen from `first` on are among the first `visible`.
fn lanes(visible: usize, first: usize) -> u16 {
    let count = visible.saturating_sub(first).min(LANES);
    ((1_u32 << count) - 1) as u16
}

/// `2^t`, zero in negligible lanes and no number where `t` is none: the integer part goes into the exponent.
#[target_feature(enable = "avx512f")]
fn power_of_two(t: __m512) -> __m512 {
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(t);
    let f = _mm512_sub_ps(t, n);
    let [highest, rest @ ..] = POWER_OF_TWO;
    let mut p = _mm512_set1_ps(highest);
    for coefficient in rest {
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(coefficient));
    }
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0));
    let counts = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(t, _mm512_set1_ps(NEGLIGIBLE));
    _mm512_maskz_scalef_ps(counts, p, n)
}

/// The largest of the visible scores.
#[target_feature(enable = "avx512f")]
fn largest(row: &[f32], visible: usize) -> f32 {
    let least = _mm512_set1_ps(f32::MIN);
    let mut most = [least; 4];
    for (i, some) in row[..visible].chunks(4 * LANES).enumerate() {
        for (j, most) in most.iter_mut().enumerate() {
            let (first, part) = (i * 4 * LANES + j * LANES, some.get(j * LANES..).unwrap_or_default());
            // SAFETY: a masked load reads the lanes of its mask alone, which lie in `part`.
            let x = unsafe { _mm512_mask_loadu_ps(least, lanes(visible, first), part.as_ptr()) };
            *most = _mm512_max_ps(x, *most);
        }
    }
    let [a, b, c, d] = most;
    _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d)))
}

/// Writes 32 values as bf16.
///
/// # Safety
/// `bits` has room for them.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn store(low: __m512, high: __m512, bits: *mut u16) {
    // SAFETY: the caller's promise; a register has the same bytes whatever they are taken for.
    unsafe {
        let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(bits.cast(), both);
    }
}

/// As [`exponentials`].
///
/// # Safety
/// `row` and `bits` have the same length, whole steps, of which `visible` are no more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn exponentials_avx512(scores: Scores<'_>, bits: &mut [u16]) -> (f32, f32) {
    let Scores { row, visible, scale } = scores;
    let largest = largest(row, visible) * scale;
    let (factor, shift) = (_mm512_set1_ps(scale * LOG2_E), _mm512_set1_ps(largest * LOG2_E));
    let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut sums = [_mm512_setzero_ps(); 2];
    for first in (0..visible).step_by(STEP) {
        let mut values = [_mm512_setzero_ps(); 2];
        for (half, (value, sum)) in values.iter_mut().zip(&mut sums).enumerate() {
            let at = first + half * LANES;
            // SAFETY: whole steps lie in `row`.
            let x = unsafe { _mm512_mask_loadu_ps(hidden, lanes(visible, at), row.as_ptr().add(at)) };
            *value = power_of_two(_mm512_fmsub_ps(x, factor, shift));
            *sum = _mm512_add_ps(*sum, *value);
        }
        // SAFETY: whole steps lie in `bits`.
        unsafe { store(values[0], values[1], bits.as_mut_ptr().add(first)) };
    }
    bits[visible.next_multiple_of(STEP)..].fill(0);
    (largest, _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1])))
}

/// As [`probabilities`].
///
/// # Safety
/// All slices have the same length, whole steps, of which `visible` are no more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn probabilities_avx512(
    scores: Scores<'_>,
    upstream: Upstream<'_>,
    p_bits: &mut [u16],
    ds_bits: &mut [u16],
) {
    let (Scores { row, visible, scale }, Upstream { dp, lse, delta }) = (scores, upstream);
    let (factor, shift) = (_mm512_set1_ps(scale * LOG2_E), _mm512_set1_ps(lse * LOG2_E));
    let (delta, scale) = (_mm512_set1_ps(delta), _mm512_set1_ps(scale));
    let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
    for first in (0..visible).step_by(STEP) {
        let (mut p, mut ds) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
        for (half, (p, ds)) in p.iter_mut().zip(&mut ds).enumerate() {
            let at = first + half * LANES;
            // SAFETY: whole steps lie in both slices.
            let (x, dp) = unsafe {
                let x = _mm512_mask_loadu_ps(hidden, lanes(visible, at), row.as_ptr().add(at));
                (x, _mm512_loadu_ps(dp.as_ptr().add(at)))
            };
            *p = power_of_two(_mm512_fmsub_ps(x, factor, shift));
            *ds = _mm512_mul_ps(_mm512_mul_ps(*p, _mm512_sub_ps(dp, delta)), scale);
        }
        // SAFETY: whole steps lie in both slices.
        unsafe {
            store(p[0], p[1], p_bits.as_mut_ptr().add(first));
            store(ds[0], ds[1], ds_bits.as_mut_ptr().add(first));
        }
    }
    p_bits[visible.next_multiple_of(STEP)..].fill(0);
    ds_bits[visible.next_multiple_of(STEP)..].fill(0);
}
