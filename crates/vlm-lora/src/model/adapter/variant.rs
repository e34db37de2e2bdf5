//! What the variants of LoRA have in common, and the plain one.

use super::frozen::Frozen;
use crate::backend::{Backend, Dropout, LowRank, Write};
use crate::error::Result;
use crate::key::mix;
use crate::model::params::{Grads, Param, Pass};

/// The trained low-rank pair: where its tensors stand among the parameters, and its constants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
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
}

impl Pair {
    /// What is dropped of the input in this step.
    pub(crate) fn dropout(&self, step_key: Option<u64>) -> Option<Dropout> {
        let key = step_key.filter(|_| self.dropout > 0.0)?;
        Some(Dropout { p: self.dropout, key: mix(key ^ self.key) })
    }

    /// As an operation takes it.
    pub(crate) fn of<'a, B: Backend>(
        &self,
        params: &'a [Param<B>],
        step_key: Option<u64>,
    ) -> LowRank<'a, B::Buffer> {
        let (a, b) = (&params[self.a].value, &params[self.b].value);
        LowRank { a, b, r: self.r, scale: self.scale, dropout: self.dropout(step_key) }
    }
}

/// The linear that a variant works on.
pub(crate) struct Side<'a, B: Backend> {
    /// What does not train.
    pub(crate) frozen: Frozen<'a, B>,
    /// What does.
    pub(crate) pair: &'a Pair,
}

impl<B: Backend> Clone for Side<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Side<'_, B> {}

/// What the pair adds to instead of the output, and what is added afterwards.
pub(crate) struct Aside<B: Backend> {
    /// `(rows, out)`, which the pair adds to.
    pub(super) target: B::Buffer,
    /// `(rows, out)`, which it does not.
    pub(super) rest: Option<B::Buffer>,
}

/// A variant of LoRA: what becomes of the frozen product and of what the low-rank pair adds.
///
/// The pairs of all linears of one input are multiplied together. Before, [`begin`](Self::begin) makes ready what the pair adds
/// to; afterwards [`end`](Self::end) makes the output of it. In the backward pass [`backward`](Self::backward) runs before the
/// gradients of the pairs are taken together.
pub(crate) trait Variant<B: Backend>: Send + Sync {
    /// Whether the pair adds to the frozen product of the input, which is then taken with those of the other linears.
    fn adds_to_product(&self) -> bool;

    /// What the pair adds to, where that is not `y (rows, out)`: the frozen product of `x (rows, in)` with its bias, or
    /// unspecified values where the variant does not [add to it](Self::adds_to_product).
    fn begin(
        &self,
        side: Side<'_, B>,
        pass: Pass<'_, B>,
        x: &B::Buffer,
        y: &mut B::Buffer,
    ) -> Result<Option<Aside<B>>>;

    /// Writes the output to `y`, where the pair added to something else; returns what the backward pass needs.
    fn end(
        &self,
        side: Side<'_, B>,
        pass: Pass<'_, B>,
        aside: Option<Aside<B>>,
        y: &mut B::Buffer,
    ) -> Result<Vec<B::Buffer>>;

    /// The gradient of what the pair added to, where that is not `dy`. Adds to the gradients of parameters of its own and, where
    /// `dx` is given, to or into that of the input what comes through the frozen side.
    fn backward(
        &self,
        side: Side<'_, B>,
        grads: &mut Grads<'_, B>,
        saved: &[B::Buffer],
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<Option<B::Buffer>>;

    /// Forgets what it computed of the parameters, which are about to change.
    fn forget(&mut self) {}
}

/// LoRA (Hu et al. 2021), rank-stabilised by its scale: `y = x·Wᵀ + bias + s·(x'·Aᵀ)·Bᵀ`.
pub(crate) struct Plain;

impl<B: Backend> Variant<B> for Plain {
    fn adds_to_product(&self) -> bool {
        true
    }

    fn begin(
        &self,
        side: Side<'_, B>,
        pass: Pass<'_, B>,
        x: &B::Buffer,
        y: &mut B::Buffer,
    ) -> Result<Option<Aside<B>>> {
        side.frozen.subtract_principal(pass.backend, x, y)?;
        Ok(None)
    }

    fn end(
        &self,
        _: Side<'_, B>,
        _: Pass<'_, B>,
        _: Option<Aside<B>>,
        _: &mut B::Buffer,
    ) -> Result<Vec<B::Buffer>> {
        Ok(Vec::new())
    }

    fn backward(
        &self,
        side: Side<'_, B>,
        grads: &mut Grads<'_, B>,
        _: &[B::Buffer],
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<Option<B::Buffer>> {
        if let Some((dx, write)) = dx {
            side.frozen.backward(grads.backend, dy, dx, write)?;
        }
        Ok(None)
    }
}
