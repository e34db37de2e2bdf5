//! Matrices of one input below each other, and their products as one.

use std::sync::{Arc, Mutex, PoisonError};

use super::Cuda;
use super::buffer::{Block, Buffer, Place};
use super::check::{length, to_u32};
use super::device::{Address, CudaDtype, Device, Matmul, Results};
use super::weight::{Rows, Weight};
use crate::Result;
use crate::backend::{FrozenLinear, LinearOutput, Write};

/// Rows of operands of one or several matrices.
pub(super) struct Packed<D: Device> {
    pub(super) block: Block<D>,
    /// Of all matrices.
    pub(super) rows: usize,
    pub(super) k: usize,
    /// The biases of all side by side.
    bias: Mutex<Option<Joined<D>>>,
}

/// Biases as operands.
struct Joined<D: Device> {
    /// Of the buffers that they are of.
    versions: Vec<Option<u64>>,
    block: Arc<Block<D>>,
}

impl<D: Device> Packed<D> {
    pub(super) fn new(block: Block<D>, rows: usize, k: usize) -> Self {
        Self { block, rows, k, bias: Mutex::default() }
    }
}

/// The matrices of these products, where they lie below each other and the results are to lie side by side.
fn packed<'a, D: Device>(
    outputs: &'a [LinearOutput<'_, Weight<D>, Buffer<D>>],
) -> Option<(&'a Packed<D>, Place<D>, usize, usize)> {
    let begin = outputs.first()?;
    let Rows::Operands { block: packed, first } = &begin.weight.rows else { return None };
    let place = begin.y.kept_at()?;
    let (mut row, mut at) = (*first, place.at);
    for LinearOutput { weight, y, .. } in outputs {
        let Rows::Operands { block, first } = &weight.rows else { return None };
        let kept = y.kept_at()?;
        let follows = Arc::ptr_eq(block, packed) && *first == row && kept.at == at;
        if !follows || kept.rows.stride != place.rows.stride || kept.rows.width != weight.n {
            return None;
        }
        row += weight.n;
        at += 2 * weight.n as u64;
    }
    Some((packed, place.clone(), *first, row - first))
}

impl<D: Device> Cuda<D> {
    /// The products of one input: one product where matrices and results lie side by side.
    pub(super) fn multiply_all(
        &self,
        x: &Buffer<D>,
        m: usize,
        outputs: &mut [LinearOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<()> {
        let Some((packed, place, first, n)) =
            packed(outputs).filter(|_| self.dtype == CudaDtype::Bfloat16 && outputs.len() > 1 && m > 0)
        else {
            return outputs.iter_mut().try_for_each(|LinearOutput { weight, bias, y }| {
                self.multiply(x, m, FrozenLinear { weight, bias: *bias }, y, Write::Set)
            });
        };
        length("x", x.len(), m * packed.k)?;
        for LinearOutput { weight, bias, y } in &*outputs {
            length("y", y.len(), m * weight.n)?;
            bias.map_or(Ok(()), |bias| length("bias", bias.len(), weight.n))?;
        }
        to_u32("a result of", m * n)?;
        let (k, operand) = (packed.k, self.operand(x, packed.k)?);
        let bias = self.joined_bias(packed, outputs)?;
        self.device().matmul(Matmul {
            m,
            n,
            k,
            transpose_a: false,
            transpose_b: true,
            a: operand.at,
            b: packed.block.address + (2 * first * k) as u64,
            c: place.at,
            strides: [operand.stride, k, place.rows.stride],
            results: Results::Operands,
            operands: self.operands(),
            factor: operand.factor,
            accumulate: false,
            bias: bias.as_ref().map(|block| block.address),
        })?;
        for LinearOutput { y, .. } in outputs {
            if let Some(place) = y.kept_at().cloned() {
                y.overwrite_with(place);
            }
        }
        Ok(())
    }

    /// The biases of these products as operands, where there are any.
    fn joined_bias(
        &self,
        packed: &Packed<D>,
        outputs: &[LinearOutput<'_, Weight<D>, Buffer<D>>],
    ) -> Result<Option<Arc<Block<D>>>> {
        let versions: Vec<Option<u64>> = outputs.iter().map(|out| out.bias.map(Buffer::version)).collect();
        if versions.iter().all(Option::is_none) {
            return Ok(None);
        }
        // A panic elsewhere leaves it whole: it is replaced at once.
        let mut known = packed.bias.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joined) = known.as_ref().filter(|joined| joined.versions == versions) {
            return Ok(Some(Arc::clone(&joined.block)));
        }
        let n: usize = outputs.iter().map(|out| out.weight.n).sum();
        let block = Arc::new(Block::new(&self.pool, 2 * n)?);
        self.device().clear(block.address, 2 * n)?;
        let mut to: Address = block.address;
        for LinearOutput { weight, bias, .. } in outputs {
            if let Some(bias) = bias {
                let from = self.operand(bias, weight.n)?;
                self.device().copy(from.at, to, 2 * weight.n)?;
            }
            to += 2 * weight.n as u64;
        }
        *known = Some(Joined { versions, block: Arc::clone(&block) });
        Ok(Some(block))
    }
}
