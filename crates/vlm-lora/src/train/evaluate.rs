use super::data::{Loaded, Loader, Prefetch};
use super::observer::Metrics;
use super::peers::Peers;
use crate::backend::Backend;
use crate::feature_cache::FeatureCache;
use crate::model::{Item, Model};
use crate::{Error, Result, Sample};

/// Measures a model in a run, besides the loss.
pub trait Evaluator<B: Backend> {
    /// The measures of the model as it is now, the most important one first.
    ///
    /// # Errors
    /// Whatever keeps the measurement from being made; this ends the run, with a checkpoint to resume from. [`Error::Stopped`](crate::Error::Stopped)
    /// is no failure: the run ends as one that an observer stops, and makes the measurement when it is resumed.
    fn evaluate(&mut self, model: &Model<B>) -> Result<Metrics>;
}

impl<B: Backend, F: FnMut(&Model<B>) -> Result<Metrics>> Evaluator<B> for F {
    fn evaluate(&mut self, model: &Model<B>) -> Result<Metrics> {
        self(model)
    }
}

/// The samples whose features are not in the cache either.
fn missing(loader: &Loader<'_>, cache: &FeatureCache, batch: &mut [Loaded]) -> Vec<usize> {
    for loaded in batch.iter_mut().filter(|loaded| loaded.features.is_none()) {
        // A batch before this one may have computed them after this sample was loaded ahead.
        loaded.features = loaded.key.as_ref().and_then(|key| cache.get(key));
        loader.drop_pixels(loaded);
    }
    (0..batch.len()).filter(|&i| batch[i].features.is_none()).collect()
}

/// Fills in the features that are missing in a batch: computed once, kept in the cache, rounded as the cache rounds.
pub(super) fn complete_features<B: Backend>(
    model: &Model<B>,
    loader: &Loader<'_>,
    batch: &mut [Loaded],
) -> Result<()> {
    let Some(cache) = loader.cache() else { return Ok(()) };
    let missing = missing(loader, cache, batch);
    let keyed = |&i: &usize| Some((batch[i].key.as_ref()?, &*batch[i].sample.tiles));
    let images: Vec<_> = missing.iter().filter_map(keyed).collect();
    let computed = cache.complete(model, &images)?;
    for (i, features) in missing.into_iter().zip(computed) {
        batch[i].features = Some(features);
        loader.drop_pixels(&mut batch[i]);
    }
    Ok(())
}

/// A batch as the model takes it.
pub(super) fn items(batch: &[Loaded]) -> Vec<Item<'_>> {
    batch.iter().map(|loaded| Item { sample: &loaded.sample, features: loaded.features.as_ref() }).collect()
}

/// Σ weight over the supervised positions.
pub(super) fn target_weight(sample: &Sample) -> f64 {
    sample.targets.iter().map(|target| f64::from(target.weight)).sum()
}

/// How the loss of an evaluation is measured.
#[derive(Clone, Copy)]
pub(super) struct Measuring<'a> {
    pub(super) batch_size: usize,
    pub(super) workers: usize,
    pub(super) peers: Peers<'a>,
}

/// The mean over samples of each sample's weighted mean loss: what transformers reports at an evaluation batch size of 1.
pub(super) fn evaluation_loss<B: Backend>(
    model: &Model<B>,
    loader: &Loader<'_>,
    measuring: Measuring<'_>,
    is_stopped: &dyn Fn() -> bool,
) -> Result<f64> {
    let Measuring { batch_size, workers, peers } = measuring;
    let (len, deal) = (loader.data().len(), peers.deal(batch_size));
    let mine = (0..len).filter(|place| deal.is_mine(*place));
    let losses: Result<(Vec<f64>, bool)> = std::thread::scope(|scope| {
        let mut prefetch = Prefetch::start(scope, loader, &mine, workers);
        let mut losses = Vec::new();
        loop {
            let batch = std::iter::from_fn(|| prefetch.next()).take(batch_size);
            let mut batch = batch.collect::<Result<Vec<_>>>()?;
            if batch.is_empty() {
                return Ok((losses, false));
            }
            peers.check()?;
            if is_stopped() {
                return Ok((losses, true));
            }
            complete_features(model, loader, &mut batch)?;
            for loaded in &mut batch {
                loaded.sample = normalized(&loaded.sample).into();
            }
            losses.push(model.loss(&items(&batch), 1.0)?.loss);
        }
    });
    let (losses, is_stopped) = losses?;
    let (losses, is_stopped) = peers.merged(losses, 1, is_stopped)?;
    if is_stopped { Err(Error::Stopped) } else { Ok(losses.iter().sum::<f64>() / len as f64) }
}

/// The sample with weights that sum to 1, so that samples of any length count alike.
fn normalized(sample: &Sample) -> Sample {
    let weight = target_weight(sample);
    let mut sample = sample.clone();
    for target in &mut sample.targets {
        target.weight = (f64::from(target.weight) / weight) as f32;
    }
    sample
}
