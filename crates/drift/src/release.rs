use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slide_data::read_json;

use crate::Result;

/// One release, as far as the retraining decision looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// As in `v3`.
    pub version: String,
    /// When.
    pub released_at: Timestamp,
    /// The run it came from.
    #[serde(default)]
    pub run_id: String,
}

/// `model_registry/version.json`, as far as the retraining decision looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Releases {
    /// The version in use.
    #[serde(default)]
    pub version: Option<String>,
    /// All releases in any order.
    #[serde(default)]
    pub history: Vec<Release>,
}

impl Releases {
    /// Reads the file; unknown fields are tolerated.
    ///
    /// # Errors
    /// When it cannot be read or a release has no version or time.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(read_json(path, "release history")?)
    }

    /// The release of this name.
    pub fn find(&self, version: &str) -> Option<&Release> {
        self.history.iter().find(|release| release.version == version)
    }

    /// The release with the latest time.
    pub fn last(&self) -> Option<&Release> {
        self.history.iter().max_by_key(|release| release.released_at)
    }
}
