use std::sync::Arc;

use super::TrainingConfig;
use crate::Result;
use crate::backend::{AdamWStep, AdamWTensor, Backend, Pending};
use crate::model::{Model, Param};

/// AdamW over a model's adapter; the moments stand in the order of [`Model::params`].
pub(super) struct AdamW<B: Backend> {
    backend: Arc<B>,
    moments: Vec<Moments<B>>,
}

/// Running means of a tensor's gradient and of its square.
pub(super) struct Moments<B: Backend> {
    pub(super) first: B::Buffer,
    pub(super) second: B::Buffer,
}

impl<B: Backend> AdamW<B> {
    pub(super) fn new(model: &Model<B>) -> Result<Self> {
        let backend = Arc::clone(model.backend());
        let zeros = |param: &Param<B>| {
            let len = param.shape.iter().product();
            Ok(Moments { first: backend.zeros(len)?, second: backend.zeros(len)? })
        };
        let moments = model.params().iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { backend, moments })
    }

    pub(super) fn moments(&self) -> &[Moments<B>] {
        &self.moments
    }

    pub(super) fn moments_mut(&mut self) -> &mut [Moments<B>] {
        &mut self.moments
    }

    /// Step number `step`, from 1. LoRA+ gives the `B` matrices a learning rate of their own.
    pub(super) fn step(
        &mut self,
        model: &mut Model<B>,
        config: &TrainingConfig,
        learning_rate: f64,
        grad_scale: f64,
        step: usize,
    ) -> Result<()> {
        let tensors = model.params_mut().iter_mut().zip(&mut self.moments).map(|(param, moments)| {
            let is_bias = param.name.ends_with("bias");
            // PEFT's LoRA+ counts vectors (magnitudes, biases) among the `B` matrices.
            let fast = param.shape.len() == 1 || param.name.contains(".lora_B.");
            let ratio = if fast { config.loraplus_lr_ratio } else { 1.0 };
            let constants = AdamWStep {
                learning_rate: learning_rate * ratio,
                beta1: config.adam_beta1,
                beta2: config.adam_beta2,
                eps: config.adam_epsilon,
                weight_decay: if is_bias { 0.0 } else { config.weight_decay },
                step: step as u64,
                grad_scale,
            };
            let Moments { first, second } = moments;
            AdamWTensor { step: constants, value: &mut param.value, grad: &param.grad, m: first, v: second }
        });
        self.backend.adamw(tensors.collect())
    }
}

/// Euclidean norm of the gradient over all of a model's trained tensors.
pub(super) fn gradient_norm<B: Backend>(model: &Model<B>) -> Result<Pending<f64>> {
    let gradients: Vec<&B::Buffer> = model.params().iter().map(|param| &param.grad).collect();
    Ok(model.backend().sum_squares(&gradients)?.map(f64::sqrt))
}

/// Factor that brings a gradient of this norm to at most `max_norm`, as torch computes it; 0 leaves it as it is.
pub(super) fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    if max_norm == 0.0 { 1.0 } else { (max_norm / (norm + 1e-6)).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_equals_torch() {
        assert!((clip_coefficient(4.0, 1.0) - 1.0 / 4.000_001).abs() < 1e-15);
        assert_eq!(clip_coefficient(0.5, 1.0).to_bits(), 1f64.to_bits());
        assert!(clip_coefficient(1.0, 1.0) < 1.0); // multiplied in even where the norm is the limit itself
        assert_eq!(clip_coefficient(9.0, 0.0).to_bits(), 1f64.to_bits());
    }
}
