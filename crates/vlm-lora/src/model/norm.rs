use super::linear::Linear;
use super::params::{Bias, Grads, Pass};
use crate::Result;
use crate::backend::{self, Backend, Write};

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
        backend.norm(x, self.parameters(pass), &mut y)?;
        Ok(y)
    }

    /// As [`forward`](Self::forward), for these readers alone.
    pub(crate) fn forward_for(
        &self,
        pass: Pass<'_, B>,
        x: &B::Buffer,
        readers: &[&Linear<B>],
    ) -> Result<B::Buffer> {
        let mut y = Linear::scratch_for(pass, pass.backend.len(x), readers)?;
        pass.backend.norm(x, self.parameters(pass), &mut y)?;
        Ok(y)
    }

    fn parameters<'a>(&'a self, pass: Pass<'a, B>) -> backend::Norm<'a, B::Buffer> {
        let Self { weight, bias, eps } = self;
        match bias {
            Some(bias) => backend::Norm::Layer { weight, bias: bias.values(pass), eps: *eps },
            None => backend::Norm::RootMeanSquare { weight, eps: *eps },
        }
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
        let Some((dx, write)) = dx else { return Ok(()) };
        grads.backend.norm_backward(dy, x, self.parameters(grads.pass()), dx, write)
    }
}
