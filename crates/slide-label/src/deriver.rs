//! The thread that keeps `labels.json` up to date while ratings stream in.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use project_files::with_causes;

use crate::ConsensusRule;
use crate::consensus::median_label;
use crate::derived::LabelTexts;
use crate::shared::{Changed, Shared, lock};

/// `labels.json` is written at most this often.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits until there is something to derive, or the ledger closes.
fn wait(shared: &Shared) -> Changed {
    let mut changed = lock(&shared.changed);
    while changed.slides.is_empty() && !changed.is_closing {
        changed = shared.wake.wait(changed).unwrap_or_else(PoisonError::into_inner);
    }
    Changed { slides: std::mem::take(&mut changed.slides), is_closing: changed.is_closing }
}

/// Keeps `labels.json` up to date until the ledger closes.
pub(crate) fn derive_changes(shared: &Shared, mut derived: LabelTexts) {
    loop {
        let Changed { slides, is_closing } = wait(shared);
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
