use std::sync::Arc;

use super::attention::{Layout, select_rows};
use super::batch::{Batch, check_length};
use super::params::Pass;
use super::{Features, Model};
use crate::backend::{AttentionInputs, Backend, Write};
use crate::error::{Error, Result};
use crate::sample::Tiles;

/// A sequence that is to be continued.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// Its ids, one image token a row of the image.
    pub input_ids: &'a [u32],
    /// The image, where the prompt has one.
    pub tiles: Option<&'a Tiles>,
    /// The image's features, where they are already known.
    pub features: Option<&'a Features>,
}

/// Keys and values of the sequences that a model has read, so that they can be continued without reading them again.
///
/// Clones and [selections](Self::select) share memory; a sequence is copied when it is extended.
pub struct KvCache<B: Backend> {
    sequences: Vec<Sequence>,
    /// One entry a block of the text model.
    layers: Vec<Layer<B>>,
}

/// Where a sequence stands in the rows of every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequence {
    start: usize,
    len: usize,
}

/// Rotated keys and values `(rows, kv_heads · head_dim)`.
struct Layer<B: Backend> {
    k: Arc<B::Buffer>,
    v: Arc<B::Buffer>,
}

impl<B: Backend> Clone for Layer<B> {
    fn clone(&self) -> Self {
        Self { k: Arc::clone(&self.k), v: Arc::clone(&self.v) }
    }
}

impl<B: Backend> Clone for KvCache<B> {
    fn clone(&self) -> Self {
        Self { sequences: self.sequences.clone(), layers: self.layers.clone() }
    }
}

impl<B: Backend> KvCache<B> {
    /// How many sequences it holds.
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// How many tokens of a sequence it holds; 0 for a sequence that is not there.
    pub fn tokens(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, |sequence| sequence.len)
    }

    /// Forgets what a sequence has behind its first `tokens` tokens.
    pub fn truncate(&mut self, sequence: usize, tokens: usize) {
        if let Some(sequence) = self.sequences.get_mut(sequence) {
            sequence.len = sequence.len.min(tokens);
        }
    }

    /// A cache of these sequences in this order: naming one several times forks it, leaving it out drops it.
    ///
    /// # Errors
    /// When there is no such sequence.
    pub fn select(&self, sequences: &[usize]) -> Result<Self> {
        let pick = |index: &usize| self.sequences.get(*index).copied();
        let sequences = sequences.iter().map(pick).collect::<Option<_>>();
        let sequences = sequences.ok_or_else(|| Error::Text {
            reason: format!("the cache holds {} sequences", self.sequences.len()),
        })?;
        Ok(Self { sequences, layers: self.layers.clone() })
    }
}

impl<B: Backend> Model<B> {
    /// Reads prompts: the cache to continue them from, and for each the logits `(vocab)` of its next token.
    ///
    /// # Errors
    /// When a prompt does not fit the model or the backend fails.
    pub fn prefill(&self, prompts: &[Prompt<'_>]) -> Result<(KvCache<B>, Vec<Vec<f32>>)> {
        let batch = Batch::of_prompts(prompts.iter().map(|prompt| prompt.input_ids), &self.config)?;
        let images = prompts.iter().map(|prompt| (prompt.input_ids, prompt.tiles, prompt.features));
        let features = self.network.features(self.pass(), images)?;
        let blocks = self.network.text.blocks.len();
        let empty = Layer { k: Arc::new(self.backend.scratch(0)?), v: Arc::new(self.backend.scratch(0)?) };
        let mut cache = KvCache {
            sequences: vec![Sequence { start: 0, len: 0 }; prompts.len()],
            layers: vec![empty; blocks],
        };
        let logits = self.advance(&mut cache, &batch, &features)?;
        Ok((cache, logits))
    }

    /// Continues every sequence of a cache by its slice of `tokens`, none of which is empty, and returns for each the logits
    /// `(vocab)` of its next token. What a sequence gets does not depend on the others, but for rounding where products are taken in integers.
    ///
    /// # Errors
    /// When there is not one slice a sequence, a slice is empty, a sequence becomes longer than the model was made for, or the
    /// backend fails.
    pub fn extend(&self, cache: &mut KvCache<B>, tokens: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let text = |reason: &str| Error::Text { reason: reason.to_owned() };
        if tokens.len() != cache.sequences.len() {
            return Err(text("there must be one continuation for each sequence of the cache"));
        }
        for (sequence, tokens) in cache.sequences.iter().zip(tokens) {
            check_length(sequence.len + tokens.len(), &self.config)?;
        }
        let mut batch = Batch::of_prompts(tokens.iter().copied(), &self.config)?;
        batch.image_rows.clear(); // a generated image token is a token like any other, as in transformers
        self.advance(cache, &batch, &self.backend.scratch(0)?)
    }

    /// Runs new rows through the text model and takes them into the cache.
    fn advance(
        &self,
        cache: &mut KvCache<B>,
        batch: &Batch<'_>,
        features: &B::Buffer,
    ) -> Result<Vec<Vec<f32>>> {
        let (network, pass) = (&self.network, self.pass());
        let Some(sequences) = (!cache.sequences.is_empty()).then_some(&cache.sequences) else {
            return Ok(Vec::new());
        };
        let rows = Rows::new(sequences, &batch.layout);
        let mut x = network.embed(pass, batch, features)?;
        let mut layers = Vec::with_capacity(cache.layers.len());
        let last: Vec<u32> = batch.layout.offsets.iter().skip(1).map(|end| (end - 1) as u32).collect();
        let one_each: Vec<usize> = (0..=last.len()).collect();
        let top = network.text.blocks.len().saturating_sub(1);
        for (index, (block, past)) in network.text.blocks.iter().zip(&cache.layers).enumerate() {
            let normed = block.norm1.forward(pass, &x)?;
            let mut qkv = block.attention.project(pass, &normed, &rows.positions)?;
            let mut q_offsets = &batch.layout.offsets[..];
            if index == top {
                // Of the last block only the last row of each sequence is read, which sees all keys.
                let width = block.attention.out.in_features;
                if let Some(q) = select_rows(pass, &qkv.q, width, Some(&last))? {
                    qkv.q = q;
                }
                x = network.gather(pass, &x, &last)?;
                q_offsets = &one_each;
            }
            let width = block.attention.kv_heads * block.attention.head_dim;
            let layer = Layer {
                k: Arc::new(rows.join(pass, width, &past.k, qkv.k)?),
                v: Arc::new(rows.join(pass, width, &past.v, qkv.v)?),
            };
            let shape = block.attention.shape(q_offsets, &rows.k_offsets);
            let inputs = AttentionInputs { q: &qkv.q, k: &layer.k, v: &layer.v };
            let middle = block.attention.attend(pass, shape, inputs, None, &x)?.y;
            x = block.second_half(pass, &middle)?.0;
            layers.push(layer);
        }
        let logits = network.head.logits(pass, &x)?;
        let logits = self.backend.download(&logits)?;
        cache.layers = layers;
        cache.sequences = rows
            .k_offsets
            .windows(2)
            .map(|ends| Sequence { start: ends[0], len: ends[1] - ends[0] })
            .collect();
        Ok(logits.chunks(self.config.text.vocab_size).map(<[f32]>::to_vec).collect())
    }
}

/// How old and new rows come together.
struct Rows<'a> {
    old: &'a [Sequence],
    /// Start of each sequence in the new rows, and the total.
    new_offsets: &'a [usize],
    /// Start of each sequence in the joined rows, and the total.
    k_offsets: Vec<usize>,
    /// Position of each new row in its sequence.
    positions: Vec<u32>,
}

impl<'a> Rows<'a> {
    fn new(old: &'a [Sequence], new: &'a Layout) -> Self {
        let (mut k_offsets, mut positions) = (vec![0], Vec::with_capacity(new.positions.len()));
        let mut end = 0;
        for (old, ends) in old.iter().zip(new.offsets.windows(2)) {
            let len = old.len + (ends[1] - ends[0]);
            end += len;
            k_offsets.push(end);
            positions.extend(old.len as u32..len as u32);
        }
        Self { old, new_offsets: &new.offsets, k_offsets, positions }
    }

    /// Each sequence's old rows, then its new ones.
    fn join<B: Backend>(
        &self,
        pass: Pass<'_, B>,
        width: usize,
        old: &B::Buffer,
        new: B::Buffer,
    ) -> Result<B::Buffer> {
        if self.old.iter().all(|sequence| sequence.len == 0) {
            return Ok(new);
        }
        let backend = pass.backend;
        let mut joined = backend.scratch(self.k_offsets.last().map_or(0, |rows| rows * width))?;
        for (index, sequence) in self.old.iter().enumerate() {
            let (at, len) = (self.k_offsets[index] * width, sequence.len * width);
            backend.copy(old, sequence.start * width, len, &mut joined, at, Write::Set)?;
            let (from, to) = (self.new_offsets[index] * width, self.new_offsets[index + 1] * width);
            backend.copy(&new, from, to - from, &mut joined, at + len, Write::Set)?;
        }
        Ok(joined)
    }
}
