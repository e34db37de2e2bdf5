//! A frozen matrix of integers, in panels of 32 rows.

use rayon::prelude::*;

#[cfg(any(test, target_arch = "x86_64", target_arch = "aarch64"))]
use super::super::isa::Isa;
use super::super::isa::Simd;
use super::super::panels::PANEL;
use super::Width;

/// Words behind the lines of a panel: the scales of its 32 columns and the sums of their integers.
pub(super) const TAIL: usize = 2 * PANEL;

/// A matrix `(n, k)`, a scale each row. A panel has lines of 32 words: word `j` of line `l` holds elements `4l..4l + 4` of row
/// `32 p + j` in 8 bits, or `2l..2l + 2` in 16. Behind them stand the scales and the sums of its rows.
#[derive(Debug)]
pub(in super::super) struct IntegerMatrix {
    width: Width,
    n: usize,
    k: usize,
    data: Vec<u32>,
    /// The sum of the integers of each column.
    column_sums: Vec<i32>,
}

impl IntegerMatrix {
    /// Packs a matrix of which `read` writes the integers of a row and returns its scale.
    pub(in super::super) fn new(
        width: Width,
        n: usize,
        k: usize,
        read: impl Fn(usize, &mut [i16]) -> f32 + Sync,
    ) -> Self {
        let lines = k.div_ceil(width.each());
        let mut data = vec![0; n.div_ceil(PANEL) * (lines * PANEL + TAIL)];
        data.par_chunks_mut(lines * PANEL + TAIL).enumerate().for_each_init(
            || vec![0; lines * width.each()],
            |row, (panel, out)| {
                for j in 0..PANEL.min(n - panel * PANEL) {
                    let scale = read(panel * PANEL + j, &mut row[..k]);
                    let sum: i32 = row.iter().map(|&value| i32::from(value)).sum();
                    for (line, part) in row.chunks_exact(width.each()).enumerate() {
                        out[line * PANEL + j] = width.word(part);
                    }
                    out[lines * PANEL + j] = scale.to_bits();
                    out[lines * PANEL + PANEL + j] = sum as u32;
                }
            },
        );
        let mut matrix = Self { width, n, k, data, column_sums: Vec::new() };
        if width == Width::Eight {
            matrix.column_sums = matrix.sum_columns();
        }
        matrix
    }

    fn sum_columns(&self) -> Vec<i32> {
        let add = |mut sums: Vec<i32>, panel: &[u32]| {
            for (line, sums) in panel.chunks_exact(PANEL).zip(sums.chunks_mut(self.width.each())) {
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum += line.iter().map(|&word| i32::from(self.width.element(word, at))).sum::<i32>();
                }
            }
            sums
        };
        let zeros = || vec![0; self.k];
        self.data.par_chunks(self.panel()).fold(zeros, add).reduce(zeros, |mut one, other| {
            one.iter_mut().zip(other).for_each(|(one, other)| *one += other);
            one
        })
    }

    pub(in super::super) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    pub(in super::super) fn width(&self) -> Width {
        self.width
    }

    pub(super) fn panels(&self) -> &[u32] {
        &self.data
    }

    fn lines(&self) -> usize {
        self.k.div_ceil(self.width.each())
    }

    fn panel(&self) -> usize {
        self.lines() * PANEL + TAIL
    }

    /// The scale of each row.
    pub(super) fn scales(&self) -> Vec<f32> {
        let tails = self.data.chunks_exact(self.panel()).map(|panel| &panel[self.lines() * PANEL..][..PANEL]);
        tails.flatten().take(self.n).map(|&bits| f32::from_bits(bits)).collect()
    }

    /// The scale of row `row`, and its integers.
    pub(in super::super) fn row(&self, row: usize) -> (f32, impl Iterator<Item = i16>) {
        let panel = &self.data[row / PANEL * self.panel()..][..self.panel()];
        let (lines, tail) = panel.split_at(self.lines() * PANEL);
        let words = lines[row % PANEL..].iter().step_by(PANEL);
        let elements =
            words.flat_map(move |&word| (0..self.width.each()).map(move |at| self.width.element(word, at)));
        (f32::from_bits(tail[row % PANEL]), elements.take(self.k))
    }

    /// Number `panel` of the 8-bit matrix in bf16, as the kernels of bf16 want their panels.
    pub(in super::super) fn panel_in_bf16(&self, panel: usize, out: &mut [u32]) {
        assert_eq!(self.width, Width::Eight, "16-bit matrices are multiplied where there is no bf16");
        let panel = &self.data[panel * self.panel()..][..self.panel()];
        let (lines, tail) = panel.split_at(self.lines() * PANEL);
        let bits = |word: u32, at: usize, scale: f32| {
            let value = f32::from(self.width.element(word, at)) * scale;
            u32::from(half::bf16::from_f32(value).to_bits())
        };
        let (used, rest) = out.split_at_mut((2 * lines.len()).min(out.len()));
        for (line, out) in lines.chunks_exact(PANEL).zip(used.chunks_mut(2 * PANEL)) {
            for (at, out) in out.chunks_exact_mut(PANEL).enumerate() {
                for ((out, &word), &scale) in out.iter_mut().zip(line).zip(tail) {
                    let scale = f32::from_bits(scale);
                    *out = bits(word, 2 * at, scale) | bits(word, 2 * at + 1, scale) << 16;
                }
            }
        }
        rest.fill(0);
    }

    /// Packs columns `32 panel..` of the matrix as [`new`](Self::new) packs rows, with scales of one.
    pub(super) fn repack(&self, simd: Simd, panel: usize, out: &mut [u32]) {
        let each = self.width.each();
        let (per_block, first) = (PANEL / each, panel * PANEL / each * PANEL);
        let (out, tail) = out.split_at_mut(self.n.div_ceil(each) * PANEL);
        assert_eq!(tail.len(), TAIL, "a panel of {} rows", self.n);
        let mut padded = [0; PANEL * PANEL / 2];
        let blocks = self.data.chunks_exact(self.panel());
        for (block, out) in blocks.zip(out.chunks_mut(per_block * PANEL)) {
            let lines = &block[first..self.lines() * PANEL];
            let block = if let Some(whole) = lines.get(..per_block * PANEL) {
                whole
            } else {
                padded[..lines.len()].copy_from_slice(lines);
                &padded[..per_block * PANEL]
            };
            transpose(simd, self.width, block, out);
        }
        let (scales, sums) = tail.split_at_mut(PANEL);
        scales.fill(1.0_f32.to_bits());
        sums.fill(0);
        if let Some(from) = self.column_sums.get(panel * PANEL..) {
            sums.iter_mut().zip(from).for_each(|(to, &from)| *to = from as u32);
        }
    }
}

impl Width {
    /// The element of a word.
    pub(super) fn element(self, word: u32, at: usize) -> i16 {
        match self {
            Self::Eight => i16::from((word >> (8 * at)) as i8),
            Self::Sixteen => (word >> (16 * at)) as i16,
        }
    }

    /// The word of these elements.
    fn word(self, elements: &[i16]) -> u32 {
        let (bits, mask) = match self {
            Self::Eight => (8, 0xff),
            Self::Sixteen => (16, 0xffff),
        };
        elements.iter().rev().fold(0, |word, &element| word << bits | u32::from(element as u16) & mask)
    }
}

/// Transposes 32 rows of 32 elements, the words of a line side by side, to lines of words of 32 columns; of the result as many
/// lines as `out` has.
pub(super) fn transpose(simd: Simd, width: Width, block: &[u32], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if simd.isa() >= Isa::Avx2 {
        // SAFETY: a `Simd` is Avx2 or more only where the CPU has AVX2.
        unsafe {
            match width {
                Width::Eight => x86::transpose_bytes(block, out),
                Width::Sixteen => x86::transpose_halves(block, out),
            }
        };
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if simd.isa() >= Isa::Neon {
        // SAFETY: a `Simd` is Neon only where the CPU has NEON.
        unsafe { neon::transpose(width, block, out) };
        return;
    }
    let _ = simd;
    transpose_plain(width, block, out);
}

/// [`transpose`] for any CPU.
fn transpose_plain(width: Width, block: &[u32], out: &mut [u32]) {
    let each = width.each();
    for (line, out) in out.chunks_exact_mut(PANEL).enumerate() {
        for (column, out) in out.iter_mut().enumerate() {
            let words = &block[column / each * PANEL + line * each..][..each];
            let mut elements = [0; 4];
            for (element, &word) in elements.iter_mut().zip(words) {
                *element = width.element(word, column % each);
            }
            *out = width.word(&elements[..each]);
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{vld1q_u8, vqtbl1q_u8, vst1q_u8};

    use super::super::super::panels::PANEL;
    use super::Width;

    /// Where the bytes of 4 × 4 elements come from.
    const BYTES: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    /// Where the bytes of two times 2 × 2 elements come from.
    const HALVES: [u8; 16] = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];

    /// Lines of a square of elements in, up to as many out: sixteen bytes at a time.
    #[target_feature(enable = "neon")]
    pub(super) fn transpose(width: Width, block: &[u32], out: &mut [u32]) {
        let lines = PANEL / width.each();
        assert!(block.len() == lines * PANEL && out.len() <= block.len());
        let order = if width == Width::Eight { &BYTES } else { &HALVES };
        // Sixteen bytes of a line become four words of one line of the result, or two each of two.
        let together = 4 / width.each();
        for (h, out) in out.chunks_mut(together * PANEL).enumerate() {
            for (g, from) in block.chunks_exact(PANEL).enumerate() {
                let from: &[u32; 4] = from[4 * h..].first_chunk().unwrap_or(&[0; 4]);
                let mut words = [0_u32; 4];
                // SAFETY: each holds sixteen bytes.
                unsafe {
                    let bytes = vqtbl1q_u8(vld1q_u8(from.as_ptr().cast()), vld1q_u8(order.as_ptr()));
                    vst1q_u8(words.as_mut_ptr().cast(), bytes);
                }
                for (out, words) in out.chunks_exact_mut(PANEL).zip(words.chunks_exact(4 / together)) {
                    out[g * words.len()..][..words.len()].copy_from_slice(words);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm_setr_epi8, _mm_shuffle_epi8, _mm_storel_epi64, _mm_storeu_si128,
        _mm_unpackhi_epi64,
    };

    use super::super::super::panels::PANEL;

    /// Eight lines in, up to eight out: sixteen bytes at a time are 4 × 4 elements.
    #[target_feature(enable = "avx2")]
    pub(super) fn transpose_bytes(block: &[u32], out: &mut [u32]) {
        assert!(block.len() == 8 * PANEL && out.len() <= 8 * PANEL);
        let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        for (h, out) in out.chunks_exact_mut(PANEL).enumerate() {
            for (out, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(block.chunks_exact(PANEL)) {
                let from: &[u32; 4] = from[4 * h..].first_chunk().unwrap_or(&[0; 4]);
                // SAFETY: both hold sixteen bytes.
                unsafe {
                    let words = _mm_loadu_si128(from.as_ptr().cast());
                    _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_shuffle_epi8(words, order));
                }
            }
        }
    }

    /// Sixteen lines in, up to sixteen out: sixteen bytes at a time are two times 2 × 2 elements.
    #[target_feature(enable = "avx2")]
    pub(super) fn transpose_halves(block: &[u32], out: &mut [u32]) {
        assert!(block.len() == 16 * PANEL && out.len() <= 16 * PANEL);
        let order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
        for (h, out) in out.chunks_mut(2 * PANEL).enumerate() {
            for (g, from) in block.chunks_exact(PANEL).enumerate() {
                let from: &[u32; 4] = from[4 * h..].first_chunk().unwrap_or(&[0; 4]);
                // SAFETY: `from` holds sixteen bytes, each part of `out` eight.
                unsafe {
                    let pairs = _mm_shuffle_epi8(_mm_loadu_si128(from.as_ptr().cast()), order);
                    _mm_storel_epi64(out[2 * g..][..2].as_mut_ptr().cast(), pairs);
                    if out.len() > PANEL {
                        let second = out[PANEL + 2 * g..][..2].as_mut_ptr().cast();
                        _mm_storel_epi64(second, _mm_unpackhi_epi64(pairs, pairs));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_transposed_as_the_plain_loop_does_it() {
        for width in [Width::Eight, Width::Sixteen] {
            let lines = PANEL / width.each();
            let block: Vec<u32> =
                (0..lines * PANEL).map(|i| (i as u32).wrapping_mul(0x9E37_79B9) ^ 0x5bd1).collect();
            for wanted in [lines, lines - 1, 3, 1, 0] {
                let (mut expected, mut found) = (vec![0; wanted * PANEL], vec![0; wanted * PANEL]);
                transpose_plain(width, &block, &mut expected);
                for isa in Isa::available() {
                    transpose(Simd::at_most(Some(isa)), width, &block, &mut found);
                    assert_eq!(found, expected, "{isa:?} {width:?} {wanted}");
                }
            }
        }
    }
}
