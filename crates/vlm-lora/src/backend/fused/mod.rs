//! What the passes call beside the [`Kernels`]: fused and optional operations, each with a default made of those.
//!
//! A backend overrides what it does better. The defaults of whole-array arithmetic go over the host's memory in f64: right
//! everywhere, fast nowhere.

mod host;
mod low_rank;

#[cfg(feature = "cuda")]
pub(super) use host::{all_reduce as all_reduce_on_host, way_of_sums as over_the_hosts};
#[cfg(feature = "cuda")]
pub(super) use low_rank::{adapted, adapted_backward};

use std::sync::Arc;

use process_group::ProcessGroup;

use super::dropout::Mask;
use super::{
    AdamWTensor, AdaptedBackward, AdaptedOutput, FrozenLinear, Kernels, LinearOutput, LowRankBackward,
    LowRankForward, Pending, Rope, RowTarget, Write, check,
};
use crate::{Result, Stored, Tiles};

/// The operations of the passes.
pub trait Backend: Kernels {
    /// A buffer of unspecified values, for those who overwrite them all.
    fn scratch(&self, len: usize) -> Result<Self::Buffer> {
        self.zeros(len)
    }
    /// As [`scratch`](Self::scratch), for what norms, activations and attention write and only products with frozen matrices
    /// read: a backend may keep nothing but their operand.
    fn scratch_for_products(&self, len: usize) -> Result<Self::Buffer> {
        self.scratch(len)
    }
    /// Whether the inputs of adapters are kept for the backward pass, which otherwise computes them again from what is kept anyway.
    fn keeps_inputs(&self) -> bool {
        false
    }
    /// As [`upload`](Kernels::upload), without rounding where the backend computes in f64.
    fn upload_f64(&self, values: &[f64]) -> Result<Self::Buffer> {
        self.upload(&values.iter().map(|&value| value as f32).collect::<Vec<_>>())
    }
    /// As [`download`](Kernels::download), without rounding.
    fn download_f64(&self, buffer: &Self::Buffer) -> Result<Vec<f64>> {
        Ok(self.download(buffer)?.into_iter().map(f64::from).collect())
    }
    /// Sets every element of these buffers to zero.
    fn clear(&self, buffers: Vec<&mut Self::Buffer>) -> Result<()> {
        buffers.into_iter().try_for_each(|buffer| {
            *buffer = self.zeros(self.len(buffer))?;
            Ok(())
        })
    }

    /// The largest deviation of image features, relative to their norm, that products in integers may cause; `None` where
    /// products are taken as they are written.
    fn integer_bound(&self) -> Option<f64> {
        None
    }
    /// Takes products with matrices of integers in integers, or leaves the activations of all of them as they are.
    fn set_integers(&self, used: bool) {
        let _ = used;
    }

    /// Tiles that go through a frozen vision tower together; on a CPU, the activations of one should stay
    /// in its third-level cache.
    fn tiles_at_once(&self) -> usize {
        1
    }
    /// Whether a device computes while the CPU goes on, so that it can be given what comes next.
    fn is_async(&self) -> bool {
        false
    }
    /// Says that [`patches`](Self::patches) of this image will be asked for soon: an asynchronous device
    /// begins to copy it.
    fn stage(&self, tiles: &Arc<Tiles>) -> Result<()> {
        let _ = tiles;
        Ok(())
    }
    /// Normalised pixels `(tiles · grid², 3 · patch²)` of tiles of `grid · patch` pixels a side, named by image and index:
    /// one row a patch, its values in the order channel, row, column.
    fn patches(&self, tiles: &[(&Tiles, usize)], grid: usize, patch: usize) -> Result<Self::Buffer> {
        self.upload(&crate::patches::patches(tiles, grid, patch))
    }

    /// Squared Euclidean norm of each row of a packed matrix: `(n)`.
    fn weight_row_norms_squared(&self, weight: &Self::Weight) -> Result<Self::Buffer> {
        host::row_norms_squared(self, weight)
    }
    /// Packs frozen matrices `(n, k)` of one input: those of [`linears`](Self::linears), which may then take one product.
    fn weights(&self, parts: &[(Stored<'_>, usize)], k: usize) -> Result<Vec<Self::Weight>> {
        parts.iter().map(|&(stored, n)| self.weight(stored, n, k)).collect()
    }
    /// Buffers of unspecified values, `(rows, width)` for each width, for products of one input that [`linears`](Self::linears) takes
    /// together and attention, rotations and activations read: a backend may keep less than f32 of them.
    fn scratch_side_by_side(&self, rows: usize, widths: &[usize]) -> Result<Vec<Self::Buffer>> {
        widths.iter().map(|width| self.scratch(rows * width)).collect()
    }
    /// As [`linear`](Kernels::linear) by several matrices of one `k`, whose input is then made ready once.
    fn linears(
        &self,
        x: &Self::Buffer,
        m: usize,
        outputs: &mut [LinearOutput<'_, Self::Weight, Self::Buffer>],
    ) -> Result<()> {
        outputs.iter_mut().try_for_each(|out| self.linear(x, m, out.weight, out.bias, out.y))
    }
    /// As [`linear`](Kernels::linear) of [`gelu`](Kernels::gelu)`(x)`.
    fn linear_of_gelu(
        &self,
        x: &Self::Buffer,
        m: usize,
        weight: &Self::Weight,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        let mut activated = self.scratch(self.len(x))?;
        self.gelu(x, &mut activated)?;
        self.linear(&activated, m, weight, bias, y)
    }
    /// `y += x·Wᵀ + bias`: onto a residual stream of which nobody reads what stands there.
    fn linear_onto(
        &self,
        x: &Self::Buffer,
        m: usize,
        linear: FrozenLinear<'_, Self::Weight, Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        let (FrozenLinear { weight, bias }, mut own) = (linear, self.scratch(self.len(y))?);
        self.linears(x, m, &mut [LinearOutput { weight, bias, y: &mut own }])?;
        self.add(1.0, &own, y)
    }
    /// `y += second(gelu(first(x)))`: a perceptron of which nobody reads what lies between.
    fn perceptron_onto(
        &self,
        x: &Self::Buffer,
        m: usize,
        first: FrozenLinear<'_, Self::Weight, Self::Buffer>,
        second: FrozenLinear<'_, Self::Weight, Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()> {
        let mut before = self.scratch(m * self.weight_shape(first.weight).0)?;
        let output = LinearOutput { weight: first.weight, bias: first.bias, y: &mut before };
        self.linears(x, m, &mut [output])?;
        let mut own = self.scratch(self.len(y))?;
        self.linear_of_gelu(&before, m, second.weight, second.bias, &mut own)?;
        self.add(1.0, &own, y)
    }
    /// Adapters that read one input `x (m, k)`: for each, with `x'` the input after its dropout, `down = x'·Aᵀ` and
    /// `y += scale · down·Bᵀ`.
    fn adapters(
        &self,
        x: &Self::Buffer,
        m: usize,
        adapters: &mut [LowRankForward<'_, Self::Buffer>],
    ) -> Result<()> {
        low_rank::forward(self, x, m, adapters)
    }
    /// The backward pass of [`adapters`](Self::adapters): with `d = scale · dy·B` for each, `dB += scale · dyᵀ·down`,
    /// `dA += dᵀ·x'` and, where it is given, `dx += d·A` through the dropout.
    fn adapters_backward(
        &self,
        x: &Self::Buffer,
        m: usize,
        adapters: &mut [LowRankBackward<'_, Self::Buffer>],
        dx: Option<&mut Self::Buffer>,
    ) -> Result<()> {
        low_rank::backward(self, x, m, adapters, dx)
    }

    /// As [`linears`](Self::linears), to each of which its adapter adds as in [`adapters`](Self::adapters), and then its addend.
    fn adapted(
        &self,
        x: &Self::Buffer,
        m: usize,
        outputs: &mut [AdaptedOutput<'_, Self::Weight, Self::Buffer>],
    ) -> Result<()> {
        low_rank::adapted(self, x, m, outputs)
    }
    /// The backward pass of [`adapted`](Self::adapted): adds to the gradients of the adapters and, where it is given, to or into that of
    /// the input. `x` is read by adapters only.
    fn adapted_backward(
        &self,
        x: Option<&Self::Buffer>,
        m: usize,
        linears: &mut [AdaptedBackward<'_, Self::Weight, Self::Buffer>],
        dx: Option<(&mut Self::Buffer, Write)>,
    ) -> Result<()> {
        low_rank::adapted_backward(self, x, m, linears, dx)
    }
    /// Rotary embeddings in place of queries, as [`rope`](Kernels::rope) says, and of keys with so many heads.
    fn rope_both(
        &self,
        q: &mut Self::Buffer,
        k: &mut Self::Buffer,
        rope: Rope<'_>,
        kv_heads: usize,
    ) -> Result<()> {
        self.rope(q, rope)?;
        self.rope(k, Rope { heads: kv_heads, ..rope })
    }

    /// `y (rows, width) = x · s (width)`, element by element in each row.
    fn scale_columns(&self, x: &Self::Buffer, s: &Self::Buffer, y: &mut Self::Buffer) -> Result<()> {
        host::scale_columns(self, x, s, y)
    }
    /// `out (width) += Σ_rows a · b`; without `b` the sum of `a` (a bias gradient).
    fn column_dot(&self, a: &Self::Buffer, b: Option<&Self::Buffer>, out: &mut Self::Buffer) -> Result<()> {
        host::column_dot(self, a, b, out)
    }
    /// `y = x · mask / (1 - p)` with a mask that is a pure function of `key` and the element's index; the backward pass is
    /// the same call on the gradient.
    fn dropout(&self, x: &Self::Buffer, p: f32, key: u64, y: &mut Self::Buffer) -> Result<()> {
        check::probability(p)?;
        host::dropout(self, x, Mask::new(key, p), y)
    }

    /// Softmax cross-entropy of `logits (targets, vocab)`: the weighted loss of each row; the logits are overwritten by their
    /// gradient times `scale`. Sums in f32 or wider whatever the dtype. Does not wait for an asynchronous device.
    fn cross_entropy(
        &self,
        logits: &mut Self::Buffer,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        host::cross_entropy(self, logits, targets, scale).map(Pending::Ready)
    }
    /// Σ x² over these tensors, summed in f64 in an order that does not depend on the number of threads. Does not wait for an
    /// asynchronous device.
    fn sum_squares(&self, tensors: &[&Self::Buffer]) -> Result<Pending<f64>> {
        host::sum_squares(self, tensors).map(Pending::Ready)
    }
    /// Where and over what [`all_reduce`](Self::all_reduce) adds up for a group, in words for people. All of its processes ask at the same
    /// point of their program.
    fn way_of_sums(&self, group: &dyn ProcessGroup) -> Result<String> {
        Ok(host::way_of_sums(group))
    }
    /// Adds these buffers up over all processes of a group, in f32 and the same bits for all of them. The default takes them through the
    /// host's memory.
    fn all_reduce(&self, buffers: Vec<&mut Self::Buffer>, group: &dyn ProcessGroup) -> Result<()> {
        host::all_reduce(self, buffers, group)
    }
    /// One step of `AdamW` on each of these tensors.
    fn adamw(&self, tensors: Vec<AdamWTensor<'_, Self::Buffer>>) -> Result<()> {
        tensors.into_iter().try_for_each(|tensor| host::adamw(self, tensor))
    }
}
