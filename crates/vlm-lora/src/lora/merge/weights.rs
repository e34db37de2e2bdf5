//! The arithmetic of merging one weight.

use rayon::prelude::*;

use crate::lora::{AdapterWeights, Principal};
use crate::{Checkpoint, Result};

impl AdapterWeights {
    /// The weight `(out_features, in_features)` with the adapter folded in. An adapter that started by PiSSA must know its
    /// [principal part](Self::principal).
    pub fn merged(&self, mut weight: Vec<f32>) -> Vec<f32> {
        self.add_update(&mut weight, 1.0);
        if let Some(magnitude) = &self.magnitude {
            weight.par_chunks_exact_mut(self.spec.in_features).zip(magnitude).for_each(|(row, m)| {
                let factor = m / norm(row);
                for value in row {
                    *value *= factor;
                }
            });
        }
        weight
    }

    /// `‖W + scale·B·A‖` of each row, which is where the magnitude of DoRA starts.
    pub(in crate::lora) fn row_norms(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
        let shape = [self.spec.out_features, self.spec.in_features];
        let mut weight = checkpoint.module_weight(&self.spec.module, shape)?;
        self.add_update(&mut weight, 1.0);
        Ok(weight.par_chunks_exact(self.spec.in_features).map(norm).collect())
    }

    /// The weight with the adapter taken out; `norms` are the row norms before DoRA scaled the rows.
    pub(super) fn unmerged(&self, mut weight: Vec<f32>, norms: Option<&[f32]>) -> Vec<f32> {
        if let (Some(magnitude), Some(norms)) = (&self.magnitude, norms) {
            let factors = magnitude.par_iter().zip(norms);
            weight.par_chunks_exact_mut(self.spec.in_features).zip(factors).for_each(|(row, (m, norm))| {
                for value in row {
                    *value *= norm / m;
                }
            });
        }
        self.add_update(&mut weight, -1.0);
        weight
    }

    /// `weight += sign·scale·(B·A − B₀·A₀)`.
    fn add_update(&self, weight: &mut [f32], sign: f64) {
        if let Some(Principal { a, b }) = &self.principal {
            self.add_product(weight, a, b, -sign);
        }
        self.add_product(weight, &self.a, &self.b, sign);
    }

    /// `weight += sign·scale·B·A`; each row is summed by one thread in the order of the ranks.
    fn add_product(&self, weight: &mut [f32], a: &[f32], b: &[f32], sign: f64) {
        let (width, r) = (self.spec.in_features, self.spec.r);
        let scale = (self.spec.scale * sign) as f32;
        weight.par_chunks_exact_mut(width).zip(b.par_chunks_exact(r)).for_each(|(row, b)| {
            let mut delta = vec![0.0_f32; width];
            for (b, a) in b.iter().zip(a.chunks_exact(width)) {
                delta.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(&delta).for_each(|(value, delta)| *value += scale * delta);
        });
    }
}

pub(super) fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32
}
