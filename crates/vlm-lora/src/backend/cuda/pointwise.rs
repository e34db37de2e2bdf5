//! Element-wise kernels with several inputs or outputs.

use super::Cuda;
use super::buffer::Buffer;
use super::check::length;
use super::count;
use super::device::{Argument, Device};
use crate::Result;
use crate::backend::dropout::Mask;

impl<D: Device> Cuda<D> {
    /// Gradients of both inputs of `silu(gate) · up`.
    pub(super) fn swiglu_gradients(
        &self,
        dy: &Buffer<D>,
        gate: &Buffer<D>,
        up: &Buffer<D>,
        [d_gate, d_up]: [&mut Buffer<D>; 2],
    ) -> Result<()> {
        length("dy", dy.len(), gate.len())?;
        length("up", up.len(), gate.len())?;
        length("dgate", d_gate.len(), gate.len())?;
        length("dup", d_up.len(), gate.len())?;
        let n = gate.len();
        let inputs = [self.numbers(dy)?, self.numbers(gate)?, self.numbers(up)?].into_iter();
        let outputs = [self.flat_output(d_gate)?, self.flat_output(d_up)?].into_iter().flatten();
        let arguments: Vec<Argument> = inputs.chain(outputs).map(Argument::Word).chain([count(n)]).collect();
        self.each("swiglu_backward", n, &arguments)
    }

    /// `x` times the mask of a key.
    pub(super) fn drop_out(&self, x: &Buffer<D>, key: u64, mask: Mask, y: &mut Buffer<D>) -> Result<()> {
        length("y", y.len(), x.len())?;
        let arguments = [
            self.numbers(x)?.into(),
            key.into(),
            mask.threshold().into(),
            (mask.scale() as f32).into(),
            self.overwritten(y)?.into(),
            count(x.len()),
        ];
        self.each("dropout", x.len(), &arguments)
    }
}
