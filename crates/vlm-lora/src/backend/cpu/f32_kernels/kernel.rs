//! Blocks of up to 12 rows times a panel of 32 columns, with the sums in registers.

#[cfg(target_arch = "x86_64")]
use super::super::isa::Isa;
use super::super::isa::Simd;
use super::super::panels::{Out, PANEL, Source, Start};

/// Rows of a block.
pub(super) const ROWS: usize = 12;

/// Rows of activations: element `(r, l)` is `data[r * row + l * column]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) rows: usize,
    pub(super) k: usize,
}

impl Strided<'_> {
    fn check(self, panel: &[f32]) {
        assert!(self.rows > 0 && self.rows <= ROWS && panel.len() == self.k * PANEL);
        let last = (self.rows - 1) * self.row + self.k.saturating_sub(1) * self.column;
        assert!(self.k == 0 || last < self.data.len());
    }
}

/// `C (rows, 32) = start + A (rows, k) · panel`.
///
/// # Safety
/// `c` has as many rows of 32 elements that no one else uses; `start` likewise has rows to read, which may be
/// one and the same.
pub(super) unsafe fn multiply(simd: Simd, a: Strided<'_>, panel: &[f32], c: Out, start: Start) {
    a.check(panel);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise, and what was just checked.
    unsafe {
        match simd.isa() {
            Isa::Avx512 => return x86::avx512::multiply(a, panel, c, start),
            Isa::Avx2 => return x86::avx2::multiply(a, panel, c, start),
            Isa::Plain | Isa::Neon => {}
        }
    }
    let _ = simd;
    // SAFETY: as above.
    unsafe { plain(a, panel, c, start) };
}

/// [`multiply`] for any CPU, for matrices that were packed before the instruction set was limited.
///
/// # Safety
/// As of [`multiply`].
unsafe fn plain(a: Strided<'_>, panel: &[f32], c: Out, start: Start) {
    for r in 0..a.rows {
        let mut sums = [0.0; PANEL];
        if let Some(Source { at, stride }) = start {
            // SAFETY: the caller's promise about `start`.
            unsafe { std::ptr::copy_nonoverlapping(at.add(r * stride), sums.as_mut_ptr(), PANEL) };
        }
        for (l, line) in panel.chunks_exact(PANEL).enumerate() {
            let x = a.data[r * a.row + l * a.column];
            sums.iter_mut().zip(line).for_each(|(sum, w)| *sum += x * w);
        }
        // SAFETY: the caller's promise about `c`.
        unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), c.at.add(r * c.stride), PANEL) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    /// How many elements of a panel ahead of the one that is multiplied are asked for.
    const AHEAD: usize = 256;

    /// A module with `multiply` for one instruction set: registers of `$lanes`, two of them side by side, `$each` times
    /// `$parts` rows at a time.
    macro_rules! kernel {
        ($module:ident, $features:literal, $lanes:literal, $each:literal, $parts:literal, $ahead:literal,
            [$load:ident, $store:ident, $set1:ident, $fma:ident, $zero:ident]) => {
            pub(super) mod $module {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, $fma, $load, $set1, $store, $zero};

                use super::super::{Out, PANEL, Source, Start, Strided};
                use super::AHEAD;

                const LANES: usize = $lanes;

                /// # Safety
                /// As of the function of the same name above, for a block that was checked; the features are there.
                #[target_feature(enable = $features)]
                pub(in super::super) unsafe fn multiply(a: Strided<'_>, panel: &[f32], c: Out, start: Start) {
                    for column in (0..PANEL).step_by(2 * LANES) {
                        let mut first = 0;
                        while first < a.rows {
                            // SAFETY: these rows and columns lie inside the block, which the caller promises to be there.
                            unsafe {
                                let x = Lines {
                                    a: a.data.as_ptr().add(first * a.row),
                                    row: a.row,
                                    next: a.column,
                                    b: panel.as_ptr().add(column),
                                    k: a.k,
                                };
                                let Out { at, stride } = c;
                                let c = Out { at: at.add(first * stride + column), stride };
                                let start = start.map(|Source { at, stride }| Source {
                                    at: at.add(first * stride + column),
                                    stride,
                                });
                                first += match a.rows - first {
                                    rows if rows >= $each * $parts => some::<$each, $parts>(x, c, start),
                                    1 => some::<1, 1>(x, c, start),
                                    2 => some::<1, 2>(x, c, start),
                                    3 => some::<1, 3>(x, c, start),
                                    4 => some::<1, 4>(x, c, start),
                                    5 => some::<1, 5>(x, c, start),
                                    _ => some::<1, 6>(x, c, start),
                                };
                            }
                        }
                    }
                }

                /// `k` elements of rows of `a`, `row` apart, of which the next is `next` further, and `k` lines of `b`.
                #[derive(Clone, Copy)]
                struct Lines {
                    a: *const f32,
                    row: usize,
                    next: usize,
                    b: *const f32,
                    k: usize,
                }

                /// `EACH` times `PARTS` rows times two registers of columns; returns how many rows.
                ///
                /// # Safety
                /// There are as many rows of `a`, `c` and `start` and `k` lines of `b`.
                #[target_feature(enable = $features)]
                unsafe fn some<const EACH: usize, const PARTS: usize>(
                    x: Lines,
                    c: Out,
                    start: Start,
                ) -> usize {
                    let Lines { a, row, next, mut b, k } = x;
                    let mut sums = [[[$zero(); 2]; EACH]; PARTS];
                    if let Some(Source { at, stride }) = start {
                        for (r, sums) in sums.as_flattened_mut().iter_mut().enumerate() {
                            // SAFETY: the caller's promise about `start`.
                            *sums = unsafe { [$load(at.add(r * stride)), $load(at.add(r * stride + LANES))] };
                        }
                    }
                    // SAFETY: the caller's promise about the rows of `a` and the lines of `b`; asking for what lies behind
                    // them reads nothing.
                    unsafe {
                        // A few rows from each pointer keep the addresses in registers.
                        let mut parts: [*const f32; PARTS] =
                            std::array::from_fn(|part| a.add(part * EACH * row));
                        for _ in 0..k {
                            let (low, high) = ($load(b), $load(b.add(LANES)));
                            if $ahead {
                                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD).cast());
                                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD + LANES).cast());
                            }
                            for (part, sums) in parts.iter_mut().zip(&mut sums) {
                                for (r, sums) in sums.iter_mut().enumerate() {
                                    let x = $set1(*part.add(r * row));
                                    sums[0] = $fma(low, x, sums[0]);
                                    sums[1] = $fma(high, x, sums[1]);
                                }
                                *part = part.wrapping_add(next);
                            }
                            b = b.add(PANEL);
                        }
                    }
                    for (r, sums) in sums.as_flattened().iter().enumerate() {
                        // SAFETY: the caller's promise about `c`.
                        unsafe {
                            $store(c.at.add(r * c.stride), sums[0]);
                            $store(c.at.add(r * c.stride + LANES), sums[1]);
                        }
                    }
                    EACH * PARTS
                }
            }
        };
    }

    // 24 registers of 32 hold sums, so that there is time to ask for lines of the panel that lie in the second-level cache.
    kernel!(
        avx512,
        "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
        16,
        3,
        4,
        true,
        [_mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_setzero_ps]
    );
    // 12 registers of 16.
    kernel!(
        avx2,
        "avx2,fma",
        8,
        3,
        2,
        false,
        [_mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_setzero_ps]
    );
}
