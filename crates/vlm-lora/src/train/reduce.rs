//! What the processes of a run add up once an optimizer step.

use std::ops::ControlFlow;
use std::sync::Arc;

use process_group::ProcessGroup;

use super::data::Loaded;
use super::evaluate::target_weight;
use super::session::{Session, Sums};
use crate::backend::{Backend, Pending};
use crate::{Error, Result};

impl<B: Backend> Session<'_, '_, B> {
    /// The losses and tokens of a window over all processes, in the order of one process, and the gradient in the model; nothing where one
    /// of them wants the end, which then comes to all at the same step.
    pub(super) fn with_the_others(
        &mut self,
        group: &dyn ProcessGroup,
        (losses, tokens): Sums,
        is_stopped: bool,
    ) -> Result<ControlFlow<(), Sums>> {
        let losses = losses.into_iter().map(Pending::wait);
        let mine = std::iter::once(Ok(tokens as f64)).chain(losses).collect::<Result<Vec<f64>>>()?;
        let (mut all, is_stopped) = self.peers.merged(mine, 1, is_stopped)?;
        if is_stopped {
            return Ok(ControlFlow::Break(()));
        }
        let losses = all.split_off(group.size());
        let backend = Arc::clone(self.model.backend());
        let gradients = self.model.params_mut().iter_mut().map(|param| &mut param.grad);
        backend.all_reduce(gradients.collect(), group)?;
        let tokens = all.iter().sum::<f64>() as usize;
        Ok(ControlFlow::Continue((losses.into_iter().map(Pending::Ready).collect(), tokens)))
    }

    /// Σ weight over all supervised positions of a window, of which this process has a part.
    pub(super) fn normalizer(&self, window: &[Loaded]) -> Result<f64> {
        let weights: Vec<f64> = window.iter().map(|loaded| target_weight(&loaded.sample)).collect();
        let (weights, _) = self.peers.merged(weights, self.config.per_device_train_batch_size, false)?;
        let normalizer: f64 = weights.iter().sum();
        if normalizer <= 0.0 || !normalizer.is_finite() {
            let first = window.first().map_or(0, |loaded| loaded.index);
            let reason = format!("sample {first} and those with it have no supervised token");
            return Err(Error::Text { reason });
        }
        Ok(normalizer)
    }
}
