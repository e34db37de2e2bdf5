//! The arithmetic of one adapter: LoRA (Hu et al. 2021), rank-stabilised by its scale, and DoRA (Liu et al. 2024).
//!
//! With `u = x'·Wᵀ + s·(x'·Aᵀ)·Bᵀ`, where `x'` is `x` after dropout, LoRA computes `y = x·Wᵀ + bias + s·(x'·Aᵀ)·Bᵀ` and DoRA
//! `y = x·Wᵀ + bias - x'·Wᵀ + g·u` with `g = m / n`, `n` the row norms of `W + s·B·A`, taken as constants.
//!
//! Adapters that read one input go through both passes together: [`begin`](Adapter::begin) makes ready what each adds to,
//! [`add_all`] adds, [`end`](Adapter::end) finishes; [`base_gradient`](Adapter::base_gradient) takes the gradient through the
//! frozen side, [`adapter_gradients`] that of the adapters.

pub(crate) mod dora;

use self::dora::{Dora, Unscaled};
use super::params::{Grads, Param, Pass};
use crate::backend::{Backend, Dropout, Gemm, LowRank, LowRankBackward, LowRankForward, Write};
use crate::key::mix;
use crate::lora::Principal;
use crate::{Error, Result};

/// The adapter of one linear: where its tensors stand among the parameters, and its constants.
pub(crate) struct Adapter<B: Backend> {
    /// Rank.
    pub(crate) r: usize,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)`.
    pub(crate) scale: f32,
    /// Probability of dropping an element of the input.
    pub(crate) dropout: f32,
    /// Distinguishes the masks of the modules.
    pub(crate) key: u64,
    /// Index of `lora_A (r, in)`.
    pub(crate) a: usize,
    /// Index of `lora_B (out, r)`.
    pub(crate) b: usize,
    /// What the weight lacks (PiSSA): it computes as `W − scale·B₀·A₀`.
    pub(crate) principal: Option<FrozenPair<B>>,
    /// What DoRA adds.
    pub(crate) dora: Option<Dora<B>>,
}

/// The frozen pair `A₀ (r, in)` and `B₀ (out, r)` of PiSSA.
pub(crate) struct FrozenPair<B: Backend> {
    pub(super) a: B::Buffer,
    pub(super) b: B::Buffer,
}

impl<B: Backend> FrozenPair<B> {
    pub(crate) fn new(backend: &B, principal: &Principal) -> Result<Self> {
        Ok(Self { a: backend.upload(&principal.a)?, b: backend.upload(&principal.b)? })
    }
}

/// The frozen side of an adapted linear.
pub(crate) struct Frozen<'a, B: Backend> {
    pub(crate) weight: &'a B::Weight,
    pub(crate) bias: Option<&'a B::Buffer>,
    /// `(out, in)`.
    pub(crate) shape: (usize, usize),
}

/// What the backward pass of an adapter needs beside its input.
pub(crate) struct AdapterSaved<B: Backend> {
    /// `x'·Aᵀ (rows, r)`.
    down: B::Buffer,
    /// DoRA: `u (rows, out)` and `g (out)`.
    pub(super) dora: Option<(B::Buffer, B::Buffer)>,
}

/// A forward pass between [`Adapter::begin`] and [`Adapter::end`].
pub(crate) struct Begun<B: Backend> {
    y: B::Buffer,
    down: B::Buffer,
    /// DoRA: what is added to instead of `y`.
    unscaled: Option<Unscaled<B>>,
}

/// A backward pass between [`Adapter::base_gradient`] and [`adapter_gradients`]: the gradient of what the adapter added to,
/// where that is not the gradient of the output.
pub(crate) struct Scaled<B: Backend>(pub(super) Option<B::Buffer>);

impl<B: Backend> Adapter<B> {
    /// What is dropped of the input in this step.
    pub(super) fn dropout(&self, step_key: Option<u64>) -> Option<Dropout> {
        let key = step_key.filter(|_| self.dropout > 0.0)?;
        Some(Dropout { p: self.dropout, key: mix(key ^ self.key) })
    }

    fn pair<'a>(&self, params: &'a [Param<B>], step_key: Option<u64>) -> LowRank<'a, B::Buffer> {
        let (a, b) = (&params[self.a].value, &params[self.b].value);
        LowRank { a, b, r: self.r, scale: self.scale, dropout: self.dropout(step_key) }
    }

    /// Whether it adds to the frozen product of the input: all but DoRA do.
    pub(crate) fn adds(&self) -> bool {
        self.dora.is_none()
    }

    /// Makes ready what the adapter adds to, for `x (rows, in)`. `y (rows, out)` is given as the product of `x` and the frozen
    /// weight with its bias; where the adapter does not [add](Self::adds) to it, it may hold anything.
    pub(crate) fn begin(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        x: &B::Buffer,
        mut y: B::Buffer,
    ) -> Result<Begun<B>> {
        let rows = pass.backend.len(x) / frozen.shape.1;
        let down = pass.backend.scratch(rows * self.r)?;
        if self.dora.is_some() {
            return Ok(Begun { y, down, unscaled: Some(self.unscaled(pass, frozen, x)?) });
        }
        self.subtract_principal(pass.backend, x, frozen, &mut y)?;
        Ok(Begun { y, down, unscaled: None })
    }

    /// The output `(rows, out)`, with what the backward pass needs.
    pub(crate) fn end(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        begun: Begun<B>,
    ) -> Result<(B::Buffer, AdapterSaved<B>)> {
        let Begun { mut y, down, unscaled } = begun;
        let dora = match (unscaled, &self.dora) {
            (Some(unscaled), Some(dora)) => Some(self.rescale(pass, frozen, dora, unscaled, &mut y)?),
            _ => None,
        };
        Ok((y, AdapterSaved { down, dora }))
    }

    /// `y (rows, out)` of the frozen side alone.
    pub(super) fn base(
        &self,
        backend: &B,
        x: &B::Buffer,
        rows: usize,
        frozen: &Frozen<'_, B>,
        y: &mut B::Buffer,
    ) -> Result<()> {
        backend.linear(x, rows, frozen.weight, frozen.bias, y)?;
        self.subtract_principal(backend, x, frozen, y)
    }

    /// Takes what the frozen pair of PiSSA computes from the frozen product.
    fn subtract_principal(
        &self,
        backend: &B,
        x: &B::Buffer,
        frozen: &Frozen<'_, B>,
        y: &mut B::Buffer,
    ) -> Result<()> {
        let Some(FrozenPair { a, b }) = &self.principal else { return Ok(()) };
        let (n, k) = frozen.shape;
        let rows = backend.len(x) / k;
        let mut down = backend.scratch(rows * self.r)?;
        backend.gemm(Gemm::new(rows, self.r, k).transposed_b(), x, a, &mut down)?;
        backend.gemm(Gemm::new(rows, n, self.r).transposed_b().scaled(-self.scale).added(), &down, b, y)
    }

    /// `dx (rows, in) (+)=` the gradient through the frozen side alone.
    pub(super) fn base_backward(
        &self,
        backend: &B,
        dy: &B::Buffer,
        frozen: &Frozen<'_, B>,
        dx: &mut B::Buffer,
        write: Write,
    ) -> Result<()> {
        let (n, k) = frozen.shape;
        let rows = backend.len(dy) / n;
        backend.linear_backward(dy, rows, frozen.weight, dx, write)?;
        let Some(FrozenPair { a, b }) = &self.principal else { return Ok(()) };
        let mut d_down = backend.scratch(rows * self.r)?;
        backend.gemm(Gemm::new(rows, self.r, n).scaled(-self.scale), dy, b, &mut d_down)?;
        backend.gemm(Gemm::new(rows, k, self.r).added(), &d_down, a, dx)
    }

    /// The gradient of what the adapter adds to; adds to that of DoRA's magnitudes and, where `dx` is given, to or into that of
    /// the input what comes through the frozen side.
    pub(crate) fn base_gradient(
        &self,
        grads: &mut Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        saved: &AdapterSaved<B>,
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<Scaled<B>> {
        let scaled = self.magnitude_backward(grads, frozen, saved, dy)?;
        match (dx, &scaled) {
            (None, _) => {}
            (Some(target), Some(scaled)) => self.unscaled_backward(grads, frozen, (dy, scaled), target)?,
            (Some((dx, write)), None) => self.base_backward(grads.backend, dy, frozen, dx, write)?,
        }
        Ok(Scaled(scaled))
    }
}

/// Adds what these adapters of one input compute, in one call of the backend.
pub(crate) fn add_all<B: Backend>(
    pass: Pass<'_, B>,
    x: &B::Buffer,
    adapters: Vec<(&Adapter<B>, &mut Begun<B>)>,
) -> Result<()> {
    let Some(rows) = adapters.first().map(|(adapter, begun)| pass.backend.len(&begun.down) / adapter.r)
    else {
        return Ok(());
    };
    let one = |(adapter, begun)| {
        let (adapter, begun): (&Adapter<B>, &mut Begun<B>) = (adapter, begun);
        let y = begun.unscaled.as_mut().map_or(&mut begun.y, |unscaled| &mut unscaled.u);
        LowRankForward { pair: adapter.pair(pass.params, pass.dropout), down: &mut begun.down, y }
    };
    pass.backend.adapters(x, rows, &mut adapters.into_iter().map(one).collect::<Vec<_>>())
}

/// An adapter in the backward pass, what its forward pass saved and the gradient of its linear's output.
pub(crate) type Gradient<'a, B> =
    (&'a Adapter<B>, &'a AdapterSaved<B>, &'a Scaled<B>, &'a <B as Backend>::Buffer);

/// Adds to the gradients of these adapters of one input and, where it is given, to that of the input, in one call of the
/// backend.
pub(crate) fn adapter_gradients<B: Backend>(
    grads: &mut Grads<'_, B>,
    x: &B::Buffer,
    adapters: &[Gradient<'_, B>],
    dx: Option<&mut B::Buffer>,
) -> Result<()> {
    let backend = grads.backend;
    let Some(rows) = adapters.first().map(|(adapter, saved, ..)| backend.len(&saved.down) / adapter.r) else {
        return Ok(());
    };
    let mut params: Vec<Option<&mut Param<B>>> = grads.params.iter_mut().map(Some).collect();
    let mut take = |index: usize| {
        params[index]
            .take()
            .ok_or_else(|| invalid_argument(backend.name(), "two adapters share their parameters"))
    };
    let mut all = Vec::with_capacity(adapters.len());
    for &(adapter, saved, Scaled(scaled), dy) in adapters {
        let (a, b) = (take(adapter.a)?, take(adapter.b)?);
        let dropout = adapter.dropout(grads.dropout);
        let pair = LowRank { a: &a.value, b: &b.value, r: adapter.r, scale: adapter.scale, dropout };
        let dy = scaled.as_ref().unwrap_or(dy);
        all.push(LowRankBackward { pair, down: &saved.down, dy, da: &mut a.grad, db: &mut b.grad });
    }
    backend.adapters_backward(x, rows, &mut all, dx)
}

/// The error of a pass that was given a buffer of another length than the shapes say.
pub(crate) fn invalid_argument(device: String, reason: &str) -> Error {
    Error::Backend { device, reason: reason.to_owned() }
}
