//! What DoRA (Liu et al. 2024) does beside its low-rank pair: magnitudes and row norms.

use std::sync::OnceLock;

use super::{Adapter, AdapterSaved, Frozen, FrozenPair};
use crate::backend::{Backend, Dropout, Gemm, Write};
use crate::error::Result;
use crate::model::params::{Grads, Pass};

/// DoRA's part of an adapter.
pub(crate) struct Dora<B: Backend> {
    /// Index of the magnitudes `(out)`.
    pub(crate) magnitude: usize,
    /// Squared row norms of the frozen weight `(out)`, less its principal part.
    pub(crate) base_norms_squared: Vec<f64>,
    /// `1 / n (out)`, computed by the first pass after A or B changed.
    pub(crate) inverse_norms: OnceLock<B::Buffer>,
}

/// What is scaled by `g`, and what is added afterwards.
pub(crate) struct Unscaled<B: Backend> {
    /// `x'·Wᵀ`, to which the low-rank pair adds.
    pub(super) u: B::Buffer,
    /// `x·Wᵀ + bias - x'·Wᵀ`, where something is dropped.
    rest: Option<B::Buffer>,
}

impl<B: Backend> Adapter<B> {
    /// `x'`, or nothing where it is `x`.
    fn dropped(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<Option<B::Buffer>> {
        let Some(Dropout { p, key }) = self.dropout(pass.dropout) else { return Ok(None) };
        let mut y = pass.backend.scratch(pass.backend.len(x))?;
        pass.backend.dropout(x, p, key, &mut y)?;
        Ok(Some(y))
    }

    /// The frozen side's part of the forward pass.
    pub(super) fn unscaled(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        x: &B::Buffer,
    ) -> Result<Unscaled<B>> {
        let (backend, (n, k)) = (pass.backend, frozen.shape);
        let (rows, without_bias) = (backend.len(x) / k, Frozen { bias: None, ..*frozen });
        let dropped = self.dropped(pass, x)?;
        let mut u = backend.scratch(rows * n)?;
        self.base(backend, dropped.as_ref().unwrap_or(x), rows, &without_bias, &mut u)?;
        let mut rest = None;
        if dropped.is_some() {
            let mut base = backend.scratch(rows * n)?;
            self.base(backend, x, rows, frozen, &mut base)?;
            backend.add(-1.0, &u, &mut base)?;
            rest = Some(base);
        }
        Ok(Unscaled { u, rest })
    }

    /// Writes `y = g·u + rest`; returns `u` and `g`.
    pub(super) fn rescale(
        &self,
        pass: Pass<'_, B>,
        frozen: &Frozen<'_, B>,
        dora: &Dora<B>,
        Unscaled { u, rest }: Unscaled<B>,
        y: &mut B::Buffer,
    ) -> Result<(B::Buffer, B::Buffer)> {
        let backend = pass.backend;
        let mut gain = backend.scratch(frozen.shape.0)?;
        let magnitude = &pass.params[dora.magnitude].value;
        backend.scale_columns(magnitude, self.inverse_norms(pass, dora, frozen)?, &mut gain)?;
        backend.scale_columns(&u, &gain, y)?;
        if let Some(addend) = rest.as_ref().or(frozen.bias) {
            backend.add(1.0, addend, y)?;
        }
        Ok((u, gain))
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
        backend.gemm(Gemm::new(r, n, r).transposed_b(), &backend.upload(&identity)?, b, &mut b_transposed)?;
        let mut gram = backend.scratch(r * r)?;
        backend.gemm(Gemm::new(r, r, k).transposed_b(), a, a, &mut gram)?;
        let mut half = backend.zeros(r * n)?;
        backend.add(2.0 * scale, cross, &mut half)?;
        backend.gemm(Gemm::new(r, n, r).transposed_b().scaled(scale * scale).added(), &gram, b, &mut half)?;
        let mut change = backend.zeros(n)?;
        backend.column_dot(&half, Some(&b_transposed), &mut change)?;
        backend.download_f64(&change)
    }

    /// Adds `Σ_rows dy · u / n` to the gradient of the magnitudes and returns `g · dy`, the gradient of `u`; nothing without
    /// DoRA.
    pub(super) fn magnitude_backward(
        &self,
        grads: &mut Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        saved: &AdapterSaved<B>,
        dy: &B::Buffer,
    ) -> Result<Option<B::Buffer>> {
        let (backend, n) = (grads.backend, frozen.shape.0);
        let (Some((u, gain)), Some(dora)) = (&saved.dora, &self.dora) else { return Ok(None) };
        let mut sum = backend.zeros(n)?;
        backend.column_dot(dy, Some(u), &mut sum)?;
        let mut d_magnitude = backend.scratch(n)?;
        backend.scale_columns(&sum, self.inverse_norms(grads.pass(), dora, frozen)?, &mut d_magnitude)?;
        backend.add(1.0, &d_magnitude, &mut grads.params[dora.magnitude].grad)?;
        let mut du = backend.scratch(backend.len(dy))?;
        backend.scale_columns(dy, gain, &mut du)?;
        Ok(Some(du))
    }

    /// `dx (+)=` the gradient through the frozen side, of `dy` and of `g·dy`.
    pub(super) fn unscaled_backward(
        &self,
        grads: &Grads<'_, B>,
        frozen: &Frozen<'_, B>,
        (dy, scaled): (&B::Buffer, &B::Buffer),
        (dx, write): (&mut B::Buffer, Write),
    ) -> Result<()> {
        let backend = grads.backend;
        let Some(Dropout { p, key }) = self.dropout(grads.dropout) else {
            return self.base_backward(backend, scaled, frozen, dx, write);
        };
        self.base_backward(backend, dy, frozen, dx, write)?;
        let mut difference = grads.pass().slice(scaled, 0, backend.len(scaled))?;
        backend.add(-1.0, dy, &mut difference)?;
        let mut d_input = backend.scratch(backend.len(dx))?;
        self.base_backward(backend, &difference, frozen, &mut d_input, Write::Set)?;
        let mut masked = backend.scratch(backend.len(dx))?;
        backend.dropout(&d_input, p, key, &mut masked)?;
        backend.add(1.0, &masked, dx)
    }
}
