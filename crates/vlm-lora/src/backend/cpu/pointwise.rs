//! Activations, dropout and sums, element by element.

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::simd::simd_fn;
use super::tasks::rows_per_task;
use crate::backend::dropout::Mask;

/// Elements that one task works through: small enough for the caches, large enough to be worth a task.
const BLOCK: usize = 8192;

/// `sqrt(2 / π)`.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// `1 + tanh(u) = 2 σ(2u)`, which unlike the hyperbolic tangent loses nothing to cancellation: the sigmoid and `d(2u)/dx`.
#[inline(always)]
fn gelu_parts<T: Real>(x: T) -> (T, T) {
    let (scale, cubic) = (T::of(2.0 * GELU_SCALE), T::of(GELU_CUBIC));
    let square = x * x;
    let gate = sigmoid(scale * x * (T::ONE + cubic * square));
    (gate, scale * (T::ONE + T::of(3.0) * cubic * square))
}

simd_fn! {
    fn swiglu_block(gate: &[T], up: &[T], y: &mut [T]) {
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate * sigmoid(gate) * up;
        }
    }
}

simd_fn! {
    fn swiglu_backward_block(dy: &[T], gate: &[T], up: &[T], dgate: &mut [T], dup: &mut [T]) {
        let n = dy.len();
        let (gate, up, dgate, dup) = (&gate[..n], &up[..n], &mut dgate[..n], &mut dup[..n]);
        for i in 0..n {
            let s = sigmoid(gate[i]);
            let silu = gate[i] * s;
            dgate[i] = dy[i] * up[i] * (s + silu * (T::ONE - s));
            dup[i] = dy[i] * silu;
        }
    }
}

simd_fn! {
    pub(super) fn gelu_block(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * gelu_parts(x).0;
        }
    }
}

simd_fn! {
    fn gelu_backward_block(dy: &[T], x: &[T], dx: &mut [T]) {
        for ((dx, &dy), &x) in dx.iter_mut().zip(dy).zip(x) {
            let (gate, slope) = gelu_parts(x);
            *dx = dy * (gate + x * gate * (T::ONE - gate) * slope);
        }
    }
}

simd_fn! {
    fn add_block(alpha: T, x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += alpha * x;
        }
    }
}

simd_fn! {
    fn scale_block(x: &[T], s: &[T], y: &mut [T]) {
        for ((y, &x), &s) in y.iter_mut().zip(x).zip(s) {
            *y = x * s;
        }
    }
}

simd_fn! {
    fn dropout_block(x: &[T], first: u64, mask: Mask, y: &mut [T]) {
        let scale = T::of(mask.scale());
        for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            *y = if mask.keeps(first + i as u64) { x * scale } else { T::ZERO };
        }
    }
}

simd_fn! {
    /// `sums += Σ_rows a · b`, or `Σ_rows a` where `b` is empty.
    fn column_sums(a: &[T], b: &[T], sums: &mut [T]) {
        let width = sums.len();
        if b.is_empty() {
            for a in a.chunks_exact(width) {
                for (sum, &a) in sums.iter_mut().zip(a) {
                    *sum += a;
                }
            }
        } else {
            for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
        }
    }
}

simd_fn! {
    /// Σ x² in f64, in sixteen lanes.
    fn squares_block(x: &[T]) -> f64 {
        super::simd::lane_sum(x.len(), |i| x[i].to_f64() * x[i].to_f64())
    }
}

pub(super) fn swiglu<T: Real>(simd: Simd, gate: &[T], up: &[T], y: &mut [T]) {
    y.par_chunks_mut(BLOCK)
        .zip(gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK)))
        .for_each(|(y, (gate, up))| swiglu_block(simd, gate, up, y));
}

pub(super) fn swiglu_backward<T: Real>(
    simd: Simd,
    dy: &[T],
    gate: &[T],
    up: &[T],
    dgate: &mut [T],
    dup: &mut [T],
) {
    dgate
        .par_chunks_mut(BLOCK)
        .zip(dup.par_chunks_mut(BLOCK))
        .zip(dy.par_chunks(BLOCK).zip(gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK))))
        .for_each(|((dgate, dup), (dy, (gate, up)))| swiglu_backward_block(simd, dy, gate, up, dgate, dup));
}

pub(super) fn gelu<T: Real>(simd: Simd, x: &[T], y: &mut [T]) {
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| gelu_block(simd, x, y));
}

pub(super) fn gelu_backward<T: Real>(simd: Simd, dy: &[T], x: &[T], dx: &mut [T]) {
    dx.par_chunks_mut(BLOCK)
        .zip(dy.par_chunks(BLOCK).zip(x.par_chunks(BLOCK)))
        .for_each(|(dx, (dy, x))| gelu_backward_block(simd, dy, x, dx));
}

/// `y += alpha · x`, with `x` repeated; its length divides that of `y`.
pub(super) fn add<T: Real>(simd: Simd, alpha: T, x: &[T], y: &mut [T]) {
    if x.len() == y.len() {
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| add_block(simd, alpha, x, y));
    } else {
        y.par_chunks_mut(x.len())
            .with_min_len(rows_per_task(x.len()))
            .for_each(|y| add_block(simd, alpha, x, y));
    }
}

pub(super) fn scale_columns<T: Real>(simd: Simd, x: &[T], s: &[T], y: &mut [T]) {
    y.par_chunks_mut(s.len())
        .with_min_len(rows_per_task(s.len()))
        .zip(x.par_chunks(s.len()))
        .for_each(|(y, x)| scale_block(simd, x, s, y));
}

pub(super) fn dropout<T: Real>(simd: Simd, x: &[T], mask: Mask, y: &mut [T]) {
    y.par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK))
        .enumerate()
        .for_each(|(block, (y, x))| dropout_block(simd, x, (block * BLOCK) as u64, mask, y));
}

/// `out += Σ_rows a · b`: partial sums of fixed groups of rows, added in their order.
pub(super) fn column_dot<T: Real>(simd: Simd, a: &[T], b: Option<&[T]>, out: &mut [T]) {
    const ROWS: usize = 64;
    let group = ROWS * out.len();
    let partials: Vec<Vec<T>> = a
        .par_chunks(group)
        .enumerate()
        .map(|(i, a)| {
            let mut sums = vec![T::ZERO; out.len()];
            let b = b.map_or(&[][..], |b| &b[i * group..i * group + a.len()]);
            column_sums(simd, a, b, &mut sums);
            sums
        })
        .collect();
    for partial in partials {
        add_block(simd, T::ONE, &partial, out);
    }
}

/// Σ x²: blocks of fixed size, added in their order.
pub(super) fn sum_squares<T: Real>(simd: Simd, x: &[T]) -> f64 {
    let blocks: Vec<f64> = x.par_chunks(BLOCK).map(|x| squares_block(simd, x)).collect();
    blocks.into_iter().sum()
}
