//! `AdamW`.

use rayon::prelude::*;

use super::isa::Simd;
use super::real::Real;
use super::simd::simd_fn;
use crate::backend::AdamWStep;

const BLOCK: usize = 8192;

/// The constants of a step in the order in which they are used.
#[derive(Debug, Clone, Copy)]
struct Constants<T> {
    grad_scale: T,
    keep: T,
    take1: T,
    beta2: T,
    take2: T,
    rate: T,
    root_correction: T,
    eps: T,
}

simd_fn! {
    fn step_block(c: Constants<T>, value: &mut [T], grad: &[T], m: &mut [T], v: &mut [T]) {
        let n = value.len();
        let (grad, m, v) = (&grad[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let g = grad[i] * c.grad_scale;
            m[i] += (g - m[i]) * c.take1;
            v[i] = v[i] * c.beta2 + g * g * c.take2;
            value[i] = value[i] * c.keep - c.rate * m[i] / (v[i].sqrt() / c.root_correction + c.eps);
        }
    }
}

/// One step, in the order of operations of `torch.optim.AdamW`.
pub(super) fn adamw<T: Real>(
    simd: Simd,
    step: AdamWStep,
    value: &mut [T],
    grad: &[T],
    m: &mut [T],
    v: &mut [T],
) {
    let count = step.step as f64;
    let constants = Constants {
        grad_scale: T::of(step.grad_scale),
        keep: T::of(1.0 - step.learning_rate * step.weight_decay),
        take1: T::of(1.0 - step.beta1),
        beta2: T::of(step.beta2),
        take2: T::of(1.0 - step.beta2),
        rate: T::of(step.learning_rate / (1.0 - step.beta1.powf(count))),
        root_correction: T::of((1.0 - step.beta2.powf(count)).sqrt()),
        eps: T::of(step.eps),
    };
    value
        .par_chunks_mut(BLOCK)
        .zip(grad.par_chunks(BLOCK))
        .zip(m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)))
        .for_each(|((value, grad), (m, v))| step_block(simd, constants, value, grad, m, v));
}
