//! What is to be forgotten, written down before anything is changed: whoever finds it can finish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use pq_cli::Layout;
use serde::{Deserialize, Serialize};
use slide_data::collect::{ForgettingAct, Forgotten, ForgottenFiles, Store};
use slide_data::{Contract, Forgetting, KeptSlide};

use super::asked::Asked;
use super::hand::{Traces, files_below};
use super::production::kept_slides;
use super::runs::dependents;

/// The plan. It names what is forgotten, and goes with it: the last step removes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) schema_version: u32,
    pub(crate) id: String,
    pub(crate) asked: Asked,
    pub(crate) gone: Forgetting,
    pub(crate) files: ForgottenFiles,
    /// Pixels of the slides that production kept.
    pub(crate) kept: BTreeSet<String>,
    /// What no file should hold any more: ids of decks and hashes.
    pub(crate) ids: Vec<String>,
    /// Names of their files.
    pub(crate) names: Vec<String>,
    /// How much there is of each kind.
    pub(crate) removed: BTreeMap<String, usize>,
    pub(crate) runs: BTreeMap<String, String>,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) exports: BTreeSet<String>,
    pub(crate) unknown: BTreeSet<String>,
    /// Files of released versions that speak of it: they never change.
    pub(crate) released: Vec<PathBuf>,
    /// Decks that share a group with a forgotten one, and stay.
    pub(crate) related: BTreeSet<String>,
}

impl Contract for Plan {
    const NAME: &'static str = "plan of what is forgotten";
    const VERSION: u32 = 1;
}

/// Where the plan of a forgetting lies that has not come to its end.
pub(crate) fn path(layout: &Layout) -> PathBuf {
    layout.slides().root().join(".forgetting.json")
}

impl Plan {
    /// What forgetting these decks takes; `removed` is counted later.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub(crate) fn make(
        store: &Store,
        layout: &Layout,
        decks: BTreeSet<String>,
        asked: Asked,
    ) -> Result<Self> {
        let mut gone = Forgetting::of(decks, store.slides());
        let files = store.files_of(&gone);
        let all_kept = kept_slides(&layout.kept().index())?;
        let kept: Vec<&KeptSlide> = all_kept.iter().filter(|slide| gone.is_deck(&slide.deck_id)).collect();
        gone.slides.extend(kept.iter().map(|slide| slide.slide_id.clone()));
        let hashes = files.sha256.iter().chain(kept.iter().map(|slide| &slide.source.sha256)).cloned();
        let shown = own_pixels(store, &gone, &all_kept);
        let ids = listed(gone.decks.iter().cloned().chain(hashes).chain(shown));
        let others = store.slides().iter().filter(|slide| !gone.is_deck(&slide.deck_id));
        let others: BTreeSet<&String> = others.map(|slide| &slide.source.origin).collect();
        let names = files.origins.iter().chain(kept.iter().map(|slide| &slide.source.origin));
        let names = listed(names.filter(|name| !others.contains(name)).cloned());
        let traces = Traces { gone: &gone, ids: &ids, names: &names };
        let found = dependents(layout, &traces)?;
        let released = speaking(&[layout.versions(), layout.exports()], &traces);
        let groups: BTreeSet<&String> =
            store.slides().iter().filter(|s| gone.is_deck(&s.deck_id)).map(|s| &s.group).collect();
        let in_group =
            store.slides().iter().filter(|s| groups.contains(&s.group) && !gone.is_deck(&s.deck_id));
        let related = in_group.map(|slide| slide.deck_id.clone()).collect();
        let all: Vec<&str> = gone.decks.iter().map(String::as_str).collect();
        let id = Forgotten::mark(&format!("{} {}", asked.at, all.concat()))[..16].to_owned();
        Ok(Self {
            schema_version: Self::VERSION,
            id,
            asked,
            files,
            kept: kept.into_iter().map(|slide| slide.sha256.clone()).collect(),
            removed: BTreeMap::new(),
            runs: found.runs,
            versions: found.versions,
            exports: found.exports,
            unknown: found.unknown,
            released,
            related,
            ids,
            names,
            gone,
        })
    }

    pub(crate) fn traces(&self) -> Traces<'_> {
        Traces { gone: &self.gone, ids: &self.ids, names: &self.names }
    }

    /// The receipt: what was done, and nothing of what it was done to.
    pub(crate) fn receipt(&self, left: usize) -> Forgotten {
        let marks = |of: &BTreeSet<String>| of.iter().map(|value| Forgotten::mark(value)).collect();
        Forgotten {
            schema_version: Forgotten::VERSION,
            id: self.id.clone(),
            act: ForgettingAct::Forgotten,
            decks: marks(&self.gone.decks),
            slides: marks(&self.gone.slides),
            files: marks(&self.files.sha256),
            removed: self.removed.clone(),
            runs: self.runs.clone(),
            versions: self.versions.keys().cloned().collect(),
            left,
            by: self.asked.by.clone(),
            why: self.asked.why.clone(),
            at: self.asked.at,
        }
    }
}

/// What is not empty, once.
fn listed(texts: impl Iterator<Item = String>) -> Vec<String> {
    texts.filter(|text| !text.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The pixels that no other slide of the store or of production shows.
fn own_pixels(store: &Store, gone: &Forgetting, kept: &[KeptSlide]) -> BTreeSet<String> {
    let of = |is_gone: bool| -> BTreeSet<&String> {
        let slides = store.slides().iter().map(|slide| (&slide.deck_id, &slide.sha256));
        let all = slides.chain(kept.iter().map(|slide| (&slide.deck_id, &slide.sha256)));
        all.filter(|(deck, _)| gone.is_deck(deck) == is_gone).map(|(_, pixels)| pixels).collect()
    };
    of(true).difference(&of(false)).map(|pixels| (*pixels).clone()).collect()
}

/// The files below some folders that speak of what is forgotten: by text, so images and weights are passed over.
pub(crate) fn speaking(folders: &[PathBuf], traces: &Traces<'_>) -> Vec<PathBuf> {
    /// No text of a project is larger, but for logs, which are gone through line by line.
    const LARGEST: u64 = 256 << 20;
    let is_text = |path: &Path| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= LARGEST);
        is_small && !["png", "safetensors", "gguf", "lock", "pdf", "zip"].contains(&extension.as_str())
    };
    let speaks =
        |path: &PathBuf| is_text(path) && std::fs::read(path).is_ok_and(|bytes| traces.may_be_in(&bytes));
    folders.iter().flat_map(|folder| files_below(folder)).filter(speaks).collect()
}
