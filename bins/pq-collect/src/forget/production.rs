//! What production keeps of a deck: its scored slides.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use durable_files::count_lines;
use pq_cli::Layout;
use serde::Deserialize;
use slide_data::prediction_log::{self, Columns, PredictionLog};
use slide_data::{Contract as _, KeptSlide};

use super::hand::{Hand, Traces};

#[derive(Deserialize)]
struct OfDeck {
    deck_id: String,
}

/// Whether the log of scored slides has a deck.
pub(crate) fn has_deck(layout: &Layout, deck: &str) -> Result<bool> {
    let is_meant =
        |line: &[u8]| serde_json::from_slice::<OfDeck>(line).is_ok_and(|line| line.deck_id == deck);
    for log in prediction_log::replica_logs(layout)?.iter().chain([&layout.predictions()]) {
        if count_lines(log, is_meant)? > 0 {
            return Ok(true);
        }
    }
    Ok(past_days(layout, &|_, of_deck| of_deck == deck)? > 0)
}

/// Takes the scored slides that are about forgotten ones out of the log, of its past days, and of what replicas have logged.
pub(crate) fn remove_predictions(layout: &Layout, hand: &Hand<'_>, traces: &Traces<'_>) -> Result<usize> {
    let is_gone = |slide: &str, deck: &str| traces.gone.is_slide(slide) || traces.gone.is_deck(deck);
    let mut of_replicas = 0;
    for log in prediction_log::replica_logs(layout)? {
        of_replicas += hand.lines(&log, traces)?;
    }
    if !hand.writes && layout.segments().exists() {
        return Ok(of_replicas + past_days(layout, &is_gone)? + hand.aside(&layout.predictions(), traces)?);
    }
    let of_log = hand.lines(&layout.predictions(), traces)?;
    let past = past_days(layout, &is_gone)?;
    if past > 0 && hand.begin()? {
        prediction_log::remove(layout, &|slide| is_gone(&slide.slide_id, &slide.deck_id))?;
    }
    Ok(of_replicas + of_log + past)
}

/// Takes what could not be scored of forgotten decks out, of what replicas have logged too.
pub(crate) fn remove_failures(layout: &Layout, hand: &Hand<'_>, traces: &Traces<'_>) -> Result<usize> {
    let logs = prediction_log::replica_failures(layout)?.into_iter().chain([layout.failures()]);
    logs.map(|log| hand.lines(&log, traces)).sum()
}

/// How many scored slides are meant, by slide and deck, where past days have segments: of these days and of the log.
fn past_days(layout: &Layout, is_meant: &dyn Fn(&str, &str) -> bool) -> Result<usize> {
    if !layout.segments().exists() {
        return Ok(0);
    }
    let log = PredictionLog::open(layout)?;
    let mut count = 0;
    for day in log.days(..) {
        log.for_each_of(day, Columns::Keys, |_, slide| {
            count += usize::from(is_meant(&slide.slide_id, &slide.deck_id));
            Ok(())
        })?;
    }
    Ok(count)
}

/// Takes kept slides out: first their lines, then those of the images `pixels` that no other slide shows.
pub(crate) fn remove_kept(
    layout: &Layout,
    hand: &Hand<'_>,
    traces: &Traces<'_>,
    pixels: &BTreeSet<String>,
) -> Result<usize> {
    let kept = layout.kept();
    let removed = hand.lines(&kept.index(), traces)?;
    let others = kept_slides(&kept.index())?.into_iter().filter(|slide| !traces.gone.is_deck(&slide.deck_id));
    let others: BTreeSet<String> = others.map(|slide| slide.sha256).collect();
    for image in pixels.difference(&others) {
        hand.remove(&kept.image(image))?;
    }
    Ok(removed)
}

/// The kept slides; none where none was ever kept, or all were taken out.
pub(crate) fn kept_slides(index: &Path) -> Result<Vec<KeptSlide>> {
    Ok(KeptSlide::read_log_if_present(index)?.entries)
}
