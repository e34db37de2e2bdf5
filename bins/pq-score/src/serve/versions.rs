//! A deck beside an older version of it that this service rated.

use std::collections::BTreeMap;

use report_pages::{Image, OlderVersion};
use slide_data::{DeckVersions, match_pages};
use vlm_eval::compare_versions;

use crate::versions::{Comparison, numbered};

use super::jobs::{Earlier, RatedDeck};
use super::state::App;

/// Compares a deck with its older version; both were rated by this service, so nothing is rated again.
pub(super) fn compare(app: &App, before: &Earlier, rated: &RatedDeck) -> OlderVersion {
    let Comparison { thresholds, spreads, rubric } = &app.comparison;
    let old = &before.rated;
    let matches = match_pages(&old.pages, &rated.pages, thresholds);
    let versions =
        compare_versions(rubric, &matches, &numbered(&old.slides), &numbered(&rated.slides), spreads);
    let title = before.name.rsplit_once('.').map_or(before.name.as_str(), |(stem, _)| stem).to_owned();
    OlderVersion { title, images: images(old, &versions), versions }
}

/// The changed slides of the older version.
fn images(old: &RatedDeck, versions: &DeckVersions) -> BTreeMap<usize, Image> {
    let is_changed = |number: usize| versions.changed.iter().any(|slide| slide.before == number);
    let changed = old.slides.iter().filter(|slide| is_changed(slide.number));
    changed.filter_map(|slide| Some((slide.number, slide.image.clone()?))).collect()
}
