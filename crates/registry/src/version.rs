use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{read_json, write_atomic};
use crate::{Error, FileHash, Result};

/// Where a version stands on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRelease {
    /// `owner/name`.
    pub repo: String,
    /// The commit that holds the version.
    pub commit: String,
    /// The tag that names it.
    pub tag: String,
}

/// What a version was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// The base checkpoint.
    pub base_model: String,
    /// SHA-256 of the inputs of the run (labels, splits, manifest, configuration), by name.
    pub inputs: BTreeMap<String, String>,
    /// The champion when this version was released.
    pub parent: Option<String>,
}

/// One released version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// `v1`, `v2`, …
    pub version: String,
    /// When it was released.
    pub released_at: Timestamp,
    /// The run that it comes from.
    pub run_id: String,
    /// Share of scores within one point of people's.
    pub human_agreement: f64,
    /// Measures of the validation.
    pub metrics: BTreeMap<String, f64>,
    /// The files with their hashes.
    pub files: BTreeMap<String, FileHash>,
    /// What it was made from.
    #[serde(default)]
    pub lineage: Lineage,
    /// Where it stands on the Hub, if it was pushed.
    #[serde(default)]
    pub hub: Option<HubRelease>,
}

/// Names for versions that change hands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Aliases {
    /// The version in use.
    pub champion: Option<String>,
    /// The version in use before it.
    pub previous: Option<String>,
}

/// `model_registry/version.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The version in use.
    pub version: Option<String>,
    /// Names for versions.
    #[serde(default)]
    pub aliases: Aliases,
    /// All releases, oldest first.
    #[serde(default)]
    pub history: Vec<Release>,
}

impl Default for VersionFile {
    fn default() -> Self {
        Self { schema_version: 1, version: None, aliases: Aliases::default(), history: Vec::new() }
    }
}

impl VersionFile {
    /// Reads the file; a registry that has none yet is empty.
    ///
    /// # Errors
    /// When it cannot be read, is not valid, or was written by a newer contract.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let file: Self = read_json(path, "version file")?;
        if file.schema_version > 1 {
            let actual = file.schema_version.to_string();
            return Err(Error::Domain { key: "schema_version", expected: "1 (update PitchQuest)", actual });
        }
        Ok(file)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let invalid = |source| Error::Invalid { path: path.to_owned(), what: "version file", source };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(invalid)?;
        bytes.push(b'\n');
        write_atomic(path, &bytes)
    }

    /// The release of that name.
    ///
    /// # Errors
    /// When the registry does not know it.
    pub fn release(&self, version: &str) -> Result<&Release> {
        self.history.iter().find(|release| release.version == version).ok_or_else(|| {
            let known: Vec<&str> = self.history.iter().map(|release| release.version.as_str()).collect();
            Error::UnknownVersion { version: version.to_owned(), known: known.join(", ") }
        })
    }

    /// The version in use.
    pub fn champion(&self) -> Option<&Release> {
        self.release(self.aliases.champion.as_deref()?).ok()
    }

    /// The name that the next release gets: one above the highest there ever was.
    pub fn next_version(&self) -> String {
        let highest =
            self.history.iter().filter_map(|release| release.version.strip_prefix('v')?.parse::<u64>().ok());
        format!("v{}", highest.max().unwrap_or(0) + 1)
    }

    pub(crate) fn put_in_use(&mut self, version: &str) {
        if self.aliases.champion.as_deref() != Some(version) {
            self.aliases.previous = self.aliases.champion.take();
        }
        self.aliases.champion = Some(version.to_owned());
        self.version = Some(version.to_owned());
    }
}
