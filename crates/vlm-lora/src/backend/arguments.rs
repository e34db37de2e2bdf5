//! What operations are called with.

use crate::rotary::Rotary;

/// What a product does with what the output already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The output is overwritten.
    Set,
    /// The result is added to the output.
    Add,
}

/// A general product `C (+)= alpha · op(A) · op(B)` with `C: (m, n)`, all row-major.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The summed dimension.
    pub k: usize,
    /// Whether `A` is stored `(k, m)`.
    pub transpose_a: bool,
    /// Whether `B` is stored `(n, k)`.
    pub transpose_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// What happens to the old `C`.
    pub write: Write,
}

impl Gemm {
    /// A plain product that overwrites its result.
    pub(crate) fn new(m: usize, n: usize, k: usize) -> Self {
        Self { m, n, k, transpose_a: false, transpose_b: false, alpha: 1.0, write: Write::Set }
    }

    pub(crate) fn transposed_a(self) -> Self {
        Self { transpose_a: true, ..self }
    }

    pub(crate) fn transposed_b(self) -> Self {
        Self { transpose_b: true, ..self }
    }

    pub(crate) fn scaled(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    pub(crate) fn added(self) -> Self {
        Self { write: Write::Add, ..self }
    }
}

/// Attention over packed sequences: rows `q_offsets[i]..q_offsets[i + 1]` of the queries attend to rows
/// `k_offsets[i]..k_offsets[i + 1]` of keys and values. With `causal`, the last query of a sequence sees all its keys.
/// Query head `h` uses key/value head `h / (heads / kv_heads)`; the scale is `1 / sqrt(head_dim)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// Whether a query sees only keys at or before its own position.
    pub causal: bool,
    /// Start of each sequence in the query rows, and the total.
    pub q_offsets: &'a [usize],
    /// Start of each sequence in the key rows, and the total; equal to `q_offsets` except when decoding with a cache.
    pub k_offsets: &'a [usize],
}

/// What attention reads: queries `(rows, heads, head_dim)`, keys and values `(rows, kv_heads, head_dim)`.
#[derive(Debug)]
pub struct AttentionInputs<'a, T: ?Sized> {
    /// Queries.
    pub q: &'a T,
    /// Keys.
    pub k: &'a T,
    /// Values.
    pub v: &'a T,
}

/// What the backward pass of attention reads of the forward pass: its inputs and outputs.
#[derive(Debug)]
pub struct AttentionSaved<'a, T: ?Sized> {
    /// Queries.
    pub q: &'a T,
    /// Keys.
    pub k: &'a T,
    /// Values.
    pub v: &'a T,
    /// The output `(rows, heads, head_dim)`.
    pub o: &'a T,
    /// The log-sum-exp of the scores `(rows, heads)`.
    pub lse: &'a T,
}

/// Gradients of the inputs of attention, each as long as its input.
#[derive(Debug)]
pub struct AttentionGradients<'a, T: ?Sized> {
    /// Of the queries.
    pub dq: &'a mut T,
    /// Of the keys.
    pub dk: &'a mut T,
    /// Of the values.
    pub dv: &'a mut T,
}

/// A row-wise norm with its parameters `(width)`.
#[derive(Debug)]
pub enum Norm<'a, T: ?Sized> {
    /// `y = (x - mean) / sqrt(var + eps) · weight + bias` (Ba et al. 2016).
    Layer {
        /// Factors.
        weight: &'a T,
        /// Addends.
        bias: &'a T,
        /// Added to the variance.
        eps: f64,
    },
    /// `y = x / sqrt(mean(x²) + eps) · weight` (Zhang & Sennrich 2019).
    RootMeanSquare {
        /// Factors.
        weight: &'a T,
        /// Added to the mean square.
        eps: f64,
    },
}

/// A rotary embedding (Su et al. 2021) in its rotate-half form, with angles computed in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope<'a> {
    /// The position of each row.
    pub positions: &'a [u32],
    /// Heads of a row.
    pub heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// The angles.
    pub rotary: Rotary,
    /// Rotates back, which is the backward pass.
    pub inverse: bool,
}

/// One row of logits and what it should predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowTarget<'a> {
    /// Tokens with probabilities that sum to 1.
    pub tokens: &'a [(u32, f32)],
    /// Weight of the row.
    pub weight: f32,
}

/// The constants of one AdamW step (Loshchilov & Hutter 2019, with the bias correction of Kingma & Ba 2015).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
    /// Factor on the gradient (clipping).
    pub grad_scale: f64,
}

/// A tensor that AdamW moves.
#[derive(Debug)]
pub struct AdamWTensor<'a, T> {
    /// Its constants.
    pub step: AdamWStep,
    /// Its values.
    pub value: &'a mut T,
    /// Their gradient.
    pub grad: &'a T,
    /// The first moment.
    pub m: &'a mut T,
    /// The second moment.
    pub v: &'a mut T,
}

/// A frozen matrix and what is added to each row of its products.
#[derive(Debug)]
pub struct FrozenLinear<'a, W, B> {
    /// The matrix `(n, k)`.
    pub weight: &'a W,
    /// The bias `(n)`.
    pub bias: Option<&'a B>,
}

impl<W, B> Clone for FrozenLinear<'_, W, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, B> Copy for FrozenLinear<'_, W, B> {}

/// One of the products of [`Backend::linears`](super::Backend::linears).
#[derive(Debug)]
pub struct LinearOutput<'a, W, B> {
    /// The frozen matrix `(n, k)`.
    pub weight: &'a W,
    /// A row `(n)` that is added to every row.
    pub bias: Option<&'a B>,
    /// The result `(m, n)`.
    pub y: &'a mut B,
}

/// One of the products of [`Backend::adapted`](super::Backend::adapted), of an input `x (m, k)`.
#[derive(Debug)]
pub struct AdaptedOutput<'a, W, B> {
    /// The frozen matrix and its bias.
    pub linear: FrozenLinear<'a, W, B>,
    /// The adapter, and where what lies between its matrices goes, `(m, r)`.
    pub adapter: Option<(LowRank<'a, B>, &'a mut B)>,
    /// What is added to the result `(m, n)`.
    pub addend: Option<&'a B>,
    /// The result `(m, n)`.
    pub y: &'a mut B,
}

/// One of the linears of [`Backend::adapted_backward`](super::Backend::adapted_backward).
#[derive(Debug)]
pub struct AdaptedBackward<'a, W, B> {
    /// The frozen matrix `(n, k)`.
    pub weight: &'a W,
    /// The gradient of the result `(m, n)`.
    pub dy: &'a B,
    /// The adapter with its gradients, to which is added.
    pub adapter: Option<LowRankGradients<'a, B>>,
}

/// An adapter in the backward pass.
#[derive(Debug)]
pub struct LowRankGradients<'a, B> {
    /// Its matrices.
    pub pair: LowRank<'a, B>,
    /// What the forward pass made of the input, `(m, r)`.
    pub down: &'a B,
    /// The gradient of `A`, added to.
    pub da: &'a mut B,
    /// The gradient of `B`, added to.
    pub db: &'a mut B,
}

/// A dropout whose mask is a pure function of `key` and the element's index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share of elements that is dropped.
    pub p: f32,
    /// The key.
    pub key: u64,
}

/// The pair of matrices of one adapter (LoRA, Hu et al. 2021) and its constants.
#[derive(Debug)]
pub struct LowRank<'a, B: ?Sized> {
    /// `A (r, k)`.
    pub a: &'a B,
    /// `B (n, r)`.
    pub b: &'a B,
    /// The rank.
    pub r: usize,
    /// Factor of what the adapter adds.
    pub scale: f32,
    /// What is dropped of its input.
    pub dropout: Option<Dropout>,
}

/// One of the adapters of [`Backend::adapters`](super::Backend::adapters).
#[derive(Debug)]
pub struct LowRankForward<'a, B> {
    /// The adapter.
    pub pair: LowRank<'a, B>,
    /// `x'·Aᵀ (m, r)`, overwritten.
    pub down: &'a mut B,
    /// `(m, n)`, added to.
    pub y: &'a mut B,
}

/// One of the adapters of [`Backend::adapters_backward`](super::Backend::adapters_backward).
#[derive(Debug)]
pub struct LowRankBackward<'a, B> {
    /// The adapter.
    pub pair: LowRank<'a, B>,
    /// What the forward pass made.
    pub down: &'a B,
    /// The gradient of its output `(m, n)`.
    pub dy: &'a B,
    /// The gradient of `A`, added to.
    pub da: &'a mut B,
    /// The gradient of `B`, added to.
    pub db: &'a mut B,
}

/// References are copied whatever they refer to, which `derive` does not see.
macro_rules! copied {
    ($($name:ident),*) => {
        $(
            impl<T: ?Sized> Clone for $name<'_, T> {
                fn clone(&self) -> Self {
                    *self
                }
            }

            impl<T: ?Sized> Copy for $name<'_, T> {}
        )*
    };
}

copied!(AttentionInputs, AttentionSaved, LowRank, Norm);
