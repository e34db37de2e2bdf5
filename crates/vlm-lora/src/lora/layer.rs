//! The arithmetic of one adapter: LoRA (Hu et al. 2021), rank-stabilised by its scale, and DoRA (Liu et al. 2024).
//!
//! With `u = x'·Wᵀ + s·(x'·Aᵀ)·Bᵀ`, where `x'` is `x` after dropout, LoRA computes `y = x·Wᵀ + bias + s·(x'·Aᵀ)·Bᵀ` and DoRA
//! `y = x·Wᵀ + bias - x'·Wᵀ + g·u` with `g = m / n`, `n` the row norms of `W + s·B·A`, taken as constants.

use std::sync::OnceLock;

use crate::backend::{Backend, Gemm, Write};
use crate::error::{Error, Result};
use crate::lora::Principal;
use crate::model::{Grads, Pass};

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
    a: B::Buffer,
    b: B::Buffer,
}

impl<B: Backend> FrozenPair<B> {
    pub(crate) fn new(backend: &B, principal: &Principal) -> Result<Self> {
        Ok(Self { a: backend.upload(&principal.a)?, b: backend.upload(&principal.b)? })
    }
}

/// DoRA's part of an adapter.
pub(crate) struct Dora<B: Backend> {
    /// Index of the magnitudes `(out)`.
    pub(crate) magnitude: usize,
    /// Squared row norms of the frozen weight `(out)`, less its principal part.
    pub(crate) base_norms_squared: Vec<f64>,
    /// `1 / n (out)`, computed by the first pass after A or B changed.
    pub(crate) inverse_norms: OnceLock<B::Buffer>,
}

/// What the backward pass of an adapter needs beside its input.
pub(crate) struct AdapterKept<B: Backend> {
    /// `x'·Aᵀ (rows, r)`.
    down: B::Buffer,
    /// DoRA: `u (rows, out)` and `g (out)`.
    dora: Option<(B::Buffer, B::Buffer)>,
}

/// The frozen side of an adapted linear.
pub(crate) struct Frozen<'a, B: Backend> {
    pub(crate) weight: &'a B::Weight,
    pub(crate) bias: Option<&'a B::Buffer>,
    /// `(out, in)`.
    pub(crate) shape: (usize, usize),
}

impl<B: Backend> Adapter<B> {
    /// The key of this module's mask, where there is dropout.
    fn mask(&self, step_key: Option<u64>) -> Option<u64> {
        step_key.filter(|_| self.dropout > 0.0).map(|key| mix(key ^ self.key))
    }

    /// `x'`, or nothing where it is `x`.
    fn dropped(&self, backend: &B, x: &B::Buffer, step_key: Option<u64>) -> Result<Option<B::Buffer>> {
        let Some(key) = self.mask(step_key) else { return Ok(None) };
        let mut y = backend.scratch(backend.len(x))?;
        backend.dropout(x, self.dropout, key, &mut y)?;
        Ok(Some(y))
    }

    /// Whether [`forward`](Self::forward) adds to the frozen product of the input: all but DoRA do.
    pub(crate) fn adds(&self) -> bool {
        self.dora.is_none()
    }

    /// `y (rows, out)` of `x (rows, in)`. `y` is given as the product of `x` and the frozen weight with its bias; where the
    /// adapter does not [add](Self::adds) to it, it may hold anything.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        x: &B::Buffer,
        mut y: B::Buffer,
    ) -> Result<(B::Buffer, AdapterKept<B>)> {
        let (backend, (n, k)) = (pass.backend, frozen.shape);
        let rows = backend.len(x) / k;
        let dropped = self.dropped(backend, x, pass.dropout)?;
        let input = dropped.as_ref().unwrap_or(x);
        let mut down = backend.scratch(rows * self.r)?;
        backend.gemm(
            product(rows, self.r, k).transposed_b(),
            input,
            &pass.params[self.a].value,
            &mut down,
        )?;
        if let Some(dora) = &self.dora {
            return self.decomposed_forward(pass, frozen, dora, (x, dropped.as_ref()), (down, y));
        }
        self.subtract_principal(backend, x, frozen, &mut y)?;
        self.add_up(pass, &down, rows, n, &mut y)?;
        Ok((y, AdapterKept { down, dora: None }))
    }

    /// The forward pass of DoRA into `y`; `dropped` is the input after dropout where there is some.
    fn decomposed_forward(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        dora: &Dora<B>,
        (x, dropped): (&B::Buffer, Option<&B::Buffer>),
        (down, mut y): (B::Buffer, B::Buffer),
    ) -> Result<(B::Buffer, AdapterKept<B>)> {
        let (backend, (n, k)) = (pass.backend, frozen.shape);
        let (rows, without_bias) = (backend.len(x) / k, Frozen { bias: None, ..*frozen });
        let mut gain = backend.scratch(n)?;
        let magnitude = &pass.params[dora.magnitude].value;
        backend.scale_columns(magnitude, self.inverse_norms(pass, dora, frozen)?, &mut gain)?;
        let mut u = backend.scratch(rows * n)?;
        self.base(backend, dropped.unwrap_or(x), rows, &without_bias, &mut u)?;
        let mut rest = None;
        if dropped.is_some() {
            let mut base = backend.scratch(rows * n)?;
            self.base(backend, x, rows, frozen, &mut base)?;
            backend.add(-1.0, &u, &mut base)?;
            rest = Some(base);
        }
        self.add_up(pass, &down, rows, n, &mut u)?;
        backend.scale_columns(&u, &gain, &mut y)?;
        if let Some(addend) = rest.as_ref().or(frozen.bias) {
            backend.add(1.0, addend, &mut y)?;
        }
        Ok((y, AdapterKept { down, dora: Some((u, gain)) }))
    }

    /// `y (rows, out)` of the frozen side alone.
    fn base(
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
        backend.gemm(product(rows, self.r, k).transposed_b(), x, a, &mut down)?;
        backend.gemm(product(rows, n, self.r).transposed_b().scaled(-self.scale).added(), &down, b, y)
    }

    /// `dx (rows, in) (+)=` the gradient through the frozen side alone.
    fn base_backward(
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
        backend.gemm(product(rows, self.r, n).scaled(-self.scale), dy, b, &mut d_down)?;
        backend.gemm(product(rows, k, self.r).added(), &d_down, a, dx)
    }

    /// `y += s · down · Bᵀ`.
    fn add_up(
        &self,
        pass: Pass<'_, B>,
        down: &B::Buffer,
        rows: usize,
        n: usize,
        y: &mut B::Buffer,
    ) -> Result<()> {
        let shape = product(rows, n, self.r).transposed_b().scaled(self.scale).added();
        pass.backend.gemm(shape, down, &pass.params[self.b].value, y)
    }

    /// Squared row norms of the frozen weight, less its principal part.
    pub(crate) fn base_norms_squared(&self, backend: &B, frozen: &Frozen<'_, B>) -> Result<Vec<f64>> {
        let mut norms = backend.download_f64(&backend.weight_row_norms_squared(frozen.weight)?)?;
        if let Some(FrozenPair { a, b }) = &self.principal {
            let mut cross = backend.scratch(self.r * frozen.shape.0)?;
            backend.linear(a, self.r, frozen.weight, None, &mut cross)?;
            let change = self.norms_change(backend, (a, b), &cross, frozen.shape, -self.scale)?;
            norms.iter_mut().zip(change).for_each(|(norm, change)| *norm += change);
        }
        Ok(norms)
    }

    /// `1 / n`.
    fn inverse_norms<'a>(
        &self,
        pass: Pass<'_, B>,
        dora: &'a Dora<B>,
        frozen: &Frozen<'_, B>,
    ) -> Result<&'a B::Buffer> {
        if let Some(known) = dora.inverse_norms.get() {
            return Ok(known);
        }
        let backend = pass.backend;
        let (a, b) = (&pass.params[self.a].value, &pass.params[self.b].value);
        let mut cross = backend.scratch(self.r * frozen.shape.0)?;
        self.base(backend, a, self.r, &Frozen { bias: None, ..*frozen }, &mut cross)?;
        let change = self.norms_change(backend, (a, b), &cross, frozen.shape, self.scale)?;
        let norms = dora.base_norms_squared.iter().zip(&change);
        let inverse: Vec<f64> =
            norms.map(|(base, change)| 1.0 / (base + change).max(f64::MIN_POSITIVE).sqrt()).collect();
        let inverse = backend.upload_f64(&inverse)?;
        Ok(dora.inverse_norms.get_or_init(|| inverse))
    }

    /// What `s·B·A` adds to the squared row norms of `W`, with `cross = A·Wᵀ (r, out)`; no matrix of the weight's size is made:
    /// `‖W + s·B·A‖² = ‖W‖² + 2s·Σ_r Bᵀ·cross + s²·Σ_r Bᵀ·(A·Aᵀ·Bᵀ)`.
    fn norms_change(
        &self,
        backend: &B,
        (a, b): (&B::Buffer, &B::Buffer),
        cross: &B::Buffer,
        (n, k): (usize, usize),
        scale: f32,
    ) -> Result<Vec<f64>> {
        let r = self.r;
        let mut identity = vec![0.0; r * r];
        identity.iter_mut().step_by(r + 1).for_each(|one| *one = 1.0);
        let mut b_transposed = backend.scratch(r * n)?;
        backend.gemm(product(r, n, r).transposed_b(), &backend.upload(&identity)?, b, &mut b_transposed)?;
        let mut gram = backend.scratch(r * r)?;
        backend.gemm(product(r, r, k).transposed_b(), a, a, &mut gram)?;
        let mut half = backend.zeros(r * n)?;
        backend.add(2.0 * scale, cross, &mut half)?;
        backend.gemm(product(r, n, r).transposed_b().scaled(scale * scale).added(), &gram, b, &mut half)?;
        let mut change = backend.zeros(n)?;
        backend.column_dot(&half, Some(&b_transposed), &mut change)?;
        backend.download_f64(&change)
    }

    /// DoRA: adds `Σ_rows dy · u / n` to the gradient of the magnitudes and returns `g · dy`, the gradient of `u`.
    fn magnitude_backward(
        &self,
        grads: &mut Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        kept: &AdapterKept<B>,
        dy: &B::Buffer,
    ) -> Result<Option<B::Buffer>> {
        let (backend, n) = (grads.backend, frozen.shape.0);
        let (Some((u, gain)), Some(dora)) = (&kept.dora, &self.dora) else { return Ok(None) };
        let mut sum = backend.zeros(n)?;
        backend.column_dot(dy, Some(u), &mut sum)?;
        let mut d_magnitude = backend.scratch(n)?;
        backend.scale_columns(&sum, self.inverse_norms(grads.pass(), dora, frozen)?, &mut d_magnitude)?;
        backend.add(1.0, &d_magnitude, &mut grads.params[dora.magnitude].grad)?;
        let mut du = backend.scratch(backend.len(dy))?;
        backend.scale_columns(dy, gain, &mut du)?;
        Ok(Some(du))
    }

    /// Adds to the gradients of the adapter and, where `dx` is given, to or into the gradient of the input.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        x: &B::Buffer,
        kept: &AdapterKept<B>,
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<()> {
        let (backend, (n, k)) = (grads.backend, frozen.shape);
        let rows = backend.len(dy) / n;
        let scaled = self.magnitude_backward(grads, frozen, kept, dy)?;
        let du = scaled.as_ref().unwrap_or(dy);
        let b = &mut grads.params[self.b];
        backend.gemm(
            product(n, self.r, rows).transposed_a().scaled(self.scale).added(),
            du,
            &kept.down,
            &mut b.grad,
        )?;
        let mut d_down = backend.scratch(rows * self.r)?;
        backend.gemm(product(rows, self.r, n).scaled(self.scale), du, &b.value, &mut d_down)?;
        let dropped = self.dropped(backend, x, grads.dropout)?;
        let a = &mut grads.params[self.a];
        let input = dropped.as_ref().unwrap_or(x);
        backend.gemm(product(self.r, k, rows).transposed_a().added(), &d_down, input, &mut a.grad)?;
        match dx {
            Some(target) => self.input_backward(grads, frozen, (dy, scaled), &d_down, target),
            None => Ok(()),
        }
    }

    /// `dx (+)=` the gradient of the input, of `dy`, of `g·dy` where DoRA scales it, and of the gradient of `x'·Aᵀ`.
    fn input_backward(
        &self,
        grads: &Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        (dy, scaled): (&B::Buffer, Option<B::Buffer>),
        d_down: &B::Buffer,
        (dx, write): (&mut B::Buffer, Write),
    ) -> Result<()> {
        let (backend, (n, k)) = (grads.backend, frozen.shape);
        let (rows, a) = (backend.len(dy) / n, &grads.params[self.a].value);
        let down_shape = product(rows, k, self.r);
        let Some(key) = self.mask(grads.dropout) else {
            self.base_backward(backend, scaled.as_ref().unwrap_or(dy), frozen, dx, write)?;
            return backend.gemm(down_shape.added(), d_down, a, dx);
        };
        self.base_backward(backend, dy, frozen, dx, write)?;
        let mut d_input = backend.scratch(rows * k)?;
        backend.gemm(down_shape, d_down, a, &mut d_input)?;
        if let Some(mut difference) = scaled {
            backend.add(-1.0, dy, &mut difference)?;
            self.base_backward(backend, &difference, frozen, &mut d_input, Write::Add)?;
        }
        let mut masked = backend.scratch(rows * k)?;
        backend.dropout(&d_input, self.dropout, key, &mut masked)?;
        backend.add(1.0, &masked, dx)
    }
}

/// A plain product that overwrites its result.
fn product(m: usize, n: usize, k: usize) -> Gemm {
    Gemm { m, n, k, transpose_a: false, transpose_b: false, alpha: 1.0, write: Write::Set }
}

impl Gemm {
    fn transposed_a(self) -> Self {
        Self { transpose_a: true, ..self }
    }

    fn transposed_b(self) -> Self {
        Self { transpose_b: true, ..self }
    }

    fn scaled(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    fn added(self) -> Self {
        Self { write: Write::Add, ..self }
    }
}

/// A key of its own for each module name (FNV-1a).
pub(crate) fn name_key(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, hash)
}

/// The finaliser of `SplitMix64` (Steele et al. 2014).
pub(crate) fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The error of a pass that was given a buffer of another length than the shapes say.
pub(crate) fn misuse(device: String, reason: &str) -> Error {
    Error::Backend { device, reason: reason.to_owned() }
}
