//! Operations over the host's memory in f64: the defaults of a backend that has no kernels of its own for them.

use process_group::ProcessGroup;

use super::Backend;
use crate::Result;
use crate::backend::dropout::Mask;
use crate::backend::{AdamWStep, AdamWTensor, RowTarget, check};

/// Rows of a matrix that are on the host at one time.
const ROWS: usize = 4096;

pub(super) fn row_norms_squared<B: Backend>(backend: &B, weight: &B::Weight) -> Result<B::Buffer> {
    let (n, k) = backend.weight_shape(weight);
    let mut norms = Vec::with_capacity(n);
    for first in (0..n).step_by(ROWS) {
        let ids: Vec<u32> = (first..n.min(first + ROWS)).map(|row| row as u32).collect();
        let mut rows = backend.scratch(ids.len() * k)?;
        backend.embed(weight, &ids, &mut rows)?;
        let rows = backend.download_f64(&rows)?;
        norms.extend(rows.chunks_exact(k.max(1)).map(|row| row.iter().map(|x| x * x).sum::<f64>()));
    }
    backend.upload_f64(&norms)
}

pub(super) fn scale_columns<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    s: &B::Buffer,
    y: &mut B::Buffer,
) -> Result<()> {
    let width = backend.len(s);
    check::whole_rows("x", backend.len(x), width)?;
    check::length("y", backend.len(y), backend.len(x))?;
    let (mut values, factors) = (backend.download_f64(x)?, backend.download_f64(s)?);
    for row in values.chunks_exact_mut(width) {
        row.iter_mut().zip(&factors).for_each(|(x, s)| *x *= s);
    }
    *y = backend.upload_f64(&values)?;
    Ok(())
}

pub(super) fn column_dot<B: Backend>(
    backend: &B,
    a: &B::Buffer,
    b: Option<&B::Buffer>,
    out: &mut B::Buffer,
) -> Result<()> {
    let width = backend.len(out);
    check::whole_rows("a", backend.len(a), width)?;
    if let Some(b) = b {
        check::length("b", backend.len(b), backend.len(a))?;
    }
    let (mut products, mut sums) = (backend.download_f64(a)?, backend.download_f64(out)?);
    if let Some(b) = b {
        products.iter_mut().zip(backend.download_f64(b)?).for_each(|(a, b)| *a *= b);
    }
    for row in products.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    *out = backend.upload_f64(&sums)?;
    Ok(())
}

pub(super) fn dropout<B: Backend>(backend: &B, x: &B::Buffer, mask: Mask, y: &mut B::Buffer) -> Result<()> {
    check::length("y", backend.len(y), backend.len(x))?;
    let values = backend.download_f64(x)?.into_iter().zip(0..);
    let values = values.map(|(x, i)| if mask.keeps(i) { x * mask.scale() } else { 0.0 });
    *y = backend.upload_f64(&values.collect::<Vec<_>>())?;
    Ok(())
}

pub(super) fn cross_entropy<B: Backend>(
    backend: &B,
    logits: &mut B::Buffer,
    targets: &[RowTarget<'_>],
    scale: f64,
) -> Result<Vec<f64>> {
    if targets.is_empty() {
        return check::length("logits", backend.len(logits), 0).map(|()| Vec::new());
    }
    let vocabulary = check::vocabulary(backend.len(logits), targets)?;
    let mut rows = backend.download_f64(logits)?;
    let losses = rows.chunks_exact_mut(vocabulary).zip(targets).map(|(row, target)| loss(row, target, scale));
    let losses = losses.collect();
    *logits = backend.upload_f64(&rows)?;
    Ok(losses)
}

/// The weighted loss of a row, which becomes its gradient times `scale`.
fn loss(row: &mut [f64], target: &RowTarget<'_>, scale: f64) -> f64 {
    let largest = row.iter().copied().fold(f64::MIN, f64::max);
    let log_sum = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    let weight = f64::from(target.weight);
    let expected = target.tokens.iter().map(|&(token, p)| (token as usize, f64::from(p)));
    let loss: f64 = expected.clone().map(|(token, p)| p * (log_sum - row[token])).sum();
    let mass: f64 = expected.clone().map(|(_, p)| p).sum();
    for x in row.iter_mut() {
        *x = scale * weight * mass * (*x - log_sum).exp();
    }
    expected.for_each(|(token, p)| row[token] -= scale * weight * p);
    weight * loss
}

pub(in crate::backend) fn all_reduce<B: Backend>(
    backend: &B,
    buffers: Vec<&mut B::Buffer>,
    group: &dyn ProcessGroup,
) -> Result<()> {
    let mut values = Vec::with_capacity(buffers.iter().map(|buffer| backend.len(buffer)).sum());
    for buffer in &buffers {
        values.extend(backend.download(buffer)?);
    }
    group.all_reduce_sum(&mut values)?;
    let mut rest = &values[..];
    for buffer in buffers {
        let (sums, behind) = rest.split_at(backend.len(buffer));
        *buffer = backend.upload(sums)?;
        rest = behind;
    }
    Ok(())
}

/// The way of [`all_reduce`], in words.
pub(in crate::backend) fn way_of_sums(group: &dyn ProcessGroup) -> String {
    format!("in the hosts' memory, over {}", group.transport())
}

pub(super) fn sum_squares<B: Backend>(backend: &B, tensors: &[&B::Buffer]) -> Result<f64> {
    tensors.iter().map(|x| Ok(backend.download_f64(x)?.iter().map(|x| x * x).sum::<f64>())).sum()
}

/// One step in the form of the paper (Loshchilov & Hutter 2019, algorithm 2, with decay scaled by the learning rate as in
/// `PyTorch`).
pub(super) fn adamw<B: Backend>(backend: &B, tensor: AdamWTensor<'_, B::Buffer>) -> Result<()> {
    let AdamWTensor { step, value, grad, m, v } = tensor;
    for (name, buffer) in [("grad", grad), ("m", &*m), ("v", &*v)] {
        check::length(name, backend.len(buffer), backend.len(value))?;
    }
    let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, step: count, grad_scale } = step;
    let correction = |beta: f64| 1.0 - beta.powf(count as f64);
    let (mut values, grads) = (backend.download_f64(value)?, backend.download_f64(grad)?);
    let (mut first, mut second) = (backend.download_f64(m)?, backend.download_f64(v)?);
    for (((x, g), m), v) in values.iter_mut().zip(grads).zip(&mut first).zip(&mut second) {
        let g = g * grad_scale;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let update = (*m / correction(beta1)) / ((*v / correction(beta2)).sqrt() + eps);
        *x -= learning_rate * (update + weight_decay * *x);
    }
    *value = backend.upload_f64(&values)?;
    *m = backend.upload_f64(&first)?;
    *v = backend.upload_f64(&second)?;
    Ok(())
}
