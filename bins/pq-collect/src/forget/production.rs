//! What production keeps of a deck: its scored slides.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use durable_files::count_lines;
use pq_cli::Layout;
use serde::Deserialize;
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
    Ok(count_lines(&layout.predictions(), is_meant)? > 0)
}

/// Takes the scored slides out of the log that is about forgotten ones.
pub(crate) fn remove_predictions(layout: &Layout, hand: &Hand<'_>, traces: &Traces<'_>) -> Result<usize> {
    hand.lines(&layout.predictions(), traces)
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
