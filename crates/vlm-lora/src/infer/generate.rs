use super::argmax;
use crate::Result;
use crate::backend::Backend;
use crate::model::{Model, Prompt};

/// When generation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// The token that ends a sequence.
    pub eos_token_id: u32,
    /// Tokens after which a sequence ends anyway.
    pub max_new_tokens: usize,
}

/// Continues each prompt with its most probable tokens. A sequence that ends by itself ends with `eos_token_id`, as in
/// transformers. The result of a prompt does not depend on the others.
///
/// # Errors
/// When a prompt does not fit the model, or the device fails.
pub fn generate<B: Backend>(
    model: &Model<B>,
    prompts: &[Prompt<'_>],
    limits: Generation,
) -> Result<Vec<Vec<u32>>> {
    let mut generated = vec![Vec::new(); prompts.len()];
    if prompts.is_empty() || limits.max_new_tokens == 0 {
        return Ok(generated);
    }
    let (mut cache, mut logits) = model.prefill(prompts)?;
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    loop {
        let next: Vec<u32> = logits.iter().map(|row| argmax(row.iter().copied()) as u32).collect();
        for (&sequence, &token) in active.iter().zip(&next) {
            generated[sequence].push(token);
        }
        let goes_on = |&at: &usize| {
            next[at] != limits.eos_token_id && generated[active[at]].len() < limits.max_new_tokens
        };
        let kept: Vec<usize> = (0..active.len()).filter(goes_on).collect();
        if kept.is_empty() {
            return Ok(generated);
        }
        if kept.len() < active.len() {
            cache = cache.select(&kept)?;
            active = kept.iter().map(|&at| active[at]).collect();
        }
        let tokens: Vec<[u32; 1]> = kept.iter().map(|&at| [next[at]]).collect();
        let slices: Vec<&[u32]> = tokens.iter().map(<[u32; 1]>::as_slice).collect();
        logits = model.extend(&mut cache, &slices)?;
    }
}
