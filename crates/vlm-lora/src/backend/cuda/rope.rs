//! The rotary embedding.

use std::sync::Arc;

use super::Cuda;
use super::buffer::{Block, Buffer, Rows};
use super::check::to_u32;
use super::device::{CudaDtype, Device};
use super::joined::side_by_side;
use super::storage::Operand;
use crate::Result;
use crate::backend::Rope;
use crate::backend::check::rotary;

impl<D: Device> Cuda<D> {
    /// Rotates `x (positions, heads, head_dim)` in place, or back.
    pub(super) fn rotate(&self, x: &mut Buffer<D>, rope: Rope<'_>) -> Result<()> {
        rotary(x.len(), rope)?;
        if self.is_rotated_as_operands(x, rope.heads * rope.head_dim) {
            return self.rotate_operands(x, rope);
        }
        let Rope { positions, heads, head_dim, inverse, .. } = rope;
        let (positions_at, frequencies) = (self.words(positions)?, self.frequencies(rope)?);
        let pairs = positions.len() * head_dim / 2;
        to_u32("pairs", pairs)?;
        // Attention reads them, or turned back, as gradients, a product.
        self.changed(x)?;
        let [at, operand] = self.flat_output(x)?;
        let arguments = [
            at.into(),
            operand.into(),
            positions_at.address.into(),
            frequencies.address.into(),
            (pairs as u64).into(),
            to_u32("heads", heads)?.into(),
            to_u32("a head of", head_dim)?.into(),
            if inverse { -1_f32 } else { 1_f32 }.into(),
        ];
        self.each("rope", pairs, &arguments)
    }

    /// Whether these rows of numbers are kept as operands alone.
    fn is_rotated_as_operands(&self, x: &Buffer<D>, width: usize) -> bool {
        let is_row = |rows: Rows| rows.width == width || rows.is_dense();
        self.dtype == CudaDtype::Bfloat16 && x.kept_operand().is_some_and(|place| is_row(place.rows))
    }

    /// Rotates rows that are kept as operands.
    fn rotate_operands(&self, x: &mut Buffer<D>, rope: Rope<'_>) -> Result<()> {
        let width = rope.heads * rope.head_dim;
        let operand = self.operand(x, width)?;
        self.turn(&operand, rope, rope.heads)?;
        x.changed_in_place();
        Ok(())
    }

    /// As [`Backend::rope_both`](crate::backend::Backend::rope_both): in one launch where keys lie behind queries.
    pub(super) fn rotate_both(
        &self,
        q: &mut Buffer<D>,
        k: &mut Buffer<D>,
        rope: Rope<'_>,
        kv_heads: usize,
    ) -> Result<()> {
        let of_keys = Rope { heads: kv_heads, ..rope };
        if !self.is_rotated_as_operands(q, rope.heads * rope.head_dim)
            || side_by_side([q.kept_operand(), k.kept_operand()].into_iter()).is_none()
        {
            self.rotate(q, rope)?;
            return self.rotate(k, of_keys);
        }
        rotary(q.len(), rope)?;
        rotary(k.len(), of_keys)?;
        let operand = self.operand(q, rope.heads * rope.head_dim)?;
        self.turn(&operand, rope, rope.heads + kv_heads)?;
        q.changed_in_place();
        k.changed_in_place();
        Ok(())
    }

    fn turn(&self, operand: &Operand<D>, rope: Rope<'_>, heads: usize) -> Result<()> {
        let Rope { positions, head_dim, inverse, .. } = rope;
        let (positions_at, frequencies) = (self.words(positions)?, self.frequencies(rope)?);
        let pairs = positions.len() * head_dim / 2;
        to_u32("pairs", pairs)?;
        let arguments = [
            operand.at.into(),
            to_u32("a row of", operand.stride)?.into(),
            positions_at.address.into(),
            frequencies.address.into(),
            (pairs as u64).into(),
            to_u32("heads", heads)?.into(),
            to_u32("a head of", head_dim)?.into(),
            if inverse { -1_f32 } else { 1_f32 }.into(),
        ];
        self.each("rope_operands", pairs, &arguments)
    }

    fn frequencies(&self, Rope { head_dim, rotary, .. }: Rope<'_>) -> Result<Arc<Block<D>>> {
        let frequencies: Vec<u32> =
            (0..head_dim / 2).map(|pair| rotary.frequency_f32(pair, head_dim).to_bits()).collect();
        self.words(&frequencies)
    }
}
