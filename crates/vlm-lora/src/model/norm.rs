use super::params::{Bias, Grads, Pass};
use crate::Result;
use crate::backend::{Backend, Write};

/// A layer norm (with bias) or a root-mean-square norm (without).
pub(crate) struct Norm<B: Backend> {
    weight: B::Buffer,
    pub(crate) bias: Option<Bias<B>>,
    eps: f64,
}

impl<B: Backend> Norm<B> {
    pub(crate) fn new(weight: B::Buffer, bias: Option<Bias<B>>, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `y (rows, width)` of `x (rows, width)`.
    pub(crate) fn forward(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<B::Buffer> {
        let backend = pass.backend;
        let mut y = backend.scratch(backend.len(x))?;
        match &self.bias {
            Some(bias) => backend.layer_norm(x, &self.weight, bias.values(pass), self.eps, &mut y)?,
            None => backend.rms_norm(x, &self.weight, self.eps, &mut y)?,
        }
        Ok(y)
    }

    /// Whether its bias is trained.
    pub(crate) fn trains(&self) -> bool {
        self.bias.as_ref().is_some_and(|bias| bias.param.is_some())
    }

    /// Adds to the gradient of a trained bias; `dx (+)=` the gradient of the input, where that is wanted.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        dy: &B::Buffer,
        x: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        if let Some(bias) = &self.bias {
            bias.backward(grads, dy)?;
        }
        let (Some((dx, write)), backend) = (dx, grads.backend) else { return Ok(()) };
        match self.bias {
            Some(_) => backend.layer_norm_backward(dy, x, &self.weight, self.eps, dx, write),
            None => backend.rms_norm_backward(dy, x, &self.weight, self.eps, dx, write),
        }
    }
}
