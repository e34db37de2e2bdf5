//! The output of a frozen vision tower, kept by content so that each tile of an image goes through the tower once.

mod prune;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use half::bf16;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::files::write_atomic;
use crate::model::{Features, Model};
use crate::{Error, Fingerprint, Result, Tiles};

pub use prune::prune_features;

const MAGIC: &[u8; 8] = b"vlmfeat1";
const HEADER: usize = MAGIC.len() + 1 + 8 + 8 + 32;

/// SHA-256 over several pieces.
#[derive(Clone, Default)]
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

/// Names what one tile becomes under one frozen base.
type TileKey = [u8; 32];

/// Names the features of one image under one frozen base: those of its tiles, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeatureKey(Arc<[TileKey]>);

/// How kept features are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeaturePrecision {
    /// Half the space: 123 kB for a tile of SmolVLM-500M, 1.6 MB for the 13 tiles of a slide.
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
/// What the tower says of a tile depends on no other tile, so tiles are kept: one that several slides of a deck show, such as an empty
/// margin or a footer, is computed once.
///
/// An entry that cannot be read, or whose checksum is wrong, counts as missing. What [`insert`](Self::insert) returns equals
/// what [`get`](Self::get) returns later, so a run does not depend on what was kept before it. Memory keeps what came first:
/// epochs visit every image once, where throwing out the oldest would always miss.
pub struct FeatureCache {
    base: Fingerprint,
    precision: FeaturePrecision,
    folder: Option<PathBuf>,
    /// Where else entries may lie.
    source: Option<PathBuf>,
    budget: usize,
    memory: Mutex<Memory>,
    found: AtomicU64,
    computed: AtomicU64,
}

/// Tiles that a cache was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureTally {
    /// Of these the features were kept. A tile counts once for each time that it is asked for.
    pub found: u64,
    /// Of these they were computed.
    pub computed: u64,
}

#[derive(Default)]
struct Memory {
    size: usize,
    entries: HashMap<TileKey, Arc<[u8]>>,
}

impl FeatureCache {
    /// A cache in memory for the base with this fingerprint, which must change with all that features depend on beside the
    /// pixels: [`BaseIdentity::fingerprint`](crate::BaseIdentity::fingerprint) does.
    pub fn new(base: Fingerprint, precision: FeaturePrecision) -> Self {
        let (found, computed) = Default::default();
        let (folder, source, memory) = Default::default();
        Self { base, precision, folder, source, budget: 2 << 30, memory, found, computed }
    }

    /// The base that its features are of.
    pub fn base(&self) -> Fingerprint {
        self.base
    }

    /// How many tiles were found and how many computed since the cache was made.
    pub fn tally(&self) -> FeatureTally {
        let [found, computed] = [&self.found, &self.computed].map(|count| count.load(Ordering::Relaxed));
        FeatureTally { found, computed }
    }

    /// Keeps entries in this folder too.
    pub fn on_disk(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Takes entries from this folder too, and keeps what it takes in its own.
    pub fn also_from(mut self, folder: impl Into<PathBuf>) -> Self {
        self.source = Some(folder.into());
        self
    }

    /// Bytes of features held in memory, 2 GiB unless set.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// The key of an image: for each tile SHA-256 over the base's fingerprint, the precision, the size and the pixels.
    pub fn key(&self, tiles: &Tiles) -> FeatureKey {
        let mut start = Hasher::default();
        let base = self.base.written();
        start.add(&(base.len() as u64).to_le_bytes());
        start.add(base.as_bytes());
        start.add(&[self.precision.code()]);
        start.add(&(tiles.side as u64).to_le_bytes());
        let key = |index| {
            let mut hash = start.clone();
            hash.add(tiles.tile(index));
            hash.finish()
        };
        FeatureKey((0..tiles.count()).map(key).collect())
    }

    /// The features of an image, where those of all its tiles are kept and whole.
    pub fn get(&self, key: &FeatureKey) -> Option<Features> {
        let tiles = key.0.iter().map(|tile| self.tile(tile)).collect::<Option<Vec<_>>>()?;
        self.found.fetch_add(tiles.len() as u64, Ordering::Relaxed);
        joined(&tiles)
    }

    /// Keeps the features of an image and returns them as rounded to the cache's precision.
    ///
    /// # Errors
    /// When they are not as many rows for each tile, or an entry cannot be written.
    pub fn insert(&self, key: &FeatureKey, features: &Features) -> Result<Features> {
        let Features { width, values } = features;
        let rows = values.len().checked_div(*width).filter(|rows| rows * width == values.len());
        let of_tile = rows.filter(|rows| *rows > 0 && rows.is_multiple_of(key.0.len()));
        let Some(of_tile) = of_tile.map(|rows| rows / key.0.len() * width) else {
            let what =
                format!("{} features of {} tiles do not make rows of {width}", values.len(), key.0.len());
            return Err(Error::Image { reason: what });
        };
        let keep = |(tile, values): (&TileKey, &[f32])| self.insert_tile(*tile, *width, values);
        let tiles = key.0.iter().zip(values.chunks(of_tile)).map(keep).collect::<Result<Vec<_>>>()?;
        joined(&tiles).ok_or_else(|| Error::Image { reason: "the image has no tile".to_owned() })
    }

    /// What a model's vision tower says of images, in their order: kept features, and those of the other tiles computed in one batch and
    /// kept. A model whose adapter changes the tower computes all of them, and none is kept.
    ///
    /// # Errors
    /// When tiles have a size that the model does not take, the backend fails or an entry cannot be written.
    pub fn features<B: Backend>(&self, model: &Model<B>, images: &[&Tiles]) -> Result<Vec<Features>> {
        if model.trains_vision() {
            return model.image_features(images);
        }
        let keys: Vec<FeatureKey> = images.iter().map(|tiles| self.key(tiles)).collect();
        let images: Vec<_> = keys.iter().zip(images.iter().copied()).collect();
        self.complete(model, &images)
    }

    /// As [`features`](Self::features), of images whose keys are known and a model whose tower no adapter changes.
    pub(crate) fn complete<B: Backend>(
        &self,
        model: &Model<B>,
        images: &[(&FeatureKey, &Tiles)],
    ) -> Result<Vec<Features>> {
        let (mut known, missing) = self.divide(images);
        self.found.fetch_add(known.len() as u64, Ordering::Relaxed);
        self.computed.fetch_add(missing.len() as u64, Ordering::Relaxed);
        if !missing.is_empty() {
            let incomplete =
                images.iter().filter(|(key, _)| key.0.iter().any(|tile| !known.contains_key(tile)));
            model.check_integers(&incomplete.map(|(_, tiles)| *tiles).collect::<Vec<_>>())?;
            let tiles: Vec<&Tiles> = missing.iter().map(|(_, tiles)| tiles).collect();
            for ((tile, _), computed) in missing.iter().zip(model.image_features(&tiles)?) {
                known.insert(*tile, self.insert_tile(*tile, computed.width, &computed.values)?);
            }
        }
        let together = |(key, _): &(&FeatureKey, &Tiles)| {
            let tiles: Vec<Features> = key.0.iter().filter_map(|tile| known.get(tile).cloned()).collect();
            joined(&tiles).ok_or_else(|| Error::Image { reason: "the image has no tile".to_owned() })
        };
        images.iter().map(together).collect()
    }

    /// Features of the tiles of images that are kept, and the other tiles, each once.
    fn divide(
        &self,
        images: &[(&FeatureKey, &Tiles)],
    ) -> (HashMap<TileKey, Features>, Vec<(TileKey, Tiles)>) {
        let (mut known, mut missing) = (HashMap::new(), Vec::new());
        let mut seen = HashSet::new();
        for (key, tiles) in images {
            for (index, tile) in key.0.iter().enumerate().filter(|(_, tile)| seen.insert(**tile)) {
                match self.tile(tile) {
                    Some(features) => drop(known.insert(*tile, features)),
                    None => missing.push((*tile, tiles.alone(index))),
                }
            }
        }
        (known, missing)
    }

    /// The features of a tile, where they are kept and whole.
    fn tile(&self, key: &TileKey) -> Option<Features> {
        if let Some(entry) = self.lock().entries.get(key).cloned() {
            return decode(&entry);
        }
        let (entry, features) = match read(&path_in(self.folder.as_deref()?, key)) {
            Some(found) => found,
            None => self.adopt(key)?,
        };
        self.remember(*key, entry);
        Some(features)
    }

    /// Takes an entry over from where else entries may lie. What cannot be kept is of use all the same.
    fn adopt(&self, key: &TileKey) -> Option<(Arc<[u8]>, Features)> {
        let (entry, features) = read(&path_in(self.source.as_deref()?, key))?;
        if let Some(folder) = &self.folder {
            let _ = write_atomic(&path_in(folder, key), &entry);
        }
        Some((entry, features))
    }

    /// Keeps the features of a tile and returns them as rounded.
    fn insert_tile(&self, key: TileKey, width: usize, values: &[f32]) -> Result<Features> {
        let entry: Arc<[u8]> = encode(width, values, self.precision).into();
        if let Some(folder) = &self.folder {
            write_atomic(&path_in(folder, &key), &entry)?;
        }
        let rounded = decode(&entry).ok_or_else(|| Error::Image {
            reason: format!("{} features do not make rows of {width}", values.len()),
        })?;
        self.remember(key, entry);
        Ok(rounded)
    }

    fn remember(&self, key: TileKey, entry: Arc<[u8]>) {
        let mut memory = self.lock();
        if memory.size + entry.len() <= self.budget && !memory.entries.contains_key(&key) {
            memory.size += entry.len();
            memory.entries.insert(key, entry);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path_in(folder: &Path, key: &TileKey) -> PathBuf {
    let name = hex(key);
    folder.join(&name[..2]).join(name)
}

/// An entry and what it holds, where it is whole.
fn read(path: &Path) -> Option<(Arc<[u8]>, Features)> {
    let entry: Arc<[u8]> = std::fs::read(path).ok()?.into();
    let features = decode(&entry)?;
    Some((entry, features))
}

/// Rows of tiles, one behind the other; none where there is no tile, or they differ in width.
fn joined(tiles: &[Features]) -> Option<Features> {
    let width = tiles.first()?.width;
    if let [tile] = tiles {
        return Some(tile.clone());
    }
    let values: Vec<f32> = tiles.iter().flat_map(|tile| tile.values.iter().copied()).collect();
    tiles.iter().all(|tile| tile.width == width).then(|| Features { width, values: values.into() })
}

fn checksum(fields: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hash = Hasher::default();
    hash.add(fields);
    hash.add(payload);
    hash.finish()
}

/// Magic, element size, width, number of values, SHA-256 of all else, payload.
fn encode(width: usize, values: &[f32], precision: FeaturePrecision) -> Vec<u8> {
    let payload: Vec<u8> = match precision {
        FeaturePrecision::Bfloat16 => {
            values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
        }
        FeaturePrecision::Float32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let mut entry = Vec::with_capacity(HEADER + payload.len());
    entry.extend_from_slice(MAGIC);
    entry.push(precision.code());
    entry.extend_from_slice(&(width as u64).to_le_bytes());
    entry.extend_from_slice(&(values.len() as u64).to_le_bytes());
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
mod tests;
