//! The metrics on parts of the slides.

use std::collections::BTreeSet;

use slide_data::Target;

use crate::interval::intervals;
use crate::table::{Frame, forecast};
use crate::{Item, Result, Slice};

/// What is shown of a part.
const SHOWN: [&str; 4] = ["mae", "within_1", "qwk", "bias"];

/// Parts by deck; by whether a criterion applies, where people say of some slides that it does not (slides with and without a
/// chart); by how much stands on them; by number of raters, where it differs.
pub(crate) fn slices(frame: &Frame<'_>, confidence: f64) -> Result<Vec<Slice>> {
    let mut slices = Vec::new();
    for key in &frame.keys {
        let does_not = |item: &Item| matches!(item.label.target(key), Target::NotApplicable { .. });
        if frame.items.iter().any(|item| does_not(item)) {
            let applies = |item: &Item| item.label.target(key).scored().is_some();
            slices.extend(slice(frame, confidence, key, "applies", &applies)?);
            slices.extend(slice(frame, confidence, key, "does not apply", &does_not)?);
        }
    }
    for (name, is_in) in thirds(frame) {
        slices.extend(slice(frame, confidence, "density", name, &is_in)?);
    }
    let raters: BTreeSet<usize> = frame.items.iter().map(|item| item.label.annotators).collect();
    for &count in raters.iter().filter(|_| raters.len() > 1) {
        let name = if count == 1 { "1 rater".to_owned() } else { format!("{count} raters") };
        slices.extend(slice(frame, confidence, "raters", &name, &|item| item.label.annotators == count)?);
    }
    for group in frame.group_names() {
        slices.extend(slice(frame, confidence, "deck", group, &|item| item.group == group)?);
    }
    Ok(slices)
}

/// With fewer slides nothing is divided by what stands on them.
const MIN_SLIDES: usize = 15;
/// The share of pixels on an edge: mostly letters, on slides.
const DENSITY: &str = "edge_density";

/// Three equal parts by how much text and lines stand on a slide, as its image tells; none where that was not measured.
fn thirds(frame: &Frame<'_>) -> Vec<(&'static str, impl Fn(&Item) -> bool)> {
    let density =
        |item: &Item| item.prediction.features.get(DENSITY).copied().filter(|value| value.is_finite());
    let mut all: Vec<f64> = frame.items.iter().filter_map(|item| density(item)).collect();
    all.sort_by(f64::total_cmp);
    let is_measured = all.len() == frame.items.len() && all.len() >= MIN_SLIDES;
    let (low, high) = if is_measured { (all[all.len() / 3], all[2 * all.len() / 3]) } else { (0.0, 0.0) };
    let parts = [
        ("sparse third", f64::NEG_INFINITY, low),
        ("middle third", low, high),
        ("dense third", high, f64::INFINITY),
    ];
    let part = move |(name, from, to): (&'static str, f64, f64)| {
        (name, move |item: &Item| density(item).is_some_and(|value| from <= value && value < to))
    };
    parts.into_iter().filter(|_| is_measured).map(part).collect()
}

fn slice(
    frame: &Frame<'_>,
    confidence: f64,
    by: &str,
    name: &str,
    is_in: &dyn Fn(&Item) -> bool,
) -> Result<Option<Slice>> {
    let table = frame.rated_where(is_in, &|item, key| forecast(&item.prediction, item, key))?;
    let pool = table.overall();
    if pool.ratings.is_empty() {
        return Ok(None);
    }
    let shown = |metric: &str| SHOWN.contains(&metric);
    let own = |name: &str| name.strip_prefix("overall_").filter(|name| shown(name)).map(str::to_owned);
    let metrics = table.metrics();
    let intervals = intervals(&table, &[pool.measured()], confidence);
    Ok(Some(Slice {
        by: by.to_owned(),
        name: name.to_owned(),
        slides: pool.slides,
        groups: pool.groups,
        ratings: pool.ratings.len(),
        metrics: metrics.into_iter().filter_map(|(name, value)| Some((own(&name)?, value))).collect(),
        intervals: intervals.into_iter().filter_map(|(name, ends)| Some((own(&name)?, ends))).collect(),
    }))
}
