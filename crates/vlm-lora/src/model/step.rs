use super::attention::Read;
use super::batch::{Batch, check_images};
use super::block::Save;
use super::network::Network;
use super::params::{Grads, Pass};
use super::{Features, Item, LossSum, Model, StepMode};
use crate::backend::{Backend, Pending, Write};
use crate::error::{Error, Result};
use crate::sample::Tiles;

/// The images of several sequences.
#[derive(Default)]
struct Images<'a> {
    /// The rows of those that are given.
    known: Vec<f32>,
    /// The others.
    missing: Vec<&'a Tiles>,
    /// Of each in their order, whether it is given, and how many values its rows have.
    parts: Vec<(bool, usize)>,
}

fn check_width(features: &Features, width: usize) -> Result<()> {
    if features.width != width || !features.values.len().is_multiple_of(width) {
        return Err(Error::Image { reason: format!("the features are not rows of {width} values") });
    }
    Ok(())
}

impl<B: Backend> Model<B> {
    /// The rows that stand for each image in the text model.
    ///
    /// # Errors
    /// When tiles have a size that the model does not take, or the backend fails.
    pub fn image_features(&self, tiles: &[&Tiles]) -> Result<Vec<Features>> {
        self.network.vision.features(self.pass(), tiles)
    }

    /// The loss of a batch, without dropout.
    ///
    /// # Errors
    /// When a sample does not fit the model, `normalizer` is not positive, or the backend fails.
    pub fn loss(&self, batch: &[Item<'_>], normalizer: f64) -> Result<LossSum> {
        check_normalizer(normalizer)?;
        let (network, pass) = (&self.network, self.pass());
        let packed = Batch::new(batch, &self.config)?;
        if packed.targets.is_empty() {
            return Ok(LossSum::default());
        }
        let features = network.frozen_features(pass, batch)?;
        let x = network.embed(pass, &packed, &features)?;
        let read = Read { layout: &packed.layout, rows: Some(&packed.target_rows) };
        let (rows, _) = network.text.forward(pass, x, read, Save::Nothing)?;
        let loss = network.head.loss(pass, &rows, &packed.targets)?;
        Ok(LossSum { loss: loss / normalizer, weight: total_weight(&packed) })
    }

    /// The loss of a batch; adds its gradient to [`params`](Self::params). One optimizer step adds several batches up that
    /// share one `normalizer`: the weight of all targets of the step.
    ///
    /// # Errors
    /// As [`loss`](Self::loss); also when features are given although the vision tower or the connector is trained.
    pub fn loss_and_gradients(
        &mut self,
        batch: &[Item<'_>],
        normalizer: f64,
        mode: StepMode,
    ) -> Result<LossSum> {
        self.queue_loss_and_gradients(batch, normalizer, mode)?.wait()
    }

    /// As [`loss_and_gradients`](Self::loss_and_gradients), without waiting for an asynchronous device.
    pub(crate) fn queue_loss_and_gradients(
        &mut self,
        batch: &[Item<'_>],
        normalizer: f64,
        mode: StepMode,
    ) -> Result<Pending<LossSum>> {
        check_normalizer(normalizer)?;
        let packed = Batch::new(batch, &self.config)?;
        if packed.targets.is_empty() {
            return Ok(Pending::Ready(LossSum::default()));
        }
        let Self { backend, network, params, .. } = self;
        let mut grads = Grads { backend: backend.as_ref(), params, dropout: mode.dropout };
        let loss = network.loss_and_gradients(&mut grads, batch, &packed, normalizer, mode)?;
        let weight = total_weight(&packed);
        Ok(loss.map(move |loss| LossSum { loss: loss / normalizer, weight }))
    }

    /// Logits `(rows, vocab)` of a sample; row `t` predicts token `t + 1`.
    ///
    /// # Errors
    /// When the sample does not fit the model, a row is outside it, or the backend fails.
    pub fn logits(&self, item: Item<'_>, rows: &[usize]) -> Result<Vec<f32>> {
        let (network, pass, items) = (&self.network, self.pass(), [item]);
        let packed = Batch::new(&items, &self.config)?;
        if let Some(row) = rows.iter().find(|row| **row >= packed.ids.len()) {
            return Err(Error::Text { reason: format!("row {row} is outside {} tokens", packed.ids.len()) });
        }
        let features = network.frozen_features(pass, &items)?;
        let x = network.embed(pass, &packed, &features)?;
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let read = Read { layout: &packed.layout, rows: Some(&rows) };
        let (y, _) = network.text.forward(pass, x, read, Save::Nothing)?;
        let logits = network.head.logits(pass, &y)?;
        self.backend.download(&logits)
    }
}

impl<B: Backend> Network<B> {
    /// Image rows of a batch that is not differentiated below them.
    pub(crate) fn frozen_features(&self, pass: Pass<'_, B>, items: &[Item<'_>]) -> Result<B::Buffer> {
        let images =
            items.iter().map(|item| (&item.sample.input_ids[..], Some(&*item.sample.tiles), item.features));
        self.features(pass, images)
    }

    /// Σ weight · cross-entropy; adds the gradient of that sum over `normalizer`.
    fn loss_and_gradients(
        &self,
        grads: &mut Grads<'_, B>,
        items: &[Item<'_>],
        batch: &Batch<'_>,
        normalizer: f64,
        mode: StepMode,
    ) -> Result<Pending<f64>> {
        let checkpointing = mode.gradient_checkpointing;
        let below = self.vision.trains();
        let (features, vision) = if below {
            let tiles = self.trained_images(items)?;
            let (features, saved) = self.vision.forward(grads.pass(), &tiles, checkpointing)?;
            (features, Some(saved))
        } else {
            (self.frozen_features(grads.pass(), items)?, None)
        };
        let x = self.embed(grads.pass(), batch, &features)?;
        drop(features);
        let save = Save::ForBackward { below, checkpointing };
        let read = Read { layout: &batch.layout, rows: Some(&batch.target_rows) };
        let (rows, saved) = self.text.forward(grads.pass(), x, read, save)?;
        let needs_rows = below || self.text.trains();
        let (loss, d_rows) =
            self.head.loss_and_gradients(grads, &rows, &batch.targets, 1.0 / normalizer, needs_rows)?;
        let Some(d_rows) = d_rows else { return Ok(loss) };
        drop(rows);
        let dx = self.text.backward(grads, saved, d_rows, read, below)?;
        if let (Some(dx), Some(vision)) = (dx, vision) {
            let d_images = self.gather(grads.pass(), &dx, &batch.image_rows)?;
            self.vision.backward(grads, vision, &d_images)?;
        }
        Ok(loss)
    }

    /// The tiles of a batch whose features change with every step.
    fn trained_images<'a>(&self, items: &[Item<'a>]) -> Result<Vec<&'a Tiles>> {
        for item in items {
            if item.features.is_some() {
                let what =
                    "training the vision tower or the connector on features computed before".to_owned();
                return Err(Error::Unsupported { what });
            }
            check_images(&item.sample.input_ids, self.vision.rows(&item.sample.tiles)?, self.image_token_id)?;
        }
        Ok(items.iter().map(|item| &*item.sample.tiles).collect())
    }

    /// Image rows of several sequences, computed where they are not given.
    pub(crate) fn features<'a>(
        &self,
        pass: Pass<'_, B>,
        images: impl Iterator<Item = (&'a [u32], Option<&'a Tiles>, Option<&'a Features>)>,
    ) -> Result<B::Buffer> {
        let backend = pass.backend;
        let Images { known, missing, parts } = self.sorted(images)?;
        if missing.is_empty() {
            return backend.upload(&known);
        }
        let computed = self.vision.rows_of(pass, &missing)?;
        if known.is_empty() {
            return Ok(computed);
        }
        let uploaded = backend.upload(&known)?;
        let mut all = backend.scratch(backend.len(&computed) + known.len())?;
        let (mut from, mut to) = ([0, 0], 0);
        for (is_known, len) in parts {
            let (source, at) = if is_known { (&uploaded, &mut from[0]) } else { (&computed, &mut from[1]) };
            backend.copy(source, *at, len, &mut all, to, Write::Set)?;
            *at += len;
            to += len;
        }
        Ok(all)
    }

    /// Which images are given as rows, and which are to be computed.
    fn sorted<'a>(
        &self,
        images: impl Iterator<Item = (&'a [u32], Option<&'a Tiles>, Option<&'a Features>)>,
    ) -> Result<Images<'a>> {
        let (width, mut sorted) = (self.width(), Images::default());
        for (input_ids, tiles, features) in images {
            let rows = match (features, tiles) {
                (Some(features), _) => {
                    check_width(features, width)?;
                    sorted.known.extend_from_slice(&features.values);
                    features.values.len() / width
                }
                (None, Some(tiles)) => {
                    sorted.missing.push(tiles);
                    self.vision.rows(tiles)?
                }
                (None, None) => 0,
            };
            check_images(input_ids, rows, self.image_token_id)?;
            sorted.parts.push((features.is_some(), rows * width));
        }
        Ok(sorted)
    }

    /// The input of the first block: embeddings, with the image rows in the places of the image tokens.
    pub(crate) fn embed(
        &self,
        pass: Pass<'_, B>,
        batch: &Batch<'_>,
        features: &B::Buffer,
    ) -> Result<B::Buffer> {
        let mut x = pass.backend.scratch(batch.ids.len() * self.width())?;
        pass.backend.embed(&self.embedding, &batch.ids, &mut x)?;
        pass.backend.scatter_rows(features, self.width(), &batch.image_rows, &mut x, Write::Set)?;
        Ok(x)
    }

    /// These rows of `x (rows, hidden)`.
    pub(crate) fn gather(&self, pass: Pass<'_, B>, x: &B::Buffer, rows: &[u32]) -> Result<B::Buffer> {
        let mut y = pass.backend.scratch(rows.len() * self.width())?;
        pass.backend.gather_rows(x, self.width(), rows, &mut y)?;
        Ok(y)
    }
}

fn total_weight(batch: &Batch<'_>) -> f64 {
    batch.targets.iter().map(|target| f64::from(target.weight)).sum()
}

fn check_normalizer(normalizer: f64) -> Result<()> {
    if normalizer.is_finite() && normalizer > 0.0 {
        return Ok(());
    }
    let (key, expected) = ("normalizer".to_owned(), "a positive number".to_owned());
    Err(Error::InvalidConfig { key, expected, actual: normalizer.to_string() })
}
