//! PiSSA (Meng et al. 2024): the adapter starts as the principal part of the weight, which the base then lacks.

use faer::Mat;

use super::{AdapterSpec, PeftAdapter};
use crate::{Checkpoint, Error, InitLoraWeights, Result};

/// The principal part `scale·B₀·A₀` of a weight: the truncation of its singular value decomposition to the adapter's rank. The
/// base computes with the weight less this part.
///
/// PEFT rounds the difference to the type of the weight; here weight and part stay apart, so that nothing is rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// `A₀ = √(S/scale)·Vᵀ (r, in_features)`, row-major.
    pub a: Vec<f32>,
    /// `B₀ = U·√(S/scale) (out_features, r)`, row-major.
    pub b: Vec<f32>,
}

impl Principal {
    /// The principal part of a module's weight, computed in f64.
    pub(super) fn of(spec: &AdapterSpec, checkpoint: &Checkpoint) -> Result<Self> {
        let (out, width, r) = (spec.out_features, spec.in_features, spec.r);
        if r > out.min(width) {
            return Err(Error::InvalidConfig {
                key: "lora.r".to_owned(),
                expected: format!("at most {} for PiSSA on `{}`", out.min(width), spec.module),
                actual: r.to_string(),
            });
        }
        let weight = checkpoint.module_weight(&spec.module, [out, width])?;
        let weight = Mat::from_fn(out, width, |row, column| f64::from(weight[row * width + column]));
        let failed = || Error::Backend {
            device: "cpu".to_owned(),
            reason: format!("the singular values of `{}` do not converge", spec.module),
        };
        let svd = weight.thin_svd().map_err(|_| failed())?;
        let (left, values, right) = (svd.U(), svd.S().column_vector(), svd.V());
        let root = |rank: usize| (values[rank] / spec.scale).sqrt();
        let a = (0..r).flat_map(|rank| (0..width).map(move |column| (rank, column)));
        let b = (0..out).flat_map(|row| (0..r).map(move |rank| (row, rank)));
        Ok(Self {
            a: a.map(|(rank, column)| (root(rank) * right[(column, rank)]) as f32).collect(),
            b: b.map(|(row, rank)| (root(rank) * left[(row, rank)]) as f32).collect(),
        })
    }
}

impl PeftAdapter {
    /// Computes what an adapter that started by PiSSA took out of the base weights, as PEFT does whenever it loads one.
    /// Any other adapter is returned as it is.
    ///
    /// # Errors
    /// When the checkpoint does not fit the adapter.
    pub fn on_base(mut self, checkpoint: &Checkpoint) -> Result<Self> {
        use rayon::prelude::*;
        if self.config.init_lora_weights.is_pissa() {
            self.modules.par_iter_mut().filter(|module| module.principal.is_none()).try_for_each(|module| {
                module.principal = Some(Principal::of(&module.spec, checkpoint)?);
                Ok::<_, Error>(())
            })?;
        }
        Ok(self)
    }

    /// The same change of the base as an ordinary adapter of twice the rank, `[A; A₀]` and `[B, −B₀]`, which needs no
    /// decomposition when it is loaded. An adapter that did not start by PiSSA is returned as it is.
    ///
    /// # Errors
    /// With DoRA, whose magnitudes belong to the reduced base, and with rsLoRA together with patterns (neither does PEFT
    /// convert), or when the principal parts are not known: see [`on_base`](Self::on_base).
    pub fn into_plain_lora(mut self) -> Result<Self> {
        if !self.config.init_lora_weights.is_pissa() {
            return Ok(self);
        }
        let config = &mut self.config;
        let patterns = !config.rank_pattern.is_empty() || !config.alpha_pattern.is_empty();
        if config.use_dora || (config.use_rslora && patterns) {
            let what = "converting a PiSSA adapter with DoRA, or with rsLoRA and patterns, to plain LoRA";
            return Err(Error::Unsupported { what: what.to_owned() });
        }
        // The scale must stay: alpha/r with both doubled, alpha/√r with √2·alpha.
        let factor = if config.use_rslora { std::f64::consts::SQRT_2 } else { 2.0 };
        config.r *= 2;
        config.lora_alpha *= factor;
        config.rank_pattern.values_mut().for_each(|r| *r *= 2);
        config.alpha_pattern.values_mut().for_each(|alpha| *alpha *= factor);
        config.init_lora_weights = InitLoraWeights::Default(true);
        for module in &mut self.modules {
            let principal = module.principal.take().ok_or_else(|| unknown_principal(&module.spec.module))?;
            let r = module.spec.r;
            module.a.extend(principal.a);
            let rows = module.b.chunks_exact(r).zip(principal.b.chunks_exact(r));
            module.b = rows.flat_map(|(b, b0)| b.iter().copied().chain(b0.iter().map(|value| -value))).collect();
            module.spec.r = 2 * r;
        }
        Ok(self)
    }
}

/// The error of computing with an adapter whose base is not known.
pub(crate) fn unknown_principal(module: &str) -> Error {
    let what = format!("the PiSSA adapter of `{module}` without `PeftAdapter::on_base`, which its base weights are needed for,");
    Error::Unsupported { what }
}
