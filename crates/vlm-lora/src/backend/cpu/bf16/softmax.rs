//! Probabilities and their gradients as bf16, in the pass that computes them: the operands of attention's products.

#[cfg(target_arch = "x86_64")]
pub(in super::super) use x86::{exponentials, probabilities};

#[cfg(not(target_arch = "x86_64"))]
pub(in super::super) use elsewhere::{exponentials, probabilities};

/// The scores of one query: so many, of which the first `visible` count, to be multiplied by `scale`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Scores<'a> {
    pub(in super::super) row: &'a [f32],
    pub(in super::super) visible: usize,
    pub(in super::super) scale: f32,
}

/// What the backward pass knows of one query: the gradients of its probabilities, its log-sum-exp, and the sum of the
/// probabilities times their gradients.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Upstream<'a> {
    pub(in super::super) dp: &'a [f32],
    pub(in super::super) lse: f32,
    pub(in super::super) delta: f32,
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512i, _CMP_NLE_UQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_add_ps,
        _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps,
        _mm512_mask_loadu_ps, _mm512_maskz_scalef_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps,
        _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_si512,
        _mm512_sub_ps,
    };
    use std::f32::consts::LOG2_E;

    use super::super::{STEP, avx512};
    use super::{Scores, Upstream};

    /// Lanes of a register.
    const LANES: usize = 16;
    /// Exponents of two at or below this become exact zeros: denormal numbers would slow the products down.
    const NEGLIGIBLE: f32 = -92.0;
    /// `2^f - 1` on `|f| <= 1/2` without its constant: a fit of least relative error, 1.8e-7 in f32, highest power first.
    #[expect(clippy::approx_constant, reason = "the last is fitted with the others")]
    const POWER_OF_TWO: [f32; 5] = [0.001_326_472_7, 0.009_671_513, 0.055_507_336, 0.240_222_42, 0.693_147];

    fn check(scores: Scores<'_>, outputs: &[usize]) {
        assert!(avx512::available(), "the kernel was chosen on a CPU that lacks it");
        let Scores { row, visible, .. } = scores;
        assert!(row.len().is_multiple_of(STEP) && visible <= row.len(), "rows are whole steps");
        assert!(outputs.iter().all(|&len| len == row.len()), "outputs are as long as the row");
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

    #[cfg(test)]
    mod tests {
        use pq_testing::trials::Tool;

        use super::*;

        fn value(bits: u16) -> f64 {
            f64::from(f32::from_bits(u32::from(bits) << 16))
        }

        /// Scores from -700 to 700 in an order that mixes them.
        fn scores(len: usize) -> Vec<f32> {
            (0..len).map(|i| ((i * 7919) % 1401) as f32 - 700.0 + i as f32 * 0.01).collect()
        }

        #[test]
        fn exponentials_agree_with_f64() {
            if pq_testing::trials::is_skipped_without(Tool::Avx512Bf16) {
                return;
            }
            for (len, visible) in [(32, 1), (32, 32), (96, 33), (160, 160), (160, 95)] {
                for scale in [0.125, 0.01] {
                    let row = scores(len);
                    let mut bits = vec![0xffff; len];
                    let (largest, total) = exponentials(Scores { row: &row, visible, scale }, &mut bits);
                    let scaled = |x: f32| f64::from(x) * f64::from(scale);
                    let expected = row[..visible].iter().map(|&x| scaled(x)).fold(f64::MIN, f64::max);
                    assert!((f64::from(largest) - expected).abs() < 1e-5 * expected.abs().max(1.0));
                    let mut sum = 0.0;
                    for (i, &x) in row.iter().enumerate() {
                        let exact = if i < visible { (scaled(x) - expected).exp() } else { 0.0 };
                        sum += exact;
                        let error = (value(bits[i]) - exact).abs();
                        assert!(error <= 0.004 * exact + 1e-26, "{i}: {exact}");
                    }
                    assert!((f64::from(total) - sum).abs() < 2e-5 * sum, "{total} {sum}");
                }
            }
        }

        #[test]
        fn probabilities_agree_with_f64() {
            if pq_testing::trials::is_skipped_without(Tool::Avx512Bf16) {
                return;
            }
            for (len, visible) in [(32, 5), (64, 64), (96, 70)] {
                let (row, dp) = (scores(len), scores(len).into_iter().rev().collect::<Vec<_>>());
                let (scale, delta) = (0.125, 3.0);
                let exact_of = |x: f32| f64::from(x) * f64::from(scale);
                let lse = row[..visible].iter().map(|&x| exact_of(x).exp()).sum::<f64>().ln() as f32;
                let (mut p, mut ds) = (vec![0xffff; len], vec![0xffff; len]);
                let upstream = Upstream { dp: &dp, lse, delta };
                probabilities(Scores { row: &row, visible, scale }, upstream, &mut p, &mut ds);
                for i in 0..len {
                    let exact = if i < visible { (exact_of(row[i]) - f64::from(lse)).exp() } else { 0.0 };
                    assert!((value(p[i]) - exact).abs() <= 0.004 * exact + 1e-26, "{i}");
                    let gradient = exact * f64::from(dp[i] - delta) * f64::from(scale);
                    assert!((value(ds[i]) - gradient).abs() <= 0.005 * gradient.abs() + 1e-24, "{i}");
                }
            }
        }

        #[test]
        fn a_score_that_is_no_number_stays_visible_in_the_sum() {
            if pq_testing::trials::is_skipped_without(Tool::Avx512Bf16) {
                return;
            }
            let mut row = scores(32);
            row[3] = f32::NAN;
            let mut bits = vec![0; 32];
            let (_, total) = exponentials(Scores { row: &row, visible: 32, scale: 0.1 }, &mut bits);
            assert!(total.is_nan(), "{total}");
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use super::{Scores, Upstream};

    const ABSENT: &str = "the kernel is never chosen on this architecture";

    pub(in super::super::super) fn exponentials(_: Scores<'_>, _: &mut [u16]) -> (f32, f32) {
        unreachable!("{ABSENT}");
    }

    pub(in super::super::super) fn probabilities(
        _: Scores<'_>,
        _: Upstream<'_>,
        _: &mut [u16],
        _: &mut [u16],
    ) {
        unreachable!("{ABSENT}");
    }
}
