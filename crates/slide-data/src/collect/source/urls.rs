use std::path::{Path, PathBuf};

use http_client::Options;
use serde::{Deserialize, Serialize};
use url::Url;

use super::export_link::remedy;
use super::fetch::{Fetcher, Page};
use super::{Source, SourceBatch};
use crate::collect::Quarantined;
use crate::error::io_error;
use crate::{Limits, Result};

/// `[sources.urls]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UrlListConfig {
    /// Whether the list is fetched when no path is named.
    pub enabled: bool,
    /// A text file with one address a line; `#` starts a comment.
    pub file: PathBuf,
    /// Licence or consent under which these decks are used; empty where it is not known.
    pub license: String,
    /// Seconds between two requests to one host.
    pub pause_s: f64,
}

impl Default for UrlListConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            file: PathBuf::from("data/raw/urls.txt"),
            license: String::new(),
            pause_s: 1.0,
        }
    }
}

/// A list of addresses of decks.
#[derive(Debug)]
pub struct UrlList {
    /// The addresses.
    pub urls: Vec<String>,
    /// Licence or consent, where known.
    pub license: Option<String>,
    /// Seconds between two requests to one host.
    pub pause_s: f64,
    /// Limits on sizes and times.
    pub limits: Limits,
    /// How sites are asked, within these limits.
    pub http: Options,
}

impl UrlList {
    /// The list in the file that the configuration names.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(config: &UrlListConfig, limits: &Limits) -> Result<Self> {
        let text = std::fs::read_to_string(&config.file).map_err(io_error("read", &config.file))?;
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        Ok(Self {
            urls: lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned)
                .collect(),
            license: Some(config.license.clone()).filter(|license| !license.is_empty()),
            pause_s: config.pause_s,
            limits: limits.clone(),
            http: Options::default(),
        })
    }
}

impl Source for UrlList {
    fn name(&self) -> &'static str {
        "urls"
    }

    fn batch(&self, downloads: &Path, is_interrupted: &dyn Fn() -> bool) -> Result<SourceBatch> {
        let mut fetcher = Fetcher::new(downloads, &self.limits, self.pause_s, &self.http, is_interrupted)?;
        let mut batch = SourceBatch::default();
        for address in &self.urls {
            if is_interrupted() {
                break;
            }
            let page = Url::parse(address)
                .map_err(|error| format!("is not an address: {error}"))
                .and_then(|url| fetcher.get(&url, self.license.as_deref()));
            match page {
                Ok(Page::File(input)) => batch.inputs.push(input),
                Ok(Page::Html(at, _)) => batch.set_aside.push(Quarantined {
                    origin: address.clone(),
                    reason: format!("is a web page, not a deck; {}", remedy(&at)),
                }),
                Err(_) if is_interrupted() => break,
                Err(reason) => batch.set_aside.push(Quarantined { origin: address.clone(), reason }),
            }
        }
        Ok(batch)
    }
}
