//! The output of a frozen vision tower, kept by content so that each image goes through the tower once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::files::write_atomic;
use crate::model::{Features, Model};
use crate::{Error, Fingerprint, Result, Tiles};

const MAGIC: &[u8; 8] = b"vlmfeat1";
const HEADER: usize = MAGIC.len() + 1 + 8 + 8 + 32;

/// SHA-256 over several pieces.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    pub(crate) fn hex(self) -> String {
        hex(&self.finish())
    }
}

pub(crate) use durable_files::hex;

/// Names the features of one image under one frozen base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeatureKey([u8; 32]);

/// How kept features are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeaturePrecision {
    /// Half the space: 1.6 MB for 13 tiles of SmolVLM-500M.
    Bfloat16,
    /// Exact.
    Float32,
}

impl FeaturePrecision {
    fn code(self) -> u8 {
        match self {
            Self::Bfloat16 => 2,
            Self::Float32 => 4,
        }
    }
}

/// Features in memory, up to a budget, and on disk, where a folder is given.
///
/// An entry that cannot be read, or whose checksum is wrong, counts as missing. What [`insert`](Self::insert) returns equals
/// what [`get`](Self::get) returns later, so a run does not depend on what was kept before it. Memory keeps what came first:
/// epochs visit every image once, where throwing out the oldest would always miss.
pub struct FeatureCache {
    base: Fingerprint,
    precision: FeaturePrecision,
    folder: Option<PathBuf>,
    budget: usize,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    size: usize,
    entries: HashMap<FeatureKey, Arc<[u8]>>,
}

impl FeatureCache {
    /// A cache in memory for the base with this fingerprint, which must change with all that features depend on beside the
    /// pixels: [`BaseIdentity::fingerprint`](crate::BaseIdentity::fingerprint) does.
    pub fn new(base: Fingerprint, precision: FeaturePrecision) -> Self {
        Self { base, precision, folder: None, budget: 2 << 30, memory: Mutex::default() }
    }

    /// The base that its features are of.
    pub fn base(&self) -> Fingerprint {
        self.base
    }

    /// Keeps entries in this folder too.
    pub fn on_disk(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Bytes of features held in memory, 2 GiB unless set.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// The key of an image: SHA-256 over the base's fingerprint, the precision, the split and the pixels.
    pub fn key(&self, tiles: &Tiles) -> FeatureKey {
        let mut hash = Hasher::default();
        let base = self.base.written();
        hash.add(&(base.len() as u64).to_le_bytes());
        hash.add(base.as_bytes());
        hash.add(&[self.precision.code()]);
        for size in [tiles.rows, tiles.cols, tiles.side] {
            hash.add(&(size as u64).to_le_bytes());
        }
        hash.add(&tiles.data);
        FeatureKey(hash.finish())
    }

    /// The features of an image, where they are kept and whole.
    pub fn get(&self, key: &FeatureKey) -> Option<Features> {
        if let Some(entry) = self.lock().entries.get(key).cloned() {
            return decode(&entry);
        }
        let entry: Arc<[u8]> = std::fs::read(self.path(key)?).ok()?.into();
        let features = decode(&entry)?;
        self.remember(*key, entry);
        Some(features)
    }

    /// Keeps features and returns them as rounded to the cache's precision.
    ///
    /// # Errors
    /// When the entry cannot be written.
    pub fn insert(&self, key: FeatureKey, features: &Features) -> Result<Features> {
        let entry: Arc<[u8]> = encode(features, self.precision).into();
        if let Some(path) = self.path(&key) {
            write_atomic(&path, &entry)?;
        }
        let rounded = decode(&entry).ok_or_else(|| Error::Image {
            reason: format!("{} features do not make rows of {}", features.values.len(), features.width),
        })?;
        self.remember(key, entry);
        Ok(rounded)
    }

    /// What a model's vision tower says of images, in their order: kept features, and the others computed in one batch and kept. A
    /// model whose adapter changes the tower computes all of them, and none is kept.
    ///
    /// # Errors
    /// When tiles have a size that the model does not take, the backend fails or an entry cannot be written.
    pub fn features<B: Backend>(&self, model: &Model<B>, images: &[&Tiles]) -> Result<Vec<Features>> {
        if model.trains_vision() {
            return model.image_features(images);
        }
        let keys: Vec<FeatureKey> = images.iter().map(|tiles| self.key(tiles)).collect();
        let mut known: HashMap<FeatureKey, Features> =
            keys.iter().filter_map(|key| Some((*key, self.get(key)?))).collect();
        let mut missing: Vec<(FeatureKey, &Tiles)> = Vec::new();
        for (key, tiles) in keys.iter().zip(images) {
            if !known.contains_key(key) && missing.iter().all(|(other, _)| other != key) {
                missing.push((*key, tiles));
            }
        }
        if !missing.is_empty() {
            let tiles: Vec<&Tiles> = missing.iter().map(|(_, tiles)| *tiles).collect();
            for ((key, _), computed) in missing.iter().zip(model.image_features(&tiles)?) {
                known.insert(*key, self.insert(*key, &computed)?);
            }
        }
        Ok(keys.iter().filter_map(|key| known.get(key).cloned()).collect())
    }

    fn remember(&self, key: FeatureKey, entry: Arc<[u8]>) {
        let mut memory = self.lock();
        if memory.size + entry.len() <= self.budget && !memory.entries.contains_key(&key) {
            memory.size += entry.len();
            memory.entries.insert(key, entry);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &FeatureKey) -> Option<PathBuf> {
        let name = hex(&key.0);
        Some(self.folder.as_ref()?.join(&name[..2]).join(name))
    }
}

fn checksum(fields: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hash = Hasher::default();
    hash.add(fields);
    hash.add(payload);
    hash.finish()
}

/// Magic, element size, width, number of values, SHA-256 of all else, payload.
fn encode(features: &Features, precision: FeaturePrecision) -> Vec<u8> {
    let payload: Vec<u8> = match precision {
        FeaturePrecision::Bfloat16 => {
            features.values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
        }
        FeaturePrecision::Float32 => features.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let mut entry = Vec::with_capacity(HEADER + payload.len());
    entry.extend_from_slice(MAGIC);
    entry.push(precision.code());
    entry.extend_from_slice(&(features.width as u64).to_le_bytes());
    entry.extend_from_slice(&(features.values.len() as u64).to_le_bytes());
    let checksum = checksum(&entry, &payload);
    entry.extend_from_slice(&checksum);
    entry.extend_from_slice(&payload);
    entry
}

fn decode(entry: &[u8]) -> Option<Features> {
    let (header, payload) = entry.split_at_checked(HEADER)?;
    let number = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?) as usize);
    let (size, width, len) = (header[8] as usize, number(9)?, number(17)?);
    let whole = header.starts_with(MAGIC)
        && matches!(size, 2 | 4)
        && len.checked_mul(size) == Some(payload.len())
        && width > 0
        && len % width == 0
        && header[25..] == checksum(&header[..25], payload);
    if !whole {
        return None;
    }
    let values = if size == 2 {
        payload.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    } else {
        payload.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Some(Features { width, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(byte: u8) -> Tiles {
        Tiles { rows: 0, cols: 0, side: 2, data: vec![byte; 12] }
    }

    fn features() -> Features {
        Features { width: 3, values: [0.1, -2.5, 1e-3, 7.0, 0.0, -0.333].into() }
    }

    #[test]
    fn what_is_inserted_is_found_again_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        for precision in [FeaturePrecision::Bfloat16, FeaturePrecision::Float32] {
            let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), precision).on_disk(dir.path());
            let key = cache.key(&tiles(1));
            assert_eq!(cache.get(&key), None);
            let stored = cache.insert(key, &features()).unwrap();
            assert_eq!(cache.get(&key).as_ref(), Some(&stored));
            let second = FeatureCache::new(Fingerprint::of_bytes(b"base"), precision).on_disk(dir.path());
            assert_eq!(second.get(&key).as_ref(), Some(&stored));
            let exact = stored == features();
            assert_eq!(exact, precision == FeaturePrecision::Float32);
            assert_eq!(stored.values.len(), features().values.len());
            for (a, b) in stored.values.iter().zip(features().values.iter()) {
                assert!((a - b).abs() <= b.abs() / 256.0);
            }
        }
    }

    #[test]
    fn every_corruption_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Bfloat16)
            .on_disk(dir.path())
            .memory_budget(0);
        let key = cache.key(&tiles(1));
        cache.insert(key, &features()).unwrap();
        let path = cache.path(&key).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            std::fs::write(&path, &broken).unwrap();
            assert_eq!(cache.get(&key), None, "byte {at} of {}", whole.len());
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.get(&key), None, "cut at {at}");
        }
        cache.insert(key, &features()).unwrap();
        assert!(cache.get(&key).is_some());
    }

    #[test]
    fn the_key_follows_base_precision_split_and_pixels() {
        let cache =
            |base: &str, precision| FeatureCache::new(Fingerprint::of_bytes(base.as_bytes()), precision);
        let plain = cache("a", FeaturePrecision::Bfloat16);
        let key = plain.key(&tiles(1));
        assert_eq!(key, plain.key(&tiles(1)));
        assert_ne!(key, plain.key(&tiles(2)));
        assert_ne!(key, plain.key(&Tiles { rows: 1, ..tiles(1) }));
        assert_ne!(key, cache("b", FeaturePrecision::Bfloat16).key(&tiles(1)));
        assert_ne!(key, cache("a", FeaturePrecision::Float32).key(&tiles(1)));
    }

    #[test]
    fn memory_stays_within_its_budget() {
        let cache =
            FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32).memory_budget(200);
        let keys: Vec<_> = (0..4).map(|i| cache.key(&tiles(i))).collect();
        for key in &keys {
            cache.insert(*key, &features()).unwrap();
        }
        assert_eq!(keys.iter().filter(|key| cache.get(key).is_some()).count(), 2); // 81 bytes each
    }
}
