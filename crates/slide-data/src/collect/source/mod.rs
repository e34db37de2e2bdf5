//! Where decks come from. A source turns its settings into input files; a new one is one file with one type behind [`Source`].

mod export_link;
mod fetch;
mod robots;
mod uploads;
mod urls;
mod web;

use std::path::Path;

use super::Quarantined;
use crate::Result;
use crate::render::{InputFile, PassedOver, Survey};

pub use uploads::Uploads;
pub use urls::{UrlList, UrlListConfig};
pub use web::{Web, WebConfig};

/// Files that a source offers.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// Files on this machine, ready to be read.
    pub inputs: Vec<InputFile>,
    /// What the source could not or must not bring.
    pub set_aside: Vec<Quarantined>,
    /// Files in which no slides were looked for, and why.
    pub passed_over: Vec<Quarantined>,
}

impl SourceBatch {
    /// Adds what was found on this machine.
    pub fn add(&mut self, found: Survey) {
        self.inputs.extend(found.inputs);
        let line = |item: PassedOver| Quarantined { origin: item.origin, reason: item.reason.to_string() };
        self.passed_over.extend(found.passed_over.into_iter().map(line));
    }
}

/// A place that decks come from.
pub trait Source {
    /// Its name in messages and in `data.toml`.
    fn name(&self) -> &'static str;

    /// Brings its files to this machine (into `downloads`, if they are elsewhere) and lists them. What is there already is not
    /// fetched again, so an interrupted run goes on where it stopped. `is_interrupted` is asked between files.
    ///
    /// # Errors
    /// When nothing of it can be listed; single files that fail are set aside.
    fn batch(&self, downloads: &Path, is_interrupted: &dyn Fn() -> bool) -> Result<SourceBatch>;
}
