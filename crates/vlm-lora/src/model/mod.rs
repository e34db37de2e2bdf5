//! SmolVLM (Idefics3): vision tower, connector and text model as explicit passes.
//!
//! A [`Model`] holds the frozen base and, once [attached](Model::attach), the adapter's parameters with their gradients.
//! Samples of a batch are packed one behind the other without padding; every sequence attends to itself alone.

mod adapter;
mod attach;
mod attention;
mod batch;
mod block;
mod head;
mod integer_check;
mod kv_cache;
mod linear;
mod load;
mod mlp;
mod network;
mod norm;
mod params;
mod positions;
mod step;
mod vision;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::backend::Backend;
use crate::config::ModelConfig;
use crate::sample::Sample;

pub(crate) use head::ROWS_AT_ONCE;
pub use integer_check::IntegerCheck;
pub use kv_cache::{KvCache, Prompt};
pub use params::Param;

use attach::Attached;
use network::Network;
use params::Pass;

/// A sample in a batch, with its image's features where they are already known.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Ids, tiles and targets.
    pub sample: &'a Sample,
    /// What [`Model::image_features`] returned for the sample's tiles; computed from the tiles where this is `None`.
    pub features: Option<&'a Features>,
}

/// The rows that stand for an image in the text model: what the connector returns. They do not depend on the prompt, so they
/// can be saved and reused as long as no adapter of the vision tower or the connector changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Elements of a row: the text model's hidden size.
    pub width: usize,
    /// Row-major values, one row an image token.
    pub values: Arc<[f32]>,
}

/// The loss of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossSum {
    /// Σ weight · cross-entropy over the targets, divided by the normaliser.
    pub loss: f64,
    /// Σ weight over the targets.
    pub weight: f64,
}

/// How a training step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepMode {
    /// Key of the dropout masks: another one for every micro-batch. `None` leaves dropout out, as in evaluation.
    pub dropout: Option<u64>,
    /// Whether only the inputs of the blocks are saved and each block's forward pass runs again in the backward pass. The
    /// gradients are the same to the bit.
    pub gradient_checkpointing: bool,
}

/// SmolVLM on a backend: the frozen base and, once attached, the parameters of an adapter with their gradients.
///
/// ```
/// use std::sync::Arc;
/// use vlm_lora::{Checkpoint, Item, LoraConfig, Model, Processor, StepMode, backend::Cpu};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let case = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all");
/// # let (dir, image) = (format!("{case}/model"), image::open(format!("{case}/images/slide_03.png"))?);
/// let checkpoint = Checkpoint::open(&dir)?;
/// let processor = Processor::open(&dir, None)?;
/// let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint)?;
/// model.attach(&LoraConfig::default(), &checkpoint, 42)?;
///
/// let tiles = Arc::new(processor.tiles(&image)?);
/// let sample = processor.sample(&tiles, "Rate this slide.", Some("Clarity: 4"))?;
/// let item = Item { sample: &sample, features: None };
/// let tokens = sample.targets.len() as f64;
/// let step = model.loss_and_gradients(&[item], tokens, StepMode::default())?;
/// assert!(step.loss.is_finite() && step.weight == tokens);
/// // `B` starts at zero, so the first gradient is that of `B` alone.
/// let b = model.params().iter().find(|param| param.name.ends_with("lora_B.weight")).unwrap();
/// assert!(b.grad.iter().any(|g| *g != 0.0));
/// # Ok(()) }
/// ```
pub struct Model<B: Backend> {
    backend: Arc<B>,
    config: ModelConfig,
    network: Network<B>,
    /// In the order of their names.
    params: Vec<Param<B>>,
    attached: Option<Attached>,
}

impl<B: Backend> Model<B> {
    /// The backend.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// The configuration of the checkpoint.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How many values the frozen base holds; a tied head counts once.
    pub fn base_parameters(&self) -> usize {
        self.config.parameters()
    }

    /// A pass without dropout.
    fn pass(&self) -> Pass<'_, B> {
        Pass { backend: self.backend.as_ref(), params: &self.params, dropout: None }
    }
}
