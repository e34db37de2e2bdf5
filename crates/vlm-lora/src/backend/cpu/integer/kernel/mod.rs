//! Blocks of rows times a panel of 32 columns, with the sums in registers.

#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod amx;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::super::panels::{Out, PANEL, Start};
use super::{EXACT_SUM, Form, IntegerKernel, Width};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use super::super::tiles::has_int8 as has_tiles;
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
pub(super) fn has_tiles() -> bool {
    false
}

/// The most rows of a block, but for tiles.
pub(super) const ROWS: usize = 12;
/// Rows of a block of tiles.
const TILE_ROWS: usize = 32;

/// Rows of a block at most.
pub(super) fn rows(kernel: IntegerKernel, form: Form) -> usize {
    match (kernel, form) {
        (IntegerKernel::Amx, Form::Bytes) => TILE_ROWS,
        // The sums of 8 × 8 elements leave room for four words of each row, of which instructions take one by itself.
        (IntegerKernel::NeonDot | IntegerKernel::Neon, _) => 8,
        _ => ROWS,
    }
}

/// Rows of words, each first those of the large columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) words: &'a [u32],
    pub(super) stride: usize,
    /// The scale of each row.
    pub(super) scales: &'a [f32],
}

/// A panel, in words of the same form as the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right<'a> {
    /// Lines of the large columns.
    pub(super) large: &'a [u32],
    /// Lines of all columns.
    pub(super) lines: &'a [u32],
    /// The scale of each column.
    pub(super) scales: &'a [f32],
    /// What is added to each sum.
    pub(super) correction: &'a [i32; PANEL],
}

/// Lines after which a sum of 16-bit integers is put aside.
const EXACT_LINES: usize = EXACT_SUM / 2;
/// What the high 16-bit integer of a large column counts.
const LARGE_FACTOR: f32 = (1 << Width::Sixteen.shift()) as f32;

/// `C (rows, 32) = start + scale of the row · scale of the column · A · panel`.
///
/// # Safety
/// `c` has as many rows of 32 elements that no one else uses; `start` likewise has rows to read, which may be one and the same.
pub(super) unsafe fn multiply(
    kernel: IntegerKernel,
    width: Width,
    form: Form,
    a: Lines<'_>,
    b: Right<'_>,
    c: Out,
    start: Start,
) {
    let count = a.scales.len();
    assert!(count > 0 && count <= rows(kernel, form));
    assert!(a.words.len() == count.next_multiple_of(form.together()) * a.stride);
    assert!(b.large.len() + b.lines.len() == a.stride * PANEL && b.scales.len() == PANEL);
    assert!(b.large.len().is_multiple_of(PANEL) && kernel.form(width) == form);
    // SAFETY: the caller's promise, and what was just checked; a kernel is chosen where the CPU has what it uses.
    unsafe {
        match (kernel, width, form) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (IntegerKernel::Amx, _, Form::Bytes) => amx::multiply(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Amx, ..) => x86::vnni512::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx512Vnni, _, Form::Bytes) => x86::bytes512::multiply::<false>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::AvxVnni, _, Form::Bytes) => x86::bytes256::multiply::<false>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx512Vnni, ..) => x86::vnni512::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::AvxVnni, ..) => x86::vnni256::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx512, Width::Sixteen, _) => x86::pairs512::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx512, ..) => x86::pairs512::multiply::<false>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx2, Width::Sixteen, _) => x86::pairs256::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "x86_64")]
            (IntegerKernel::Avx2, ..) => x86::pairs256::multiply::<false>(a, b, c, start),
            #[cfg(target_arch = "aarch64")]
            (IntegerKernel::NeonI8mm, _, Form::SignedPairs) => neon::matrices(a, b, c, start),
            #[cfg(target_arch = "aarch64")]
            (IntegerKernel::NeonDot, _, Form::Signed) => neon::dot::multiply::<false>(a, b, c, start),
            #[cfg(target_arch = "aarch64")]
            (_, Width::Sixteen, Form::SplitHalves) => neon::long::multiply::<true>(a, b, c, start),
            #[cfg(target_arch = "aarch64")]
            (_, Width::Eight, Form::SplitHalves) => neon::long::multiply::<false>(a, b, c, start),
            _ => plain(width, a, b, c, start),
        }
    }
}

/// [`multiply`] for any CPU, of halves.
///
/// # Safety
/// As of [`multiply`].
unsafe fn plain(width: Width, a: Lines<'_>, b: Right<'_>, c: Out, start: Start) {
    let large = b.large.len() / PANEL;
    for (r, (row, &scale)) in a.words.chunks_exact(a.stride).zip(a.scales).enumerate() {
        let (first, rest) = row.split_at(large);
        let mut sums = [0; PANEL];
        add_lines(first, b.large, &mut sums);
        let mut totals = [0.0; PANEL];
        let most = if width == Width::Sixteen { EXACT_LINES } else { rest.len().max(1) };
        if width == Width::Sixteen {
            totals = std::mem::take(&mut sums).map(|sum: i32| sum as f32 * LARGE_FACTOR);
        } else {
            sums = sums.map(|sum| sum << width.shift());
        }
        for (rest, lines) in rest.chunks(most).zip(b.lines.chunks(most * PANEL)) {
            add_lines(rest, lines, &mut sums);
            if width == Width::Sixteen {
                totals
                    .iter_mut()
                    .zip(std::mem::take(&mut sums))
                    .for_each(|(total, sum)| *total += sum as f32);
            }
        }
        if width == Width::Eight {
            totals = std::array::from_fn(|j| (sums[j] + b.correction[j]) as f32);
        }
        for (j, total) in totals.into_iter().enumerate() {
            // SAFETY: the caller's promise about `c` and `start`.
            unsafe {
                let start = start.map_or(0.0, |start| *start.at.add(r * start.stride + j));
                *c.at.add(r * c.stride + j) = start + total * b.scales[j] * scale;
            }
        }
    }
}

/// Adds the products of pairs to the sums of 32 columns.
fn add_lines(row: &[u32], lines: &[u32], sums: &mut [i32; PANEL]) {
    for (&x, line) in row.iter().zip(lines.chunks_exact(PANEL)) {
        let (low, high) = (i32::from(x as i16), i32::from((x >> 16) as i16));
        for (sum, &w) in sums.iter_mut().zip(line) {
            *sum += low * i32::from(w as i16) + high * i32::from((w >> 16) as i16);
        }
    }
}
