use std::collections::BTreeMap;

use durable_files::FileHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Error, Result, Version};

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
    /// The base checkpoint, by the name that the configuration gave it.
    pub base_model: String,
    /// SHA-256 of the inputs of the run (labels, splits, manifest, configuration), by name.
    pub inputs: BTreeMap<String, String>,
    /// The champion when this version was released.
    pub parent: Option<String>,
}

/// One released version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Release {
    /// `v1.0.0`, …; earlier programs counted `v1`, `v2`, ….
    pub version: String,
    /// The identity of its manifest; versions of earlier programs have none.
    #[serde(default)]
    pub id: Option<String>,
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

/// `version.json`: all releases, and which one is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Version of this contract.
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

impl Contract for VersionFile {
    const NAME: &'static str = "version file";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        let named = self.aliases.champion.iter().chain(&self.aliases.previous).chain(&self.version);
        match named.into_iter().find(|name| self.release(name).is_err()) {
            Some(name) => Err(format!("it names `{name}`, and has no such release")),
            None => Ok(()),
        }
    }
}

impl Default for VersionFile {
    fn default() -> Self {
        Self {
            schema_version: Self::VERSION,
            version: None,
            aliases: Aliases::default(),
            history: Vec::new(),
        }
    }
}

impl VersionFile {
    /// The release of that name; `v1` and `v1.0.0` are one name.
    ///
    /// # Errors
    /// When the registry does not know it.
    pub fn release(&self, version: &str) -> Result<&Release> {
        let parsed = Version::parse(version);
        let is_it = |release: &&Release| {
            release.version == version || parsed.is_some() && Version::parse(&release.version) == parsed
        };
        self.history.iter().find(is_it).ok_or_else(|| {
            let known: Vec<&str> = self.history.iter().map(|release| release.version.as_str()).collect();
            Error::UnknownVersion { version: version.to_owned(), known: known.join(", ") }
        })
    }

    /// The version in use.
    pub fn champion(&self) -> Option<&Release> {
        self.release(self.aliases.champion.as_deref()?).ok()
    }

    /// The release with the latest time.
    pub fn last(&self) -> Option<&Release> {
        self.history.iter().max_by_key(|release| release.released_at)
    }

    /// The highest version there is.
    pub fn highest(&self) -> Option<Version> {
        self.history.iter().filter_map(|release| Version::parse(&release.version)).max()
    }

    /// Puts a version in use; the one that was in use becomes the previous one.
    pub fn promote(&mut self, version: &str) {
        if self.aliases.champion.as_deref() != Some(version) {
            self.aliases.previous = self.aliases.champion.take();
        }
        self.aliases.champion = Some(version.to_owned());
        self.version = Some(version.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_earlier_programs_go_on_counting() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/v1/version.json");
        let versions = VersionFile::read(std::path::Path::new(sample)).unwrap();
        assert_eq!(versions.release("v2.0.0").unwrap().version, "v2");
        assert_eq!(versions.highest().unwrap().to_string(), "v2.0.0");
        assert!(versions.release("v2.0.1").is_err());
    }

    #[test]
    fn an_alias_must_name_a_release() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("version.json");
        std::fs::write(&path, r#"{"schema_version":1,"version":"v9","aliases":{"champion":"v9"}}"#).unwrap();
        let error = VersionFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("`v9`"), "{error}");
        VersionFile::default().write(&path).unwrap();
        assert_eq!(VersionFile::read(&path).unwrap(), VersionFile::default());
    }
}
