use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use durable_files::hash_file;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::part::{LeftOut, PART_KEY, PartNote};
use super::plan::{HASH_DIGITS, ScoringPlan};
use crate::error::io_error;
use crate::{Contract as _, Error, Result};

/// A part that is whole and belongs to the scoring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its file.
    pub path: PathBuf,
    /// Slides that it holds.
    pub scored: u64,
    /// Slides of its shard that could not be scored.
    pub left_out: Vec<LeftOut>,
}

/// A shard that is to be run, or run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The shard.
    pub shard: usize,
    /// What is wrong with the part that is there; nothing where there is none.
    pub reason: Option<String>,
}

/// What lies in a folder of parts: which shards are there, each once, and which are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// What was to be scored.
    pub plan: ScoringPlan,
    /// The parts by their shards.
    pub parts: BTreeMap<usize, Part>,
    /// The shards that have none.
    pub missing: Vec<Missing>,
}

impl Survey {
    /// Looks through a folder: each part is hashed and its numbers compared with the plan. A part that is cut short or changed counts as
    /// missing.
    ///
    /// # Errors
    /// When there is no plan, a part belongs to another scoring or says what cannot be, two different parts are of one shard, or a file
    /// cannot be read.
    pub fn of(folder: &Path) -> Result<Self> {
        Self::among(folder, None)
    }

    /// The part of one shard, where it is there and whole.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn part_of(folder: &Path, shard: usize) -> Result<Option<Part>> {
        Ok(Self::among(folder, Some(shard))?.parts.remove(&shard))
    }

    fn among(folder: &Path, only: Option<usize>) -> Result<Self> {
        let plan = ScoringPlan::read(&folder.join(ScoringPlan::FILE))?;
        let mut survey = Self { plan, parts: BTreeMap::new(), missing: Vec::new() };
        let mut broken = BTreeMap::new();
        for path in parts_in(folder)? {
            let name = Name::of(&path, &survey.plan)?;
            if only.is_some_and(|only| only != name.shard) {
                continue;
            }
            if hash_file(&path)?.sha256.get(..HASH_DIGITS) != Some(name.hash.as_str()) {
                broken.insert(name.shard, format!("`{}` is cut short or was changed", path.display()));
                continue;
            }
            survey.take(name.shard, path)?;
        }
        let is_missing = |shard: &usize| !survey.parts.contains_key(shard);
        let mut missing = |shard| Missing { shard, reason: broken.remove(&shard) };
        survey.missing = (0..survey.plan.shards).filter(is_missing).map(&mut missing).collect();
        Ok(survey)
    }

    fn take(&mut self, shard: usize, path: PathBuf) -> Result<()> {
        let (note, scored) = read_note(&path)?;
        let refused = |reason: String| Err(Error::Segment { path: path.clone(), reason });
        if note.scoring != self.plan.sharded_key() {
            return refused(format!("belongs to another scoring: {}", stranger(&note, &self.plan)));
        }
        let range = self.plan.range(shard);
        let says = (note.shard, note.shards, note.slides, scored + note.left_out.len() as u64);
        let slides = range.end - range.start;
        if says != (shard, self.plan.shards, slides, slides) {
            return refused(format!(
                "says that it is shard {} of {} with {scored} of {} slides, and shard {shard} has {slides}",
                note.shard, note.shards, note.slides
            ));
        }
        if let Some(other) = self.parts.get(&shard) {
            return refused(format!(
                "and `{}` are both of shard {shard} and differ: take one away",
                other.path.display()
            ));
        }
        self.parts.insert(shard, Part { path, scored, left_out: note.left_out });
        Ok(())
    }

    /// What could not be scored, in the order of the manifest.
    pub fn left_out(&self) -> impl Iterator<Item = &LeftOut> {
        self.parts.values().flat_map(|part| &part.left_out)
    }

    /// Slides that were scored.
    pub fn scored(&self) -> u64 {
        self.parts.values().map(|part| part.scored).sum()
    }
}

/// In what a part is of another scoring.
fn stranger(note: &PartNote, plan: &ScoringPlan) -> String {
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    if note.manifest != plan.manifest {
        return format!("of the manifest {}, not {}", short(&note.manifest), short(&plan.manifest));
    }
    if note.model_version != plan.model_version {
        return format!("scored by {}, not by {}", note.model_version, plan.model_version);
    }
    if note.shards != plan.shards {
        return format!("of {} shards, not {}", note.shards, plan.shards);
    }
    "by other files of the model, with other settings, or at another time".to_owned()
}

/// The files of a folder that are named as parts.
fn parts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_error("read", folder))? {
        let path = entry.map_err(io_error("read", folder))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")) {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}

/// What a part's name says.
struct Name {
    shard: usize,
    hash: String,
}

impl Name {
    fn of(path: &Path, plan: &ScoringPlan) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pieces: Vec<&str> = name.trim_end_matches(".parquet").split('-').collect();
        let refused = |reason: String| Error::Segment { path: path.to_owned(), reason };
        let ["part", shard, "of", shards, hash] = pieces.as_slice() else {
            return Err(refused("has no name of a part".to_owned()));
        };
        let numbers = shard.parse::<usize>().ok().zip(shards.parse::<usize>().ok());
        let Some((shard, shards)) = numbers else {
            return Err(refused("has no name of a part".to_owned()));
        };
        if shards != plan.shards || shard >= shards {
            let count = plan.shards;
            return Err(refused(format!("is shard {shard} of {shards}, and the plan has {count} shards")));
        }
        Ok(Self { shard, hash: (*hash).to_owned() })
    }
}

/// What a whole file says of itself, and how many slides it holds.
fn read_note(path: &Path) -> Result<(PartNote, u64)> {
    let refused = |reason: String| Error::Segment { path: path.to_owned(), reason };
    let file = File::open(path).map_err(io_error("read", path))?;
    let reader =
        SerializedFileReader::new(file).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let metadata = reader.metadata().file_metadata();
    let noted = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == PART_KEY);
    let note = noted.and_then(|pair| serde_json::from_str(pair.value.as_ref()?).ok());
    let note: PartNote =
        note.ok_or_else(|| refused("does not say of what scoring it is a part".to_owned()))?;
    Ok((note, u64::try_from(metadata.num_rows()).unwrap_or(0)))
}
