//! Collecting in shards: each process reads its files into a store of its own below the whole one, and one process takes them together.
//!
//! What is expensive, reading and drawing files, is shared; duplicates and groups are found when all slides are together, by the sketches
//! that the shards have made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use durable_files::{hash_file, sha256_hex};
use serde::{Deserialize, Serialize};

use super::store::{InputRecord, Stamp, Store};
use super::worker::Staged;
use super::{Collector, DataConfig, sketches, texts};
use crate::error::io_error;
use crate::render::InputFile;
use crate::{Contract, Error, Result, SlideRecord};

/// `<raw>/shards/<shard>-of-<shards>/shard.json`: what a shard has brought in; it is written when the shard has read all its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedShard {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Which shard.
    pub shard: usize,
    /// Of how many.
    pub shards: usize,
    /// SHA-256 of the list of all files, of every shard, with their sizes and times of change.
    pub files: String,
    /// SHA-256 of the limits and rules that files are read with.
    pub settings: String,
    /// SHA-256 of the shard's manifest; empty where it has none.
    pub manifest: String,
    /// SHA-256 of the shard's `inputs.jsonl`; empty where it has none.
    pub inputs: String,
}

impl Contract for CollectedShard {
    const NAME: &'static str = "collected shard";
    const VERSION: u32 = 1;
}

/// All files that are collected, and which of them are a shard's.
#[derive(Debug, Clone, Copy)]
pub struct ShardOfInputs<'a> {
    /// All files, in the order in which they were found.
    pub all: &'a [InputFile],
    /// Which shard.
    pub shard: usize,
    /// Of how many.
    pub shards: usize,
}

impl<'a> ShardOfInputs<'a> {
    /// Those of the shard: neighbours, so that the images of a folder mostly stay together.
    pub fn own(&self) -> &'a [InputFile] {
        let place = |shard: usize| self.all.len() * shard / self.shards.max(1);
        let range: Range<usize> = place(self.shard)..place(self.shard + 1);
        &self.all[range]
    }
}

/// Names a list of files as they are now.
fn hash_of_files(files: &[InputFile]) -> String {
    let one = |file: &InputFile| {
        let stamp = Stamp::of(&file.path).map(|stamp| (stamp.size_bytes, stamp.modified_ns.to_string())).ok();
        serde_json::json!([file.origin, file.number, file.license, stamp]).to_string()
    };
    sha256_hex(files.iter().map(one).collect::<Vec<_>>().join("\n").as_bytes())
}

fn hash_of_settings(config: &DataConfig) -> String {
    let DataConfig { limits, quality, .. } = config;
    sha256_hex(serde_json::json!([limits, quality]).to_string().as_bytes())
}

fn folder_of(raw: &Path) -> PathBuf {
    raw.join("shards")
}

fn store_of(raw: &Path, shard: usize, shards: usize) -> PathBuf {
    folder_of(raw).join(format!("{shard:05}-of-{shards:05}"))
}

const DONE: &str = "shard.json";

impl Store {
    /// Opens the store of a shard, in a folder below that of the store in `raw`. Files that are known there are not read again.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_shard(raw: &Path, shard: usize, shards: usize) -> Result<Self> {
        let mut store = Self::open_within(&store_of(raw, shard, shards), raw)?;
        store.know(&project_files::SlideFiles::new(raw).inputs())?;
        Ok(store)
    }
}

impl Collector<'_> {
    /// Reads the files of a shard into its store, which is [`Store::open_shard`]'s, and notes that it has.
    ///
    /// # Errors
    /// When the store cannot be written; what was taken in before is kept, and the next run goes on.
    pub fn read_shard(
        &mut self,
        inputs: ShardOfInputs<'_>,
        reader: super::worker::ReaderFactory<'_>,
        progress: &dyn super::Progress,
    ) -> Result<super::Report> {
        let done = self.store.raw().join(DONE);
        let before = hash_of_files(inputs.all);
        let report = self.bring_in(inputs.own(), reader, progress)?;
        if report.interrupted {
            return Ok(report);
        }
        let files = project_files::SlideFiles::new(self.store.raw());
        let hash = |path: &Path| {
            if path.exists() { Ok::<_, Error>(hash_file(path)?.sha256) } else { Ok(String::new()) }
        };
        let collected = CollectedShard {
            schema_version: CollectedShard::VERSION,
            shard: inputs.shard,
            shards: inputs.shards,
            files: before,
            settings: hash_of_settings(self.config),
            manifest: hash(&files.manifest())?,
            inputs: hash(&files.inputs())?,
        };
        collected.write(&done)?;
        Ok(report)
    }

    /// Takes what shards have read into the store, where it is not yet. Duplicates and groups are found by the next
    /// [`run`](Self::run), over the same files.
    ///
    /// # Errors
    /// When a file cannot be read or written; it can be repeated.
    pub fn take_in(&mut self, shards: &Shards) -> Result<usize> {
        let staging = self.store.staging();
        std::fs::create_dir_all(&staging).map_err(io_error("create", &staging))?;
        let mut new = 0;
        for folder in &shards.folders {
            new += self.take_in_one(folder, &staging)?;
        }
        let _ = std::fs::remove_dir_all(&staging);
        Ok(new)
    }

    fn take_in_one(&mut self, folder: &Path, staging: &Path) -> Result<usize> {
        let files = project_files::SlideFiles::new(folder);
        let slides = SlideRecord::read_log_if_present(&files.manifest())?.entries;
        let lines = InputRecord::read_log_if_present(&files.inputs())?.entries;
        let of_place: BTreeMap<String, InputRecord> =
            lines.into_iter().map(|line| (line.key(), line)).collect();
        let outlines = sketches::of_all(folder, &slides).into_iter().zip(texts::of_all(folder, &slides));
        let mut staged = Vec::new();
        for (record, (sketch, text)) in slides.into_iter().zip(outlines) {
            let from = files.image(&record.slide_id);
            let Some(sketch) = sketch else {
                return Err(Error::Damaged(format!(
                    "`{}` cannot be read; collect its shard again",
                    from.display()
                )));
            };
            let image = staging.join(format!("{}.png", record.slide_id));
            link(&from, &image)?;
            staged.push(Staged { record, image, sketch, text });
        }
        let mut batch: Vec<(Vec<Staged>, InputRecord)> =
            of_place.into_values().map(|line| (Vec::new(), line)).collect();
        let Some((first, _)) = batch.first_mut() else { return Ok(0) };
        *first = staged;
        Ok(self.store.commit(batch, self.staying)?.0)
    }
}

/// The same file under another name; where the file system knows no two names, a copy.
fn link(from: &Path, to: &Path) -> Result<()> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to).map(drop).map_err(io_error("write", to))
}

/// The shards of a store that are to be taken together.
#[derive(Debug)]
pub struct Shards {
    folders: Vec<PathBuf>,
    /// Shards that are to be run, or run again, with the reason where there is something of them.
    pub missing: Vec<(usize, Option<String>)>,
    /// How many there are.
    pub count: usize,
}

impl Shards {
    /// What lies below a store: each shard, whole and once, of the files that there are now.
    ///
    /// # Errors
    /// When there are no shards, they are not of one number, of these files, or read with these settings, or a file cannot be read.
    pub fn of(raw: &Path, files: &[InputFile], config: &DataConfig) -> Result<Self> {
        let folder = folder_of(raw);
        let count = count_in(&folder)?;
        let mut shards = Self { folders: Vec::new(), missing: Vec::new(), count };
        let (now, settings) = (hash_of_files(files), hash_of_settings(config));
        for shard in 0..count {
            let path = store_of(raw, shard, count);
            match of_shard(&path)? {
                Err(reason) => shards.missing.push((shard, reason)),
                Ok(done) => {
                    let refused = |what: &str| {
                        Err(Error::Shard {
                            path: path.clone(),
                            reason: format!("{what}; collect the shards again"),
                        })
                    };
                    if (done.shard, done.shards) != (shard, count) {
                        return refused("is the folder of another shard");
                    }
                    if done.files != now {
                        return refused("is of other files than there are now");
                    }
                    if done.settings != settings {
                        return refused("was read with other limits or rules");
                    }
                    shards.folders.push(path);
                }
            }
        }
        Ok(shards)
    }

    /// Removes what was taken in.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self, raw: &Path) -> Result<()> {
        let folder = folder_of(raw);
        std::fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))
    }
}

/// The number of shards that all folders name.
fn count_in(folder: &Path) -> Result<usize> {
    let mut counts: BTreeMap<usize, PathBuf> = BTreeMap::new();
    if folder.exists() {
        for entry in std::fs::read_dir(folder).map_err(io_error("read", folder))? {
            let path = entry.map_err(io_error("read", folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let count = name.split_once("-of-").and_then(|(_, count)| count.parse().ok());
            let Some(count) = count else {
                return Err(Error::Shard { path, reason: "is no folder of a shard".to_owned() });
            };
            counts.insert(count, path);
        }
    }
    let mut counts = counts.into_iter();
    match (counts.next(), counts.next()) {
        (Some((count, _)), None) => Ok(count),
        (None, _) => Err(Error::Shard { path: folder.to_owned(), reason: "holds no shards".to_owned() }),
        (Some((count, _)), Some((other, path))) => {
            let reason = format!("is of {other} shards, and others are of {count}: take one kind away");
            Err(Error::Shard { path, reason })
        }
    }
}

/// What a shard says of itself, where it is whole; else why not.
fn of_shard(folder: &Path) -> Result<std::result::Result<CollectedShard, Option<String>>> {
    let Some(done) = CollectedShard::read_if_present(&folder.join(DONE))? else {
        let reason = format!("`{}` has not read all its files", folder.display());
        return Ok(Err(folder.exists().then_some(reason)));
    };
    let files = project_files::SlideFiles::new(folder);
    for (path, hash) in [(files.manifest(), &done.manifest), (files.inputs(), &done.inputs)] {
        let found = if path.exists() { hash_file(&path)?.sha256 } else { String::new() };
        if found != *hash {
            return Ok(Err(Some(format!("`{}` is cut short or was changed", path.display()))));
        }
    }
    Ok(Ok(done))
}
