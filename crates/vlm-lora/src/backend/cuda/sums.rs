//! Loss, norms of gradients, optimizer: what ends a step.

use super::buffer::{Block, Buffer};
use super::check::{ensure, length, narrow};
use super::device::{Argument, Device};
use super::{Cuda, THREADS};
use crate::Result;
use crate::backend::{AdamWStep, RowTarget};

/// Elements whose squares one block adds up.
const PART: usize = 1 << 16;

impl<D: Device> Cuda<D> {
    /// The weighted loss of each row; the logits become their gradient times `scale`.
    pub(super) fn loss_rows(
        &self,
        logits: &mut Buffer<D>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Vec<f64>> {
        if targets.is_empty() {
            return length("logits", logits.len(), 0).map(|()| Vec::new());
        }
        ensure(logits.len() > 0 && logits.len().is_multiple_of(targets.len()), || {
            format!("`logits` holds {} elements, which are not {} rows", logits.len(), targets.len())
        })?;
        let vocabulary = logits.len() / targets.len();
        let tokens: Vec<u32> = targets.iter().flat_map(|row| row.tokens).map(|&(token, _)| token).collect();
        super::check::inside(&tokens, vocabulary)?;
        let mut words = vec![0];
        for row in targets {
            words.push(words[words.len() - 1] + row.tokens.len() as u32);
        }
        let probabilities = targets.iter().flat_map(|row| row.tokens).map(|&(_, p)| p.to_bits());
        let weights = targets.iter().map(|row| row.weight.to_bits());
        let at = [0, words.len(), words.len() + tokens.len(), words.len() + 2 * tokens.len()];
        words.extend(tokens.iter().copied().chain(probabilities).chain(weights));
        let block = self.block_of(bytemuck::cast_slice(&words))?;
        let losses = Block::new(&self.pool, targets.len() * 8)?;
        let [starts, tokens, probabilities, weights] = at.map(|index| super::element(block.address, index));
        let arguments = [
            logits.at_mut().into(),
            narrow("a vocabulary of", vocabulary)?.into(),
            starts,
            tokens,
            probabilities,
            weights,
            scale.into(),
            losses.address.into(),
        ];
        self.launch("cross_entropy", [narrow("rows", targets.len())?, 1], THREADS, &arguments)?;
        self.read_f64(&losses, targets.len())
    }

    fn read_f64(&self, block: &Block<D>, count: usize) -> Result<Vec<f64>> {
        let mut values = vec![0.0; count];
        self.device().read(block.address, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Σ x² over all tensors, with one wait for the device.
    pub(super) fn squares(&self, tensors: &[&Buffer<D>]) -> Result<f64> {
        let parts: usize = tensors.iter().map(|x| x.len().div_ceil(PART)).sum();
        let sums = Block::new(&self.pool, parts * 8)?;
        let mut done = 0;
        for x in tensors.iter().filter(|x| x.len() > 0) {
            let blocks = x.len().div_ceil(PART);
            let to = sums.address + 8 * done as u64;
            let arguments = [x.at().into(), (x.len() as u64).into(), (PART as u64).into(), to.into()];
            self.launch("sum_squares", [narrow("parts", blocks)?, 1], THREADS, &arguments)?;
            done += blocks;
        }
        Ok(self.read_f64(&sums, parts)?.into_iter().sum())
    }

    pub(super) fn adamw_step(
        &self,
        step: AdamWStep,
        value: &mut Buffer<D>,
        grad: &Buffer<D>,
        [m, v]: [&mut Buffer<D>; 2],
    ) -> Result<()> {
        length("grad", grad.len(), value.len())?;
        length("m", m.len(), value.len())?;
        length("v", v.len(), value.len())?;
        let count = step.step as f64;
        let constants = [
            step.grad_scale,
            1.0 - step.learning_rate * step.weight_decay,
            1.0 - step.beta1,
            step.beta2,
            1.0 - step.beta2,
            step.learning_rate / (1.0 - step.beta1.powf(count)),
            (1.0 - step.beta2.powf(count)).sqrt(),
            step.eps,
        ];
        let len = value.len();
        let mut arguments = vec![
            value.at_mut().into(),
            grad.at().into(),
            m.at_mut().into(),
            v.at_mut().into(),
            (len as u64).into(),
        ];
        arguments.extend(constants.map(|constant| Argument::F32(constant as f32)));
        self.each("adamw", len, &arguments)
    }
}
