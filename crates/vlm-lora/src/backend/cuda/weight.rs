//! Frozen matrices on the device, kept once, row-major.

use std::sync::Arc;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::check::fail;
use super::device::{Address, CudaDtype, Device};
use super::packed::Packed;
use super::{Block, Cuda};
use crate::backend::check;
use crate::backend::cpu::LARGEST_INT8_ROWS;
use crate::{Result, Stored};

/// A frozen matrix `(n, k)`.
pub struct Weight<D: Device> {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) rows: Rows<D>,
}

impl<D: Device> std::fmt::Debug for Weight<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weight").field("n", &self.n).field("k", &self.k).finish_non_exhaustive()
    }
}

/// What is kept of it.
pub(super) enum Rows<D: Device> {
    /// Operands as they are: rows of a block, from this one on.
    Operands { block: Arc<Packed<D>>, first: usize },
    /// 8-bit integers, and the scale of each row.
    Integers { values: Block<D>, scales: Block<D> },
}

impl<D: Device> Cuda<D> {
    pub(super) fn new_weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Weight<D>> {
        check::stored(stored, n, k)?;
        if self.integers && k > 0 && n <= LARGEST_INT8_ROWS {
            return Ok(Weight { n, k, rows: self.integers_of(stored, k)? });
        }
        let block = Block::new(&self.pool, n * k * self.dtype.bytes())?;
        self.put_operands(stored, block.address)?;
        let block = Arc::new(Packed::new(block, n, k));
        Ok(Weight { n, k, rows: Rows::Operands { block, first: 0 } })
    }

    /// Matrices of one `k`, each `(n, k)`, that one product takes together.
    pub(super) fn new_weights(&self, parts: &[(Stored<'_>, usize)], k: usize) -> Result<Vec<Weight<D>>> {
        if self.integers {
            return parts.iter().map(|&(stored, n)| self.new_weight(stored, n, k)).collect();
        }
        let rows: usize = parts.iter().map(|(_, n)| n).sum();
        let block = Block::new(&self.pool, rows * k * self.dtype.bytes())?;
        let mut at = block.address;
        for &(stored, n) in parts {
            check::stored(stored, n, k)?;
            self.put_operands(stored, at)?;
            at += (n * k * self.dtype.bytes()) as u64;
        }
        let (block, mut first) = (Arc::new(Packed::new(block, rows, k)), 0);
        let one = |&(_, n): &(Stored<'_>, usize)| {
            let rows = Rows::Operands { block: Arc::clone(&block), first };
            first += n;
            Weight { n, k, rows }
        };
        Ok(parts.iter().map(one).collect())
    }

    /// Writes a matrix as operands.
    fn put_operands(&self, Stored { dtype, bytes }: Stored<'_>, to: Address) -> Result<()> {
        match dtype {
            Dtype::F32 => self.put(bytes, to, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => self.put(bytes, to, f64::from_le_bytes),
            Dtype::F16 => self.put(bytes, to, |b| f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 if self.dtype == CudaDtype::Bfloat16 => self.device().write(to, bytes),
            Dtype::BF16 => self.put(bytes, to, |b| bf16::from_le_bytes(b).to_f64()),
            other => Err(fail(format!("a matrix of {other:?} cannot be used"))),
        }
    }

    fn put<const BYTES: usize>(
        &self,
        bytes: &[u8],
        to: Address,
        read: impl Fn([u8; BYTES]) -> f64 + Sync,
    ) -> Result<()> {
        let (elements, _) = bytes.as_chunks::<BYTES>();
        let values = elements.par_iter().with_min_len(4096);
        match self.dtype {
            CudaDtype::Float32 => {
                let kept: Vec<f32> = values.map(|&element| read(element) as f32).collect();
                self.device().write(to, bytemuck::cast_slice(&kept))
            }
            CudaDtype::Float16 => {
                let kept: Vec<u16> = values.map(|&element| f16::from_f64(read(element)).to_bits()).collect();
                self.device().write(to, bytemuck::cast_slice(&kept))
            }
            CudaDtype::Bfloat16 => {
                let kept: Vec<u16> = values.map(|&element| bf16::from_f64(read(element)).to_bits()).collect();
                self.device().write(to, bytemuck::cast_slice(&kept))
            }
        }
    }

    fn integers_of(&self, Stored { dtype, bytes }: Stored<'_>, k: usize) -> Result<Rows<D>> {
        match dtype {
            Dtype::F32 => self.quantised(bytes, k, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => self.quantised(bytes, k, f64::from_le_bytes),
            Dtype::F16 => self.quantised(bytes, k, |b| f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 => self.quantised(bytes, k, |b| bf16::from_le_bytes(b).to_f64()),
            other => Err(fail(format!("a matrix of {other:?} cannot be used"))),
        }
    }

    fn quantised<const BYTES: usize>(
        &self,
        bytes: &[u8],
        k: usize,
        read: impl Fn([u8; BYTES]) -> f64 + Sync,
    ) -> Result<Rows<D>> {
        let (elements, _) = bytes.as_chunks::<BYTES>();
        let rows = elements.par_chunks(k).map(|row| quantise(row, &read)).collect::<Vec<_>>();
        let scales: Vec<f32> = rows.iter().map(|&(_, scale)| scale).collect();
        let values: Vec<i8> = rows.into_iter().flat_map(|(row, _)| row).collect();
        Ok(Rows::Integers {
            values: self.block_of(bytemuck::cast_slice(&values))?,
            scales: self.block_of(bytemuck::cast_slice(&scales))?,
        })
    }
}

/// The nearest multiples of `absmax / 127` of a row (Dettmers et al. 2022), and that scale.
fn quantise<const BYTES: usize>(row: &[[u8; BYTES]], read: impl Fn([u8; BYTES]) -> f64) -> (Vec<i8>, f32) {
    let largest = row.iter().map(|&element| read(element).abs()).fold(0.0, f64::max);
    let scale = (largest / 127.0) as f32;
    let factor = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    (row.iter().map(|&element| (read(element) * factor).round().clamp(-127.0, 127.0) as i8).collect(), scale)
}
