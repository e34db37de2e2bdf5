//! Frozen matrices on the device, kept once, row-major.

use crate::Stored;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::check::fail;
use super::device::{CudaDtype, Device};
use super::{Block, Cuda};
use crate::Result;
use crate::backend::check;
use crate::backend::cpu::LARGEST_INT8_ROWS;

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
    /// Operands as they are.
    Operands(Block<D>),
    /// 8-bit integers, and the scale of each row.
    Integers { values: Block<D>, scales: Block<D> },
}

impl<D: Device> Cuda<D> {
    pub(super) fn new_weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Weight<D>> {
        check::stored(stored, n, k)?;
        let Stored { dtype, bytes } = stored;
        let rows = match dtype {
            Dtype::F32 => self.keep(bytes, k, |b| f64::from(f32::from_le_bytes(b)))?,
            Dtype::F64 => self.keep(bytes, k, f64::from_le_bytes)?,
            Dtype::F16 => self.keep(bytes, k, |b| f16::from_le_bytes(b).to_f64())?,
            Dtype::BF16 if self.dtype == CudaDtype::Bfloat16 && !self.integers => {
                Rows::Operands(self.block_of(bytes)?)
            }
            Dtype::BF16 => self.keep(bytes, k, |b| bf16::from_le_bytes(b).to_f64())?,
            other => return Err(fail(format!("a matrix of {other:?} cannot be used"))),
        };
        Ok(Weight { n, k, rows })
    }

    fn keep<const BYTES: usize>(
        &self,
        bytes: &[u8],
        k: usize,
        read: impl Fn([u8; BYTES]) -> f64 + Sync,
    ) -> Result<Rows<D>> {
        let (elements, _) = bytes.as_chunks::<BYTES>();
        if self.integers && k > 0 && elements.len() / k <= LARGEST_INT8_ROWS {
            let quantised = elements.par_chunks(k).map(|row| quantise(row, &read)).collect::<Vec<_>>();
            let scales: Vec<f32> = quantised.iter().map(|&(_, scale)| scale).collect();
            let values: Vec<i8> = quantised.into_iter().flat_map(|(row, _)| row).collect();
            return Ok(Rows::Integers {
                values: self.block_of(bytemuck::cast_slice(&values))?,
                scales: self.block_of(bytemuck::cast_slice(&scales))?,
            });
        }
        let values = elements.par_iter().with_min_len(4096);
        let block = match self.dtype {
            CudaDtype::Float32 => {
                let kept: Vec<f32> = values.map(|&element| read(element) as f32).collect();
                self.block_of(bytemuck::cast_slice(&kept))?
            }
            CudaDtype::Float16 => {
                let kept: Vec<u16> = values.map(|&element| f16::from_f64(read(element)).to_bits()).collect();
                self.block_of(bytemuck::cast_slice(&kept))?
            }
            CudaDtype::Bfloat16 => {
                let kept: Vec<u16> = values.map(|&element| bf16::from_f64(read(element)).to_bits()).collect();
                self.block_of(bytemuck::cast_slice(&kept))?
            }
        };
        Ok(Rows::Operands(block))
    }
}

/// The nearest multiples of `absmax / 127` of a row (Dettmers et al. 2022), and that scale.
fn quantise<const BYTES: usize>(row: &[[u8; BYTES]], read: impl Fn([u8; BYTES]) -> f64) -> (Vec<i8>, f32) {
    let largest = row.iter().map(|&element| read(element).abs()).fold(0.0, f64::max);
    let scale = (largest / 127.0) as f32;
    let factor = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    (row.iter().map(|&element| (read(element) * factor).round().clamp(-127.0, 127.0) as i8).collect(), scale)
}
