//! Adapters that started by PiSSA, and the base that they were taken from.

use super::pissa::{Principal, unknown_principal};
use super::{AdapterWeights, PeftAdapter};
use crate::{Checkpoint, Error, InitLoraWeights, Result};

impl PeftAdapter {
    /// Computes what an adapter that started by PiSSA took out of the base weights, as PEFT does whenever it loads one.
    /// Any other adapter is returned as it is.
    ///
    /// # Errors
    /// When the checkpoint does not fit the adapter.
    pub fn on_base(mut self, checkpoint: &Checkpoint) -> Result<Self> {
        use rayon::prelude::*;
        if self.config.init_lora_weights.is_pissa() {
            self.modules.par_iter_mut().filter(|module| module.principal.is_none()).try_for_each(
                |module| {
                    module.principal = Some(Principal::of(&module.spec, checkpoint)?);
                    Ok::<_, Error>(())
                },
            )?;
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
            take_in_principal(module)?;
        }
        Ok(self)
    }
}

/// `A ← [A; A₀]`, `B ← [B, −B₀]`.
fn take_in_principal(module: &mut AdapterWeights) -> Result<()> {
    let principal = module.principal.take().ok_or_else(|| unknown_principal(&module.spec.module))?;
    let r = module.spec.r;
    module.a.extend(principal.a);
    let rows = module.b.chunks_exact(r).zip(principal.b.chunks_exact(r));
    module.b = rows.flat_map(|(b, b0)| b.iter().copied().chain(b0.iter().map(|value| -value))).collect();
    module.spec.r = 2 * r;
    Ok(())
}
