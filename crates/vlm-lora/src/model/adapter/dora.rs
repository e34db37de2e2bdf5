//! DoRA (Liu et al. 2024): magnitudes and row norms beside the low-rank pair.
//!
//! With `u = x'·Wᵀ + s·(x'·Aᵀ)·Bᵀ`: `y = x·Wᵀ + bias - x'·Wᵀ + g·u`, where `g = m / n` and `n`, the row norms of `W + s·B·A`,
//! are taken as constants.

use std::sync::OnceLock;

use super::frozen::{Frozen, FrozenPair};
use super::variant::{Aside, Pair, Side, Variant};
use crate::backend::{Backend, Dropout, Gemm, Write};
use crate::error::Result;
use crate::model::params::{Grads, Pass};

/// DoRA's part of an adapter.
pub(crate) struct Dora<B: Backend> {
    /// Index of the magnitudes `(out)`.
    magnitude: usize,
    /// Squared row norms of the frozen weight `(out)`, less its principal part.
    base_norms_squared: Vec<f64>,
    /// `1 / n (out)`, computed by the first pass after A or B changed.
    inverse_norms: OnceLock<B::Buffer>,
}

/// A low-rank change `scale·B·A` of a weight `W (n, k)`, with `cross = A·Wᵀ (r, n)`.
struct Change<'a, B: Backend> {
    a: &'a B::Buffer,
    b: &'a B::Buffer,
    cross: &'a B::Buffer,
    r: usize,
    n: usize,
    k: usize,
    scale: f32,
}

impl<B: Backend> Dora<B> {
    /// The variant of a linear whose magnitudes stand at `magnitude`.
    pub(crate) fn new(backend: &B, frozen: Frozen<'_, B>, magnitude: usize) -> Result<Self> {
        let mut norms = backend.download_f64(&backend.weight_row_norms_squared(frozen.weight)?)?;
        if let Some(FrozenPair { a, b, r, scale }) = frozen.principal {
            let ((n, k), r) = (frozen.shape, *r);
            let mut cross = backend.scratch(r * n)?;
            backend.linear(a, r, frozen.weight, None, &mut cross)?;
            let change = Change { a, b, cross: &cross, r, n, k, scale: -scale };
            let change = change.of_norms_squared(backend)?;
            norms.iter_mut().zip(change).for_each(|(norm, change)| *norm += change);
        }
        Ok(Self { magnitude, base_norms_squared: norms, inverse_norms: OnceLock::new() })
    }

    /// `1 / n`.
    fn inverse_norms(&self, side: Side<'_, B>, pass: Pass<'_, B>) -> Result<&B::Buffer> {
        if let Some(known) = self.inverse_norms.get() {
            return Ok(known);
        }
        let (backend, Pair { r, scale, a, b, .. }, (n, k)) = (pass.backend, *side.pair, side.frozen.shape);
        let (a, b) = (&pass.params[a].value, &pass.params[b].value);
        let mut cross = backend.scratch(r * n)?;
        side.frozen.without_bias().forward(backend, a, &mut cross)?;
        let change = Change { a, b, cross: &cross, r, n, k, scale }.of_norms_squared(backend)?;
        let norms = self.base_norms_squared.iter().zip(&change);
        let inverse: Vec<f64> =
            norms.map(|(base, change)| 1.0 / (base + change).max(f64::MIN_POSITIVE).sqrt()).collect();
        let inverse = backend.upload_f64(&inverse)?;
        Ok(self.inverse_norms.get_or_init(|| inverse))
    }

    /// `dx (+)=` the gradient through the frozen side, of `dy` and of `scaled = g·dy`.
    fn frozen_backward(
        side: Side<'_, B>,
        grads: &Grads<'_, B>,
        dy: &B::Buffer,
        scaled: &B::Buffer,
        dx: &mut B::Buffer,
        write: Write,
    ) -> Result<()> {
        let backend = grads.backend;
        let Some(Dropout { p, key }) = side.pair.dropout(grads.dropout) else {
            return side.frozen.backward(backend, scaled, dx, write);
        };
        side.frozen.backward(backend, dy, dx, write)?;
        let mut difference = grads.pass().slice(scaled, 0, backend.len(scaled))?;
        backend.add(-1.0, dy, &mut difference)?;
        let mut d_input = backend.scratch(backend.len(dx))?;
        side.frozen.backward(backend, &difference, &mut d_input, Write::Set)?;
        let mut masked = backend.scratch(backend.len(dx))?;
        backend.dropout(&d_input, p, key, &mut masked)?;
        backend.add(1.0, &masked, dx)
    }
}

impl<B: Backend> Variant<B> for Dora<B> {
    fn adds_to_product(&self) -> bool {
        false
    }

    fn begin(
        &self,
        side: Side<'_, B>,
        pass: Pass<'_, B>,
        x: &B::Buffer,
        _: &mut B::Buffer,
    ) -> Result<Option<Aside<B>>> {
        let (backend, (n, k)) = (pass.backend, side.frozen.shape);
        let len = backend.len(x) / k * n;
        let mut target = backend.scratch(len)?;
        let Some(Dropout { p, key }) = side.pair.dropout(pass.dropout) else {
            side.frozen.without_bias().forward(backend, x, &mut target)?;
            return Ok(Some(Aside { target, rest: None }));
        };
        let mut dropped = backend.scratch(backend.len(x))?;
        backend.dropout(x, p, key, &mut dropped)?;
        side.frozen.without_bias().forward(backend, &dropped, &mut target)?;
        let mut rest = backend.scratch(len)?;
        side.frozen.forward(backend, x, &mut rest)?;
        backend.add(-1.0, &target, &mut rest)?;
        Ok(Some(Aside { target, rest: Some(rest) }))
    }

    fn end(
        &self,
        side: Side<'_, B>,
        pass: Pass<'_, B>,
        aside: Option<Aside<B>>,
        y: &mut B::Buffer,
    ) -> Result<Vec<B::Buffer>> {
        let Some(Aside { target: u, rest }) = aside else { return Ok(Vec::new()) };
        let backend = pass.backend;
        let mut gain = backend.scratch(side.frozen.shape.0)?;
        let magnitude = &pass.params[self.magnitude].value;
        backend.scale_columns(magnitude, self.inverse_norms(side, pass)?, &mut gain)?;
        backend.scale_columns(&u, &gain, y)?;
        if let Some(addend) = rest.as_ref().or(side.frozen.bias) {
            backend.add(1.0, addend, y)?;
        }
        Ok(vec![u, gain])
    }

    fn backward(
        &self,
        side: Side<'_, B>,
        grads: &mut Grads<'_, B>,
        saved: &[B::Buffer],
        dy: &B::Buffer,
        dx: Option<(&mut B::Buffer, Write)>,
    ) -> Result<Option<B::Buffer>> {
        let (backend, n) = (grads.backend, side.frozen.shape.0);
        let [u, gain] = saved else { return Ok(None) };
        let mut sum = backend.zeros(n)?;
        backend.column_dot(dy, Some(u), &mut sum)?;
        let mut d_magnitude = backend.scratch(n)?;
        backend.scale_columns(&sum, self.inverse_norms(side, grads.pass())?, &mut d_magnitude)?;
        backend.add(1.0, &d_magnitude, &mut grads.params[self.magnitude].grad)?;
        let mut du = backend.scratch(backend.len(dy))?;
        backend.scale_columns(dy, gain, &mut du)?;
        if let Some((dx, write)) = dx {
            Self::frozen_backward(side, grads, dy, &du, dx, write)?;
        }
        Ok(Some(du))
    }

    fn forget(&mut self) {
        self.inverse_norms.take();
    }
}

impl<B: Backend> Change<'_, B> {
    /// What it adds to the squared row norms of the weight; no matrix of the weight's size is made:
    /// `‖W + s·B·A‖² = ‖W‖² + 2s·Σ_r Bᵀ·cross + s²·Σ_r Bᵀ·(A·Aᵀ·Bᵀ)`.
    fn of_norms_squared(self, backend: &B) -> Result<Vec<f64>> {
        let Self { a, b, cross, r, n, k, scale } = self;
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
}
