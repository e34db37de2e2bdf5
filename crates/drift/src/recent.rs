//! Which scored slides a comparison or an estimate is about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use slide_data::Prediction;

use crate::DriftConfig;
use crate::days::days_before;

/// The slides of the version within the window, and how many others there are.
pub(crate) struct Recent<'a> {
    /// Each slide once, as scored last; the oldest first.
    pub(crate) slides: Vec<&'a Prediction>,
    pub(crate) other_versions: usize,
    pub(crate) dated_ahead: usize,
}

pub(crate) fn latest_version(scored: &[Prediction], now: Timestamp) -> Option<String> {
    let past = scored.iter().filter(|prediction| prediction.scored_at <= now);
    past.max_by_key(|prediction| prediction.scored_at).map(|prediction| prediction.model_version.clone())
}

impl<'a> Recent<'a> {
    pub(crate) fn new(
        scored: &'a [Prediction],
        version: Option<&str>,
        config: &DriftConfig,
        now: Timestamp,
    ) -> Self {
        let from = days_before(now, config.window_days);
        let is_ours = |slide: &&Prediction| Some(slide.model_version.as_str()) == version;
        let within = || scored.iter().filter(|slide| (from..=now).contains(&slide.scored_at));
        let mut slides = once_each(within().filter(is_ours));
        slides.sort_by_key(|slide| slide.scored_at);
        keep_latest_decks(&mut slides, config.max_decks);
        Self {
            slides,
            other_versions: within().filter(|slide| !is_ours(slide)).count(),
            dated_ahead: scored.iter().filter(|slide| slide.scored_at > now).count(),
        }
    }
}

/// Keeps the slides of the decks that were scored last.
fn keep_latest_decks(slides: &mut Vec<&Prediction>, most: usize) {
    let mut decks = BTreeSet::new();
    for slide in slides.iter().rev() {
        if decks.len() == most {
            break;
        }
        decks.insert(slide.deck_id.as_str());
    }
    slides.retain(|slide| decks.contains(slide.deck_id.as_str()));
}

/// Each slide (by its pixels) once, as scored last.
pub(crate) fn once_each<'a>(predictions: impl Iterator<Item = &'a Prediction>) -> Vec<&'a Prediction> {
    let mut last: BTreeMap<&str, &Prediction> = BTreeMap::new();
    for prediction in predictions {
        let kept = last.entry(prediction.pixels()).or_insert(prediction);
        if prediction.scored_at >= kept.scored_at {
            *kept = prediction;
        }
    }
    last.into_values().collect()
}
