//! Frozen matrices: kept once, in the chosen precision.

use rayon::prelude::*;
use safetensors::Dtype;

use super::bf16::{self, Activation, Bf16Kernel, Context, Frozen, Matrix, Panels};
use super::buffer::Buffer;
use super::check::invalid_argument;
use super::f32_kernels;
use super::integer::{self, IntegerMatrix, LONGEST_SUM, Width};
use super::isa::Simd;
use super::matmul::{Matmul, View};
use super::panels::Initial;
use super::prepared::{Operand, Prepared};
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
    /// bf16, half the memory of f32; activations are rounded to bf16 where they meet it, sums are f32. Where the CPU does not
    /// multiply in bf16, both become integers of 16 bits ([`Bf16Kernel::Int16`]), but for a matrix of more than
    /// [`LARGEST_INT8_ROWS`] rows.
    Bf16,
    /// Rows of 8-bit integers times `absmax / 127`, a quarter of the memory of f32, and activations in 8-bit integers where they
    /// meet it; a matrix of more than [`LARGEST_INT8_ROWS`] rows, which is an embedding or a head, is kept in bf16.
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
    /// Integers of 8 or 16 bits.
    Integers(IntegerMatrix),
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
        let Context { simd, kernel, accelerate, .. } = context;
        let is_packed = f32_kernels::worth_packing(simd) && !accelerate;
        let keep = Keep { simd, n, k, base, kernel, is_packed };
        check::stored(stored, n, k)?;
        let Stored { dtype, bytes } = stored;
        let rows = match dtype {
            Dtype::F32 => keep.rows(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => keep.rows(bytes, f64::from_le_bytes),
            Dtype::F16 => keep.rows(bytes, |b| half::f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 if keep.is_bf16::<T>() => {
                Rows::Bf16(convert(bytes.as_chunks().0, u16::from_le_bytes))
            }
            Dtype::BF16 => {
                keep.rows(bytes, |b| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
            }
            other => return Err(invalid_argument(format!("a matrix of {other:?} cannot be used"))),
        };
        let rows = match rows {
            Rows::Bf16(bits) if context.kernel.is_native() => {
                Rows::Packed(bf16::packed(Matrix { bits: &bits, n, k }))
            }
            rows => rows,
        };
        Ok(Self { n, k, rows })
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    /// What its products take in place of rows in full precision.
    pub(super) fn operand(&self, context: Context<'_>) -> Option<Operand> {
        let is_native = context.kernel.is_native();
        match &self.rows {
            Rows::Full(_) | Rows::Panels(_) => None,
            Rows::Integers(w) if context.integers.is_some() => Some(Operand::Integers(w.width())),
            Rows::Integers(w) => (is_native && w.width() == Width::Eight).then_some(Operand::Bf16),
            Rows::Bf16(_) | Rows::Packed(_) => is_native.then_some(Operand::Bf16),
        }
    }

    /// As [`forward`](Self::forward) of rows that were made ready as its [operand](Self::operand).
    pub(super) fn forward_prepared(
        &self,
        context: Context<'_>,
        x: &Prepared,
        bias: Option<&[T]>,
        y: &mut [T],
    ) {
        let initial = bias.map_or(Initial::Zero, |bias| Initial::Bias(bytemuck::cast_slice::<T, f32>(bias)));
        let y = bytemuck::cast_slice_mut(y);
        match (x, &self.rows) {
            (Prepared::Integers(x), Rows::Integers(w)) => integer::forward(x, w, y, initial),
            (Prepared::Bf16(x), _) => {
                self.with_bf16(context, |w| bf16::forward(context.pool, x, w, y, initial));
            }
            (Prepared::Integers(_), _) => unreachable!("the rows were not made ready for this matrix"),
        }
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
        if let Some(operand) = self.operand(context) {
            let x = bytemuck::cast_slice(x);
            let x = Prepared::new(context, operand, x, (m, k), Activation::Identity);
            return self.forward_prepared(context, &x, bias, y);
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
                context.multiply(product, View::rows(x, k), View::columns(rows, k), y, n);
            }
            _ => self.each_upcast(context, |first, rows| {
                let product = Matmul::new(context.simd, m, rows.len() / k, k).write(write);
                context.multiply(product, View::rows(x, k), View::columns(rows, k), &mut y[first..], n);
            }),
        }
    }

    /// `dx (m, k) (+)= dy (m, n) · W`.
    pub(super) fn backward(&self, context: Context<'_>, dy: &[T], m: usize, dx: &mut [T], write: Write) {
        let (n, k) = (self.n, self.k);
        match (&self.rows, context.means()) {
            (Rows::Full(rows), _) => {
                let product = Matmul::new(context.simd, m, k, n).write(write);
                context.multiply(product, View::rows(dy, n), View::rows(rows, k), dx, k);
            }
            (Rows::Panels(data), _) => {
                let (dy, dx) = (bytemuck::cast_slice(dy), bytemuck::cast_slice_mut(dx));
                f32_kernels::backward(context, dy, m, f32_kernels::Panels { data, n, k }, dx, write);
            }
            (Rows::Integers(w), Some(means)) => {
                let (dy, dx) = (bytemuck::cast_slice(dy), bytemuck::cast_slice_mut(dx));
                integer::backward(means, dy, m, w, dx, write);
            }
            _ if self.operand(context).is_none() => self.each_upcast(context, |first, rows| {
                let write = if first == 0 { write } else { Write::Add };
                let product = Matmul::new(context.simd, m, k, rows.len() / k).write(write);
                context.multiply(
                    product,
                    View::rows(&dy[first.min(dy.len())..], n),
                    View::rows(rows, k),
                    dx,
                    k,
                );
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
            Rows::Integers(w) => {
                let (count, panel) = (n.div_ceil(bf16::PANEL), bf16::panel_of(k));
                let mut data = Buffer::<u32>::uninitialised(context.pool, count * panel);
                let panels = data.par_chunks_mut(panel.max(1)).enumerate();
                panels.for_each(|(index, out)| w.panel_in_bf16(index, out));
                product(Frozen::Panels(Panels { data: &data, n, k }));
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
            Rows::Integers(w) => {
                let (scale, row) = w.row(row);
                dequantize(scale, row, y);
            }
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
    n: usize,
    /// Elements of a row.
    k: usize,
    base: BaseDtype,
    kernel: Bf16Kernel,
    /// Whether a matrix of f32 is kept as the f32 kernels want it.
    is_packed: bool,
}

impl Keep {
    /// The integers that the matrix is kept in, where it is.
    fn integers<T: Real>(self) -> Option<Width> {
        let Self { n, k, base, kernel, .. } = self;
        match base {
            _ if k == 0 || k > LONGEST_SUM || n > LARGEST_INT8_ROWS => None,
            BaseDtype::Int8 => Some(Width::Eight),
            BaseDtype::Bf16 => (kernel == Bf16Kernel::Int16 && T::HAS_KERNELS).then_some(Width::Sixteen),
            BaseDtype::Full => None,
        }
    }

    /// Whether it is kept in bf16.
    fn is_bf16<T: Real>(self) -> bool {
        self.base != BaseDtype::Full && self.integers::<T>().is_none() && T::HAS_KERNELS
    }

    /// Converts stored rows to what is kept of them. Only f32 computes with bf16 and 8-bit rows; f64 rounds to them, so that it
    /// can check what they compute.
    fn rows<T: Real, const BYTES: usize>(
        self,
        bytes: &[u8],
        read: impl Fn([u8; BYTES]) -> f64 + Sync,
    ) -> Rows<T> {
        let Self { simd, n, k, base, is_packed, .. } = self;
        let (elements, _) = bytes.as_chunks::<BYTES>();
        let bf16_bits = |element| half::bf16::from_f64(read(element)).to_bits();
        if let Some(width) = self.integers::<T>() {
            return quantised_rows(width, (n, k), elements, read);
        }
        match base {
            BaseDtype::Full if T::HAS_KERNELS && is_packed => {
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

/// Rows in integers; in f64 the values that these stand for.
fn quantised_rows<T: Real, const BYTES: usize>(
    width: Width,
    (n, k): (usize, usize),
    elements: &[[u8; BYTES]],
    read: impl Fn([u8; BYTES]) -> f64 + Sync,
) -> Rows<T> {
    let matrix = IntegerMatrix::new(width, n, k, |row, out| {
        quantise(&elements[row * k..][..k], &read, f64::from(width.most()), out)
    });
    if T::HAS_KERNELS {
        return Rows::Integers(matrix);
    }
    let mut full = vec![T::ZERO; n * k];
    for (index, y) in full.chunks_mut(k).enumerate() {
        let (scale, row) = matrix.row(index);
        dequantize(scale, row, y);
    }
    Rows::Full(full)
}

fn convert<E: Copy + Sync, V: Send>(elements: &[E], read: impl Fn(E) -> V + Sync) -> Vec<V> {
    elements.par_iter().with_min_len(4096).map(|&element| read(element)).collect()
}

/// Writes the nearest multiples of `absmax / most` of a row (Dettmers et al. 2022), and returns that scale.
fn quantise<const BYTES: usize>(
    row: &[[u8; BYTES]],
    read: impl Fn([u8; BYTES]) -> f64,
    most: f64,
    out: &mut [i16],
) -> f32 {
    let largest = row.iter().map(|&element| read(element).abs()).fold(0.0, f64::max);
    let scale = (largest / most) as f32;
    let factor = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    for (out, &element) in out.iter_mut().zip(row) {
        *out = (read(element) * factor).round().clamp(-most, most) as i16;
    }
    scale
}

/// Writes scaled integers.
fn dequantize<T: Real>(scale: f32, row: impl Iterator<Item = i16>, y: &mut [T]) {
    let scale = T::of(f64::from(scale));
    for (y, integer) in y.iter_mut().zip(row) {
        *y = T::of(f64::from(integer)) * scale;
    }
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
