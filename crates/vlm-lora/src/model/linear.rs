use std::sync::Arc;

use super::params::{Bias, Grads, Pass};
use crate::Result;
use crate::backend::{Backend, LinearOutput, Write};
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

/// What a linear computes, with what its backward pass needs.
pub(crate) type Output<B> = (<B as Backend>::Buffer, LinearKept<B>);

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
    pub(crate) fn forward(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<Output<B>> {
        let [output] = Self::forward_all([self], pass, x)?;
        output
    }

    /// As [`forward`](Self::forward) of several linears of one input, whose frozen products are taken together.
    pub(crate) fn forward_all<const N: usize>(
        linears: [&Self; N],
        pass: Pass<'_, B>,
        x: &B::Buffer,
    ) -> Result<[Result<Output<B>>; N]> {
        let backend = pass.backend;
        let mut products = Vec::with_capacity(N);
        for linear in linears {
            let rows = backend.len(x) / linear.in_features;
            products.push(backend.scratch(rows * linear.out_features)?);
        }
        let (mut rows, mut outputs) = (0, Vec::with_capacity(N));
        for (linear, y) in linears.iter().zip(&mut products) {
            if linear.adapter.as_ref().is_none_or(Adapter::adds) {
                rows = backend.len(x) / linear.in_features;
                let bias = linear.bias.as_ref().map(|bias| bias.values(pass));
                outputs.push(LinearOutput { weight: &*linear.weight, bias, y });
            }
        }
        backend.linears(x, rows, &mut outputs)?;
        let mut products = products.into_iter();
        Ok(linears.map(|linear| {
            let y = products.next().map_or_else(|| backend.scratch(0), Ok)?;
            linear.adapted(pass, x, y)
        }))
    }

    /// Adds what the adapter does to the frozen product `y`, which an adapter that does not add to it takes as room.
    fn adapted(&self, pass: Pass<'_, B>, x: &B::Buffer, y: B::Buffer) -> Result<Output<B>> {
        let Some(adapter) = &self.adapter else { return Ok((y, LinearKept(None))) };
        let bias = self.bias.as_ref().map(|bias| bias.values(pass));
        let (y, kept) = adapter.forward(pass, &Frozen { bias, ..self.frozen() }, x, y)?;
        Ok((y, LinearKept(Some(kept))))
    }

    /// As [`forward`](Self::forward) of `gelu(x)`.
    pub(crate) fn forward_of_gelu(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<Output<B>> {
        let backend = pass.backend;
        if self.adapter.is_some() {
            let mut activated = backend.scratch(backend.len(x))?;
            backend.gelu(x, &mut activated)?;
            return self.forward(pass, &activated);
        }
        let rows = backend.len(x) / self.in_features;
        let mut y = backend.scratch(rows * self.out_features)?;
        let bias = self.bias.as_ref().map(|bias| bias.values(pass));
        backend.linear_of_gelu(x, rows, &self.weight, bias, &mut y)?;
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
