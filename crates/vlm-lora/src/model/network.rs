use std::sync::Arc;

use super::block::{Block, Stack};
use super::head::Head;
use super::linear::Linear;
use super::params::Bias;
use super::vision::Vision;
use crate::backend::Backend;

/// The layers, with the adapters' places among the parameters.
pub(crate) struct Network<B: Backend> {
    pub(crate) vision: Vision<B>,
    pub(crate) embedding: Arc<B::Weight>,
    pub(crate) text: Stack<B>,
    pub(crate) head: Head<B>,
    pub(crate) image_token_id: u32,
}

impl<B: Backend> Network<B> {
    /// The text model's hidden size.
    pub(crate) fn width(&self) -> usize {
        self.head.linear.in_features
    }

    /// Every linear that an adapter can stand on, in the order of computation.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        let text = self.text.blocks.iter().flat_map(Block::linears);
        self.vision.linears().chain(text).chain([&self.head.linear])
    }

    /// Every bias; only the vision tower has some.
    pub(crate) fn biases_mut(&mut self) -> impl Iterator<Item = &mut Bias<B>> {
        self.vision.biases_mut()
    }

    /// As [`linears`](Self::linears).
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear<B>> {
        let text = self.text.blocks.iter_mut().flat_map(Block::linears_mut);
        self.vision.linears_mut().chain(text).chain([&mut self.head.linear])
    }
}
