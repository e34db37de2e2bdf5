//! Loss, norms of gradients, optimizer: what ends a step.

use super::buffer::{Block, Buffer};
use super::check::{length, to_u32};
use super::device::{Address, Argument, Device};
use super::packed::Changes;
use super::{Cuda, THREADS};
use crate::Result;
use crate::backend::{AdamWStep, AdamWTensor, Pending, RowTarget};

/// Elements whose squares one block adds up.
const PART: usize = 1 << 16;
/// Elements that one block changes where every element stands for itself.
const SHARE: usize = 1 << 14;

impl<D: Device> Cuda<D> {
    /// The weighted loss of each row; the logits become their gradient times `scale`.
    pub(super) fn loss_rows(
        &self,
        logits: &mut Buffer<D>,
        targets: &[RowTarget<'_>],
        scale: f64,
    ) -> Result<Pending<Vec<f64>>> {
        if targets.is_empty() {
            return length("logits", logits.len(), 0).map(|()| Pending::Ready(Vec::new()));
        }
        let vocabulary = crate::backend::check::vocabulary(logits.len(), targets)?;
        let tokens: Vec<u32> = targets.iter().flat_map(|row| row.tokens).map(|&(token, _)| token).collect();
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
            self.changed(logits)?.into(),
            to_u32("a vocabulary of", vocabulary)?.into(),
            starts,
            tokens,
            probabilities,
            weights,
            scale.into(),
            losses.address.into(),
        ];
        self.launch("cross_entropy", [to_u32("rows", targets.len())?, 1], THREADS, &arguments)?;
        let count = targets.len();
        Ok(Pending::Queued(Box::new(move || losses.read_f64(count))))
    }

    /// Σ x² over all tensors, by one kernel.
    pub(super) fn squares(&self, tensors: &[&Buffer<D>]) -> Result<Pending<f64>> {
        let tensors =
            tensors.iter().map(|x| Ok(([self.numbers(x)?], x.len()))).collect::<Result<Vec<_>>>()?;
        let parts = parts(tensors.into_iter(), PART);
        let count = parts.len() / (2 * 2);
        let sums = Block::new(&self.pool, count * 8)?;
        self.each_part_of("sum_squares", &parts, 2, &[sums.address.into()])?;
        Ok(Pending::Queued(Box::new(move || Ok(sums.read_f64(count)?.into_iter().sum()))))
    }

    /// Zeros in all tensors, by one kernel.
    pub(super) fn clear_tensors(&self, tensors: Vec<&mut Buffer<D>>) -> Result<()> {
        let tensors = tensors.into_iter().map(|x| Ok(([self.overwritten(x)?], x.len())));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        self.each_part_of("clear", &parts(tensors.into_iter(), SHARE), 2, &[])
    }

    /// One step on all tensors, by one kernel for those that share their constants.
    pub(super) fn adamw_steps(&self, mut tensors: Vec<AdamWTensor<'_, Buffer<D>>>) -> Result<()> {
        let mut changes = Changes::new();
        while let Some(first) = tensors.first() {
            let step = first.step;
            let (alike, others) = tensors.into_iter().partition::<Vec<_>, _>(|tensor| tensor.step == step);
            self.adamw_step(step, alike, &mut changes)?;
            tensors = others;
        }
        self.renew_borders(&changes)
    }

    fn adamw_step(
        &self,
        step: AdamWStep,
        tensors: Vec<AdamWTensor<'_, Buffer<D>>>,
        changes: &mut Changes,
    ) -> Result<()> {
        let mut addresses = Vec::with_capacity(tensors.len());
        for AdamWTensor { value, grad, m, v, .. } in tensors {
            length("grad", grad.len(), value.len())?;
            length("m", m.len(), value.len())?;
            length("v", v.len(), value.len())?;
            let (grad, [m, v]) = (self.numbers(grad)?, [self.changed(m)?, self.changed(v)?]);
            let (before, at) = (value.version(), self.changed(value)?);
            changes.insert(before, (value.version(), at));
            addresses.push(([at, grad, m, v], value.len()));
        }
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
        let constants = constants.map(|constant| Argument::F32(constant as f32));
        self.each_part_of("adamw", &parts(addresses.into_iter(), SHARE), 5, &constants)
    }

    /// Launches a kernel with a block for each part, of which the table has `words` words of 64 bits.
    pub(super) fn each_part_of(
        &self,
        kernel: &str,
        parts: &[u32],
        words: usize,
        others: &[Argument],
    ) -> Result<()> {
        let count = parts.len() / (2 * words);
        if count == 0 {
            return Ok(());
        }
        let table = self.words(parts)?;
        let arguments: Vec<Argument> =
            std::iter::once(Argument::Word(table.address)).chain(others.iter().copied()).collect();
        self.launch(kernel, [to_u32("parts", count)?, 1], THREADS, &arguments)
    }
}

/// The table of a kernel over parts of tensors: for each part of `len` elements at most where it begins in the tensors that
/// are worked on together, and its elements; words of 64 bits, lower halves first. Tensors stay where they are from step to
/// step, and so does the table.
fn parts<const TENSORS: usize>(
    tensors: impl Iterator<Item = ([Address; TENSORS], usize)>,
    len: usize,
) -> Vec<u32> {
    let mut table = Vec::new();
    let mut push = |word: u64| table.extend([word as u32, (word >> 32) as u32]);
    for (addresses, total) in tensors {
        for start in (0..total).step_by(len) {
            for address in addresses {
                push(address + 4 * start as u64);
            }
            push(len.min(total - start) as u64);
        }
    }
    table
}
