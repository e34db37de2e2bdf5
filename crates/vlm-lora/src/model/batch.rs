use super::Item;
use super::attention::Layout;
use crate::backend::RowTarget;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::sample::{Sample, Target};

/// Samples one behind the other.
pub(crate) struct Batch<'a> {
    pub(crate) ids: Vec<u32>,
    pub(crate) layout: Layout,
    /// Rows of the image tokens.
    pub(crate) image_rows: Vec<u32>,
    /// Rows whose logits are scored.
    pub(crate) target_rows: Vec<u32>,
    pub(crate) targets: Vec<RowTarget<'a>>,
}

impl<'a> Batch<'a> {
    /// Packs and checks the samples.
    pub(crate) fn new(items: &[Item<'a>], config: &ModelConfig) -> Result<Self> {
        let mut batch = Self::of_prompts(items.iter().map(|item| &item.sample.input_ids[..]), config)?;
        for (item, start) in items.iter().zip(batch.layout.offsets.clone()) {
            check_targets(item.sample, config)?;
            for Target { position, tokens, weight } in &item.sample.targets {
                batch.target_rows.push((start + position - 1) as u32);
                batch.targets.push(RowTarget { tokens, weight: *weight });
            }
        }
        Ok(batch)
    }

    /// Packs and checks sequences without targets.
    pub(crate) fn of_prompts<'b>(
        prompts: impl Iterator<Item = &'b [u32]> + Clone,
        config: &ModelConfig,
    ) -> Result<Self> {
        let layout = Layout::packed(prompts.clone().map(<[u32]>::len));
        if layout.offsets.windows(2).any(|ends| ends[0] == ends[1]) {
            return Err(text("a sequence is empty".to_owned()));
        }
        let longest = prompts.clone().map(<[u32]>::len).max().unwrap_or(0);
        check_length(longest, config)?;
        let ids = prompts.flatten().copied().collect::<Vec<_>>();
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.text.vocab_size) {
            return Err(text(format!("token {id} is outside the vocabulary of {}", config.text.vocab_size)));
        }
        let is_image = |(_, id): &(usize, &u32)| **id == config.image_token_id;
        let image_rows = ids.iter().enumerate().filter(is_image).map(|(row, _)| row as u32).collect();
        Ok(Self { ids, layout, image_rows, target_rows: Vec::new(), targets: Vec::new() })
    }
}

/// Whether the model was made for a sequence so long: beyond it the rotary angles were never seen in its training.
pub(crate) fn check_length(tokens: usize, config: &ModelConfig) -> Result<()> {
    let longest = config.text.max_position_embeddings;
    if tokens <= longest {
        return Ok(());
    }
    Err(text(format!(
        "a sequence of {tokens} tokens is longer than the {longest} that the model was made for (`max_position_embeddings`): a smaller longest edge gives fewer image tokens"
    )))
}

fn check_targets(sample: &Sample, config: &ModelConfig) -> Result<()> {
    let (mut last, len, vocab) = (0, sample.input_ids.len(), config.text.vocab_size);
    for Target { position, tokens, weight } in &sample.targets {
        if *position <= last || *position >= len {
            return Err(text(format!(
                "target position {position} does not rise from {last} within {len} tokens"
            )));
        }
        last = *position;
        let known =
            tokens.iter().all(|(id, share)| (*id as usize) < vocab && share.is_finite() && *share >= 0.0);
        if tokens.is_empty() || !known || !weight.is_finite() {
            return Err(text(format!(
                "the target at position {position} is no distribution over the vocabulary"
            )));
        }
    }
    Ok(())
}

/// Whether a sequence has as many image tokens as its image has rows.
pub(crate) fn check_images(input_ids: &[u32], rows: usize, image_token_id: u32) -> Result<()> {
    let tokens = input_ids.iter().filter(|id| **id == image_token_id).count();
    if tokens == rows {
        return Ok(());
    }
    Err(text(format!("{tokens} image tokens stand for an image of {rows} rows")))
}

fn text(reason: String) -> Error {
    Error::Text { reason }
}
