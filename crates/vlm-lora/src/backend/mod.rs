//! The operations that the passes are made of, each forward and backward.
//!
//! A buffer is a flat row-major array of activations; its shape is an argument of each call. A frozen matrix is packed once
//! into the layout that its products want. `dx (+)=` means: overwrites `dx`, or adds to it where `accumulate` says so.

mod arguments;
mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod dropout;
mod fused;
mod pending;
mod profile;
#[cfg(test)]
mod reference;

pub use arguments::{
    AdamWStep, AdamWTensor, AdaptedBackward, AdaptedOutput, Attention, AttentionGradients, AttentionInputs,
    AttentionSaved, Dropout, FrozenLinear, Gemm, LinearOutput, LowRank, LowRankBackward, LowRankForward,
    LowRankGradients, Norm, Rope, RowTarget, Write,
};
pub use cpu::{BaseDtype, Bf16Kernel, Cpu, CpuOptions, IntegerKernel, Isa, LARGEST_INT8_ROWS};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaDtype, CudaOptions};
pub use device::{Device, OnDevice};
pub use fused::Backend;
pub use pending::Pending;
pub use profile::{GpuProfile, ProfileLine};
#[cfg(test)]
pub(crate) use reference::Candle;

use crate::{Result, Stored};

/// What a new backend must write: memory, frozen matrices, products, norms, activations, attention, rows. Implementations:
/// [`Cpu`], with the feature `cuda` `Cuda`, and for tests a reference by plain operations of candle.
///
/// Everything else that the passes call has a default made of these, in [`Backend`].
pub trait Kernels: Sized + Send + Sync + 'static {
    /// A flat array of activations, gradients or trainable values.
    type Buffer: Send + Sync;
    /// A frozen matrix `(n, k)`, packed.
    type Weight: Send + Sync;

    /// The device and the arithmetic in words, as in `cpu f32 avx512`.
    fn name(&self) -> String;

    /// A buffer of zeros.
    fn zeros(&self, len: usize) -> Result<Self::Buffer>;
    /// A buffer with these values.
    fn upload(&self, values: &[f32]) -> Result<Self::Buffer>;
    /// The values of a buffer.
    fn download(&self, buffer: &Self::Buffer) -> Result<Vec<f32>>;
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

    /// Packs a frozen matrix `(n, k)`.
    fn weight(&self, stored: Stored<'_>, n: usize, k: usize) -> Result<Self::Weight>;
    /// `(n, k)` of a packed matrix.
    fn weight_shape(&self, weight: &Self::Weight) -> (usize, usize);
    /// `y (m, n) = x (m, k) · Wᵀ + bias (n)`.
    fn linear(
        &self,
        x: &Self::Buffer,
        m: usize,
        weight: &Self::Weight,
        bias: Option<&Self::Buffer>,
        y: &mut Self::Buffer,
    ) -> Result<()>;
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

    /// Row-wise norm `y` of `x (rows, width)`.
    fn norm(&self, x: &Self::Buffer, norm: Norm<'_, Self::Buffer>, y: &mut Self::Buffer) -> Result<()>;
    /// Gradient of the input of [`norm`](Self::norm), which recomputes what the norm divides by from `x`.
    fn norm_backward(
        &self,
        dy: &Self::Buffer,
        x: &Self::Buffer,
        norm: Norm<'_, Self::Buffer>,
        dx: &mut Self::Buffer,
        write: Write,
    ) -> Result<()>;
    /// Rotary embedding in place of `x (positions, heads, head_dim)`.
    fn rope(&self, x: &mut Self::Buffer, rope: Rope<'_>) -> Result<()>;
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
        inputs: AttentionInputs<'_, Self::Buffer>,
        o: &mut Self::Buffer,
        lse: &mut Self::Buffer,
    ) -> Result<()>;
    /// Gradients of queries, keys and values for `d_o`, the gradient of the output; overwritten. The probabilities are
    /// recomputed from the log-sum-exp (Dao et al. 2022).
    fn attention_backward(
        &self,
        shape: Attention<'_>,
        d_o: &Self::Buffer,
        saved: AttentionSaved<'_, Self::Buffer>,
        gradients: AttentionGradients<'_, Self::Buffer>,
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
}

#[cfg(test)]
mod tests;
