use serde::{Deserialize, Serialize};

use super::source::{UrlListConfig, WebConfig};
use crate::imaging::QualityThresholds;
use crate::{DuplicateThresholds, Limits, Result, SplitConfig};

/// Everything in `data.toml` that collecting uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataConfig {
    /// `[limits]`
    pub limits: Limits,
    /// `[quality]`
    pub quality: QualityThresholds,
    /// `[duplicates]`
    pub duplicates: DuplicateThresholds,
    /// `[splits]`
    pub splits: SplitConfig,
    /// `[sources]`
    pub sources: SourcesConfig,
}

/// `[sources]`: where decks come from when none are named.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesConfig {
    /// `[sources.uploads]`: the upload folder.
    pub uploads: UploadsConfig,
    /// `[sources.urls]`: a list of addresses.
    pub urls: UrlListConfig,
    /// `[sources.web]`: pages whose links are followed.
    pub web: WebConfig,
}

/// `[sources.uploads]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadsConfig {
    /// Whether the folder is read when no path is named.
    pub enabled: bool,
}

impl Default for UploadsConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl DataConfig {
    /// Checks every table.
    ///
    /// # Errors
    /// Names the first key outside its domain.
    pub fn validate(&self) -> Result<()> {
        self.limits.validate()?;
        self.quality.validate()?;
        self.duplicates.validate()?;
        self.splits.validate()?;
        self.sources.web.validate()
    }
}
