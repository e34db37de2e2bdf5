use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use project_files::Contract as _;
use repeatable_random::{fnv1a, mix};
use slide_data::{Audit, Prediction};

use crate::PerformanceConfig;
use crate::recent::{days_before, once_each};

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

/// The day of a time, counted from 1970.
pub(crate) fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(86_400)
}

/// Slides of each day that a draw is made from, by day.
type Days<'a> = BTreeMap<i64, Vec<&'a Prediction>>;

/// The slides of the version that were scored on days that are over, within the window.
pub(crate) fn days<'a>(
    scored: &'a [Prediction],
    seen: &BTreeSet<String>,
    version: &str,
    config: &PerformanceConfig,
    now: Timestamp,
) -> Days<'a> {
    let (from, today) = (day(days_before(now, config.window_days)), day(now));
    let mut days = Days::new();
    let fits = |slide: &&Prediction| {
        slide.model_version == version
            && (from..today).contains(&day(slide.scored_at))
            && !seen.contains(&slide.slide_id)
    };
    for slide in scored.iter().filter(fits) {
        days.entry(day(slide.scored_at)).or_default().push(slide);
    }
    for slides in days.values_mut() {
        *slides = once_each(slides.iter().copied());
    }
    days
}

/// How many slides each deck has.
pub(crate) fn deck_sizes<'a>(slides: &[&'a Prediction]) -> BTreeMap<&'a str, usize> {
    let mut sizes = BTreeMap::new();
    for slide in slides {
        *sizes.entry(slide.deck_id.as_str()).or_default() += 1;
    }
    sizes
}

/// Draws slides of the days that are over and were not drawn from yet.
///
/// A day's share of `audits_per_week` is spread evenly over its decks, and a deck's over its slides; a slide is drawn where its
/// own random number, which follows from the seed, the day and its content, lies below its chance (Poisson sampling with permanent
/// random numbers, Ohlsson 1995). So a draw can be repeated, chances are known, and no deck's size makes it count more.
pub fn draw_audits(drawing: &Drawing<'_>) -> Vec<Audit> {
    let Drawing { scored, drawn, seen_in_training, model_version, config, now } = *drawing;
    let is_version = |audit: &&Audit| audit.model_version == model_version;
    let done: BTreeSet<i64> = drawn.iter().filter(is_version).map(|audit| day(audit.scored_at)).collect();
    let days = days(scored, seen_in_training, model_version, config, now);
    let open = days.into_iter().filter(|(day, _)| !done.contains(day));
    open.flat_map(|(day, slides)| draw_day(day, &slides, drawing)).collect()
}

fn draw_day(day: i64, slides: &[&Prediction], drawing: &Drawing<'_>) -> Vec<Audit> {
    let sizes = deck_sizes(slides);
    let of_each_deck = drawing.config.audits_per_week / 7.0 / sizes.len() as f64;
    let draw = |slide: &&Prediction| {
        let deck_slides = sizes[slide.deck_id.as_str()];
        let probability = (of_each_deck / deck_slides as f64).min(1.0);
        (random(day, slide, drawing.config.seed) < probability).then(|| Audit {
            schema_version: Audit::VERSION,
            slide_id: slide.slide_id.clone(),
            deck_id: slide.deck_id.clone(),
            sha256: slide.sha256.clone(),
            model_version: slide.model_version.clone(),
            scored_at: slide.scored_at,
            drawn_at: drawing.now,
            probability,
            deck_slides,
            distributions: slide.distributions.clone(),
            chosen: slide.chosen.clone(),
        })
    };
    slides.iter().filter_map(draw).collect()
}

/// The slide's own number of that day, 0 to 1.
fn random(day: i64, slide: &Prediction, seed: u64) -> f64 {
    let own = fnv1a(format!("{day}/{}/{}", slide.slide_id, slide.model_version).as_bytes());
    (mix(own ^ mix(seed)) >> 11) as f64 / (1u64 << 53) as f64
}
