use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Contract;

/// What became of an input file: a line of `<raw>/inputs.jsonl`. The last line of a place holds, or of an origin that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The file, as in [`Source::origin`](crate::Source).
    pub origin: String,
    /// Where it lies on this machine: its path, within the store from there; tells files of one origin apart. None on the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its time of change in nanoseconds since 1970; size and time unchanged means file unchanged.
    pub modified_ns: i128,
    /// SHA-256 of the file; empty when it could not be read.
    pub sha256: String,
    /// What became of it.
    pub outcome: Outcome,
    /// SHA-256 of what lay in this place before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
    /// Pages or entries that were set aside, with the reason.
    #[serde(default)]
    pub set_aside: Vec<(String, String)>,
    /// Whether the next run tries again, because the reason lay with the machine and not with the file.
    #[serde(default)]
    pub transient: bool,
    /// How its slides were drawn; absent in records of earlier programs, which read no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
    /// When.
    pub at: Timestamp,
}

/// How the slides of a file were drawn, as far as they may come out otherwise later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// The longest edge of pages.
    pub longest_edge: u32,
    /// The beginning of the hash of the names of the installed fonts; empty where no slide asked for one that was missing.
    #[serde(default)]
    pub fonts: String,
}

impl Contract for InputRecord {
    const NAME: &'static str = "input record";
    const VERSION: u32 = 1;
}

/// What became of an input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Its slides are in the store.
    Collected {
        /// How many.
        slides: usize,
    },
    /// It cannot become slides.
    #[serde(rename = "set_aside")]
    Quarantined {
        /// Why.
        reason: String,
    },
}

impl InputRecord {
    #[cfg(feature = "collect")]
    pub(crate) fn key(&self) -> String {
        key(self.place.as_deref(), &self.origin)
    }
}

/// What an input is known by: its place or, where it has none, its origin.
#[cfg(feature = "collect")]
pub(crate) fn key(place: Option<&str>, origin: &str) -> String {
    place.map_or_else(|| origin.to_owned(), |place| format!("\0{place}"))
}
