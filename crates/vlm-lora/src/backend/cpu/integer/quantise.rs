//! From rows of activations to integers: which columns are large, the scale of each row, rounding.

use rayon::prelude::*;

use super::super::isa::Simd;
use super::super::pointwise::gelu_block;
use super::super::simd::simd_fn;
use super::{Form, LARGE, Width};

/// 1.5 · 2^23: adding it leaves the nearest integer, ties to even, in the low bits of a sum, for magnitudes below 2^22.
const ROUND: f32 = 12_582_912.0;
/// Of activations that a function is applied to, every such row shows which columns are large.
const SHOWN: usize = 8;
/// The bits from which a magnitude is infinite or not a number.
const NOT_FINITE: u32 = 0x7f80_0000;

/// Rows `(m, k)` before they are rounded.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Input<'a> {
    pub(in super::super) x: &'a [f32],
    pub(in super::super) m: usize,
    pub(in super::super) k: usize,
    /// Whether GELU is applied to them.
    pub(in super::super) gelu: bool,
    /// What each column is multiplied by.
    pub(in super::super) factors: Option<&'a [f32]>,
}

impl Input<'_> {
    /// Writes row `row` into `out`.
    pub(super) fn row(&self, simd: Simd, row: usize, out: &mut [f32]) {
        let x = &self.x[row * self.k..][..self.k];
        match self.factors {
            Some(factors) => scale_row::<f32>(simd, x, factors, out),
            None if self.gelu => gelu_block(simd, x, out),
            None => out.copy_from_slice(x),
        }
    }

    /// The largest columns of the batch by the magnitude of their elements, in their order.
    pub(super) fn large_columns(&self, simd: Simd) -> Vec<usize> {
        let step = if self.gelu && self.m > SHOWN * SHOWN { SHOWN } else { 1 };
        let raise = |(mut largest, mut row): (Vec<u32>, Vec<f32>), index: usize| {
            self.row(simd, index * step, &mut row);
            raise_columns::<f32>(simd, &row, &mut largest);
            (largest, row)
        };
        let none = || (vec![0; self.k], vec![0.0; self.k]);
        let rows = (0..self.m.div_ceil(step)).into_par_iter().with_min_len(32);
        let (largest, _) = rows.fold(none, raise).reduce(none, |(mut one, row), (other, _)| {
            one.iter_mut().zip(other).for_each(|(one, other)| *one = (*one).max(other));
            (one, row)
        });
        let mut columns: Vec<usize> = (0..self.k).collect();
        if self.k > LARGE {
            let by_size = |column: &usize| (std::cmp::Reverse(largest[*column]), *column);
            columns.select_nth_unstable_by_key(LARGE - 1, by_size);
            columns.truncate(LARGE);
            columns.sort_unstable();
        }
        columns
    }
}

/// Where the integers of a row go: first those by which the large columns count more, then all columns, padded with zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounding<'a> {
    pub(super) simd: Simd,
    pub(super) width: Width,
    pub(super) form: Form,
    pub(super) large: &'a [usize],
}

impl Rounding<'_> {
    /// Rounds a row, which is overwritten, and returns its scale; not a number where an element is infinite or none.
    pub(super) fn round(self, row: &mut [f32], out: &mut [u32]) -> f32 {
        let Self { simd, width, large, .. } = self;
        let mut values = [0.0; LARGE];
        for (value, &column) in values.iter_mut().zip(large) {
            *value = std::mem::take(&mut row[column]);
        }
        let most = width.most() as f32;
        let (bits, of_large) = (magnitude::<f32>(simd, row), magnitude::<f32>(simd, &values));
        let needed = f32::from_bits(of_large) / (most * (1 << width.shift()) as f32);
        let scale = (f32::from_bits(bits) / most).max(needed);
        let finite = bits.max(of_large) < NOT_FINITE;
        let factor = if finite && scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
        let mut parts = [(0, 0); LARGE];
        for (part, value) in parts.iter_mut().zip(values) {
            // An element that is not finite is no integer, and its row's scale is not a number.
            *part = if finite { split(width, nearest(value * factor)) } else { (0, 0) };
        }
        match self.form {
            Form::Bytes | Form::Signed | Form::SignedPairs => {
                let (first, rest) = bytemuck::cast_slice_mut::<_, u8>(out).split_at_mut(LARGE);
                let offset = self.form.offset();
                if factor == 0.0 {
                    rest.fill(offset as u8);
                } else {
                    round_to_bytes::<f32>(simd, row, factor, offset, rest);
                }
                self.put(parts, first, rest, |value| (value + offset) as u8);
            }
            Form::Halves | Form::SplitHalves => {
                let (first, rest) = bytemuck::cast_slice_mut::<_, i16>(out).split_at_mut(LARGE);
                if factor == 0.0 {
                    rest.fill(0);
                } else {
                    round_to_halves::<f32>(simd, row, factor, rest);
                }
                self.put(parts, first, rest, |value| value as i16);
            }
        }
        if !finite {
            f32::NAN
        } else if factor == 0.0 {
            0.0
        } else {
            scale
        }
    }

    /// Writes the integers of the large columns.
    fn put<E>(self, parts: [(i32, i32); LARGE], first: &mut [E], rest: &mut [E], element: impl Fn(i32) -> E) {
        for (out, (high, _)) in first.iter_mut().zip(parts) {
            *out = element(high);
        }
        for (&column, (_, low)) in self.large.iter().zip(parts) {
            rest[column] = element(low);
        }
    }
}

/// `2^shift · high + low` of an integer, as far as that reaches.
fn split(width: Width, value: i32) -> (i32, i32) {
    let reach = width.most() << width.shift();
    let value = value.clamp(-reach, reach);
    let high = (value + (1 << (width.shift() - 1))) >> width.shift();
    (high, value - (high << width.shift()))
}

/// The nearest integer, ties to even.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    (value + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

simd_fn! {
    fn scale_row(x: &[f32], factors: &[f32], out: &mut [f32]) {
        for ((out, &x), &factor) in out.iter_mut().zip(x).zip(factors) {
            *out = x * factor;
        }
    }
}

simd_fn! {
    /// Raises each of `largest` to the bits of the magnitude in its column.
    fn raise_columns(row: &[f32], largest: &mut [u32]) {
        for (largest, &x) in largest.iter_mut().zip(row) {
            *largest = (*largest).max(x.to_bits() & 0x7fff_ffff);
        }
    }
}

simd_fn! {
    /// The bits of the largest magnitude: of what is not a number they are the largest of all.
    fn magnitude(row: &[f32]) -> u32 {
        row.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff))
    }
}

simd_fn! {
    /// The nearest integers plus an offset.
    fn round_to_bytes(row: &[f32], factor: f32, offset: i32, out: &mut [u8]) {
        let (out, rest) = out.split_at_mut(row.len());
        for (out, &x) in out.iter_mut().zip(row) {
            *out = (nearest(x * factor) + offset) as u8;
        }
        rest.fill(offset as u8);
    }
}

simd_fn! {
    fn round_to_halves(row: &[f32], factor: f32, out: &mut [i16]) {
        let (out, rest) = out.split_at_mut(row.len());
        for (out, &x) in out.iter_mut().zip(row) {
            *out = nearest(x * factor) as i16;
        }
        rest.fill(0);
    }
}
