use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use project_files::SlideFiles;

use crate::{Contract, Result};

/// What kind of place a slide came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An image file.
    Image,
    /// A page of a PDF.
    Pdf,
    /// A slide of a PowerPoint, Keynote or OpenDocument presentation.
    Presentation,
    /// An image or document from the web.
    Web,
    /// Drawn by a program.
    Generated,
}

/// Where a slide came from and under which terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The kind of the original.
    pub kind: SourceKind,
    /// The original file (relative to the upload folder) or URL.
    pub origin: String,
    /// SHA-256 of the original file.
    pub sha256: String,
    /// Page of the original, from 1.
    #[serde(default)]
    pub page: Option<usize>,
    /// Licence or consent under which it is used, where known.
    #[serde(default)]
    pub license: Option<String>,
}

/// One slide: a line of `data/raw/manifest.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlideRecord {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Stable name of the slide: the same on every run and machine.
    pub slide_id: String,
    /// The deck it belongs to.
    pub deck_id: String,
    /// Its place in the deck, from 1.
    pub number: usize,
    /// Where it came from.
    pub source: Source,
    /// SHA-256 of the decoded RGB pixels.
    pub sha256: String,
    /// Perceptual hash, hexadecimal.
    pub phash: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Slides of one group (a deck and those related to it) are never divided between splits; empty until duplicates were looked
    /// for.
    pub group: String,
    /// Quality flags with their measurements, as in `{"blank": 0.998}`; empty for a good slide.
    #[serde(default)]
    pub quality: BTreeMap<String, f64>,
    /// Fonts that the original asks for and that were not there when it was drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_fonts: Vec<String>,
    /// The next step of the build that this slide is a step of: it shows all that this one shows, and more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<String>,
    /// The slide that this one repeats, if it is a duplicate; duplicates are not labelled or trained on.
    #[serde(default)]
    pub duplicate_of: Option<String>,
    /// Whether the rules of `data.toml` leave the slide out of labelling and training.
    #[serde(default)]
    pub excluded: bool,
    /// When it was scored in production, where it came from there. Such a slide is trained on, never validated or tested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored_at: Option<Timestamp>,
    /// When it was collected.
    pub collected_at: Timestamp,
    /// Version of the tool that collected it.
    #[serde(default)]
    pub tool_version: String,
}

impl SlideRecord {
    /// A slide that stands for any, for tests and examples, which change what matters to them: drawn, one pixel large, in the group
    /// of its deck, and nothing else is known of it.
    pub fn sample(deck_id: &str, number: usize) -> Self {
        let source = Source {
            kind: SourceKind::Generated,
            origin: String::new(),
            sha256: String::new(),
            page: None,
            license: None,
        };
        Self {
            schema_version: Self::VERSION,
            slide_id: format!("{deck_id}-{number}"),
            deck_id: deck_id.to_owned(),
            number,
            source,
            sha256: String::new(),
            phash: String::new(),
            width: 1,
            height: 1,
            group: deck_id.to_owned(),
            quality: BTreeMap::new(),
            missing_fonts: Vec::new(),
            completed_by: None,
            duplicate_of: None,
            excluded: false,
            scored_at: None,
            collected_at: Timestamp::UNIX_EPOCH,
            tool_version: String::new(),
        }
    }
}

impl SlideRecord {
    /// Whether it is labelled, trained on and scored: compared with all others, and neither a duplicate nor excluded.
    pub fn is_usable(&self) -> bool {
        !self.group.is_empty() && self.duplicate_of.is_none() && !self.excluded
    }
}

impl Contract for SlideRecord {
    const NAME: &'static str = "slide record";
    const VERSION: u32 = 1;
}

/// All slides of a store, in manifest order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The records.
    pub slides: Vec<SlideRecord>,
}

impl Manifest {
    /// Reads `<raw>/manifest.jsonl`.
    ///
    /// # Errors
    /// When the file cannot be read, or was written by a newer program.
    pub fn read(raw: &Path) -> Result<Self> {
        let log = SlideRecord::read_log(&SlideFiles::new(raw).manifest())?;
        Ok(Self { slides: log.entries })
    }

    /// The image of a slide below the raw folder: `<raw>/slides/<slide-id>.png`.
    pub fn image_path(raw: &Path, slide_id: &str) -> PathBuf {
        SlideFiles::new(raw).image(slide_id)
    }

    /// The slides that are labelled and trained on: compared with all others (an interrupted run leaves that to the next), and
    /// neither duplicates nor excluded.
    pub fn usable(&self) -> impl Iterator<Item = &SlideRecord> {
        self.slides.iter().filter(|slide| slide.is_usable())
    }
}
