use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::shuffle::permutation;
use super::{SamplingStrategy, TrainingConfig};
use crate::feature_cache::{FeatureCache, FeatureKey};
use crate::model::Features;
use crate::{Result, Sample, Tiles};

/// Samples by index. Decoding happens in [`sample`](Self::sample), on background threads that work ahead of the model.
pub trait Dataset: Sync {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index < len()`: always the same for the same index.
    ///
    /// # Errors
    /// When it cannot be read or does not fit the model; this ends the run.
    fn sample(&self, index: usize) -> Result<Sample>;

    /// Changes with the samples or their order: a run is not resumed over other data.
    fn fingerprint(&self) -> String;
}

/// Samples that are already in memory.
impl Dataset for Vec<Sample> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        Ok(self[index].clone())
    }

    fn fingerprint(&self) -> String {
        let mut hash = crate::feature_cache::Hasher::default();
        for sample in self {
            hash.add(&(sample.input_ids.len() as u64).to_le_bytes());
            hash.add(bytemuck::cast_slice(&sample.input_ids));
            hash.add(&sample.tiles.data);
            for target in &sample.targets {
                hash.add(&(target.position as u64).to_le_bytes());
                hash.add(&target.weight.to_le_bytes());
                for (token, probability) in &target.tokens {
                    hash.add(&token.to_le_bytes());
                    hash.add(&probability.to_le_bytes());
                }
            }
        }
        hash.hex()
    }
}

/// The order in which a run visits its samples: a pure function of the seed and the position.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleOrder {
    len: usize,
    seed: u64,
    strategy: SamplingStrategy,
}

impl SampleOrder {
    pub(super) fn new(config: &TrainingConfig, len: usize) -> Self {
        Self { len, seed: config.seed, strategy: config.train_sampling_strategy }
    }

    pub(super) fn epoch(&self, epoch: usize) -> Vec<usize> {
        match self.strategy {
            SamplingStrategy::Random => permutation(self.len, self.seed.wrapping_add(epoch as u64)),
            SamplingStrategy::Sequential => (0..self.len).collect(),
        }
    }
}

/// A sample that is ready for the model, with what is known of its image.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) index: usize,
    pub(super) sample: Arc<Sample>,
    /// The image's name in the feature cache, where one is in use.
    pub(super) key: Option<FeatureKey>,
    /// The image's features, where the cache has them; the sample then carries no pixels.
    pub(super) features: Option<Features>,
}

/// Reads samples, and leaves out the decoding of images whose features are kept.
pub(super) struct Loader<'a> {
    data: &'a dyn Dataset,
    cache: Option<&'a FeatureCache>,
    /// Samples without pixels, by index.
    without_pixels: Mutex<HashMap<usize, (Arc<Sample>, FeatureKey)>>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(data: &'a dyn Dataset, cache: Option<&'a FeatureCache>) -> Self {
        Self { data, cache, without_pixels: Mutex::default() }
    }

    pub(super) fn data(&self) -> &'a dyn Dataset {
        self.data
    }

    pub(super) fn cache(&self) -> Option<&'a FeatureCache> {
        self.cache
    }

    fn load(&self, index: usize) -> Result<Loaded> {
        let Some(cache) = self.cache else {
            let sample = Arc::new(self.data.sample(index)?);
            return Ok(Loaded { index, sample, key: None, features: None });
        };
        let known = self.without_pixels.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned();
        if let Some((sample, key)) = known
            && let Some(features) = cache.get(&key)
        {
            return Ok(Loaded { index, sample, key: Some(key), features: Some(features) });
        }
        let sample = Arc::new(self.data.sample(index)?);
        let key = cache.key(&sample.tiles);
        let features = cache.get(&key);
        let mut loaded = Loaded { index, sample, key: Some(key), features };
        self.drop_pixels(&mut loaded);
        Ok(loaded)
    }

    /// Drops the pixels of a sample whose features are known.
    pub(super) fn drop_pixels(&self, loaded: &mut Loaded) {
        let (Some(key), Some(_)) = (loaded.key.clone(), &loaded.features) else { return };
        let tiles = &loaded.sample.tiles;
        let bare = Tiles { rows: tiles.rows, cols: tiles.cols, side: tiles.side, data: Vec::new() };
        let Sample { input_ids, targets, .. } = &*loaded.sample;
        let without_pixels =
            Sample { input_ids: input_ids.clone(), tiles: Arc::new(bare), targets: targets.clone() };
        loaded.sample = Arc::new(without_pixels);
        let mut all = self.without_pixels.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(loaded.index, (Arc::clone(&loaded.sample), key));
    }
}

/// Loads samples ahead of the consumer. Worker `w` of `n` takes positions `w, w + n, …`, so the order of arrival does not
/// depend on timing, and a full channel holds the worker back.
pub(super) struct Prefetch {
    lanes: Vec<Receiver<Result<Loaded>>>,
    next: usize,
}

impl Prefetch {
    /// Starts `workers` threads that follow `order`, an iterator over sample indices.
    pub(super) fn start<'scope, I>(
        scope: &'scope Scope<'scope, '_>,
        loader: &'scope Loader<'_>,
        order: &I,
        workers: usize,
    ) -> Self
    where
        I: Iterator<Item = usize> + Clone + Send + 'scope,
    {
        const AHEAD: usize = 4; // samples a worker may be in front of the model: some 10 MB each at 13 tiles
        let lanes = (0..workers)
            .map(|worker| {
                let (send, receive) = sync_channel(AHEAD);
                let mine = order.clone().skip(worker).step_by(workers);
                scope.spawn(move || follow(loader, mine, &send));
                receive
            })
            .collect();
        Self { lanes, next: 0 }
    }

    /// The next sample in order; `None` at the end of the order.
    pub(super) fn next(&mut self) -> Option<Result<Loaded>> {
        let received = self.lanes[self.next].recv().ok();
        self.next = (self.next + 1) % self.lanes.len();
        received
    }
}

fn follow(loader: &Loader<'_>, order: impl Iterator<Item = usize>, send: &SyncSender<Result<Loaded>>) {
    for index in order {
        if send.send(loader.load(index)).is_err() {
            return; // the run has ended
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::feature_cache::FeaturePrecision;

    struct Numbers(usize);

    impl Dataset for Numbers {
        fn len(&self) -> usize {
            self.0
        }
        fn sample(&self, index: usize) -> Result<Sample> {
            if index == 13 {
                return Err(Error::Image { reason: "unlucky".to_owned() });
            }
            std::thread::sleep(std::time::Duration::from_micros((index % 3 * 200) as u64));
            let tiles = Arc::new(Tiles { rows: 0, cols: 0, side: 0, data: Vec::new() });
            Ok(Sample { input_ids: vec![index as u32], tiles, targets: Vec::new() })
        }
        fn fingerprint(&self) -> String {
            self.0.to_string()
        }
    }

    fn arrivals(order: Vec<usize>, workers: usize) -> Vec<Option<u32>> {
        let data = Numbers(64);
        let loader = Loader::new(&data, None);
        std::thread::scope(|scope| {
            let mut prefetch = Prefetch::start(scope, &loader, &order.into_iter(), workers);
            std::iter::from_fn(|| prefetch.next())
                .map(|loaded| loaded.ok().map(|loaded| loaded.sample.input_ids[0]))
                .collect()
        })
    }

    #[test]
    fn samples_arrive_in_order_for_any_number_of_workers() {
        let order = permutation(64, 3);
        let expected: Vec<_> = order.iter().map(|&i| (i != 13).then_some(i as u32)).collect();
        for workers in [1, 2, 3, 7] {
            assert_eq!(arrivals(order.clone(), workers), expected);
        }
    }

    #[test]
    fn a_consumer_that_leaves_early_ends_the_workers() {
        let data = Numbers(64);
        let loader = Loader::new(&data, None);
        std::thread::scope(|scope| {
            let mut prefetch = Prefetch::start(scope, &loader, &(0..64).cycle(), 3);
            assert!(prefetch.next().is_some());
        });
    }

    #[test]
    fn a_image_whose_features_are_kept_is_not_decoded_again() {
        let data = Numbers(2);
        let cache = FeatureCache::new(crate::Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32);
        let loader = Loader::new(&data, Some(&cache));
        let first = loader.load(1).unwrap();
        assert!(first.features.is_none());
        let features = Features { width: 1, values: [4.0].into() };
        cache.insert(&first.key.unwrap(), &features).unwrap();
        for _ in 0..2 {
            let again = loader.load(1).unwrap();
            assert_eq!(again.features.as_ref(), Some(&features));
            assert!(again.sample.tiles.data.is_empty() && again.sample.input_ids == [1]);
        }
        assert!(loader.without_pixels.lock().unwrap().contains_key(&1));
    }

    #[test]
    fn each_epoch_has_its_own_order_unless_sequential() {
        let mut config = TrainingConfig::default();
        let order = SampleOrder::new(&config, 10);
        assert_eq!(order.epoch(0), permutation(10, 42));
        assert_eq!(order.epoch(1), permutation(10, 43));
        config.train_sampling_strategy = SamplingStrategy::Sequential;
        assert_eq!(SampleOrder::new(&config, 3).epoch(5), [0, 1, 2]);
    }
}
