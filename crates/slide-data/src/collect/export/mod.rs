//! The usable slides for other tools: a Hugging Face image folder, or Parquet files.

mod image_folder;
#[cfg(feature = "parquet")]
mod parquet;
mod row;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::row::Row;
use crate::{Labels, Manifest, SlideRecord, Split, Splits};

/// What is exported: the usable slides with their labels; without splits all of them are in `train`, with splits those that
/// have none are left out.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The slides.
    pub manifest: &'a Manifest,
    /// The store's folder.
    pub raw: &'a Path,
    /// The raters' consensus, where there is one.
    pub labels: Option<&'a Labels>,
    /// The splits, where there are any.
    pub splits: Option<&'a Splits>,
    /// The dataset card, which becomes `README.md`.
    pub card: &'a str,
    /// Whether it is for everybody: slides without a stated licence are left out, and so are names of files and people's notes.
    pub public: bool,
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Slides by split.
    pub slides: BTreeMap<String, usize>,
    /// The files that hold them (images, or Parquet files).
    pub files: usize,
}

impl Export<'_> {
    /// The slides of each split, in manifest order; the splits have the Hub's names.
    fn rows(&self) -> BTreeMap<&'static str, Vec<Row<'_>>> {
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for slide in self.manifest.usable().filter(|slide| self.may_be_shown(slide)) {
            let split = match self.splits.map(|splits| splits.of(slide)) {
                None | Some(Some(Split::Train)) => "train",
                Some(Some(Split::Val)) => "validation",
                Some(Some(Split::Test)) => "test",
                Some(None) => continue,
            };
            let label = self.labels.and_then(|labels| labels.slides.get(&slide.slide_id));
            rows.entry(split).or_default().push(Row { slide, label, public: self.public });
        }
        rows
    }

    /// Whether no slide would be exported.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    fn may_be_shown(&self, slide: &SlideRecord) -> bool {
        let license = slide.source.license.as_deref().map_or("", str::trim);
        !self.public || !license.is_empty()
    }

    /// Every criterion that some label names, so that all rows have the same columns.
    fn criteria(&self) -> Vec<String> {
        let labels = self.labels.into_iter().flat_map(|labels| labels.slides.values());
        let keys = labels.flat_map(|label| label.scores.keys().chain(label.distribution.keys()).cloned());
        keys.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    fn image(&self, row: &Row<'_>) -> PathBuf {
        Manifest::image_path(self.raw, &row.slide.slide_id)
    }
}
