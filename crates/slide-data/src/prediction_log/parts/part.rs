use std::path::{Path, PathBuf};

use durable_files::{hash_file, sync_dir};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::super::field::{Keys, nanoseconds};
use super::super::index::NEW;
use super::super::write::SegmentWriter;
use super::plan::ScoringPlan;
use crate::error::io_error;
use crate::{Error, Prediction, Result};

/// Where a part says what it is, among its metadata.
pub(super) const PART_KEY: &str = "pitchquest.part";

/// A slide that could not be scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The slide.
    pub slide_id: String,
    /// Why.
    pub reason: String,
}

/// What a part says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartNote {
    /// [`ScoringPlan::sharded_key`].
    pub(super) scoring: String,
    pub(super) manifest: String,
    pub(super) model_version: String,
    pub(super) shard: usize,
    pub(super) shards: usize,
    /// Slides of its range, scored or left out.
    pub(super) slides: u64,
    pub(super) left_out: Vec<LeftOut>,
}

/// A part that is being written. It is not there before it is whole: until then it has a name that does not count, and goes with the
/// process.
pub struct PartWriter {
    folder: PathBuf,
    file: NamedTempFile,
    writer: SegmentWriter,
    keys: Keys,
    plan: ScoringPlan,
    note: PartNote,
}

impl PartWriter {
    /// Begins the part of a shard.
    ///
    /// # Errors
    /// When there is no such shard, or the folder cannot be written into.
    pub fn begin(folder: &Path, plan: &ScoringPlan, shard: usize) -> Result<Self> {
        if shard >= plan.shards {
            let actual = shard.to_string();
            let expected = format!("below {}, the number of shards", plan.shards);
            return Err(Error::Domain { key: "shard".to_owned(), expected, actual });
        }
        let file = new_file(folder, &format!("{NEW}{shard}-"))?;
        let criteria = plan.criteria.iter().cloned().collect();
        let keys = Keys { criteria, features: plan.features.iter().cloned().collect() };
        let rows = usize::try_from(plan.block()).unwrap_or(usize::MAX);
        let writer = SegmentWriter::create(file.path(), &keys)?.row_group(rows);
        let note = PartNote {
            scoring: plan.sharded_key(),
            manifest: plan.manifest.clone(),
            model_version: plan.model_version.clone(),
            shard,
            shards: plan.shards,
            slides: 0,
            left_out: Vec::new(),
        };
        Ok(Self { folder: folder.to_owned(), file, writer, keys, plan: plan.clone(), note })
    }

    /// Adds the next slide of the shard.
    ///
    /// # Errors
    /// When it has criteria or properties that the plan does not know, or cannot be written.
    pub fn push(&mut self, slide: Prediction) -> Result<()> {
        let mut keys = self.keys.clone();
        if !keys.take(&slide) || keys != self.keys || nanoseconds(slide.scored_at).is_none() {
            let reason = format!("cannot hold `{}`: it has what the plan does not know", slide.slide_id);
            return Err(Error::Segment { path: self.file.path().to_owned(), reason });
        }
        self.writer.push(slide, None)?;
        self.went_on()
    }

    /// Says that the next slide of the shard cannot be scored.
    ///
    /// # Errors
    /// When the part cannot be written.
    pub fn leave_out(&mut self, slide_id: &str, reason: String) -> Result<()> {
        self.note.left_out.push(LeftOut { slide_id: slide_id.to_owned(), reason });
        self.went_on()
    }

    fn went_on(&mut self) -> Result<()> {
        self.note.slides += 1;
        let place = self.plan.range(self.note.shard).start + self.note.slides;
        if place.is_multiple_of(self.plan.block()) { self.writer.flush() } else { Ok(()) }
    }

    /// Returns the part once it is on disk under its name.
    ///
    /// # Errors
    /// When slides of the shard are missing, or it cannot be written.
    pub fn finish(mut self) -> Result<PathBuf> {
        let range = self.plan.range(self.note.shard);
        let path = self.file.path().to_owned();
        if self.note.slides != range.end - range.start {
            let reason = format!("has {} of {} slides", self.note.slides, range.end - range.start);
            return Err(Error::Segment { path, reason });
        }
        let note = serde_json::to_string(&self.note)
            .map_err(|source| durable_files::Error::Encode { path: path.clone(), source })?;
        self.writer.note(PART_KEY, note);
        self.writer.finish()?;
        let name = self.plan.name_of(self.note.shard, &hash_file(&path)?);
        let path = self.folder.join(name);
        self.file.persist(&path).map_err(|error| io_error("write", &path)(error.error))?;
        sync_dir(&self.folder)?;
        Ok(path)
    }
}

/// A new file under a name of its own, for everybody to read whom the umask lets.
pub(super) fn new_file(folder: &Path, prefix: &str) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(io_error("write", folder))
}
