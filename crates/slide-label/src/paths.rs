use std::path::{Path, PathBuf};

/// Where the labelling files of a project lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePaths {
    /// `data/raw`: the manifest and the pictures.
    pub raw: PathBuf,
    /// The journal, `data/labeled/ratings.jsonl`.
    pub journal: PathBuf,
    /// The consensus, `data/labeled/labels.json`.
    pub labels: PathBuf,
    /// Invitations and sessions, `data/labeled/people.json`.
    pub people: PathBuf,
    /// `data/user_feedback/corrections.jsonl`.
    pub corrections: PathBuf,
    /// `monitoring/predictions.jsonl`.
    pub predictions: PathBuf,
}

impl StorePaths {
    /// The usual names below the data folder and the monitoring folder.
    pub fn new(data: &Path, monitoring: &Path) -> Self {
        let labeled = data.join("labeled");
        Self {
            raw: data.join("raw"),
            journal: labeled.join("ratings.jsonl"),
            labels: labeled.join("labels.json"),
            people: labeled.join("people.json"),
            corrections: data.join("user_feedback").join("corrections.jsonl"),
            predictions: monitoring.join("predictions.jsonl"),
        }
    }

    /// The picture of a slide as `labels.json` names it: relative to the project's folder, with forward slashes.
    pub fn image_path(&self, slide_id: &str) -> String {
        slide_data::Manifest::image_path(&self.raw, slide_id).to_string_lossy().replace('\\', "/")
    }
}
