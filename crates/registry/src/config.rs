use project_files::Gate;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The `[registry]` table of `training.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// `owner/name` on the Hub; empty keeps releases local.
    pub huggingface_repo: String,
    /// Whether a repository that does not exist yet is made private.
    pub private: bool,
    /// `s3://bucket` or `s3://bucket/folder` at a service that speaks S3, in place of the Hub; empty uses none.
    pub bucket: String,
    /// Human agreement must be above this share.
    pub min_human_agreement: f64,
    /// The overall mean absolute error must be below this many points.
    pub max_mae: f64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        let Gate { min_human_agreement, max_mae, .. } = Gate::default();
        Self {
            huggingface_repo: String::new(),
            private: true,
            bucket: String::new(),
            min_human_agreement,
            max_mae,
        }
    }
}

impl RegistryConfig {
    /// The gate.
    pub fn gate(&self) -> Gate {
        Gate { min_human_agreement: self.min_human_agreement, max_mae: self.max_mae, ..Gate::PUBLISHED }
    }

    /// Checks that the gate's bounds can be met and missed.
    ///
    /// # Errors
    /// Names the key outside its domain.
    pub fn validate(&self) -> Result<()> {
        let domain =
            |key, expected, actual: f64| Err(Error::Domain { key, expected, actual: actual.to_string() });
        if !(0.0..1.0).contains(&self.min_human_agreement) {
            return domain(
                "registry.min_human_agreement",
                "at least 0 and below 1",
                self.min_human_agreement,
            );
        }
        if !(self.max_mae > 0.0 && self.max_mae.is_finite()) {
            return domain("registry.max_mae", "a positive number", self.max_mae);
        }
        Ok(())
    }
}
