use std::path::{Path, PathBuf};

/// The files of the scored slides that were kept: `<monitoring_dir>/kept`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFiles {
    root: PathBuf,
}

impl KeptFiles {
    /// Those in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One line a slide.
    pub fn index(&self) -> PathBuf {
        self.root.join("kept_slides.jsonl")
    }

    /// What the frozen vision tower said of the slides.
    pub fn features(&self) -> PathBuf {
        self.root.join("features")
    }

    /// The image with these pixels.
    pub fn image(&self, sha256: &str) -> PathBuf {
        self.root.join(format!("{sha256}.png"))
    }
}
