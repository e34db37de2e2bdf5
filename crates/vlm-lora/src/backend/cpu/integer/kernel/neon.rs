//! The kernels of aarch64: dot products (`sdot`) and products of 16 bits (`smlal`) of 8 × 8 elements, products of pairs of
//! rows and columns (`smmla`) of 12 × 8. Intrinsics for `sdot` and `smmla` are not stable, inline assembly is.

use std::arch::aarch64::{
    float32x4_t, int32x4_t, uint32x4_t, vaddq_f32, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u32,
    vget_low_s16, vld1q_f32, vld1q_u32, vmlal_high_laneq_s16, vmlal_laneq_s16, vmulq_f32,
    vreinterpretq_s16_u32, vreinterpretq_s32_s64, vreinterpretq_s64_s32, vshlq_n_s32, vst1q_f32, vtrn1q_s64,
    vtrn2q_s64,
};
use std::arch::asm;

use super::super::super::panels::{Out, PANEL, Source, Start};
use super::{Lines, ROWS, Right};

/// Columns that are multiplied together.
const COLUMNS: usize = 8;

/// `C = start + scale of the row · scale of the column · total` for four columns from `column` on.
///
/// # Safety
/// Row `row` and these columns lie inside the block.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn put(
    a: Lines<'_>,
    b: Right<'_>,
    c: Out,
    start: Start,
    (row, column): (usize, usize),
    total: float32x4_t,
) {
    // SAFETY: the caller's promise; a panel has 32 scales.
    unsafe {
        let scales = vld1q_f32(b.scales.as_ptr().add(column));
        let start = match start {
            Some(Source { at, stride }) => vld1q_f32(at.add(row * stride + column)),
            None => vdupq_n_f32(0.0),
        };
        let value = vmulq_f32(vmulq_f32(total, scales), vdupq_n_f32(a.scales[row]));
        vst1q_f32(c.at.add(row * c.stride + column), vaddq_f32(start, value));
    }
}

/// A module with `multiply` for one instruction that takes a word of a row out of a register of four: of every line of a
/// panel two registers for eight columns, `$second` words apart. `$halved`: a column is half a word of each.
macro_rules! kernel {
    ($module:ident, $features:literal, $halved:literal, $second:literal, $step:ident) => {
        pub(super) mod $module {
            use super::super::{EXACT_LINES, LARGE_FACTOR};
            use super::*;

            /// Rows that are multiplied together.
            const AT_ONCE: usize = 8;

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
                for column in (0..PANEL).step_by(COLUMNS) {
                    let mut first = 0;
                    while first < rows {
                        let part = Part { a, b, c, start, first, column };
                        // SAFETY: these rows and columns lie inside the block, which the caller promises to be there.
                        unsafe {
                            match rows - first {
                                1 => some::<1, WIDE>(&part),
                                2 => some::<2, WIDE>(&part),
                                3 => some::<3, WIDE>(&part),
                                4 => some::<4, WIDE>(&part),
                                5 => some::<5, WIDE>(&part),
                                6 => some::<6, WIDE>(&part),
                                7 => some::<7, WIDE>(&part),
                                _ => some::<AT_ONCE, WIDE>(&part),
                            }
                        }
                        first += AT_ONCE;
                    }
                }
            }

            /// Rows from `first` on times eight columns from `column` on.
            struct Part<'a> {
                a: Lines<'a>,
                b: Right<'a>,
                c: Out,
                start: Start,
                first: usize,
                column: usize,
            }

            /// `R` rows.
            ///
            /// # Safety
            /// There are as many rows of `a`, `c` and `start`.
            #[target_feature(enable = $features)]
            #[inline(never)]
            unsafe fn some<const R: usize, const WIDE: bool>(x: &Part<'_>) {
                let Part { a, b, c, start, first, column } = *x;
                let offset = if $halved { column / 2 } else { column };
                let mut sums = [[vdupq_n_s32(0); 2]; R];
                let mut totals = [[vdupq_n_f32(0.0); 2]; R];
                // SAFETY: the lines of `b` are as many as the words of a row, of which each segment takes those that follow.
                unsafe {
                    let mut words = a.words.as_ptr().add(first * a.stride);
                    let (mut lines, mut count) = (b.large.as_ptr().add(offset), b.large.len() / PANEL);
                    let mut left = a.stride - count;
                    let mut is_large = true;
                    loop {
                        sums = add_lines::<R>(sums, words, a.stride, lines, count);
                        for (total, sum) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened_mut())
                        {
                            if WIDE {
                                let value = vcvtq_f32_s32(*sum);
                                *total = if is_large {
                                    vmulq_f32(value, vdupq_n_f32(LARGE_FACTOR))
                                } else {
                                    vaddq_f32(*total, value)
                                };
                                *sum = vdupq_n_s32(0);
                            } else if is_large {
                                *sum = vshlq_n_s32::<7>(*sum);
                            }
                        }
                        if left == 0 {
                            break;
                        }
                        words = words.add(count);
                        lines =
                            if is_large { b.lines.as_ptr().add(offset) } else { lines.add(count * PANEL) };
                        is_large = false;
                        count = if WIDE { left.min(EXACT_LINES) } else { left };
                        left -= count;
                    }
                    for r in 0..R {
                        for half in 0..2 {
                            let total = if WIDE { totals[r][half] } else { vcvtq_f32_s32(sums[r][half]) };
                            put(a, b, c, start, (first + r, column + 4 * half), total);
                        }
                    }
                }
            }

            /// The sums and the products of so many words of `R` rows with as many lines.
            ///
            /// # Safety
            /// There are as many words of each row, `stride` apart, and lines.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn add_lines<const R: usize>(
                mut sums: [[int32x4_t; 2]; R],
                mut words: *const u32,
                stride: usize,
                mut lines: *const u32,
                count: usize,
            ) -> [[int32x4_t; 2]; R] {
                // SAFETY: the caller's promise; four words are read where there are four.
                unsafe {
                    let mut x = [vdupq_n_u32(0); R];
                    for _ in 0..count / 4 {
                        for (r, x) in x.iter_mut().enumerate() {
                            *x = vld1q_u32(words.add(r * stride));
                        }
                        macro_rules! line {
                            ($lane:literal, $low:literal, $high:literal) => {
                                let w = [vld1q_u32(lines), vld1q_u32(lines.add($second))];
                                for (sums, x) in sums.iter_mut().zip(x) {
                                    *sums = $step::<$lane, $low, $high>(*sums, w, x);
                                }
                                lines = lines.wrapping_add(PANEL);
                            };
                        }
                        line!(0, 0, 1);
                        line!(1, 2, 3);
                        line!(2, 4, 5);
                        line!(3, 6, 7);
                        words = words.wrapping_add(4);
                    }
                    for _ in 0..count % 4 {
                        let w = [vld1q_u32(lines), vld1q_u32(lines.add($second))];
                        for (r, sums) in sums.iter_mut().enumerate() {
                            *sums = $step::<0, 0, 1>(*sums, w, vdupq_n_u32(*words.add(r * stride)));
                        }
                        (lines, words) = (lines.wrapping_add(PANEL), words.wrapping_add(1));
                    }
                }
                sums
            }
        }
    };
}

/// The dot products of word `LANE` of a row with the words of eight columns.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_bytes<const LANE: i32, const LOW: i32, const HIGH: i32>(
    mut sums: [int32x4_t; 2],
    w: [uint32x4_t; 2],
    x: uint32x4_t,
) -> [int32x4_t; 2] {
    for (sum, w) in sums.iter_mut().zip(w) {
        // SAFETY: the instruction changes one register.
        unsafe {
            asm!("sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]", sum = inout(vreg) *sum, w = in(vreg) w,
                 x = in(vreg) x, lane = const LANE, options(pure, nomem, nostack, preserves_flags));
        }
    }
    sums
}

/// The products of the two halves of a word of a row, numbers `LOW` and `HIGH`, with the first and the second halves of the
/// words of eight columns.
#[target_feature(enable = "neon")]
#[inline]
fn add_halves<const LANE: i32, const LOW: i32, const HIGH: i32>(
    [first, second]: [int32x4_t; 2],
    w: [uint32x4_t; 2],
    x: uint32x4_t,
) -> [int32x4_t; 2] {
    let [low, high] = w.map(|w| vreinterpretq_s16_u32(w));
    let x = vreinterpretq_s16_u32(x);
    let first = vmlal_laneq_s16::<LOW>(first, vget_low_s16(low), x);
    let second = vmlal_high_laneq_s16::<LOW>(second, low, x);
    let first = vmlal_laneq_s16::<HIGH>(first, vget_low_s16(high), x);
    [first, vmlal_high_laneq_s16::<HIGH>(second, high, x)]
}

kernel!(dot, "neon,dotprod", false, 4, dot_bytes);
kernel!(long, "neon", true, 16, add_halves);

/// `C (rows, 32)` of rows and columns in pairs, as [`multiply`](super::multiply) has it.
///
/// # Safety
/// As of that, for a block that was checked; the features are there.
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn matrices(a: Lines<'_>, b: Right<'_>, c: Out, start: Start) {
    const { assert!(ROWS == 12) };
    // SAFETY: the caller's promise.
    unsafe {
        match a.scales.len().div_ceil(2) {
            1 => pairs::<1>(a, b, c, start),
            2 => pairs::<2>(a, b, c, start),
            3 => pairs::<3>(a, b, c, start),
            4 => pairs::<4>(a, b, c, start),
            5 => pairs::<5>(a, b, c, start),
            _ => pairs::<6>(a, b, c, start),
        }
    }
}

/// The sums of pairs of rows with four pairs of columns, 2 × 2 each.
type Sums<const PAIRS: usize> = [[int32x4_t; COLUMNS / 2]; PAIRS];

/// As [`matrices`] of so many pairs of rows, of the last of which one may be missing in `c`.
///
/// # Safety
/// As of [`matrices`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn pairs<const PAIRS: usize>(a: Lines<'_>, b: Right<'_>, c: Out, start: Start) {
    let (rows, large) = (a.scales.len(), b.large.len() / PANEL);
    for column in (0..PANEL).step_by(COLUMNS) {
        let mut sums = [[vdupq_n_s32(0); COLUMNS / 2]; PAIRS];
        // SAFETY: a pair of rows has two words for every line; these rows and columns lie inside the block.
        unsafe {
            let (words, distance) = (a.words.as_ptr(), 2 * a.stride);
            sums = add_pairs(sums, words, distance, b.large.as_ptr().add(2 * column), large / 2);
            for sum in sums.as_flattened_mut() {
                *sum = vshlq_n_s32::<7>(*sum);
            }
            let (words, lines) = (words.add(2 * large), b.lines.as_ptr().add(2 * column));
            sums = add_pairs(sums, words, distance, lines, (a.stride - large) / 2);
            for (pair, sums) in sums.iter().enumerate() {
                for (quad, [left, right]) in sums.as_chunks::<2>().0.iter().enumerate() {
                    let (left, right) = (vreinterpretq_s64_s32(*left), vreinterpretq_s64_s32(*right));
                    for (row, sum) in
                        [vtrn1q_s64(left, right), vtrn2q_s64(left, right)].into_iter().enumerate()
                    {
                        let (row, column) = (2 * pair + row, column + 4 * quad);
                        if row < rows {
                            put(a, b, c, start, (row, column), vcvtq_f32_s32(vreinterpretq_s32_s64(sum)));
                        }
                    }
                }
            }
        }
    }
}

/// The sums and the products of so many times eight elements of pairs of rows, `distance` words apart, with as many of eight
/// columns.
///
/// # Safety
/// There are as many words of each pair, and pairs of lines.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn add_pairs<const PAIRS: usize>(
    mut sums: Sums<PAIRS>,
    mut words: *const u32,
    distance: usize,
    mut lines: *const u32,
    count: usize,
) -> Sums<PAIRS> {
    for _ in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let w = [
                vld1q_u32(lines),
                vld1q_u32(lines.add(4)),
                vld1q_u32(lines.add(8)),
                vld1q_u32(lines.add(12)),
            ];
            for (pair, sums) in sums.iter_mut().enumerate() {
                let x = vld1q_u32(words.add(pair * distance));
                for (sum, w) in sums.iter_mut().zip(w) {
                    asm!("smmla {sum:v}.4s, {x:v}.16b, {w:v}.16b", sum = inout(vreg) *sum, x = in(vreg) x,
                         w = in(vreg) w, options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        (words, lines) = (words.wrapping_add(4), lines.wrapping_add(2 * PANEL));
    }
    sums
}
