//! What works on whole tensors: AdamW, norms, zeros.

use super::{Output, Run, values};
use crate::Result;
use crate::backend::{AdamWStep, AdamWTensor, Backend};

impl<B: Backend> Run<'_, B> {
    pub(super) fn optimizer(&mut self) -> Result<()> {
        let b = self.backend;
        for n in [1, 100, 10_001] {
            let (mut value, mut m, mut v) = (self.random(n, 1000)?, b.zeros(n)?, b.zeros(n)?);
            for step in 1..=3 {
                let grad = self.random(n, 1000 + step)?;
                let (value, m, v) = (&mut value, &mut m, &mut v);
                b.adamw(vec![AdamWTensor { step: adamw_step(step, 0.1), value, grad: &grad, m, v }])?;
            }
            self.keep(format!("adamw value {n}"), &value)?;
            self.keep(format!("adamw m {n}"), &m)?;
            self.keep(format!("adamw v {n}"), &v)?;
        }
        Ok(())
    }

    /// What takes several tensors at once: sizes below and above a block's share, two sets of constants, none at all.
    pub(super) fn several_tensors(&mut self) -> Result<()> {
        let (b, sizes) = (self.backend, [3, 70_001, 0, 16_384, 20]);
        let new = |seed: u64| -> Result<Vec<B::Buffer>> {
            sizes.iter().zip(seed..).map(|(&n, seed)| b.upload_f64(&values(n, seed))).collect()
        };
        let (mut all, mut grads) = (new(1100)?, new(1200)?);
        let zeros = || sizes.iter().map(|&n| b.zeros(n)).collect::<Result<Vec<_>>>();
        let (mut first, mut second) = (zeros()?, zeros()?);
        for step in 1..=2 {
            let moments = first.iter_mut().zip(&mut second);
            let tensors =
                all.iter_mut().zip(&grads).zip(moments).enumerate().map(|(i, ((value, grad), (m, v)))| {
                    let weight_decay = if i % 2 == 0 { 0.0 } else { 0.1 };
                    AdamWTensor { step: adamw_step(step, weight_decay), value, grad, m, v }
                });
            b.adamw(tensors.collect())?;
        }
        for (n, (value, (m, v))) in all.iter().zip(first.iter().zip(&second)).enumerate() {
            self.keep(format!("adamw of several, value {n}"), value)?;
            self.keep(format!("adamw of several, m {n}"), m)?;
            self.keep(format!("adamw of several, v {n}"), v)?;
        }
        let squares = b.sum_squares(&grads.iter().collect::<Vec<_>>())?.wait()?;
        self.outputs.push(Output { name: "squares of several".to_owned(), values: vec![squares] });
        let (one, others) = grads.split_at_mut(1);
        b.clear(others.iter_mut().collect())?;
        self.keep("not cleared", &one[0])?;
        for (n, cleared) in others.iter().enumerate() {
            self.keep(format!("cleared {n}"), cleared)?;
        }
        b.adamw(Vec::new())?;
        b.clear(Vec::new())?;
        let nothing = b.sum_squares(&[])?.wait()?;
        self.outputs.push(Output { name: "squares of nothing".to_owned(), values: vec![nothing] });
        Ok(())
    }
}

fn adamw_step(step: u64, weight_decay: f64) -> AdamWStep {
    AdamWStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay,
        step,
        grad_scale: 0.5,
    }
}
