//! The operations as formulas over candle tensors, all of them differentiable by candle's autograd, and what takes their
//! gradients with it.

use candle_core::{D, DType, Result, Tensor, Var};

use super::Buffer;
use crate::backend::{Attention, Norm, Rope};

/// Gradients of `Σ dy · f(inputs)` by candle's autograd.
pub(super) fn gradients(
    inputs: &[&Tensor],
    dy: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let variables = inputs.iter().map(|input| Var::from_tensor(input)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let found = (&y * dy.reshape(y.shape())?)?.sum_all()?.backward()?;
    let gradient =
        |variable: &Var| found.get(variable).map_or_else(|| variable.zeros_like(), |g| Ok(g.clone()));
    variables.iter().map(gradient).collect()
}

/// `x (rows, width)`.
pub(super) fn norm(x: &Tensor, norm: Norm<'_, Buffer>) -> Result<Tensor> {
    match norm {
        Norm::Layer { weight, bias, eps } => {
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
            centred.broadcast_div(&deviation)?.broadcast_mul(&weight.0)?.broadcast_add(&bias.0)
        }
        Norm::RootMeanSquare { weight, eps } => {
            let size = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
            x.broadcast_div(&size)?.broadcast_mul(&weight.0)
        }
    }
}

/// `x (positions, heads, head_dim)`.
pub(super) fn rope(x: &Tensor, rope: Rope<'_>) -> Result<Tensor> {
    let Rope { positions, rotary, inverse, .. } = rope;
    let (rows, _, head_dim) = x.dims3()?;
    let half = head_dim / 2;
    let (device, dtype) = (x.device(), x.dtype());
    let frequency = |pair: usize| match dtype {
        DType::F64 => rotary.frequency_f64(pair, head_dim),
        _ => f64::from(rotary.frequency_f32(pair, head_dim)), // as in transformers
    };
    let frequencies: Vec<f64> = (0..half).map(frequency).collect();
    let frequencies = Tensor::from_vec(frequencies, half, device)?.to_dtype(dtype)?;
    let positions = Tensor::new(positions, device)?.to_dtype(dtype)?.reshape((rows, 1, 1))?;
    let angles = positions.broadcast_mul(&frequencies.reshape((1, 1, half))?)?;
    let (cos, sin) = (angles.cos()?, if inverse { angles.sin()?.neg()? } else { angles.sin()? });
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

pub(super) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.powf(3.0)? * 0.044_715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    (x * 0.5)? * (inner.tanh()? + 1.0)?
}

/// What attention sees of one sequence: `(heads, queries, head_dim)` and twice `(heads, keys, head_dim)`.
fn sequence(shape: &Attention<'_>, [q, k, v]: [&Tensor; 3], index: usize) -> Result<[Tensor; 3]> {
    let Attention { heads, kv_heads, head_dim, q_offsets, k_offsets, .. } = *shape;
    let part = |x: &Tensor, offsets: &[usize], count: usize| {
        let rows = offsets[index + 1] - offsets[index];
        x.reshape(((), count, head_dim))?.narrow(0, offsets[index], rows)?.transpose(0, 1)?.contiguous()
    };
    let repeated = |x: Tensor| {
        let rows = x.dim(1)?;
        let group = heads / kv_heads;
        let x = x.reshape((kv_heads, 1, rows, head_dim))?.broadcast_as((kv_heads, group, rows, head_dim))?;
        x.contiguous()?.reshape((heads, rows, head_dim))
    };
    let (k, v) = (part(k, k_offsets, kv_heads)?, part(v, k_offsets, kv_heads)?);
    Ok([part(q, q_offsets, heads)?, repeated(k)?, repeated(v)?])
}

/// The output `(rows, heads · head_dim)` and the log-sum-exp `(rows, heads)` of all sequences that have queries.
pub(super) fn attention(shape: &Attention<'_>, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<[Tensor; 2]> {
    let (mut outputs, mut sums) = (Vec::new(), Vec::new());
    for index in 0..shape.q_offsets.len().saturating_sub(1) {
        if shape.q_offsets[index] == shape.q_offsets[index + 1] {
            continue;
        }
        let [q, k, v] = sequence(shape, [q, k, v], index)?;
        let mut scores = (q.matmul(&k.t()?)? / (shape.head_dim as f64).sqrt())?;
        if shape.causal {
            scores = scores.broadcast_add(&causal_mask(q.dim(1)?, k.dim(1)?, &scores)?)?;
        }
        let largest = scores.max_keepdim(D::Minus1)?.detach();
        let exponentials = scores.broadcast_sub(&largest)?.exp()?;
        let total = exponentials.sum_keepdim(D::Minus1)?;
        let probabilities = exponentials.broadcast_div(&total)?;
        let o = probabilities.matmul(&v)?.transpose(0, 1)?.contiguous()?;
        outputs.push(o.flatten_from(1)?);
        sums.push((largest + total.log()?)?.squeeze(D::Minus1)?.t()?.contiguous()?);
    }
    if outputs.is_empty() {
        return Ok([q.clone(), q.clone()]);
    }
    Ok([Tensor::cat(&outputs, 0)?, Tensor::cat(&sums, 0)?])
}

/// Minus infinity where a query must not look, `(queries, keys)`.
fn causal_mask(queries: usize, keys: usize, like: &Tensor) -> Result<Tensor> {
    let before = (keys + 1).saturating_sub(queries);
    let element = |i: usize| if i % keys >= before + i / keys { f32::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f32> = (0..queries * keys).map(element).collect();
    Tensor::from_vec(mask, (queries, keys), like.device())?.to_dtype(like.dtype())
}
