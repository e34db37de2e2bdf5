//! Norms, a warp a row.

use super::Cuda;
use super::buffer::Buffer;
use super::check::{length, to_u32, whole_rows};
use super::device::{Argument, Device};
use super::flag;
use crate::Result;
use crate::backend::{Norm, Write};

impl<D: Device> Cuda<D> {
    /// A norm of `x (rows, width)`.
    pub(super) fn normalise(
        &self,
        x: &Buffer<D>,
        norm: Norm<'_, Buffer<D>>,
        y: &mut Buffer<D>,
    ) -> Result<()> {
        let (kernel, weight, bias, eps) = match norm {
            Norm::Layer { weight, bias, eps } => ("layer_norm", weight, Some(bias), eps),
            Norm::RootMeanSquare { weight, eps } => ("rms_norm", weight, None, eps),
        };
        length("x", x.len(), y.len())?;
        if let Some(bias) = bias {
            length("bias", bias.len(), weight.len())?;
        }
        let inputs: Vec<&Buffer<D>> = [x, weight].into_iter().chain(bias).collect();
        self.each_normed_row(kernel, &inputs, weight.len(), eps, y, None)
    }

    /// The gradient of its input.
    pub(super) fn normalise_backward(
        &self,
        dy: &Buffer<D>,
        x: &Buffer<D>,
        norm: Norm<'_, Buffer<D>>,
        dx: &mut Buffer<D>,
        write: Write,
    ) -> Result<()> {
        let (kernel, weight, eps) = match norm {
            Norm::Layer { weight, eps, .. } => ("layer_norm_backward", weight, eps),
            Norm::RootMeanSquare { weight, eps } => ("rms_norm_backward", weight, eps),
        };
        length("dy", dy.len(), dx.len())?;
        length("x", x.len(), dx.len())?;
        self.each_normed_row(kernel, &[dy, x, weight], weight.len(), eps, dx, Some(write))
    }

    fn each_normed_row(
        &self,
        kernel: &str,
        inputs: &[&Buffer<D>],
        width: usize,
        eps: f64,
        y: &mut Buffer<D>,
        write: Option<Write>,
    ) -> Result<()> {
        let rows = whole_rows("x", y.len(), width)?;
        let width = to_u32("a row of", width)?;
        let inputs = inputs.iter().map(|x| Ok(Argument::Word(self.numbers(x)?)));
        let mut arguments = inputs.collect::<Result<Vec<Argument>>>()?;
        if write == Some(Write::Add) {
            self.changed(y)?;
        }
        arguments.push((eps as f32).into());
        arguments.extend(self.output(y, width as usize)?.arguments());
        arguments.extend([Argument::Word(rows as u64), width.into()]);
        arguments.extend(write.map(flag));
        self.each_row(kernel, rows, &arguments)
    }
}
