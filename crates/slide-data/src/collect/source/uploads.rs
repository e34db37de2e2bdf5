use std::path::{Path, PathBuf};

use super::{Source, SourceBatch};
use crate::Result;
use crate::render::survey;

/// The folder that people put their decks into.
#[derive(Debug)]
pub struct Uploads {
    /// The folder.
    pub folder: PathBuf,
}

impl Source for Uploads {
    fn name(&self) -> &'static str {
        "uploads"
    }

    fn batch(&self, _downloads: &Path, _is_interrupted: &dyn Fn() -> bool) -> Result<SourceBatch> {
        if !self.folder.exists() {
            return Ok(SourceBatch::default());
        }
        let mut batch = SourceBatch::default();
        batch.add(survey(std::slice::from_ref(&self.folder), Some(&self.folder))?);
        Ok(batch)
    }
}
