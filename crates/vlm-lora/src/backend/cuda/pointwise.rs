//! Element-wise kernels with several inputs or outputs.

use super::Cuda;
use super::attention::arguments_of;
use super::buffer::Buffer;
use super::check::{length, to_u32};
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
        if let Some(width) = Self::width_of_operands(gate, up)? {
            return self.swiglu_gradients_of_operands(dy, [gate, up], width, [d_gate, d_up]);
        }
        let inputs = [self.numbers(dy)?, self.numbers(gate)?, self.numbers(up)?].into_iter();
        let outputs = [self.flat_output(d_gate)?, self.flat_output(d_up)?].into_iter().flatten();
        let arguments: Vec<Argument> = inputs.chain(outputs).map(Argument::Word).chain([count(n)]).collect();
        self.each("swiglu_backward", n, &arguments)
    }

    /// The width of rows that are kept as operands and that kernels read in twos.
    pub(super) fn width_of_operands(gate: &Buffer<D>, up: &Buffer<D>) -> Result<Option<usize>> {
        let Some((gate, up)) = gate.kept_operand().zip(up.kept_operand()) else { return Ok(None) };
        let even = [gate, up].iter().all(|place| {
            (place.rows.width | place.rows.stride).is_multiple_of(2) && place.at.is_multiple_of(4)
        });
        to_u32("a row of", gate.rows.stride)?;
        Ok((even && gate.rows.width == up.rows.width).then_some(gate.rows.width))
    }

    /// `silu(gate) · up` of operands.
    pub(super) fn swiglu_of_operands(
        &self,
        inputs: [&Buffer<D>; 2],
        width: usize,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        let n = y.len();
        to_u32("activations", n)?;
        let [gate, up] = [self.operand(inputs[0], width)?, self.operand(inputs[1], width)?];
        let mut arguments = [arguments_of(&gate), arguments_of(&up)].concat();
        arguments.extend(self.output(y, width)?.arguments());
        arguments.extend([to_u32("a row of", width)?.into(), count(n)]);
        self.each("swiglu_operands", n / 2, &arguments)
    }

    fn swiglu_gradients_of_operands(
        &self,
        dy: &Buffer<D>,
        inputs: [&Buffer<D>; 2],
        width: usize,
        [d_gate, d_up]: [&mut Buffer<D>; 2],
    ) -> Result<()> {
        let n = dy.len();
        to_u32("activations", n)?;
        let mut arguments: Vec<Argument> = if dy.is_operand() {
            let operand = self.operand(dy, width)?;
            std::iter::once(Argument::Word(0)).chain(arguments_of(&operand)).collect()
        } else {
            vec![self.numbers(dy)?.into(), Argument::Word(0), Argument::U32(0)]
        };
        let [gate, up] = [self.operand(inputs[0], width)?, self.operand(inputs[1], width)?];
        arguments.extend([arguments_of(&gate), arguments_of(&up)].concat());
        arguments.extend(self.output(d_gate, width)?.arguments());
        arguments.extend(self.output(d_up, width)?.arguments());
        arguments.extend([to_u32("a row of", width)?.into(), count(n)]);
        self.each("swiglu_backward_operands", n / 2, &arguments)
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
