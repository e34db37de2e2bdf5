//! Rounding and packing in plain loops, which compilers vectorise where it matters.

use super::super::integer::transpose_halves;
use super::pairs::{couple, element};
use super::{Matrix, PANEL, Panels, STEP};

/// The bits of the nearest bf16, ties to even; of what is not a number those of one.
#[inline]
pub(super) fn nearest(value: f32) -> u16 {
    let exact = value.to_bits();
    let rounded = (exact.wrapping_add(0x7fff + (exact >> 16 & 1)) >> 16) as u16;
    if value.is_nan() { (exact >> 16) as u16 | 0x40 } else { rounded }
}

/// Rounds `x` to nearest even, fills it up to whole steps with zeros and writes step after step, `spacing` elements apart.
pub(super) fn round(x: &[f32], out: &mut [u16], spacing: usize) {
    for (part, out) in x.chunks(STEP).zip(out.chunks_mut(spacing)) {
        let (out, rest) = out[..STEP].split_at_mut(part.len());
        for (out, &x) in out.iter_mut().zip(part) {
            *out = nearest(x);
        }
        rest.fill(0);
    }
}

/// Packs rows `first..first + 32` of the matrix as columns: `out[p][j]` is the pair `2p, 2p + 1` of row `first + j`.
pub(super) fn pack_rows(w: Matrix<'_>, first: usize, out: &mut [u32]) {
    assert_eq!(out.len(), w.k.next_multiple_of(STEP) / 2 * PANEL);
    for j in 0..PANEL {
        let row = w.bits.get((first + j) * w.k..(first + j + 1) * w.k).unwrap_or_default();
        let (pairs, rest) = row.as_chunks::<2>();
        let last = rest.first().map(|&last| couple(last, 0));
        let words = pairs.iter().map(|pair| couple(pair[0], pair[1])).chain(last);
        let zeros = std::iter::repeat(0);
        for (line, word) in out.chunks_exact_mut(PANEL).zip(words.chain(zeros)) {
            line[j] = word;
        }
    }
}

/// Packs columns `first..first + 32` of the matrix: `out[p][j]` is the pair of rows `2p, 2p + 1` in column `first + j`.
pub(super) fn pack_columns(w: Matrix<'_>, first: usize, out: &mut [u32]) {
    assert_eq!(out.len(), w.n.next_multiple_of(STEP) / 2 * PANEL);
    for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
        let row = 2 * pair;
        if row + 2 <= w.n && first + PANEL <= w.k {
            let (a, b) = (&w.bits[row * w.k + first..][..PANEL], &w.bits[(row + 1) * w.k + first..][..PANEL]);
            for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out = couple(a, b);
            }
        } else {
            for (j, out) in out.iter_mut().enumerate() {
                *out = couple(element(w, row, first + j), element(w, row + 1, first + j));
            }
        }
    }
}

/// Packs columns `first..first + 32` as [`pack_columns`], out of a matrix that [`pack_rows`] has packed.
pub(super) fn repack(w: Panels<'_>, first: usize, out: &mut [u32]) {
    let panel = w.panel();
    assert!(first.is_multiple_of(PANEL) && first < w.k && w.data.len() == w.n.div_ceil(PANEL) * panel);
    assert_eq!(out.len(), w.n.next_multiple_of(STEP) / 2 * PANEL);
    for (out, panel) in out.chunks_exact_mut(STEP / 2 * PANEL).zip(w.data.chunks_exact(panel)) {
        transpose_halves(&panel[first / 2 * PANEL..][..STEP / 2 * PANEL], out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairs;
    use super::*;

    fn matrix(n: usize, k: usize) -> Vec<u16> {
        (0..n * k).map(|i| (i as u32).wrapping_mul(0x9E37_79B9).rotate_left(11) as u16).collect()
    }

    /// Every panel of the matrix by the definition: pairs along the rows, or along the columns.
    fn expected(w: Matrix<'_>, along_rows: bool) -> Vec<Vec<u32>> {
        let (columns, depth) = if along_rows { (w.n, w.k) } else { (w.k, w.n) };
        let at = |column: usize, l: usize| {
            if along_rows { element(w, column, l) } else { element(w, l, column) }
        };
        let panel = |first: usize| {
            let pairs = (0..depth.next_multiple_of(STEP)).step_by(2);
            pairs
                .flat_map(|l| (0..PANEL).map(move |j| couple(at(first + j, l), at(first + j, l + 1))))
                .collect()
        };
        (0..columns).step_by(PANEL).map(panel).collect()
    }

    #[test]
    fn panels_hold_what_the_definition_says() {
        for (n, k) in [(1, 1), (5, 3), (31, 33), (32, 32), (33, 64), (64, 31), (70, 97)] {
            let bits = matrix(n, k);
            let w = Matrix { bits: &bits, n, k };
            let mut all = Vec::new();
            for (panel, expected) in expected(w, true).into_iter().enumerate() {
                let mut out = vec![7; expected.len()];
                pack_rows(w, panel * PANEL, &mut out);
                assert_eq!(out, expected, "rows of ({n}, {k})");
                all.extend(out);
            }
            let packed = Panels { data: &all, n, k };
            for (panel, expected) in expected(w, false).into_iter().enumerate() {
                let mut out = vec![7; expected.len()];
                pack_columns(w, panel * PANEL, &mut out);
                assert_eq!(out, expected, "columns of ({n}, {k})");
                out.fill(7);
                repack(packed, panel * PANEL, &mut out);
                assert_eq!(out, expected, "columns of ({n}, {k}) out of panels");
            }
        }
    }

    #[test]
    fn values_are_rounded_to_the_nearest() {
        let values =
            [0.0, -0.0, 1.0, 1.003_906_3, 1.003_906_4, 1.011_718_8, -3.4e38, f32::MAX, f32::INFINITY];
        for value in values.into_iter().chain((0..5000).map(|i| (i as f32 * 12.9898).sin() * 1e3)) {
            assert_eq!(nearest(value), half::bf16::from_f32(value).to_bits(), "{value}");
        }
        for bits in [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001, 0x7fc0_0000_u32] {
            let back = f32::from_bits(u32::from(nearest(f32::from_bits(bits))) << 16);
            assert!(back.is_nan(), "{bits:x}");
        }
    }

    /// What another architecture does in registers of its own.
    #[test]
    fn packing_is_the_same_by_every_way() {
        if !pairs::available() {
            return;
        }
        for (n, k) in [(5, 3), (33, 64), (70, 97)] {
            let bits = matrix(n, k);
            let w = Matrix { bits: &bits, n, k };
            let both = |depth: usize| [vec![1; panel_words(depth)], vec![2; panel_words(depth)]];
            let mut all = Vec::new();
            for first in (0..n).step_by(PANEL) {
                let [mut ours, mut theirs] = both(k);
                pack_rows(w, first, &mut ours);
                pairs::pack_rows(w, first, &mut theirs);
                assert_eq!(ours, theirs);
                all.extend(ours);
            }
            for first in (0..k).step_by(PANEL) {
                let [mut ours, mut theirs] = both(n);
                pack_columns(w, first, &mut ours);
                pairs::pack_columns(w, first, &mut theirs);
                assert_eq!(ours, theirs);
                pairs::repack(Panels { data: &all, n, k }, first, &mut theirs);
                assert_eq!(ours, theirs);
            }
            let x: Vec<f32> = (0..k).map(|i| (i as f32 * 12.9898).sin()).collect();
            let [mut ours, mut theirs] = [vec![1; 4 * PANEL], vec![2; 4 * PANEL]];
            round(&x, &mut ours, STEP);
            pairs::round(&x, &mut theirs, STEP);
            assert_eq!(ours[..k.next_multiple_of(STEP)], theirs[..k.next_multiple_of(STEP)]);
        }
    }

    fn panel_words(depth: usize) -> usize {
        depth.next_multiple_of(STEP) / 2 * PANEL
    }
}
