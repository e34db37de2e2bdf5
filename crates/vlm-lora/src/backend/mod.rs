//! The operations that the passes are made of, each forward and backward.
//!
//! A buffer is a flat row-major array of activations; its shape is an argument of each call. A frozen matrix is packed once
//! into the layout that its products want. `dx (+)=` means: overwrites `dx`, or adds to it where `accumulate` says so.

pub mod any;
mod arguments;
mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod dropout;
mod low_rank;
mod pending;
#[cfg(test)]
mod reference;

pub use any::AnyBackend;
pub use arguments::{
    AdamWStep, AdamWTensor, Attention, Dropout, Gemm, LinearOutput, LowRank, LowRankBackward, LowRankForward,
    RowTarget, Write,
};
pub use cpu::{BaseDtype, Bf16Kernel, Cpu, CpuOptions, Isa, LARGEST_INT8_ROWS};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaDtype, CudaOptions};
pub use pending::Pending;
#[cfg(test)]
pub(crate) use reference::Candle;

use std::sync::Arc;

use crate::{Result, Stored, Tiles};

/// The operations of the passes. Implementations: [`Cpu`], with the feature `cuda` `Cuda`, and for tests a reference by plain
/// operations of candle.
pub trait Backend: Sized + Send + Sync + 'static {
    /// A flat array of activations, gradients or trainable values.
    type Buffer: Send + Sync;
    /// A frozen matrix `(n, k)`, packed.
    type Weight: Send + Sync;

    /// The device and the arithmetic in words, as in `cpu f32 avx512`.
    fn name(&self) -> String;

    /// A buffer of zeros.
    fn zeros(&self, len: usize) -> Result<Self::Buffer>;
    /// A buffer of unspecified values, for those who overwrite them all.
    fn scratch(&self, len: usize) -> Result<Self::Buffer> {
        self.zeros(len)
    }
    /// A buffer with these values.
    fn upload(&self, values: &[f32]) -> Result<Self::Buffer>;
    /// The values of a buffer.
    fn download(&self, buffer: &Self::Buffer) -> Result<Vec<f32>>;
    /// As [`upload`](Self::upload), without rounding where the backend computes in f64.
    fn upload_f64(&self, values: &[f64]) -> Result<Self::Buffer>;
    /// As [`download`](Self::download), without rounding.
    fn download_f64(&self, buffer: &Self::Buffer) -> Result<Vec<f64>>;
    /// How many elements a buffer holds.
    fn len(&self, buffer: &Self::Buffer) -> usize;
    /// `dst[at..at + len] (+)= src[from..from + len]`.
    fn copy(
        &self,
        src: &Self::Buffer,
        from: usize,
        len: usize,
        dst: &mut Self::Buffer,
        at: usize,
        write: Write,
    ) -> Result<()>;

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

    /// Packs a frozen matrix `(n, k)`; `needs_backward` says whether `linear_backward` will be called on it.
    fn weight(&self, stored: Stored<'_>, n: usize, k: usize, needs_backward: bool) -> Result<Self::Weight>;
    /// `(n, k)` of a packed matrix.
    fn weight_shape(&self, weight: &Self::Weight) -> (usize, usize);
    /// Squared Euclidean norm of each row of a packed matrix: `(n)`.
    fn weight_row_norms_squared(&self, weight: &Self::Weight) -> Result<Self::Buffer>;
    /// `y (m, n) = x (m, k) · Wᵀ + bias (n)`.
    fn linear(
        &self,
        x: &Self::Buffer,
        m: usize,
        weight: &Self::Weight,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// As [`linear`](Self::linear) by several matrices of one `k`, whose input is then made ready once.
    fn linears(
        &self,
        x: &Self::Buffer,
        m: usize,
        outputs: &mut [LinearOutput<'_, Self::Weight, Self::Buffer>],
    ) -> Result<()> {
        outputs.iter_mut().try_for_each(|out| self.linear(x, m, out.weight, out.bias, out.y))
    }
    /// As [`linear`](Self::linear) of [`gelu`](Self::gelu)`(x)`.
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
    /// `dx (m, k) (+)= dy (m, n) · W`.
    fn linear_backward(
        &self,
        dy: &Self::Buffer,
        m: usize,
        weight: &Self::Weight,
        dx: &mut Self::Buffer,
        write: Write,
    ) -> Result<()>;
    /// Rows `ids` of the matrix `(n, k)`: `y (ids, k)`.
    fn embed(&self, weight: &Self::Weight, ids: &[u32], y: &mut Self::Buffer) -> Result<()>;
    /// `C (+)= alpha · op(A) · op(B)`.
    fn gemm(&self, shape: Gemm, a: &Self::Buffer, b: &Self::Buffer, c: &mut Self::Buffer) -> Result<()>;
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

    /// Row-wise layer norm of `x (rows, weight)`: `y = (x - mean) / sqrt(var + eps) · weight + bias`.
    fn layer_norm(
        &self,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        bias: &Self::Buffer,
        eps: f64,
        y: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradient of the input of [`layer_norm`](Self::layer_norm), which recomputes mean and variance from `x`.
    fn layer_norm_backward(
        &self,
        dy: &Self::Buffer,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        eps: f64,
        dx: &mut Self::Buffer,
        write: Write,
    ) -> Result<()>;
    /// Row-wise root-mean-square norm: `y = x / sqrt(mean(x²) + eps) · weight`.
    fn rms_norm(&self, x: &Self::Buffer, weight: &Self::Buffer, eps: f64, y: &mut Self::Buffer)
    -> Result<()>;
    /// Gradient of the input of [`rms_norm`](Self::rms_norm).
    fn rms_norm_backward(
        &self,
        dy: &Self::Buffer,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        eps: f64,
        dx: &mut Self::Buffer,
        write: Write,
    ) -> Result<()>;

    /// Rotary embedding in place (rotate-half form) of `x (positions, heads, head_dim)`, angles computed in f32;
    /// `inverse` rotates back, which is the backward pass.
    fn rope(
        &self,
        x: &mut Self::Buffer,
        positions: &[u32],
        heads: usize,
        head_dim: usize,
        theta: f64,
        inverse: bool,
    ) -> Result<()>;
    /// `y = silu(gate) · up`.
    fn swiglu(&self, gate: &Self::Buffer, up: &Self::Buffer, y: &mut Self::Buffer) -> Result<()>;
    /// Gradients of both inputs of [`swiglu`](Self::swiglu), overwritten.
    fn swiglu_backward(
        &self,
        dy: &Self::Buffer,
        gate: &Self::Buffer,
        up: &Self::Buffer,
        dgate: &mut Self::Buffer,
        dup: &mut Self::Buffer,
    ) -> Result<()>;
    /// `y = 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`.
    fn gelu(&self, x: &Self::Buffer, y: &mut Self::Buffer) -> Result<()>;
    /// Gradient of the input of [`gelu`](Self::gelu), overwritten.
    fn gelu_backward(&self, dy: &Self::Buffer, x: &Self::Buffer, dx: &mut Self::Buffer) -> Result<()>;

    /// `o (rows, heads, head_dim)` and the log-sum-exp of the scores `lse (rows, heads)`.
    fn attention(
        &self,
        shape: Attention<'_>,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        o: &mut Self::Buffer,
        lse: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of queries, keys and values, overwritten; the probabilities are recomputed from `lse` (Dao et al. 2022).
    #[expect(
        clippy::too_many_arguments,
        reason = "three inputs, what the forward pass kept, three gradients"
    )]
    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Self::Buffer,
        q: &Self::Buffer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        o: &Self::Buffer,
        lse: &Self::Buffer,
        dq: &mut Self::Buffer,
        dk: &mut Self::Buffer,
        dv: &mut Self::Buffer,
    ) -> Result<()>;

    /// `dst[i] = src[rows[i]]` for rows of `width` elements: image rows, supervised rows, pixel shuffle (a permutation).
    fn gather_rows(
        &self,
        src: &Self::Buffer,
        width: usize,
        rows: &[u32],
        dst: &mut Self::Buffer,
    ) -> Result<()>;
    /// `dst[rows[i]] (+)= src[i]`; `rows` holds no row twice.
    fn scatter_rows(
        &self,
        src: &Self::Buffer,
        width: usize,
        rows: &[u32],
        dst: &mut Self::Buffer,
        write: Write,
    ) -> Result<()>;
    /// `y += alpha · x`; where `x` is shorter it is repeated (a row added to every row).
    fn add(&self, alpha: f32, x: &Self::Buffer, y: &mut Self::Buffer) -> Result<()>;
    /// `y (rows, width) = x · s (width)`, element by element in each row.
    fn scale_columns(&self, x: &Self::Buffer, s: &Self::Buffer, y: &mut Self::Buffer) -> Result<()>;
    /// `out (width) += Σ_rows a · b`; without `b` the sum of `a` (a bias gradient).
    fn column_dot(&self, a: &Self::Buffer, b: Option<&Self::Buffer>, out: &mut Self::Buffer) -> Result<()>;
    /// `y = x · mask / (1 - p)` with a mask that is a pure function of `key` and the element's index; the backward pass is
    /// the same call on the gradient.
    fn dropout(&self, x: &Self::Buffer, p: f32, key: u64, y: &mut Self::Buffer) -> Result<()>;

    /// Softmax cross-entropy of `logits (targets, vocab)`: returns the weighted loss of each row and overwrites the logits by
    /// their gradient times `scale`. Sums in f32 or wider whatever the dtype.
    fn cross_entropy(
        &self,
        logits: &mut Self::Buffer,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Vec<f64>>;

    /// As [`cross_entropy`](Self::cross_entropy), without waiting for an asynchronous device.
    fn cross_entropy_async(
        &self,
        logits: &mut Self::Buffer,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        self.cross_entropy(logits, targets, scale).map(Pending::Ready)
    }

    /// Σ x², summed in f64 in an order that does not depend on the number of threads.
    fn sum_squares(&self, x: &Self::Buffer) -> Result<f64>;
    /// Σ x² over several tensors, without waiting for an asynchronous device.
    fn sums_of_squares(&self, tensors: &[&Self::Buffer]) -> Result<Pending<f64>> {
        tensors.iter().map(|x| self.sum_squares(x)).sum::<Result<f64>>().map(Pending::Ready)
    }
    /// One AdamW step on a tensor.
    fn adamw(
        &self,
        step: AdamWStep,
        value: &mut Self::Buffer,
        grad: &Self::Buffer,
        m: &mut Self::Buffer,
        v: &mut Self::Buffer,
    ) -> Result<()>;
    /// One AdamW step on several tensors.
    fn adamw_all(&self, tensors: Vec<AdamWTensor<'_, Self::Buffer>>) -> Result<()> {
        tensors.into_iter().try_for_each(|t| self.adamw(t.step, t.value, t.grad, t.m, t.v))
    }
    /// Sets every element to zero.
    fn clear(&self, buffer: &mut Self::Buffer) -> Result<()>;
    /// Sets every element of several buffers to zero.
    fn clear_all(&self, buffers: Vec<&mut Self::Buffer>) -> Result<()> {
        buffers.into_iter().try_for_each(|buffer| self.clear(buffer))
    }
}

#[cfg(test)]
mod tests;
