use std::path::{Path, PathBuf};

use jiff::civil::Date;
use project_files::Layout;
use serde::{Deserialize, Serialize};

use crate::Contract;

/// What the names of files that are not listed yet begin with.
pub(super) const NEW: &str = ".new-";

/// `monitoring/predictions/segments.json`: the files that hold past days of the log of scored slides.
///
/// A file that is not listed here does not count, and one that is listed must be there: what is missing is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentIndex {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The files, the oldest first.
    pub parts: Vec<SegmentPart>,
    /// Lines that are on their way from the log into files of `parts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// Files that do not count any more and are to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

impl Default for SegmentIndex {
    fn default() -> Self {
        Self { schema_version: Self::VERSION, parts: Vec::new(), moving: None, dropped: Vec::new() }
    }
}

/// A file of a day (Parquet), or of lines that no segment can hold (JSON lines).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPart {
    /// Its name, which ends with the first digits of its hash.
    pub file: String,
    /// The day (UTC) of its slides; absent for lines as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Date>,
    /// Lines of the log that it holds.
    pub lines: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: String,
}

/// A move that began: where the log still begins as said here, it was not finished, and the files do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// SHA-256 of these.
    pub sha256: String,
    /// The files that hold what of them is to leave the log.
    pub files: Vec<String>,
}

impl Contract for SegmentIndex {
    const NAME: &'static str = "list of segments";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        let named = self.parts.iter().map(|part| &part.file).chain(&self.dropped);
        let moved = self.moving.iter().flat_map(|moving| &moving.files);
        // Whatever the list says, it does not lead out of the folder.
        let is_name = |name: &str| {
            let is_file = Path::new(name).file_name().is_some_and(|file| file == name);
            let is_known = Path::new(name).extension().is_some_and(|end| end == "parquet" || end == "jsonl");
            is_file && is_known && !name.starts_with('.')
        };
        match named.chain(moved).find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{name}` is no name of a segment")),
            None => Ok(()),
        }
    }
}

/// Where a listed file lies: under its name, or, where a process died in between, still under that of a new one.
pub(super) fn path_of(layout: &Layout, file: &str) -> PathBuf {
    let path = layout.segments().join(file);
    if path.exists() {
        return path;
    }
    let new = layout.segments().join(format!("{NEW}{file}"));
    if new.exists() { new } else { path }
}
