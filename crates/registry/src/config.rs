use std::path::PathBuf;

use project_files::Gate;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Under which terms others may use a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct License {
    /// Its identifier on the Hub, as in `apache-2.0`, or `other`.
    pub id: String,
    /// Its name, where the identifier is `other`.
    pub name: Option<String>,
    /// Where its text stands.
    pub link: Option<String>,
}

impl License {
    /// In words.
    pub fn title(&self) -> String {
        let title = self.name.as_ref().unwrap_or(&self.id);
        self.link.as_ref().map_or_else(|| title.clone(), |link| format!("[{title}]({link})"))
    }
}

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
    /// The licence of what is released, by its identifier on the Hub; empty says that none was given, and nothing goes to the Hub.
    pub license: String,
    /// Its name, where `license` is `other`.
    pub license_name: String,
    /// The address of its text.
    pub license_link: String,
    /// Whether a release holds a copy of the base's processor files (tokenizer, chat template, image settings).
    pub processor_files: bool,
    /// The file of the private key (PEM) that releases are signed with; empty signs nothing.
    pub signing_key: PathBuf,
    /// The file of the public key (PEM) that versions must be signed with to be used; empty asks for no signature.
    pub public_key: PathBuf,
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
            license: String::new(),
            license_name: String::new(),
            license_link: String::new(),
            processor_files: true,
            signing_key: PathBuf::new(),
            public_key: PathBuf::new(),
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

    /// The licence, where one was given.
    pub fn license(&self) -> Option<License> {
        let filled = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let (name, link) = (filled(&self.license_name), filled(&self.license_link));
        filled(&self.license).map(|id| License { name: name.filter(|_| id == "other"), id, link })
    }

    /// Checks that the gate's bounds can be met and missed, and that the licence is one that the Hub knows or is named.
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
        self.license().map_or(Ok(()), check_license)
    }
}

fn check_license(License { id, name, link }: License) -> Result<()> {
    let is_id =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.+".contains(letter);
    if !id.chars().all(is_id) {
        let expected = "an identifier of the Hub in small letters, such as `apache-2.0` or `other`";
        return Err(Error::Domain { key: "registry.license", expected, actual: id });
    }
    if id == "other" && name.is_none() {
        let expected = "given, since `registry.license` is `other`";
        return Err(Error::Domain { key: "registry.license_name", expected, actual: String::new() });
    }
    if let Some(link) = link.filter(|link| !link.starts_with("https://")) {
        let expected = "an address that begins with https://";
        return Err(Error::Domain { key: "registry.license_link", expected, actual: link });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(license: &str, name: &str, link: &str) -> RegistryConfig {
        let [license, license_name, license_link] = [license, name, link].map(str::to_owned);
        RegistryConfig { license, license_name, license_link, ..RegistryConfig::default() }
    }

    #[test]
    fn there_is_no_licence_that_nobody_gave() {
        assert_eq!(RegistryConfig::default().license(), None);
        assert!(RegistryConfig::default().validate().is_ok());
        assert_eq!(of(" mit ", "", "").license().unwrap().title(), "mit");
        let named = of("other", "Team licence", "https://example.org/l");
        assert!(named.validate().is_ok());
        assert_eq!(named.license().unwrap().title(), "[Team licence](https://example.org/l)");
        for bad in [of("Apache 2.0", "", ""), of("other", "", ""), of("mit", "", "LICENSE")] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
