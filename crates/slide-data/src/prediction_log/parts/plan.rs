use std::ops::Range;
use std::path::Path;

use durable_files::{FileHash, sha256_hex, write_new};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Error, Result};

/// A file of scored slides has at most so many row groups.
const BLOCKS: u64 = 8192;

/// `<folder>/plan.json`: what is scored by what, and in how many shards. Whoever comes first writes it, all others must mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoringPlan {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// Slides of it that are scored.
    pub slides: u64,
    /// The released version or the run that scores.
    pub model_version: String,
    /// Tells its weights, its rubric and how it is computed from all others.
    pub model: String,
    /// Slides that go through the model at once.
    pub batch: u64,
    /// Processes that share the work.
    pub shards: usize,
    /// The criteria that slides can be scored on.
    pub criteria: Vec<String>,
    /// The properties of images.
    pub features: Vec<String>,
    /// When the slides count as scored: no clock of a shard is asked.
    pub scored_at: Timestamp,
}

impl Contract for ScoringPlan {
    const NAME: &'static str = "plan of a scoring in shards";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        let is_used = self.shards > 0 && self.batch > 0 && self.slides > 0;
        if is_used { Ok(()) } else { Err("it has no shards, no slides, or no slides at once".to_owned()) }
    }
}

impl ScoringPlan {
    /// The name of its file.
    pub(super) const FILE: &str = "plan.json";

    /// Writes the plan into a folder, which is made, or takes the one that is there. The time of that one counts, unless `is_timed` says
    /// that this one's was asked for.
    ///
    /// # Errors
    /// When another scoring lies there, or a file cannot be read or written.
    pub fn enter(mut self, folder: &Path, is_timed: bool) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let mut bytes = serde_json::to_vec_pretty(&self)
            .map_err(|source| durable_files::Error::Encode { path: path.clone(), source })?;
        bytes.push(b'\n');
        if write_new(&path, &bytes)? {
            return Ok(self);
        }
        let there = Self::read(&path)?;
        if !is_timed {
            self.scored_at = there.scored_at;
        }
        match self.difference(&there) {
            None => Ok(there),
            Some(reason) => Err(Error::OtherScoring { folder: folder.to_owned(), reason }),
        }
    }

    /// In what it differs from one that is there, in words.
    fn difference(&self, there: &Self) -> Option<String> {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
        let time = |time: Timestamp| time.to_string();
        let count = |count: u64| count.to_string();
        let compared = [
            ("the manifest", short(&self.manifest), short(&there.manifest)),
            ("slides of the manifest", count(self.slides), count(there.slides)),
            ("the model", self.model_version.clone(), there.model_version.clone()),
            ("the model's files or settings", short(&self.model), short(&there.model)),
            ("slides at once (--batch)", count(self.batch), count(there.batch)),
            ("shards", self.shards.to_string(), there.shards.to_string()),
            ("criteria", self.criteria.join(", "), there.criteria.join(", ")),
            ("properties of images", self.features.join(", "), there.features.join(", ")),
            ("the time of scoring", time(self.scored_at), time(there.scored_at)),
        ];
        let differs = |(what, here, there): &(&str, String, String)| {
            (here != there).then(|| format!("{what}: {there} there, {here} here"))
        };
        let all: Vec<String> = compared.iter().filter_map(differs).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Names the scoring, whatever the number of its shards.
    pub fn key(&self) -> String {
        self.hash_of(0)
    }

    /// Names the scoring with the number of its shards.
    pub(super) fn sharded_key(&self) -> String {
        self.hash_of(self.shards)
    }

    fn hash_of(&self, shards: usize) -> String {
        let plan = Self { shards, ..self.clone() };
        sha256_hex(&serde_json::to_vec(&plan).unwrap_or_default())
    }

    /// Slides of a block: whole batches, and not so few that there are too many blocks.
    pub fn block(&self) -> u64 {
        self.slides.div_ceil(BLOCKS).max(1).next_multiple_of(self.batch.max(1))
    }

    /// The slides of a shard, by their places among those that are scored.
    pub fn range(&self, shard: usize) -> Range<u64> {
        let (block, shards) = (self.block(), self.shards.max(1) as u128);
        let blocks = u128::from(self.slides.div_ceil(block));
        let place = |shard: usize| {
            let at = u64::try_from(blocks * shard as u128 / shards).unwrap_or(u64::MAX);
            at.saturating_mul(block).min(self.slides)
        };
        place(shard)..place(shard + 1)
    }

    /// What a part of a shard is called.
    pub(super) fn name_of(&self, shard: usize, hash: &FileHash) -> String {
        format!("part-{shard:05}-of-{:05}-{}.parquet", self.shards, &hash.sha256[..HASH_DIGITS])
    }
}

/// So many digits of a part's hash stand in its name.
pub(super) const HASH_DIGITS: usize = 16;
