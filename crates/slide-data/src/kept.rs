use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Error, Result, Source};

#[cfg(feature = "image")]
mod files;

#[cfg(feature = "image")]
pub use files::KeptSlides;

/// A scored slide whose image is kept, so that a correction of it can be learned from and an audit of it be rated: a line of
/// `monitoring/kept/kept_slides.jsonl`. Of several lines of a slide the last one holds. The image lies beside it, named by its pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSlide {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The slide.
    pub slide_id: String,
    /// Its deck.
    pub deck_id: String,
    /// The deck's name for people: file or folder.
    #[serde(default)]
    pub deck: String,
    /// Its place in the deck, from 1.
    pub number: usize,
    /// Where it came from.
    pub source: Source,
    /// SHA-256 of the decoded RGB pixels, which names the image.
    pub sha256: String,
    /// When it was scored.
    pub scored_at: Timestamp,
}

impl Contract for KeptSlide {
    const NAME: &'static str = "kept slide";
    const VERSION: u32 = 1;

    /// Files are named by ids and pixels: none may lead elsewhere.
    fn check(&self) -> std::result::Result<(), String> {
        let is_hash = self.sha256.len() == 64 && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash {
            return Err(format!("`sha256` is `{}`, which is no SHA-256", self.sha256));
        }
        let is_name =
            |id: &str| Path::new(id).file_name().is_some_and(|name| name == id) && !id.contains('\\');
        match [&self.slide_id, &self.deck_id].into_iter().find(|id| !is_name(id)) {
            Some(id) => Err(format!("`{id}` cannot be the name of a file")),
            None => Ok(()),
        }
    }
}

/// `[kept_slides]` of `monitoring.toml`: which scored slides are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeptConfig {
    /// Whether scored slides are kept at all.
    pub enabled: bool,
    /// A slide that was last scored longer ago is removed.
    pub max_days: f64,
    /// Where all images together are larger, those scored longest ago are removed.
    pub max_mib: u64,
    /// So much of what the vision tower said of the slides is kept beside them, the newest: a training on the same base and device takes it
    /// from there. 0 keeps none; a slide of 13 tiles takes 3.2 MB of SmolVLM-500M.
    pub max_features_mib: u64,
}

impl Default for KeptConfig {
    fn default() -> Self {
        Self { enabled: true, max_days: 90.0, max_mib: 4096, max_features_mib: 0 }
    }
}

impl KeptConfig {
    /// Checks that every value lies in its domain.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<()> {
        if self.max_days.is_finite() && self.max_days > 0.0 {
            return Ok(());
        }
        Err(Error::Domain {
            key: "kept_slides.max_days".to_owned(),
            expected: "a positive number".to_owned(),
            actual: self.max_days.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_whose_names_lead_elsewhere_is_refused() {
        let sample = include_str!("../../project-files/samples/v1/kept_slides.jsonl");
        let line = sample.lines().next().unwrap();
        let parse = |line: &str| KeptSlide::parse(Path::new("log"), Some(1), line.as_bytes());
        let kept = parse(line).unwrap();
        for id in ["../../x", "a/b", "..", "", "/etc/passwd", "a\\\\b"] {
            for field in ["slide_id", "deck_id"] {
                let before = if field == "slide_id" { &kept.slide_id } else { &kept.deck_id };
                let changed =
                    line.replace(&format!("\"{field}\":\"{before}\""), &format!("\"{field}\":\"{id}\""));
                assert_ne!(changed, line);
                assert!(parse(&changed).is_err(), "{changed}");
            }
        }
        let changed = line.replace(&kept.sha256, "../x");
        assert!(parse(&changed).unwrap_err().to_string().contains("kept slide"), "{changed}");
    }

    #[test]
    fn only_a_positive_time_is_kept() {
        KeptConfig::default().validate().unwrap();
        for max_days in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = KeptConfig { max_days, ..KeptConfig::default() }.validate().unwrap_err();
            assert!(error.to_string().contains("kept_slides.max_days"), "{error}");
        }
    }
}
