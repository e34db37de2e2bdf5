use super::linear::Linear;
use super::norm::Norm;
use super::params::{Grads, Pass};
use crate::Result;
use crate::backend::{Backend, Pending, RowTarget, Write};

/// Rows whose logits exist at one time: 100 MB for the released vocabulary.
pub(crate) const ROWS_AT_ONCE: usize = 512;

/// The final norm and the output head.
pub(crate) struct Head<B: Backend> {
    pub(crate) norm: Norm<B>,
    pub(crate) linear: Linear<B>,
}

impl<B: Backend> Head<B> {
    /// Logits `(rows, vocab)` of hidden states `(rows, hidden)`.
    pub(crate) fn logits(&self, pass: Pass<'_, B>, x: &B::Buffer) -> Result<B::Buffer> {
        let normed = self.norm.forward(pass, x)?;
        Ok(self.linear.forward(pass, &normed)?.0)
    }

    /// Σ weight · cross-entropy of the rows of `x (targets, hidden)`.
    pub(crate) fn loss(&self, pass: Pass<'_, B>, x: &B::Buffer, targets: &[RowTarget<'_>]) -> Result<f64> {
        let (width, mut loss) = (self.linear.in_features, Pending::Ready(0.0));
        for (index, targets) in targets.chunks(ROWS_AT_ONCE).enumerate() {
            let rows = pass.slice(x, index * ROWS_AT_ONCE * width, targets.len() * width)?;
            let mut logits = self.logits(pass, &rows)?;
            loss = added(loss, pass.backend.cross_entropy(&mut logits, targets, 1.0)?);
        }
        loss.wait()
    }

    /// As [`loss`](Self::loss); adds to the gradients of the head's adapter and returns the gradient of `x`, where that is
    /// wanted, both times `scale`.
    pub(crate) fn loss_and_gradients(
        &self,
        grads: &mut Grads<'_, B>,
        x: &B::Buffer,
        targets: &[RowTarget<'_>],
        scale: f64,
        needs_input: bool,
    ) -> Result<(Pending<f64>, Option<B::Buffer>)> {
        let backend = grads.backend;
        let (width, mut loss) = (self.linear.in_features, Pending::Ready(0.0));
        let mut dx = needs_input.then(|| backend.scratch(backend.len(x))).transpose()?;
        for (index, targets) in targets.chunks(ROWS_AT_ONCE).enumerate() {
            let at = index * ROWS_AT_ONCE * width;
            let rows = grads.pass().slice(x, at, targets.len() * width)?;
            let normed = self.norm.forward(grads.pass(), &rows)?;
            let (mut logits, saved) = self.linear.forward(grads.pass(), &normed)?;
            loss = added(loss, backend.cross_entropy(&mut logits, targets, scale)?);
            let Some(dx) = &mut dx else {
                self.linear.backward(grads, Some(&normed), &saved, &logits, None)?;
                continue;
            };
            let mut d_normed = backend.scratch(targets.len() * width)?;
            let target = Some((&mut d_normed, Write::Set));
            self.linear.backward(grads, Some(&normed), &saved, &logits, target)?;
            let mut d_rows = backend.scratch(targets.len() * width)?;
            self.norm.backward(grads, &d_normed, &rows, Some((&mut d_rows, Write::Set)))?;
            backend.copy(&d_rows, 0, targets.len() * width, dx, at, Write::Set)?;
        }
        Ok((loss, dx))
    }
}

/// A sum and the losses of more rows.
fn added(sum: Pending<f64>, rows: Pending<Vec<f64>>) -> Pending<f64> {
    sum.and(rows).map(|(sum, rows)| sum + rows.iter().sum::<f64>())
}
