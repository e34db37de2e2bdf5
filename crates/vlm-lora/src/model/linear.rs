use std::sync::Arc;

use super::params::{Bias, Grads, Pass};
use crate::Result;
use crate::backend::{Backend, Write};
use crate::lora::layer::{Adapter, AdapterKept, Frozen, misuse};

/// A frozen linear `y = x·Wᵀ + bias`, with an adapter where one is attached.
pub(crate) struct Linear<B: Backend> {
    /// The module's full name in the checkpoint.
    pub(crate) name: String,
    pub(crate) out_features: usize,
    pub(crate) in_features: usize,
    pub(crate) weight: Arc<B::Weight>,
    pub(crate) bias: Option<Bias<B>>,
    pub(crate) adapter: Option<Adapter<B>>,
}

/// What the backward pass of a linear needs beside its input.
pub(crate) struct LinearKept<B: Backend>(Option<AdapterKept<B>>);

impl<B: Backend> Linear<B> {
    pub(crate) fn new(
        name: String,
        (out_features, in_features): (usize, usize),
        weight: Arc<B::Weight>,
        bias: Option<Bias<B>>,
    ) -> Self {
        Self { name, out_features, in_features, weight, bias, adapter: None }
    }

    /// Whether it has an adapter or its bias is trained.
    pub(crate) fn trains(&self) -> bool {
        self.adapter.is_some() || self.bias.as_ref().is_some_and(|bias| bias.param.is_some())
    }

    /// The frozen side as a backward pass sees it: no gradient depends on the bias.
    pub(crate) fn frozen(&self) -> Frozen<'_, B> {
        Frozen { weight: &self.weight, bias: None, shape: (self.out_features, self.in_features) }
    }

    /// `y (rows, out)` of `x (rows, in)`.
    pub(crate) fn forward(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<(B::Buffer, LinearKept<B>)> {
        let bias = self.bias.as_ref().map(|bias| bias.values(pass));
        let frozen = Frozen { bias, ..self.frozen() };
        if let Some(adapter) = &self.adapter {
            let (y, kept) = adapter.forward(pass, &frozen, x)?;
            return Ok((y, LinearKept(Some(kept))));
        }
        let rows = pass.backend.len(x) / self.in_features;
        let mut y = pass.backend.scratch(rows * self.out_features)?;
        pass.backend.linear(x, rows, frozen.weight, frozen.bias, &mut y)?;
        Ok((y, LinearKept(None)))
    }

    /// Adds to the gradients of the adapter and of a trained bias and, where `dx` is given, to or into the gradient of the
    /// input. `x` is read by an adapter only.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        x: Option<&B::Buffer>,
        kept: &LinearKept<B>,
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        let backend = grads.backend;
        if let Some(bias) = &self.bias {
            bias.backward(grads, dy)?;
        }
        if let Some(adapter) = &self.adapter {
            let (Some(x), Some(kept)) = (x, &kept.0) else {
                return Err(misuse(backend.name(), "the input of an adapted linear was not kept"));
            };
            return adapter.backward(grads, &self.frozen(), x, kept, dy, dx);
        }
        let Some((dx, write)) = dx else { return Ok(()) };
        backend.linear_backward(dy, backend.len(dy) / self.out_features, &self.weight, dx, write)
    }
}
