use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use project_files::{Layout, with_causes};
use slide_data::{Label, Labels, write_atomic};

use crate::consensus::{Consensus, median_label};
use crate::shared::{Shared, lock};
use crate::{ConsensusRule, Result, Store};

/// `labels.json` is written at most this often while ratings stream in.
const PAUSE: Duration = Duration::from_millis(250);

/// `labels.json` as text, slide by slide: a changed label costs one line, and twenty thousand take a few megabytes.
#[derive(Debug, Default)]
pub(crate) struct LabelTexts {
    lines: BTreeMap<Box<str>, Box<str>>,
}

impl LabelTexts {
    /// All labels of a store.
    pub(crate) fn derive(store: &Store, rule: ConsensusRule, paths: &Layout) -> Self {
        let consensus = Consensus::new(store, rule);
        let mut texts = Self::default();
        for (slide, ratings) in store.rated_slides() {
            let label = consensus.label(slide, &ratings, &|slide| paths.image_path(slide));
            texts.set(slide, label.as_ref());
        }
        texts
    }

    pub(crate) fn of(labels: &Labels) -> Self {
        let mut texts = Self::default();
        labels.slides.iter().for_each(|(slide, label)| texts.set(slide, Some(label)));
        texts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn set(&mut self, slide: &str, label: Option<&Label>) {
        // A label holds strings and numbers only: nothing that JSON cannot express.
        match label.and_then(|label| serde_json::to_string(label).ok()) {
            Some(text) => drop(self.lines.insert(slide.into(), text.into())),
            None => drop(self.lines.remove(slide)),
        }
    }

    /// Writes the file atomically, one slide a line.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let length: usize = self.lines.iter().map(|(slide, text)| slide.len() + text.len() + 8).sum();
        let mut bytes = Vec::with_capacity(length + 16);
        bytes.push(b'{');
        for (slide, text) in &self.lines {
            bytes.extend_from_slice(if bytes.len() > 1 { b",\n" } else { b"\n" });
            bytes.extend_from_slice(serde_json::json!(slide).to_string().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(b"\n}\n");
        Ok(write_atomic(path, &bytes)?)
    }
}

/// Keeps `labels.json` up to date until the ledger closes.
pub(crate) fn derive_changes(shared: &Shared, mut derived: LabelTexts) {
    loop {
        let (slides, is_closing) = {
            let mut changed = lock(&shared.changed);
            while changed.slides.is_empty() && !changed.is_closing {
                changed = shared.wake.wait(changed).unwrap_or_else(PoisonError::into_inner);
            }
            (std::mem::take(&mut changed.slides), changed.is_closing)
        };
        let started = Instant::now();
        if !slides.is_empty() {
            update(shared, &mut derived, &slides);
            if let Err(error) = derived.write(&shared.paths.labels()) {
                tracing::error!("`labels.json` could not be derived: {}", with_causes(&error));
                lock(&shared.changed).slides.extend(slides); // tried again after the pause
            }
        }
        if is_closing {
            return;
        }
        // A large store is rewritten less often, so that deriving takes at most a tenth of one core.
        let pause = PAUSE.max(started.elapsed() * 9);
        let changed = lock(&shared.changed);
        drop(shared.wake.wait_timeout_while(changed, pause, |changed| !changed.is_closing));
    }
}

fn update(shared: &Shared, derived: &mut LabelTexts, slides: &BTreeSet<String>) {
    let store = shared.store.read().unwrap_or_else(PoisonError::into_inner);
    if shared.rule != ConsensusRule::Median {
        // One rating may shift a rater's severity, and with it every label.
        *derived = LabelTexts::derive(&store, shared.rule, &shared.paths);
        return;
    }
    for slide in slides {
        let label = median_label(&store, slide, &|slide| shared.paths.image_path(slide));
        derived.set(slide, label.as_ref());
    }
}
