//! Frozen matrices.

use candle_core::DType;
use half::{bf16, f16};
use rayon::prelude::*;

use super::check::{ensure, fail};
use super::product::{Product, View};
use super::real::Real;
use super::simd::{lane_sum, simd_fn};
use crate::Result;
use crate::backend::{Stored, Write};

/// A frozen matrix `(n, k)`.
#[derive(Debug)]
pub struct Weight<T> {
    n: usize,
    k: usize,
    rows: Vec<T>,
}

impl<T: Real> Weight<T> {
    pub(super) fn new(stored: Stored<'_>, n: usize, k: usize) -> Result<Self> {
        let Stored { dtype, bytes } = stored;
        let expected = n.checked_mul(k).and_then(|count| count.checked_mul(dtype.size_in_bytes()));
        ensure(expected == Some(bytes.len()), || {
            format!("a matrix ({n}, {k}) of {dtype:?} cannot be {} bytes", bytes.len())
        })?;
        let rows = match dtype {
            DType::F32 => convert::<T, 4>(bytes, |b| f64::from(f32::from_le_bytes(b))),
            DType::F64 => convert::<T, 8>(bytes, f64::from_le_bytes),
            DType::F16 => convert::<T, 2>(bytes, |b| f16::from_le_bytes(b).to_f64()),
            DType::BF16 => convert::<T, 2>(bytes, |b| bf16::from_le_bytes(b).to_f64()),
            other => return Err(fail(format!("a matrix of {other:?} cannot be used"))),
        };
        Ok(Self { n, k, rows })
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    /// `y (m, n) (+)= x (m, k) · Wᵀ`.
    pub(super) fn forward(&self, x: &[T], m: usize, y: &mut [T], write: Write) {
        Product::new(m, self.n, self.k).write(write).everywhere(
            View::rows(x, self.k),
            View::columns(&self.rows, self.k),
            y,
            self.n,
        );
    }

    /// `dx (m, k) (+)= dy (m, n) · W`.
    pub(super) fn backward(&self, dy: &[T], m: usize, dx: &mut [T], write: Write) {
        Product::new(m, self.k, self.n).write(write).everywhere(
            View::rows(dy, self.n),
            View::rows(&self.rows, self.k),
            dx,
            self.k,
        );
    }

    /// Copies row `row` into `y`.
    pub(super) fn row(&self, row: usize, y: &mut [T]) {
        y.copy_from_slice(&self.rows[row * self.k..(row + 1) * self.k]);
    }

    pub(super) fn row_norms_squared(&self, out: &mut [T]) {
        let k = self.k;
        out.par_iter_mut().enumerate().for_each(|(row, norm)| {
            *norm = norm_squared(&self.rows[row * k..(row + 1) * k]);
        });
    }
}

fn convert<T: Real, const BYTES: usize>(bytes: &[u8], read: impl Fn([u8; BYTES]) -> f64 + Sync) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<BYTES>();
    elements.par_iter().with_min_len(4096).map(|&element| T::of(read(element))).collect()
}

simd_fn! {
    /// Σ x².
    fn norm_squared(x: &[T]) -> T {
        lane_sum(x.len(), |i| x[i] * x[i])
    }
}
