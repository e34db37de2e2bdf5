use std::sync::Arc;

use super::adapter::{
    Adapter, AdapterSaved, Begun, Frozen, Gradient, adapter_gradients, add_all, invalid_argument,
};
use super::params::{Bias, Grads, Param, Pass};
use crate::Result;
use crate::backend::{AdaptedBackward, AdaptedOutput, Backend, FrozenLinear, Kernels, LinearOutput, Write};

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
pub(crate) struct LinearSaved<B: Backend>(Option<AdapterSaved<B>>);

/// What a linear computes, with what its backward pass needs.
pub(crate) type Output<B> = (<B as Kernels>::Buffer, LinearSaved<B>);

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

    /// Whether its result is the frozen product and what at most a pair adds to it.
    pub(crate) fn is_plain(&self) -> bool {
        self.adapter.as_ref().is_none_or(Adapter::is_plain)
    }

    /// The frozen side as a backward pass sees it: no gradient depends on the bias.
    pub(crate) fn frozen(&self) -> Frozen<'_, B> {
        let principal = self.adapter.as_ref().and_then(|adapter| adapter.principal.as_ref());
        Frozen { weight: &self.weight, bias: None, shape: (self.out_features, self.in_features), principal }
    }

    /// `y (rows, out)` of `x (rows, in)`.
    pub(crate) fn forward(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<Output<B>> {
        let [output] = Self::forward_all([self], pass, x)?;
        Ok(output)
    }

    /// `y (rows, out)` of `x (rows, in)`, and what else is added to it.
    pub(crate) fn forward_added(
        &self,
        pass: Pass<'_, B>,
        x: &B::Buffer,
        addend: &B::Buffer,
    ) -> Result<Output<B>> {
        if self.is_plain() {
            let [output] = Self::forward_plain([self], pass, x, Some(addend))?;
            return Ok(output);
        }
        let (mut y, saved) = self.forward(pass, x)?;
        pass.backend.add(1.0, addend, &mut y)?;
        Ok((y, saved))
    }

    /// As [`forward`](Self::forward) of several linears of one input, whose frozen products are taken together, and then
    /// those of their adapters.
    pub(crate) fn forward_all<const N: usize>(
        linears: [&Self; N],
        pass: Pass<'_, B>,
        x: &B::Buffer,
    ) -> Result<[Output<B>; N]> {
        if linears.iter().all(|linear| linear.is_plain()) {
            return Self::forward_plain(linears, pass, x, None);
        }
        let products = Self::products(linears, pass, x)?;
        let mut begun = Vec::with_capacity(N);
        for (linear, y) in linears.into_iter().zip(products) {
            let frozen = Frozen { bias: linear.bias_values(pass), ..linear.frozen() };
            begun.push(match &linear.adapter {
                Some(adapter) => Stage::Begun(adapter, adapter.begin(pass, frozen, x, y)?),
                None => Stage::Done(y),
            });
        }
        let adapters = begun.iter_mut().filter_map(|stage| match stage {
            Stage::Begun(adapter, begun) => Some((*adapter, begun)),
            Stage::Done(_) => None,
        });
        add_all(pass, x, adapters.collect())?;
        let mut outputs = Vec::with_capacity(N);
        for (linear, stage) in linears.into_iter().zip(begun) {
            let frozen = Frozen { bias: linear.bias_values(pass), ..linear.frozen() };
            outputs.push(match stage {
                Stage::Begun(adapter, begun) => {
                    let (y, saved) = adapter.end(pass, frozen, begun)?;
                    (y, LinearSaved(Some(saved)))
                }
                Stage::Done(y) => (y, LinearSaved(None)),
            });
        }
        outputs.try_into().map_err(|_| invalid_argument(pass.backend.name(), "an output for each linear"))
    }

    /// As [`forward_all`](Self::forward_all) of linears to which at most a pair adds, and `addend`.
    fn forward_plain<const N: usize>(
        linears: [&Self; N],
        pass: Pass<'_, B>,
        x: &B::Buffer,
        addend: Option<&B::Buffer>,
    ) -> Result<[Output<B>; N]> {
        let backend = pass.backend;
        let rows = backend.len(x) / linears.first().map_or(1, |linear| linear.in_features);
        let mut ys = Self::scratch_of(backend, linears, rows)?;
        let mut downs = Vec::with_capacity(N);
        for linear in linears {
            let rank = linear.adapter.as_ref().map(|adapter| adapter.pair.r);
            downs.push(rank.map(|rank| backend.scratch(rows * rank)).transpose()?);
        }
        let mut outputs = Vec::with_capacity(N);
        for ((linear, y), down) in linears.into_iter().zip(&mut ys).zip(&mut downs) {
            let adapter = linear.adapter.as_ref().zip(down.as_mut());
            let adapter = adapter.map(|(adapter, down)| (adapter.pair.of(pass.params, pass.dropout), down));
            outputs.push(AdaptedOutput { linear: linear.of_backend(pass), adapter, addend, y });
        }
        backend.adapted(x, rows, &mut outputs)?;
        let saved = downs.into_iter().map(|down| LinearSaved(down.map(AdapterSaved::of_pair)));
        let outputs: Vec<_> = ys.into_iter().zip(saved).collect();
        outputs.try_into().map_err(|_| invalid_argument(backend.name(), "an output for each linear"))
    }

    /// Room for the results of these linears, or for their gradients: of several those that attention, rotations and activations read.
    pub(crate) fn scratch_of<const N: usize>(
        backend: &B,
        linears: [&Self; N],
        rows: usize,
    ) -> Result<Vec<B::Buffer>> {
        let widths = linears.map(|linear| linear.out_features);
        if N > 1 && linears.iter().all(|linear| linear.is_plain()) {
            return backend.scratch_side_by_side(rows, &widths);
        }
        widths.iter().map(|width| backend.scratch(rows * width)).collect()
    }

    /// The frozen products of these linears; unspecified where an adapter does not add to it.
    fn products<const N: usize>(
        linears: [&Self; N],
        pass: Pass<'_, B>,
        x: &B::Buffer,
    ) -> Result<Vec<B::Buffer>> {
        let backend = pass.backend;
        let rows = backend.len(x) / linears.first().map_or(1, |linear| linear.in_features);
        let mut products = Self::scratch_of(backend, linears, rows)?;
        let mut outputs = Vec::with_capacity(N);
        for (linear, y) in linears.iter().zip(&mut products) {
            if linear.adapter.as_ref().is_none_or(|adapter| adapter.variant.adds_to_product()) {
                outputs.push(LinearOutput { weight: &*linear.weight, bias: linear.bias_values(pass), y });
            }
        }
        backend.linears(x, rows, &mut outputs)?;
        Ok(products)
    }

    /// Adds what [`forward`](Self::forward) computes to `y`, with nothing saved.
    pub(crate) fn forward_onto(&self, pass: Pass<'_, B>, x: &B::Buffer, y: &mut B::Buffer) -> Result<()> {
        let backend = pass.backend;
        if self.adapter.is_some() {
            *y = self.forward_added(pass, x, y)?.0;
            return Ok(());
        }
        backend.linear_onto(x, backend.len(x) / self.in_features, self.of_backend(pass), y)
    }

    /// Room for what only these linears read.
    pub(super) fn scratch_for(pass: Pass<'_, B>, len: usize, readers: &[&Self]) -> Result<B::Buffer> {
        let is_plain = readers.iter().all(|linear| linear.is_plain());
        if is_plain { pass.backend.scratch_for_products(len) } else { pass.backend.scratch(len) }
    }

    /// Room for the gradient of its input, which attention or an activation reads.
    pub(super) fn scratch_for_gradient(&self, grads: &Grads<'_, B>, len: usize) -> Result<B::Buffer> {
        let dropped = self.adapter.as_ref().and_then(|adapter| adapter.pair.dropout(grads.dropout));
        let is_product = self.is_plain() && dropped.is_none();
        if is_product { grads.backend.scratch_for_products(len) } else { grads.backend.scratch(len) }
    }

    /// As a backend takes it; of one without an adapter that is all.
    pub(super) fn of_backend<'a>(&'a self, pass: Pass<'a, B>) -> FrozenLinear<'a, B::Weight, B::Buffer> {
        FrozenLinear { weight: &self.weight, bias: self.bias_values(pass) }
    }

    fn bias_values<'a>(&'a self, pass: Pass<'a, B>) -> Option<&'a B::Buffer> {
        self.bias.as_ref().map(|bias| bias.values(pass))
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
        backend.linear_of_gelu(x, rows, &self.weight, self.bias_values(pass), &mut y)?;
        Ok((y, LinearSaved(None)))
    }

    /// Adds to the gradients of the adapter and of a trained bias and, where `dx` is given, to or into the gradient of the
    /// input. `x` is read by an adapter only.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        x: Option<&B::Buffer>,
        saved: &LinearSaved<B>,
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        Self::backward_all([(self, saved, dy)], grads, x, dx)
    }

    /// As [`backward`](Self::backward) of several linears of one input, whose adapters are worked on together: each with what
    /// its forward pass saved and the gradient of its output.
    pub(crate) fn backward_all<const N: usize>(
        linears: [(&Self, &LinearSaved<B>, &B::Buffer); N],
        grads: &mut Grads<'_, B>,
        x: Option<&B::Buffer>,
        mut dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        let backend = grads.backend;
        if linears.iter().all(|(linear, ..)| linear.is_plain()) {
            return Self::backward_plain(linears, grads, x, dx);
        }
        let mut scaled = Vec::with_capacity(N);
        for (linear, saved, dy) in linears {
            if let Some(bias) = &linear.bias {
                bias.backward(grads, dy)?;
            }
            let target = dx.as_mut().map(|(dx, write)| (&mut **dx, std::mem::replace(write, Write::Add)));
            match (&linear.adapter, &saved.0, target) {
                (Some(adapter), Some(saved), target) => {
                    let own = adapter.backward(grads, linear.frozen(), saved, dy, target)?;
                    scaled.push((adapter, saved, own, dy));
                }
                (None, _, Some((dx, write))) => {
                    let rows = backend.len(dy) / linear.out_features;
                    backend.linear_backward(dy, rows, &linear.weight, dx, write)?;
                }
                (None, _, None) => {}
                (Some(_), None, _) => {
                    return Err(invalid_argument(
                        backend.name(),
                        "an adapted linear whose pass was not saved",
                    ));
                }
            }
        }
        if scaled.is_empty() {
            return Ok(());
        }
        let x = x.ok_or_else(|| {
            invalid_argument(backend.name(), "the input of an adapted linear was not saved")
        })?;
        let mut all = Vec::with_capacity(N);
        for &(adapter, saved, ref own, dy) in &scaled {
            all.push(Gradient { adapter, saved, dy: own.as_ref().unwrap_or(dy) });
        }
        adapter_gradients(grads, x, &all, dx.map(|(dx, _)| dx))
    }
}

impl<B: Backend> Linear<B> {
    /// As [`backward_all`](Self::backward_all) of linears to which at most a pair adds.
    fn backward_plain<const N: usize>(
        linears: [(&Self, &LinearSaved<B>, &B::Buffer); N],
        grads: &mut Grads<'_, B>,
        x: Option<&B::Buffer>,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        let backend = grads.backend;
        let (mut rows, dropout) = (0, grads.dropout);
        for (linear, _, dy) in linears {
            rows = backend.len(dy) / linear.out_features;
            linear.bias.as_ref().map_or(Ok(()), |bias| bias.backward(grads, dy))?;
        }
        let mut params: Vec<Option<&mut Param<B>>> = grads.params.iter_mut().map(Some).collect();
        let mut all = Vec::with_capacity(N);
        for (linear, saved, dy) in linears {
            let adapter = match (&linear.adapter, &saved.0) {
                (Some(adapter), Some(saved)) => {
                    Some(saved.gradients(backend, &mut params, adapter, dropout)?)
                }
                (Some(_), None) => {
                    return Err(invalid_argument(
                        backend.name(),
                        "an adapted linear whose pass was not saved",
                    ));
                }
                (None, _) => None,
            };
            all.push(AdaptedBackward { weight: &*linear.weight, dy, adapter });
        }
        backend.adapted_backward(x, rows, &mut all, dx)
    }
}

/// A linear in the forward pass.
enum Stage<'a, B: Backend> {
    /// Its adapter has still to be added.
    Begun(&'a Adapter<B>, Begun<B>),
    Done(B::Buffer),
}
