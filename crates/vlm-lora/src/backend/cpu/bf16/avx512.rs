//! AVX512-BF16: 12 × 32 results in 24 registers, each a sum of products of pairs.

use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_permutex2var_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::pairs::{FEW_ROWS, ROWS, couple, element};
use super::{Matrix, Out, PANEL, Panels, STEP, Source, Start};

/// Lanes of a register.
const LANES: usize = 16;
/// How many rows ahead of the one that is packed are asked for.
const AHEAD: usize = 24;

/// Whether the CPU has what this module uses.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

fn assert_available() {
    // Detection is cached: this is one load and one comparison.
    assert!(available(), "the kernel was chosen on a CPU that lacks it");
}

/// Rounds `x` to nearest even, fills it up to whole steps with zeros and writes step after step, `spacing` elements apart.
pub(super) fn round(x: &[f32], out: &mut [u16], spacing: usize) {
    assert_available();
    // SAFETY: the features were just asserted.
    unsafe { round_avx512(x, out, spacing) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round_avx512(x: &[f32], out: &mut [u16], spacing: usize) {
    for (i, out) in out.chunks_mut(spacing).take(x.len().div_ceil(STEP)).enumerate() {
        let out = &mut out[..STEP];
        let mut padded = [0.0; STEP];
        let part = x.get(i * STEP..).unwrap_or_default();
        let part: &[f32; STEP] = if let Some(whole) = part.first_chunk() {
            whole
        } else {
            padded[..part.len()].copy_from_slice(part);
            &padded
        };
        // SAFETY: both hold 32 elements.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(part.as_ptr()), _mm512_loadu_ps(part[LANES..].as_ptr()));
            let bits: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), bits);
        }
    }
}

/// Packs rows `first..first + 32` of the matrix as columns: `out[p][j]` is the pair `2p, 2p + 1` of row `first + j`.
pub(super) fn pack_rows(w: Matrix<'_>, first: usize, out: &mut [u32]) {
    assert_available();
    assert_eq!(out.len(), w.k.next_multiple_of(STEP) / 2 * PANEL);
    for half in 0..PANEL / LANES {
        for (step, out) in out.chunks_exact_mut(STEP / 2 * PANEL).enumerate() {
            let (row, column) = (first + half * LANES, step * STEP);
            let out = &mut out[half * LANES..];
            if row + LANES <= w.n && column + STEP <= w.k {
                let from = &w.bits[row * w.k + column..(row + LANES - 1) * w.k + column + STEP];
                // SAFETY: the features were asserted; 16 rows of 32 elements, `w.k` apart, lie in `from`; 16 rows of 16
                // elements, a panel apart, lie in `out`.
                unsafe { transpose(from.as_ptr(), w.k, out.as_mut_ptr()) };
            } else {
                pack_edge(|j, k| element(w, row + j, column + k), out);
            }
        }
    }
}

/// Packs columns `first..first + 32` of the matrix: `out[p][j]` is the pair of rows `2p, 2p + 1` in column `first + j`.
pub(super) fn pack_columns(w: Matrix<'_>, first: usize, out: &mut [u32]) {
    assert_available();
    assert_eq!(out.len(), w.n.next_multiple_of(STEP) / 2 * PANEL);
    for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
        let row = 2 * pair;
        // Every row is another page to come, which no CPU prefetches.
        for ahead in [row + AHEAD, row + AHEAD + 1] {
            if let Some(line) = w.bits.get(ahead * w.k + first) {
                // SAFETY: a prefetch of an element of the matrix reads nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
            }
        }
        if row + 2 <= w.n && first + PANEL <= w.k {
            let (a, b) = (&w.bits[row * w.k + first..][..PANEL], &w.bits[(row + 1) * w.k + first..][..PANEL]);
            // SAFETY: the features were asserted; the three slices hold a panel's 32 elements each.
            unsafe { interleave(a, b, out) };
        } else {
            for (j, out) in out.iter_mut().enumerate() {
                *out = couple(element(w, row, first + j), element(w, row + 1, first + j));
            }
        }
    }
}

/// Packs columns `first..first + 32` as [`pack_columns`], out of a matrix that [`pack_rows`] has packed.
pub(super) fn repack(w: Panels<'_>, first: usize, out: &mut [u32]) {
    assert_available();
    let panel = w.panel();
    assert!(first.is_multiple_of(PANEL) && first < w.k && w.data.len() == w.n.div_ceil(PANEL) * panel);
    assert_eq!(out.len(), w.n.next_multiple_of(STEP) / 2 * PANEL);
    let mut transposed = [0; PANEL * PANEL];
    for (out, panel) in out.chunks_exact_mut(STEP / 2 * PANEL).zip(w.data.chunks_exact(panel)) {
        let block = &panel[first / 2 * PANEL..][..STEP / 2 * PANEL];
        for half in 0..PANEL / LANES {
            let transposed = &mut transposed[half * LANES * PANEL..];
            // SAFETY: the features were asserted; 16 rows of 16 pairs, a panel apart, lie in `block` and in `transposed`.
            unsafe {
                let from = block[half * LANES..].as_ptr().cast();
                transpose(from, 2 * PANEL, transposed.as_mut_ptr());
            }
        }
        for (rows, out) in transposed.chunks_exact(2 * PANEL).zip(out.chunks_exact_mut(PANEL)) {
            let rows: &[u16] = bytemuck::cast_slice(rows);
            // SAFETY: the features were asserted; the slices hold a panel's 32 elements each.
            unsafe { interleave(&rows[..PANEL], &rows[2 * PANEL..3 * PANEL], out) };
        }
    }
}

fn pack_edge(element: impl Fn(usize, usize) -> u16, out: &mut [u32]) {
    for pair in 0..STEP / 2 {
        for (j, out) in out[pair * PANEL..].iter_mut().take(LANES).enumerate() {
            *out = couple(element(j, 2 * pair), element(j, 2 * pair + 1));
        }
    }
}

/// Interleaves 32 elements of two rows.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(a: &[u16], b: &[u16], out: &mut [u32]) {
    const LOW: [u16; 32] = interleaving(0);
    const HIGH: [u16; 32] = interleaving(16);
    assert!(a.len() == PANEL && b.len() == PANEL && out.len() == PANEL);
    // SAFETY: the slices hold 64, 64 and 128 bytes, the index arrays 64.
    unsafe {
        let (a, b) = (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast()));
        let (low, high) = (_mm512_loadu_si512(LOW.as_ptr().cast()), _mm512_loadu_si512(HIGH.as_ptr().cast()));
        _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_permutex2var_epi16(a, low, b));
        _mm512_storeu_si512(out[LANES..].as_mut_ptr().cast(), _mm512_permutex2var_epi16(a, high, b));
    }
}

/// Where the elements of 16 pairs come from in two registers of 32, the second counted from 32.
const fn interleaving(first: u16) -> [u16; 32] {
    let mut index = [0; 32];
    let mut i = 0;
    while i < 16 {
        index[2 * i] = first + i as u16;
        index[2 * i + 1] = 32 + first + i as u16;
        i += 1;
    }
    index
}

/// Transposes 16 × 16 pairs from rows `stride` elements apart to rows of a panel.
///
/// # Safety
/// `from` has 16 rows of 32 elements, `out` 16 rows of 16 pairs, a panel apart.
#[target_feature(enable = "avx512f")]
unsafe fn transpose(from: *const u16, stride: usize, out: *mut u32) {
    let zero = _mm512_setzero_si512();
    let (mut r, mut t) = ([zero; 16], [zero; 16]);
    for (i, row) in r.iter_mut().enumerate() {
        // SAFETY: row `i` of the sixteen.
        *row = unsafe { _mm512_loadu_si512(from.add(i * stride).cast()) };
    }
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        for half in 0..2 {
            let (a, b) = (t[4 * i + half], t[4 * i + 2 + half]);
            r[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
            r[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    // Lane `l` of `r[4 i + j]` now holds column `4 l + j` of rows `4 i..4 i + 4`.
    for j in 0..4 {
        let even_above = _mm512_shuffle_i32x4::<0x88>(r[j], r[4 + j]);
        let odd_above = _mm512_shuffle_i32x4::<0xdd>(r[j], r[4 + j]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(r[8 + j], r[12 + j]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(r[8 + j], r[12 + j]);
        let columns = [
            _mm512_shuffle_i32x4::<0x88>(even_above, even_below),
            _mm512_shuffle_i32x4::<0x88>(odd_above, odd_below),
            _mm512_shuffle_i32x4::<0xdd>(even_above, even_below),
            _mm512_shuffle_i32x4::<0xdd>(odd_above, odd_below),
        ];
        for (lane, column) in columns.into_iter().enumerate() {
            // SAFETY: row `4 lane + j` of the sixteen.
            unsafe { _mm512_storeu_si512(out.add((4 * lane + j) * PANEL).cast(), column) };
        }
    }
}

/// `C (rows, 32) = start + A (rows, k) · panel`, where `a` has 12 or 4 rows of `k`.
///
/// # Safety
/// The CPU has the features of [`available`]; `c` has as many rows of 32 elements that no one else
/// uses; `start` likewise has rows to read, which may be one and the same.
pub(super) unsafe fn multiply(a: &[u16], k: usize, b: &[u32], c: Out, start: Start) {
    assert!(a.len() == ROWS * k || a.len() == FEW_ROWS * k, "a block has 12 rows or 4");
    // SAFETY: the caller's promise.
    unsafe {
        if a.len() == FEW_ROWS * k {
            multiply_rows::<1>(a, b, c, start);
        } else {
            multiply_rows::<3>(a, b, c, start);
        }
    }
}

/// As [`multiply`] for four times `EACH` rows.
///
/// # Safety
/// As of [`multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn multiply_rows<const EACH: usize>(a: &[u16], b: &[u32], c: Out, start: Start) {
    let row = a.len() / (4 * EACH);
    let pairs = row / 2;
    assert!(a.len() == 4 * EACH * row && row.is_multiple_of(STEP) && b.len() == pairs * PANEL);
    let mut sums = [[[_mm512_setzero_ps(); 2]; EACH]; 4];
    if let Some(Source { at, stride }) = start {
        for (r, sums) in sums.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: the caller's promise about `start`.
            *sums =
                unsafe { [_mm512_loadu_ps(at.add(r * stride)), _mm512_loadu_ps(at.add(r * stride + LANES))] };
        }
    }
    // SAFETY: every row of `a` holds `pairs` pairs (of 2 × 2 bytes, read unaligned) and the panel as many rows of 32.
    unsafe {
        // A few rows from each of four pointers keep the addresses in registers.
        let mut quarters = [0, 1, 2, 3].map(|q| a.as_ptr().add(q * EACH * row));
        let mut panel = b.as_ptr();
        for _ in 0..pairs {
            let low: __m512bh = std::mem::transmute(_mm512_loadu_si512(panel.cast()));
            let high: __m512bh = std::mem::transmute(_mm512_loadu_si512(panel.add(LANES).cast()));
            for (quarter, sums) in quarters.iter_mut().zip(&mut sums) {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let pair = quarter.add(r * row).cast::<i32>().read_unaligned();
                    let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(pair));
                    sums[0] = _mm512_dpbf16_ps(sums[0], low, pair);
                    sums[1] = _mm512_dpbf16_ps(sums[1], high, pair);
                }
                *quarter = quarter.add(2);
            }
            panel = panel.add(PANEL);
        }
    }
    for (r, sums) in sums.as_flattened().iter().enumerate() {
        // SAFETY: the caller's promise about `c`.
        unsafe {
            _mm512_storeu_ps(c.at.add(r * c.stride), sums[0]);
            _mm512_storeu_ps(c.at.add(r * c.stride + LANES), sums[1]);
        }
    }
}
