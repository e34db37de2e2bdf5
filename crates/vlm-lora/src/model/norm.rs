use super::params::Pass;
use crate::Result;
use crate::backend::{Backend, Write};

/// A layer norm (with bias) or a root-mean-square norm (without).
pub(crate) struct Norm<B: Backend> {
    weight: B::Buffer,
    bias: Option<B::Buffer>,
    eps: f64,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn new(weight: B::Buffer, bias: Option<B::Buffer>, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `y (rows, width)` of `x (rows, width)`.
    pub(crate) fn forward(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<B::Buffer> {
        let backend = pass.backend;
        let mut y = backend.scratch(backend.len(x))?;
        match &self.bias {
            Some(bias) => backend.layer_norm(x, &self.weight, bias, self.eps, &mut y)?,
            None => backend.rms_norm(x, &self.weight, self.eps, &mut y)?,
        }
        Ok(y)
    }

    /// `dx (+)=` the gradient of the input.
    pub(crate) fn backward(
        &self,
        backend: &B,
        dy: &B::Buffer,
        x: &B::Buffer,
        dx: &mut B::Buffer,
        write: Write,
    ) -> Result<()> {
        match self.bias {
            Some(_) => backend.layer_norm_backward(dy, x, &self.weight, self.eps, dx, write),
            None => backend.rms_norm_backward(dy, x, &self.weight, self.eps, dx, write),
        }
    }
}
