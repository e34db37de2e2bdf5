use std::collections::BTreeSet;

use jiff::Timestamp;
use project_files::Contract as _;
use slide_data::{Audit, Prediction};

use crate::PerformanceConfig;
use crate::days::day;
use crate::foretold::{Counting, Draw, by_day};

/// What a draw is made from.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    /// The log of scored slides.
    pub scored: &'a [Prediction],
    /// What was drawn before.
    pub drawn: &'a [Audit],
    /// Slides that the model was trained or chosen on; they say nothing about production.
    pub seen_in_training: &'a BTreeSet<String>,
    /// The version in use.
    pub model_version: &'a str,
    /// How many are drawn.
    pub config: &'a PerformanceConfig,
    /// The time of the draw.
    pub now: Timestamp,
}

/// Draws slides of the days that are over and were not drawn from yet.
///
/// A day's share of `audits_per_week` is spread evenly over its decks, and a deck's over its slides; a slide is drawn where its
/// own random number, which follows from the seed, the day and its content, lies below its chance (Poisson sampling with permanent
/// random numbers, Ohlsson 1995). So a draw can be repeated, chances are known, and no deck's size makes it count more.
pub fn draw_audits(drawing: &Drawing<'_>) -> Vec<Audit> {
    let Drawing { scored, drawn, seen_in_training, model_version, config, now } = *drawing;
    let done = days_drawn_of(drawn, model_version);
    let days = by_day(scored, Counting { model_version, seen_in_training, config }, now);
    let open = days.iter().filter(|(day, _)| !done.contains(day));
    open.flat_map(|(_, day)| day.draw()).map(|draw| draw.audit(&scored[draw.place], now)).collect()
}

/// The days that slides of a version were drawn of.
pub fn days_drawn_of(drawn: &[Audit], model_version: &str) -> BTreeSet<i64> {
    let is_version = |audit: &&Audit| audit.model_version == model_version;
    drawn.iter().filter(is_version).map(|audit| day(audit.scored_at)).collect()
}

impl Draw {
    /// What is kept of the draw.
    pub fn audit(&self, slide: &Prediction, drawn_at: Timestamp) -> Audit {
        Audit {
            schema_version: Audit::VERSION,
            slide_id: slide.slide_id.clone(),
            deck_id: slide.deck_id.clone(),
            sha256: slide.sha256.clone(),
            model_version: slide.model_version.clone(),
            scored_at: slide.scored_at,
            drawn_at,
            probability: self.probability,
            deck_slides: self.deck_slides,
            distributions: slide.distributions.clone(),
            chosen: slide.chosen.clone(),
        }
    }
}
