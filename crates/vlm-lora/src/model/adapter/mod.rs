//! The arithmetic of adapters. A [`Variant`] says what becomes of the frozen product and of the low-rank pair: [`Plain`] LoRA,
//! [`Dora`](dora::Dora). A new one is a file here and a line where the model attaches adapters.
//!
//! Adapters that read one input go through both passes together: [`begin`](Adapter::begin) makes ready what each adds to,
//! [`add_all`] adds, [`end`](Adapter::end) finishes; [`backward`](Adapter::backward) takes the gradient through the frozen side,
//! [`adapter_gradients`] that of the pairs.

pub(crate) mod dora;
mod frozen;
mod variant;

pub(crate) use self::frozen::{Frozen, FrozenPair};
pub(crate) use self::variant::{Pair, Plain, Variant};

use self::variant::{Aside, Side};
use super::params::{Grads, Param, Pass};
use crate::backend::{Backend, LowRank, LowRankBackward, LowRankForward, LowRankGradients, Write};
use crate::{Error, Result};

/// The adapter of one linear.
pub(crate) struct Adapter<B: Backend> {
    /// The trained pair.
    pub(crate) pair: Pair,
    /// What the weight lacks (PiSSA).
    pub(crate) principal: Option<FrozenPair<B>>,
    /// What becomes of the frozen product and of the pair.
    pub(crate) variant: Box<dyn Variant<B>>,
}

/// What the backward pass of an adapter needs beside its input.
pub(crate) struct AdapterSaved<B: Backend> {
    /// `x'·Aᵀ (rows, r)`.
    down: B::Buffer,
    /// What the variant needs.
    variant: Vec<B::Buffer>,
}

/// A forward pass between [`Adapter::begin`] and [`Adapter::end`].
pub(crate) struct Begun<B: Backend> {
    y: B::Buffer,
    down: B::Buffer,
    /// What is added to instead of `y`.
    aside: Option<Aside<B>>,
}

impl<B: Backend> AdapterSaved<B> {
    /// Of a pair of which nothing else is needed.
    pub(crate) fn of_pair(down: B::Buffer) -> Self {
        Self { down, variant: Vec::new() }
    }

    /// The pair with its gradients, which are taken out of `params`.
    pub(crate) fn gradients<'a>(
        &'a self,
        backend: &B,
        params: &mut [Option<&'a mut Param<B>>],
        adapter: &Adapter<B>,
        dropout: Option<u64>,
    ) -> Result<LowRankGradients<'a, B::Buffer>> {
        let shared = || invalid_argument(backend.name(), "two adapters share their parameters");
        let mut take = |index: usize| params[index].take().ok_or_else(shared);
        let Pair { r, scale, .. } = adapter.pair;
        let (Param { value: a, grad: da, .. }, Param { value: b, grad: db, .. }) =
            (take(adapter.pair.a)?, take(adapter.pair.b)?);
        let pair = LowRank { a, b, r, scale, dropout: adapter.pair.dropout(dropout) };
        Ok(LowRankGradients { pair, down: &self.down, da, db })
    }
}

impl<B: Backend> Adapter<B> {
    /// Whether the pair adds to the frozen product, and nothing else happens.
    pub(crate) fn is_plain(&self) -> bool {
        self.principal.is_none() && self.variant.adds_to_product()
    }

    fn side<'a>(&'a self, frozen: Frozen<'a, B>) -> Side<'a, B> {
        Side { frozen, pair: &self.pair }
    }

    /// Makes ready what the pair adds to, for `x (rows, in)`. `y (rows, out)` is given as the product of `x` and the frozen
    /// weight with its bias; where the variant does not [add to it](Variant::adds_to_product), it may hold anything.
    pub(crate) fn begin(
        &self,
        pass: Pass<'_, B>,
        frozen: Frozen<'_, B>,
        x: &B::Buffer,
        mut y: B::Buffer,
    ) -> Result<Begun<B>> {
        let rows = pass.backend.len(x) / frozen.shape.1;
        let down = pass.backend.scratch(rows * self.pair.r)?;
        let aside = self.variant.begin(self.side(frozen), pass, x, &mut y)?;
        Ok(Begun { y, down, aside })
    }

    /// The output `(rows, out)`, with what the backward pass needs.
    pub(crate) fn end(
        &self,
        pass: Pass<'_, B>,
        frozen: Frozen<'_, B>,
        begun: Begun<B>,
    ) -> Result<(B::Buffer, AdapterSaved<B>)> {
        let Begun { mut y, down, aside } = begun;
        let variant = self.variant.end(self.side(frozen), pass, aside, &mut y)?;
        Ok((y, AdapterSaved { down, variant }))
    }

    /// The gradient of what the pair added to, where that is not `dy`; adds to those of the variant's own parameters and, where
    /// `dx` is given, to or into that of the input what comes through the frozen side.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        frozen: Frozen<'_, B>,
        saved: &AdapterSaved<B>,
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<Option<B::Buffer>> {
        self.variant.backward(self.side(frozen), grads, &saved.variant, dy, dx)
    }
}

/// Adds what the pairs of these adapters of one input compute, in one call of the backend.
pub(crate) fn add_all<B: Backend>(
    pass: Pass<'_, B>,
    x: &B::Buffer,
    adapters: Vec<(&Adapter<B>, &mut Begun<B>)>,
) -> Result<()> {
    let Some(rows) = adapters.first().map(|(adapter, begun)| pass.backend.len(&begun.down) / adapter.pair.r)
    else {
        return Ok(());
    };
    let one = |(adapter, begun)| {
        let (adapter, begun): (&Adapter<B>, &mut Begun<B>) = (adapter, begun);
        let y = begun.aside.as_mut().map_or(&mut begun.y, |aside| &mut aside.target);
        LowRankForward { pair: adapter.pair.of(pass.params, pass.dropout), down: &mut begun.down, y }
    };
    pass.backend.adapters(x, rows, &mut adapters.into_iter().map(one).collect::<Vec<_>>())
}

/// An adapter in the backward pass.
pub(crate) struct Gradient<'a, B: Backend> {
    pub(crate) adapter: &'a Adapter<B>,
    /// What its forward pass saved.
    pub(crate) saved: &'a AdapterSaved<B>,
    /// The gradient of what its pair added to.
    pub(crate) dy: &'a B::Buffer,
}

/// Adds to the gradients of the pairs of these adapters of one input and, where it is given, to that of the input, in one call
/// of the backend.
pub(crate) fn adapter_gradients<B: Backend>(
    grads: &mut Grads<'_, B>,
    x: &B::Buffer,
    adapters: &[Gradient<'_, B>],
    dx: Option<&mut B::Buffer>,
) -> Result<()> {
    let backend = grads.backend;
    let Some(rows) = adapters.first().map(|one| backend.len(&one.saved.down) / one.adapter.pair.r) else {
        return Ok(());
    };
    let mut params: Vec<Option<&mut Param<B>>> = grads.params.iter_mut().map(Some).collect();
    let mut all = Vec::with_capacity(adapters.len());
    for &Gradient { adapter, saved, dy } in adapters {
        let LowRankGradients { pair, down, da, db } =
            saved.gradients(backend, &mut params, adapter, grads.dropout)?;
        all.push(LowRankBackward { pair, down, dy, da, db });
    }
    backend.adapters_backward(x, rows, &mut all, dx)
}

/// The error of a pass that was given a buffer of another length than the shapes say.
pub(crate) fn invalid_argument(device: String, reason: &str) -> Error {
    Error::Backend { device, reason: reason.to_owned() }
}
