//! The weights of a checkpoint with an adapter folded in, tensor by tensor.

use vlm_lora::{Checkpoint, PeftAdapter};

use super::names::{EMBEDDING, HEAD, Named};
use crate::Result;

/// Where a tensor's values come from. They are merged in f32 and not rounded to the checkpoint's type in between.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    adapter: Option<PeftAdapter>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, adapter: Option<&PeftAdapter>) -> Result<Self> {
        let adapter = adapter.map(|adapter| adapter.clone().on_base(checkpoint)).transpose()?;
        Ok(Self { checkpoint, adapter })
    }

    /// Whether the head is a tensor of its own: stored so, or changed by the adapter.
    pub(super) fn has_head(&self) -> bool {
        let changes_head = |adapter: &PeftAdapter| adapter.modules.iter().any(|m| m.spec.module == "lm_head");
        !self.checkpoint.config().tie_word_embeddings || self.adapter.as_ref().is_some_and(changes_head)
    }

    /// The values in the order of the checkpoint.
    pub(super) fn values(&self, named: &Named) -> Result<Vec<f32>> {
        let source = named.source.as_str();
        if let Some(values) = self.adapter.as_ref().and_then(|adapter| adapter.biases.get(source)) {
            return Ok(values.clone());
        }
        let is_tied_head = source == HEAD && self.checkpoint.config().tie_word_embeddings;
        let stored = if is_tied_head { EMBEDDING } else { source };
        let values = self.checkpoint.values(stored, &named.shape)?;
        let module = source.strip_suffix(".weight");
        let of_module = |adapter: &'_ PeftAdapter| {
            adapter.modules.iter().position(|found| Some(found.spec.module.as_str()) == module)
        };
        Ok(match self.adapter.as_ref().and_then(|adapter| Some((adapter, of_module(adapter)?))) {
            Some((adapter, at)) => adapter.modules[at].merged(values),
            None => values,
        })
    }
}
