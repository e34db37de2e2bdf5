use std::path::{Path, PathBuf};

/// The files of the store of slides: `<data_dir>/raw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlideFiles {
    root: PathBuf,
}

impl SlideFiles {
    /// The store in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where people put their decks.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("manual_uploads")
    }

    /// One line a slide.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.jsonl")
    }

    /// What became of each input file.
    pub fn inputs(&self) -> PathBuf {
        self.root.join("inputs.jsonl")
    }

    /// Receipts of what was forgotten.
    pub fn forgotten(&self) -> PathBuf {
        self.root.join("forgotten.jsonl")
    }

    /// The folder of what was fetched from the web, with its index.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The folder of the slides' images.
    pub fn images(&self) -> PathBuf {
        self.root.join("slides")
    }

    /// The image of a slide.
    pub fn image(&self, slide_id: &str) -> PathBuf {
        self.images().join(format!("{slide_id}.png"))
    }
}
