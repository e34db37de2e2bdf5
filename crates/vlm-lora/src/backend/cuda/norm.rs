//! Norms, a warp a row.

use super::Cuda;
use super::buffer::Buffer;
use super::check::{length, to_u32, whole_rows};
use super::device::{Argument, Device};
use super::flag;
use crate::Result;
use crate::backend::Write;

impl<D: Device> Cuda<D> {
    /// A norm or its gradient: `sources` with `width` columns to `y`.
    pub(super) fn norm(
        &self,
        kernel: &str,
        sources: &[&Buffer<D>],
        parameters: (&Buffer<D>, Option<&Buffer<D>>, f64),
        y: &mut Buffer<D>,
        write: Option<Write>,
    ) -> Result<()> {
        let (weight, bias, eps) = parameters;
        let width = to_u32("a row of", weight.len())?;
        let rows = whole_rows("x", y.len(), weight.len())?;
        for x in sources {
            length("an input of a norm", x.len(), y.len())?;
        }
        if let Some(bias) = bias {
            length("bias", bias.len(), weight.len())?;
        }
        let inputs = sources.iter().copied().chain([weight]).chain(bias);
        let mut arguments: Vec<Argument> = inputs.map(|x| x.at().into()).collect();
        arguments.push((eps as f32).into());
        arguments.extend(self.output(y)?.map(Argument::Word));
        arguments.extend([Argument::Word(rows as u64), width.into()]);
        arguments.extend(write.map(flag));
        self.each_row(kernel, rows, &arguments)
    }
}
