use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use pq_common::{ConfigError, WithHint};
use serde::Deserialize;
use slide_data::{Manifest, Rubric};
use slide_label::{Journal, LabelConfig, Store, StorePaths};

use crate::args::Args;

/// The keys of `[storage]` that matter here; the table belongs to collecting, which checks the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Storage {
    data_dir: Option<PathBuf>,
}

/// The configuration of a labelling project.
pub(crate) struct Project {
    pub(crate) paths: StorePaths,
    pub(crate) rubric: Rubric,
    pub(crate) config: LabelConfig,
}

const DATA_TABLES: [&str; 12] = [
    "storage",
    "sources",
    "label",
    "limits",
    "splits",
    "split",
    "quality",
    "render",
    "duplicates",
    "collect",
    "source",
    "rules",
];

impl Project {
    pub(crate) fn load(args: &Args) -> Result<Self> {
        let model = args.common.load("model", &["rubric", "processor"])?;
        let rubric: Rubric = model.section("rubric")?;
        rubric.validate()?;
        let (storage, config): (Storage, LabelConfig) = match args.common.load("data", &DATA_TABLES) {
            Ok(data) => (data.section("storage")?, data.section("label")?),
            // Rating needs nothing of the file that has no default.
            Err(ConfigError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Default::default()
            }
            Err(error) => return Err(error.into()),
        };
        config.validate()?;
        let folder = args.data.clone().or(storage.data_dir).unwrap_or_else(|| PathBuf::from("data"));
        Ok(Self { paths: StorePaths::new(&folder, &args.monitoring), rubric, config })
    }

    /// What the journal holds, read without its lock; events that break a rule are named on standard error.
    pub(crate) fn store(&self) -> Result<Store> {
        let (events, torn) = Journal::read(&self.paths.journal)
            .hint("the journal cannot be read", "run `pq-label verify`, or restore the file from a backup")?;
        if torn.is_some() {
            tracing::warn!(
                "the last line of `{}` is unfinished and is left out",
                self.paths.journal.display()
            );
        }
        let (store, refused) = Store::from_events(self.rubric.clone(), events);
        for (event, error) in refused {
            tracing::warn!("event `{}` does not count: {error}", event.id);
        }
        Ok(store)
    }

    pub(crate) fn manifest(&self) -> Result<Manifest> {
        let message = format!("there are no slides in `{}`", self.paths.raw.display());
        let remedy = "collect some first: `pq-collect PATH` (PDF decks, pictures or folders of them)";
        let manifest = Manifest::read(&self.paths.raw).hint(message.clone(), remedy)?;
        if manifest.usable().next().is_none() {
            return Err(pq_common::Hint::new(message, remedy).into());
        }
        Ok(manifest)
    }
}
