//! The rotary embedding.

use super::Cuda;
use super::buffer::Buffer;
use super::check::to_u32;
use super::device::Device;
use crate::Result;
use crate::backend::Rope;
use crate::backend::check::rotary;

impl<D: Device> Cuda<D> {
    /// Rotates `x (positions, heads, head_dim)` in place, or back.
    pub(super) fn rotate(&self, x: &mut Buffer<D>, rope: Rope<'_>) -> Result<()> {
        rotary(x.len(), rope)?;
        let Rope { positions, heads, head_dim, rotary, inverse } = rope;
        let frequencies: Vec<u32> =
            (0..head_dim / 2).map(|pair| rotary.frequency_f32(pair, head_dim).to_bits()).collect();
        let (positions_at, frequencies) = (self.words(positions)?, self.words(&frequencies)?);
        let pairs = positions.len() * head_dim / 2;
        to_u32("pairs", pairs)?;
        // Turned back, they are gradients that a product reads; else attention reads them.
        let at = self.changed(x)?;
        let [at, operand] = if inverse { self.flat_output(x)? } else { [at, 0] };
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
}
