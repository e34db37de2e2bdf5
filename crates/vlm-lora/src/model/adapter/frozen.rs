//! The frozen side of an adapted linear: its weight, less the principal part that PiSSA trains (Meng et al. 2024).

use crate::backend::{Backend, Gemm, Write};
use crate::error::Result;
use crate::lora::Principal;

/// The frozen pair `A₀ (r, in)` and `B₀ (out, r)` of PiSSA.
pub(crate) struct FrozenPair<B: Backend> {
    pub(super) a: B::Buffer,
    pub(super) b: B::Buffer,
    pub(super) r: usize,
    pub(super) scale: f32,
}

impl<B: Backend> FrozenPair<B> {
    pub(crate) fn new(backend: &B, principal: &Principal, r: usize, scale: f32) -> Result<Self> {
        Ok(Self { a: backend.upload(&principal.a)?, b: backend.upload(&principal.b)?, r, scale })
    }
}

/// What does not train: `x·Wᵀ + bias`, or with a principal part `x·(W − scale·B₀·A₀)ᵀ + bias`.
pub(crate) struct Frozen<'a, B: Backend> {
    pub(crate) weight: &'a B::Weight,
    pub(crate) bias: Option<&'a B::Buffer>,
    /// `(out, in)`.
    pub(crate) shape: (usize, usize),
    /// What the weight lacks.
    pub(crate) principal: Option<&'a FrozenPair<B>>,
}

impl<B: Backend> Clone for Frozen<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Frozen<'_, B> {}

impl<B: Backend> Frozen<'_, B> {
    /// The same without its bias.
    pub(super) fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// `y (rows, out)` of `x (rows, in)`.
    pub(super) fn forward(self, backend: &B, x: &B::Buffer, y: &mut B::Buffer) -> Result<()> {
        let rows = backend.len(x) / self.shape.1;
        backend.linear(x, rows, self.weight, self.bias, y)?;
        self.subtract_principal(backend, x, y)
    }

    /// Takes what the principal pair computes from the product with the weight.
    pub(super) fn subtract_principal(self, backend: &B, x: &B::Buffer, y: &mut B::Buffer) -> Result<()> {
        let Some(FrozenPair { a, b, r, scale }) = self.principal else { return Ok(()) };
        let ((n, k), r) = (self.shape, *r);
        let rows = backend.len(x) / k;
        let mut down = backend.scratch(rows * r)?;
        backend.gemm(Gemm::new(rows, r, k).transposed_b(), x, a, &mut down)?;
        backend.gemm(Gemm::new(rows, n, r).transposed_b().scaled(-scale).added(), &down, b, y)
    }

    /// `dx (rows, in) (+)=` the gradient of the input for `dy (rows, out)`.
    pub(super) fn backward(
        self,
        backend: &B,
        dy: &B::Buffer,
        dx: &mut B::Buffer,
        write: Write,
    ) -> Result<()> {
        let (n, k) = self.shape;
        let rows = backend.len(dy) / n;
        backend.linear_backward(dy, rows, self.weight, dx, write)?;
        let Some(FrozenPair { a, b, r, scale }) = self.principal else { return Ok(()) };
        let mut d_down = backend.scratch(rows * r)?;
        backend.gemm(Gemm::new(rows, *r, n).scaled(-scale), dy, b, &mut d_down)?;
        backend.gemm(Gemm::new(rows, k, *r).added(), &d_down, a, dx)
    }
}
