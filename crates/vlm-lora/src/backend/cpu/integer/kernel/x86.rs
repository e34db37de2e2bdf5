//! The kernels of x86-64: one loop for six dot products.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32, _mm256_madd_epi16,
    _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_madd_epi16,
};

/// How many words of a panel ahead of the one that is multiplied are asked for.
const AHEAD: usize = 512;

/// A module with `multiply` for one dot product: registers of `$lanes`, two of them side by side, `$each` times `$parts`
/// rows at a time.
macro_rules! kernel {
    ($module:ident, $features:literal, $lanes:literal, $each:literal, $parts:literal, $ahead:literal, $vector:ident, $dot:ident,
        [$load:ident, $set1:ident, $zero:ident, $add:ident, $shift:ident, $float:ident],
        [$loadf:ident, $storef:ident, $set1f:ident, $zerof:ident, $addf:ident, $mulf:ident]) => {
        pub(super) mod $module {
            use std::arch::x86_64::{
                _MM_HINT_T0, _mm_prefetch, $add, $addf, $float, $load, $loadf, $mulf, $set1, $set1f, $shift,
                $storef, $vector, $zero, $zerof,
            };
            use std::mem::MaybeUninit;

            use super::super::super::super::panels::{Out, PANEL, Source, Start};
            use super::super::{EXACT_LINES, LARGE_FACTOR, Lines, ROWS, Right};
            use super::{AHEAD, $dot};

            const LANES: usize = $lanes;

            /// `WIDE`: sums of 16-bit integers, which are put aside in f32.
            ///
            /// # Safety
            /// As of the function of the same name above, for a block that was checked; the features are there.
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn multiply<const WIDE: bool>(
                a: Lines<'_>,
                b: Right<'_>,
                c: Out,
                start: Start,
            ) {
                let rows = a.scales.len();
                let mut totals = [MaybeUninit::<f32>::uninit(); ROWS * 2 * LANES];
                for column in (0..PANEL).step_by(2 * LANES) {
                    let mut first = 0;
                    while first < rows {
                        // SAFETY: these rows and columns lie inside the block, which the caller promises to be there.
                        unsafe {
                            let part = Part {
                                a,
                                b,
                                first,
                                column,
                                totals: totals.as_mut_ptr().cast(),
                                c: Out { at: c.at.add(first * c.stride + column), stride: c.stride },
                                start: start.map(|Source { at, stride }| Source {
                                    at: at.add(first * stride + column),
                                    stride,
                                }),
                            };
                            first += match rows - first {
                                rows if rows >= $each * $parts => some::<$each, $parts, WIDE>(&part),
                                1 => some::<1, 1, WIDE>(&part),
                                2 => some::<1, 2, WIDE>(&part),
                                3 => some::<1, 3, WIDE>(&part),
                                4 => some::<1, 4, WIDE>(&part),
                                5 => some::<1, 5, WIDE>(&part),
                                _ => some::<1, 6, WIDE>(&part),
                            };
                        }
                    }
                }
            }

            /// Rows from `first` on times two registers of columns from `column` on.
            struct Part<'a> {
                a: Lines<'a>,
                b: Right<'a>,
                first: usize,
                column: usize,
                /// Where sums are put aside.
                totals: *mut f32,
                c: Out,
                start: Start,
            }

            /// The sums of `EACH` times `PARTS` rows in two registers each.
            type Sums<const EACH: usize, const PARTS: usize> = [[[$vector; 2]; EACH]; PARTS];

            /// `EACH` times `PARTS` rows; returns how many.
            ///
            /// # Safety
            /// There are as many rows of `a`, `c`, `start` and `totals`.
            #[target_feature(enable = $features)]
            #[inline(never)]
            unsafe fn some<const EACH: usize, const PARTS: usize, const WIDE: bool>(x: &Part<'_>) -> usize {
                let Part { a: Lines { words, stride, .. }, b, first, column, .. } = *x;
                let mut sums: Sums<EACH, PARTS> = [[[$zero(); 2]; EACH]; PARTS];
                // SAFETY: the caller's promise about the rows; the lines of `b` are as many as the words of a row, of which
                // each segment takes those that follow; asking for what lies behind them reads nothing.
                unsafe {
                    // A few rows from each pointer keep the addresses in registers.
                    let mut parts: [*const u32; PARTS] =
                        std::array::from_fn(|part| words.as_ptr().add((first + part * EACH) * stride));
                    let (mut line, mut count) = (b.large.as_ptr().add(column), b.large.len() / PANEL);
                    let mut left = stride - count;
                    let mut is_large = true;
                    loop {
                        for _ in 0..count {
                            let (low, high) = ($load(line.cast()), $load(line.add(LANES).cast()));
                            if $ahead {
                                _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                                _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD + LANES).cast());
                            }
                            for (part, sums) in parts.iter_mut().zip(&mut sums) {
                                for (r, sums) in sums.iter_mut().enumerate() {
                                    let x = $set1(*part.add(r * stride) as i32);
                                    sums[0] = $dot(sums[0], x, low);
                                    sums[1] = $dot(sums[1], x, high);
                                }
                                *part = part.wrapping_add(1);
                            }
                            line = line.wrapping_add(PANEL);
                        }
                        sums = put_aside::<EACH, PARTS, WIDE>(x, sums, is_large);
                        if left == 0 {
                            break;
                        }
                        if is_large {
                            line = b.lines.as_ptr().add(column);
                        }
                        is_large = false;
                        count = if WIDE { left.min(EXACT_LINES) } else { left };
                        left -= count;
                    }
                    finish::<EACH, PARTS, WIDE>(x, sums);
                }
                EACH * PARTS
            }

            /// What the sums go on from: those of 16-bit integers are put aside, those of large columns count more.
            ///
            /// # Safety
            /// As of [`some`].
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn put_aside<const EACH: usize, const PARTS: usize, const WIDE: bool>(
                x: &Part<'_>,
                mut sums: Sums<EACH, PARTS>,
                is_large: bool,
            ) -> Sums<EACH, PARTS> {
                for (at, sum) in sums.as_flattened_mut().as_flattened_mut().iter_mut().enumerate() {
                    if WIDE {
                        // SAFETY: there is a total for each sum.
                        unsafe {
                            let (total, value) = (x.totals.add(at * LANES), $float(*sum));
                            let value = if is_large {
                                $mulf(value, $set1f(LARGE_FACTOR))
                            } else {
                                $addf($loadf(total), value)
                            };
                            $storef(total, value);
                        }
                        *sum = $zero();
                    } else if is_large {
                        *sum = $shift::<7>(*sum);
                    }
                }
                sums
            }

            /// Writes the result of the sums.
            ///
            /// # Safety
            /// As of [`some`].
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn finish<const EACH: usize, const PARTS: usize, const WIDE: bool>(
                x: &Part<'_>,
                sums: Sums<EACH, PARTS>,
            ) {
                for half in 0..2 {
                    let at = x.column + half * LANES;
                    // SAFETY: the caller's promise; a panel has 32 scales and corrections.
                    unsafe {
                        let scales = $loadf(x.b.scales.as_ptr().add(at));
                        let correction = $load(x.b.correction.as_ptr().add(at).cast());
                        for (r, sums) in sums.as_flattened().iter().enumerate() {
                            let total = if WIDE {
                                $loadf(x.totals.add((2 * r + half) * LANES))
                            } else {
                                $float($add(sums[half], correction))
                            };
                            let start = match x.start {
                                Some(Source { at, stride }) => $loadf(at.add(r * stride + half * LANES)),
                                None => $zerof(),
                            };
                            let value = $mulf($mulf(total, scales), $set1f(x.a.scales[x.first + r]));
                            $storef(x.c.at.add(r * x.c.stride + half * LANES), $addf(start, value));
                        }
                    }
                }
            }
        }
    };
}

/// The kernels of AVX-512 by one dot product.
macro_rules! kernel512 {
    ($module:ident, $features:literal, $dot:ident) => {
        // 24 registers of 32 hold sums.
        kernel!(
            $module,
            $features,
            16,
            3,
            4,
            true,
            __m512i,
            $dot,
            [
                _mm512_loadu_si512,
                _mm512_set1_epi32,
                _mm512_setzero_si512,
                _mm512_add_epi32,
                _mm512_slli_epi32,
                _mm512_cvtepi32_ps
            ],
            [
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_set1_ps,
                _mm512_setzero_ps,
                _mm512_add_ps,
                _mm512_mul_ps
            ]
        );
    };
}

/// The kernels of registers of 256 bits by one dot product.
macro_rules! kernel256 {
    ($module:ident, $features:literal, $dot:ident) => {
        // 12 registers of 16.
        kernel!(
            $module,
            $features,
            8,
            3,
            2,
            false,
            __m256i,
            $dot,
            [
                _mm256_loadu_si256,
                _mm256_set1_epi32,
                _mm256_setzero_si256,
                _mm256_add_epi32,
                _mm256_slli_epi32,
                _mm256_cvtepi32_ps
            ],
            [
                _mm256_loadu_ps,
                _mm256_storeu_ps,
                _mm256_set1_ps,
                _mm256_setzero_ps,
                _mm256_add_ps,
                _mm256_mul_ps
            ]
        );
    };
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot_bytes_512(sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
    _mm512_dpbusd_epi32(sum, x, w)
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn dot_halves_512(sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
    _mm512_dpwssd_epi32(sum, x, w)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add_pairs_512(sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
    _mm512_add_epi32(sum, _mm512_madd_epi16(x, w))
}

#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dot_bytes_256(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    _mm256_dpbusd_avx_epi32(sum, x, w)
}

#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dot_halves_256(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    _mm256_dpwssd_avx_epi32(sum, x, w)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add_pairs_256(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
}

kernel512!(bytes512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", dot_bytes_512);
kernel512!(vnni512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", dot_halves_512);
kernel512!(pairs512, "avx512f,avx512bw,avx512dq,avx512vl", add_pairs_512);
kernel256!(bytes256, "avx2,fma,avxvnni", dot_bytes_256);
kernel256!(vnni256, "avx2,fma,avxvnni", dot_halves_256);
kernel256!(pairs256, "avx2,fma", add_pairs_256);
