//! Frozen matrices: kept once, in the chosen precision.

use rayon::prelude::*;
use safetensors::Dtype;

use super::bf16::Context;
use super::bf16::{self, Activation, Bf16Kernel, Frozen, Matrix, Panels, Rounded};
use super::buffer::Buffer;
use super::check::invalid_argument;
use super::f32_kernels;
use super::isa::Simd;
use super::matmul::{Matmul, View};
use super::panels::Initial;
use super::real::Real;
use super::simd::{lane_sum, simd_fn};
use crate::backend::{Write, check};
use crate::{Result, Stored};

/// Elements of a bf16 or 8-bit matrix that are upcast at a time: two megabytes of f32, which stay in the caches.
const WIDENED: usize = 1 << 19;

/// The precision in which frozen matrices are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BaseDtype {
    /// That of the computation.
    #[default]
    Full,
    /// bf16, half the memory of f32; activations are rounded to bf16 where they meet it, sums are f32.
    Bf16,
    /// Rows of 8-bit integers times `absmax / 127`, a quarter of the memory of f32; a matrix of more than
    /// [`LARGEST_INT8_ROWS`] rows, which is an embedding or a head, is kept in bf16.
    Int8,
}

/// Matrices with more rows than this are kept in bf16 where the base is 8-bit, as the head is by common practice.
pub const LARGEST_INT8_ROWS: usize = 16_384;

#[derive(Debug)]
enum Rows<T> {
    Full(Vec<T>),
    /// f32 as its kernels want it.
    Panels(Vec<f32>),
    Bf16(Vec<u16>),
    /// As the bf16 kernels of this CPU want it.
    Packed(Vec<u32>),
    Int8 {
        rows: Vec<i8>,
        scales: Vec<T>,
    },
}

/// A frozen matrix `(n, k)`.
#[derive(Debug)]
pub struct Weight<T> {
    n: usize,
    k: usize,
    rows: Rows<T>,
}

impl<T: Real> Weight<T> {
    pub(super) fn new(
        context: Context<'_>,
        stored: Stored<'_>,
        n: usize,
        k: usize,
        base: BaseDtype,
    ) -> Result<Self> {
        let keep = Keep { simd: context.simd, k, base };
        check::stored(stored, n, k)?;
        let Stored { dtype, bytes } = stored;
        let rows = match dtype {
            Dtype::F32 => keep.rows(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => keep.rows(bytes, f64::from_le_bytes),
            Dtype::F16 => keep.rows(bytes, |b| half::f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 if is_bf16::<T>(base, n) => {
                Rows::Bf16(convert(bytes.as_chunks().0, u16::from_le_bytes))
            }
            Dtype::BF16 => {
                keep.rows(bytes, |b| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
            }
            other => return Err(invalid_argument(format!("a matrix of {other:?} cannot be used"))),
        };
        let rows = match rows {
            Rows::Bf16(bits) if context.kernel != Bf16Kernel::Upcast => {
                Rows::Packed(bf16::packed(Matrix { bits: &bits, n, k }))
            }
            rows => rows,
        };
        Ok(Self { n, k, rows })
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    /// Whether its products are taken in bf16, of [`Rounded`] rows.
    pub(super) fn is_bf16(&self, context: Context<'_>) -> bool {
        context.kernel != Bf16Kernel::Upcast && !matches!(self.rows, Rows::Full(_) | Rows::Panels(_))
    }

    /// As [`forward`](Self::forward) of rounded rows, where it [is kept in bf16](Self::is_bf16).
    pub(super) fn forward_rounded(&self, context: Context<'_>, x: &Rounded, bias: Option<&[T]>, y: &mut [T]) {
        let initial = bias.map_or(Initial::Zero, |bias| Initial::Bias(bytemuck::cast_slice::<T, f32>(bias)));
        self.with_bf16(context, |w| {
            bf16::forward(context.pool, x, w, bytemuck::cast_slice_mut(y), initial);
        });
    }

    /// `y (m, n) = x (m, k) · Wᵀ + bias (n)`.
    pub(super) fn forward(&self, context: Context<'_>, x: &[T], m: usize, bias: Option<&[T]>, y: &mut [T]) {
        let (n, k) = (self.n, self.k);
        if let Rows::Panels(data) = &self.rows {
            let initial =
                bias.map_or(Initial::Zero, |bias| Initial::Bias(bytemuck::cast_slice::<T, f32>(bias)));
            let (x, y) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
            return f32_kernels::forward(context, x, m, f32_kernels::Panels { data, n, k }, y, initial);
        }
        if self.is_bf16(context) {
            let x = Rounded::new(context, bytemuck::cast_slice(x), m, k, Activation::Identity);
            return self.forward_rounded(context, &x, bias, y);
        }
        let write = if let Some(bias) = bias {
            y.par_chunks_mut(n.max(1)).with_min_len(16).for_each(|row| row.copy_from_slice(bias));
            Write::Add
        } else {
            Write::Set
        };
        match &self.rows {
            Rows::Full(rows) => {
                let product = Matmul::new(context.simd, m, n, k).write(write);
                product.everywhere(View::rows(x, k), View::columns(rows, k), y, n);
            }
            _ => self.each_upcast(context, |first, rows| {
                let product = Matmul::new(context.simd, m, rows.len() / k, k).write(write);
                product.everywhere(View::rows(x, k), View::columns(rows, k), &mut y[first..], n);
            }),
        }
    }

    /// `dx (m, k) (+)= dy (m, n) · W`.
    pub(super) fn backward(&self, context: Context<'_>, dy: &[T], m: usize, dx: &mut [T], write: Write) {
        let (n, k) = (self.n, self.k);
        match &self.rows {
            Rows::Full(rows) => {
                let product = Matmul::new(context.simd, m, k, n).write(write);
                product.everywhere(View::rows(dy, n), View::rows(rows, k), dx, k);
            }
            Rows::Panels(data) => {
                let (dy, dx) = (bytemuck::cast_slice(dy), bytemuck::cast_slice_mut(dx));
                f32_kernels::backward(context, dy, m, f32_kernels::Panels { data, n, k }, dx, write);
            }
            _ if context.kernel == Bf16Kernel::Upcast => self.each_upcast(context, |first, rows| {
                let write = if first == 0 { write } else { Write::Add };
                let product = Matmul::new(context.simd, m, k, rows.len() / k).write(write);
                product.everywhere(View::rows(&dy[first.min(dy.len())..], n), View::rows(rows, k), dx, k);
            }),
            _ => self.with_bf16(context, |w| {
                let (dy, dx) = (bytemuck::cast_slice(dy), bytemuck::cast_slice_mut(dx));
                bf16::backward(context, dy, m, w, dx, write);
            }),
        }
    }

    /// Calls `product` with the first index and the values of successive blocks of rows.
    fn each_upcast(&self, context: Context<'_>, mut product: impl FnMut(usize, &[T])) {
        let block = (WIDENED / self.k.max(1)).clamp(1, self.n.max(1));
        let mut upcast = Buffer::uninitialised(context.pool, block * self.k);
        for first in (0..self.n).step_by(block) {
            let count = block.min(self.n - first);
            let rows = &mut upcast[..count * self.k];
            rows.par_chunks_mut(self.k)
                .with_min_len(8)
                .enumerate()
                .for_each(|(i, row)| self.row(context.simd, first + i, row));
            product(first, rows);
        }
    }

    /// Calls `product` with the whole matrix in bf16.
    fn with_bf16(&self, context: Context<'_>, product: impl FnOnce(Frozen<'_>)) {
        let (n, k) = (self.n, self.k);
        match &self.rows {
            Rows::Full(_) | Rows::Panels(_) => {}
            Rows::Bf16(bits) => product(Frozen::Rows(Matrix { bits, n, k })),
            Rows::Packed(data) => product(Frozen::Panels(Panels { data, n, k })),
            Rows::Int8 { rows, scales } => {
                let mut storage = Buffer::<f32>::uninitialised(context.pool, (self.n * self.k).div_ceil(2));
                let bits: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut storage)[..self.n * self.k];
                bits.par_chunks_mut(self.k)
                    .with_min_len(8)
                    .zip(rows.par_chunks(self.k).zip(scales))
                    .for_each(|(bits, (row, &scale))| dequantize_to_bf16(context.simd, row, scale, bits));
                product(Frozen::Rows(Matrix { bits, n, k }));
            }
        }
    }

    /// Copies row `row` into `y`.
    pub(super) fn row(&self, simd: Simd, row: usize, y: &mut [T]) {
        let range = row * self.k..(row + 1) * self.k;
        match &self.rows {
            Rows::Full(rows) => y.copy_from_slice(&rows[range]),
            Rows::Panels(data) => {
                let row = f32_kernels::Panels { data, n: self.n, k: self.k }.row(row);
                bytemuck::cast_slice_mut(y).iter_mut().zip(row).for_each(|(y, value)| *y = value);
            }
            Rows::Bf16(bits) => upcast(simd, &bits[range], y),
            Rows::Packed(data) => {
                let bits = Panels { data, n: self.n, k: self.k }.row(row);
                y.iter_mut().zip(bits).for_each(|(y, bits)| *y = T::of(half::bf16::from_bits(bits).to_f64()));
            }
            Rows::Int8 { rows, scales } => dequantize(simd, &rows[range], scales[row], y),
        }
    }

    pub(super) fn row_norms_squared(&self, simd: Simd, out: &mut [T]) {
        out.par_iter_mut().enumerate().for_each_init(
            || vec![T::ZERO; self.k],
            |row, (index, norm)| {
                self.row(simd, index, row);
                *norm = norm_squared(simd, row);
            },
        );
    }
}

/// How the rows of a matrix are kept.
#[derive(Clone, Copy)]
struct Keep {
    simd: Simd,
    /// Elements of a row.
    k: usize,
    base: BaseDtype,
}

impl Keep {
    /// Converts stored rows to what is kept of them. Only f32 computes with bf16 and 8-bit rows; f64 rounds to them, so that it
    /// can check what they compute.
    fn rows<T: Real, const BYTES: usize>(
        self,
        bytes: &[u8],
        read: impl Fn([u8; BYTES]) -> f64 + Sync,
    ) -> Rows<T> {
        let Self { simd, k, base } = self;
        let (elements, _) = bytes.as_chunks::<BYTES>();
        let bf16_bits = |element| half::bf16::from_f64(read(element)).to_bits();
        match base {
            BaseDtype::Int8 if k > 0 && elements.len() / k <= LARGEST_INT8_ROWS => {
                quantised_rows(simd, elements, k, read)
            }
            BaseDtype::Full if T::HAS_KERNELS && f32_kernels::worth_packing(simd) => {
                let n = elements.len() / k.max(1);
                Rows::Panels(f32_kernels::packed(simd, n, k, |row, column, out| {
                    let from = &elements[row * k + column..][..out.len()];
                    out.iter_mut().zip(from).for_each(|(out, &element)| *out = read(element) as f32);
                }))
            }
            BaseDtype::Full => Rows::Full(convert(elements, |element| T::of(read(element)))),
            _ if T::HAS_KERNELS => Rows::Bf16(convert(elements, bf16_bits)),
            _ => Rows::Full(convert(elements, |element| {
                T::of(half::bf16::from_bits(bf16_bits(element)).to_f64())
            })),
        }
    }
}

/// Rows of `k` in 8 bits; in f64 the values that these stand for.
fn quantised_rows<T: Real, const BYTES: usize>(
    simd: Simd,
    elements: &[[u8; BYTES]],
    k: usize,
    read: impl Fn([u8; BYTES]) -> f64 + Sync,
) -> Rows<T> {
    let quantised = elements.par_chunks(k).map(|row| quantise(row, &read)).collect::<Vec<_>>();
    let scales: Vec<T> = quantised.iter().map(|&(_, scale)| T::of(f64::from(scale))).collect();
    let rows: Vec<i8> = quantised.into_iter().flat_map(|(row, _)| row).collect();
    if T::HAS_KERNELS {
        return Rows::Int8 { rows, scales };
    }
    let mut full = vec![T::ZERO; rows.len()];
    for ((y, row), &scale) in full.chunks_mut(k).zip(rows.chunks(k)).zip(&scales) {
        dequantize(simd, row, scale, y);
    }
    Rows::Full(full)
}

/// Whether a matrix of `n` rows is kept in bf16.
fn is_bf16<T: Real>(base: BaseDtype, n: usize) -> bool {
    let in_bf16 = base == BaseDtype::Bf16 || base == BaseDtype::Int8 && n > LARGEST_INT8_ROWS;
    in_bf16 && T::HAS_KERNELS
}

fn convert<E: Copy + Sync, V: Send>(elements: &[E], read: impl Fn(E) -> V + Sync) -> Vec<V> {
    elements.par_iter().with_min_len(4096).map(|&element| read(element)).collect()
}

/// The nearest multiples of `absmax / 127` of a row (Dettmers et al. 2022), and that scale.
fn quantise<const BYTES: usize>(row: &[[u8; BYTES]], read: impl Fn([u8; BYTES]) -> f64) -> (Vec<i8>, f32) {
    let largest = row.iter().map(|&element| read(element).abs()).fold(0.0, f64::max);
    let scale = (largest / 127.0) as f32;
    let factor = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    (row.iter().map(|&element| (read(element) * factor).round().clamp(-127.0, 127.0) as i8).collect(), scale)
}

simd_fn! {
    /// Σ x².
    fn norm_squared(x: &[T]) -> T {
        lane_sum(x.len(), |i| x[i] * x[i])
    }
}

simd_fn! {
    fn upcast(bits: &[u16], y: &mut [T]) {
        for (y, &bits) in y.iter_mut().zip(bits) {
            *y = T::of(f64::from(f32::from_bits(u32::from(bits) << 16)));
        }
    }
}

simd_fn! {
    fn dequantize(row: &[i8], scale: T, y: &mut [T]) {
        for (y, &integer) in y.iter_mut().zip(row) {
            *y = T::of(f64::from(integer)) * scale;
        }
    }
}

simd_fn! {
    /// The scaled integers, rounded to the nearest even bf16.
    fn dequantize_to_bf16(row: &[i8], scale: T, bits: &mut [u16]) {
        let scale = scale.to_f64() as f32;
        for (out, &integer) in bits.iter_mut().zip(row) {
            *out = (f32::from(integer) * scale).bf16_bits();
        }
    }
}
