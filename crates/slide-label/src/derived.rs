use std::collections::BTreeMap;
use std::path::Path;

use project_files::Layout;
use slide_data::{Label, Labels, write_atomic};

use crate::consensus::Consensus;
use crate::{ConsensusRule, Result, Store};

/// `labels.json` as text, slide by slide: a changed label costs one line, and twenty thousand take a few megabytes.
#[derive(Debug, Default)]
pub(crate) struct LabelTexts {
    lines: BTreeMap<Box<str>, Box<str>>,
}

impl LabelTexts {
    /// All labels of a store.
    pub(crate) fn derive(store: &Store, rule: ConsensusRule, paths: &Layout) -> Self {
        let consensus = Consensus::new(store, rule);
        let mut texts = Self::default();
        for (slide, ratings) in store.rated_slides() {
            let label = consensus.label(slide, &ratings, &|slide| paths.image_path(slide));
            texts.set(slide, label.as_ref());
        }
        texts
    }

    pub(crate) fn of(labels: &Labels) -> Self {
        let mut texts = Self::default();
        labels.slides.iter().for_each(|(slide, label)| texts.set(slide, Some(label)));
        texts
    }

    #[cfg(feature = "server")]
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn set(&mut self, slide: &str, label: Option<&Label>) {
        // A label holds strings and numbers only: nothing that JSON cannot express.
        match label.and_then(|label| serde_json::to_string(label).ok()) {
            Some(text) => drop(self.lines.insert(slide.into(), text.into())),
            None => drop(self.lines.remove(slide)),
        }
    }

    /// Writes the file atomically, one slide a line.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let length: usize = self.lines.iter().map(|(slide, text)| slide.len() + text.len() + 8).sum();
        let mut bytes = Vec::with_capacity(length + 16);
        bytes.push(b'{');
        for (slide, text) in &self.lines {
            bytes.extend_from_slice(if bytes.len() > 1 { b",\n" } else { b"\n" });
            bytes.extend_from_slice(serde_json::json!(slide).to_string().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(b"\n}\n");
        Ok(write_atomic(path, &bytes)?)
    }
}
