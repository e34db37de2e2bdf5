use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::store::{Outcome, Store};
use crate::{Labels, Score, SlideRecord, Splits};

/// The dataset card in Markdown with the Hub's front matter: counts, sources, licences, quality, raters, agreement, gaps.
/// `raters` is how many people rated, where that is known.
pub fn dataset_card(
    store: &Store,
    labels: Option<&Labels>,
    splits: Option<&Splits>,
    raters: Option<usize>,
) -> String {
    let slides = store.slides();
    let usable = slides.iter().filter(|slide| slide.duplicate_of.is_none() && !slide.excluded).count();
    let mut card = format!(
        "---\npretty_name: Pitch deck slides\ntask_categories: [image-classification]\n\
         tags: [pitch-deck, slides, rubric]\nsize_categories: [{}]\n---\n\n# Pitch deck slides\n\n",
        size_category(usable)
    );
    let count = |is: fn(&SlideRecord) -> bool| slides.iter().filter(|slide| is(slide)).count();
    let _ = write!(
        card,
        "{} slides of {} decks; {usable} are used, {} repeat another slide, {} are left out by the quality rules.\n\n",
        slides.len(),
        tally(slides, |slide| slide.deck_id.clone()).len(),
        count(|slide| slide.duplicate_of.is_some()),
        count(|slide| slide.excluded),
    );
    let collected = || slides.iter().map(|slide| slide.collected_at);
    if let (Some(first), Some(last)) = (collected().min(), collected().max()) {
        let _ = write!(
            card,
            "Collected from {} to {} by {}.\n\n",
            first.strftime("%Y-%m-%d"),
            last.strftime("%Y-%m-%d"),
            tally(slides, |slide| slide.tool_version.clone()).into_keys().collect::<Vec<_>>().join(", ")
        );
    }
    table(
        &mut card,
        "Sources",
        "kind",
        &tally(slides, |slide| format!("{:?}", slide.source.kind).to_lowercase()),
    );
    let licenses =
        tally(slides, |slide| slide.source.license.clone().unwrap_or_else(|| "not stated".to_owned()));
    table(&mut card, "Licences and consent", "terms", &licenses);
    let mut flags = BTreeMap::new();
    slides
        .iter()
        .flat_map(|slide| slide.quality.keys())
        .for_each(|flag| *flags.entry(flag.clone()).or_insert(0) += 1);
    table(&mut card, "Quality flags", "flag", &flags);
    if let Some(splits) = splits {
        let of = |slide: &SlideRecord| {
            splits.of(slide).map_or("in none".to_owned(), |split| format!("{split:?}").to_lowercase())
        };
        let used: Vec<SlideRecord> =
            slides.iter().filter(|slide| slide.duplicate_of.is_none() && !slide.excluded).cloned().collect();
        table(&mut card, "Splits", "split", &tally(&used, of));
    }
    if let Some(labels) = labels {
        ratings(&mut card, labels, usable, raters);
    }
    gaps(&mut card, store, labels.map_or(0, |labels| labels.slides.len()), usable, &licenses);
    card
}

/// The Hub's words for the number of rows.
fn size_category(rows: usize) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        _ => "n>1M",
    }
}

fn tally(slides: &[SlideRecord], key: impl Fn(&SlideRecord) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for slide in slides {
        *counts.entry(key(slide)).or_insert(0) += 1;
    }
    counts
}

fn table(card: &mut String, title: &str, column: &str, counts: &BTreeMap<String, usize>) {
    if counts.is_empty() {
        return;
    }
    let _ = write!(card, "## {title}\n\n| {column} | slides |\n|---|---|\n");
    for (name, count) in counts {
        let _ = writeln!(card, "| {} | {count} |", name.replace('|', "\\|"));
    }
    card.push('\n');
}

/// Mean score, Krippendorff's alpha, and how often two raters of one slide are at most one point apart, for each criterion.
fn ratings(card: &mut String, labels: &Labels, usable: usize, raters: Option<usize>) {
    let given: usize = labels.slides.values().map(|label| label.annotators).sum();
    let people = raters.map(|count| format!(" {count} people rated.")).unwrap_or_default();
    let _ = write!(
        card,
        "## Ratings\n\n{} of {usable} slides are labelled, by {:.1} raters on average.{people} Agreement is Krippendorff's alpha \
         (interval), and the share of pairs of raters of one slide that are at most one point apart.\n\n\
         | criterion | slides | mean | alpha | within one point |\n|---|---|---|---|---|\n",
        labels.slides.len(),
        given as f64 / labels.slides.len().max(1) as f64
    );
    let keys: BTreeSet<&String> = labels
        .slides
        .values()
        .flat_map(|label| label.scores.keys().chain(label.distribution.keys()))
        .collect();
    for key in keys {
        let scores = labels.slides.values().filter_map(|label| label.score(key));
        let scores: Vec<f64> = scores.map(|score| f64::from(score.get())).collect();
        let units: Vec<[u32; Score::LEVELS]> =
            labels.slides.values().filter_map(|label| label.distribution.get(key).copied()).collect();
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        let alpha = alpha(&units).map_or("–".to_owned(), |alpha| format!("{alpha:.2}"));
        let near = within_one(&units)
            .map_or("one rater a slide".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        let _ = writeln!(card, "| {key} | {} | {mean:.2} | {alpha} | {near} |", scores.len());
    }
    card.push('\n');
}

/// The share of pairs of ratings of one slide that are at most one point apart.
fn within_one(units: &[[u32; Score::LEVELS]]) -> Option<f64> {
    let (mut near, mut pairs) = (0.0, 0.0);
    for counts in units {
        let n = counts.iter().map(|&c| f64::from(c)).sum::<f64>();
        near += counts.iter().map(|&c| f64::from(c) * (f64::from(c) - 1.0) / 2.0).sum::<f64>();
        near += counts.windows(2).map(|pair| f64::from(pair[0]) * f64::from(pair[1])).sum::<f64>();
        pairs += n * (n - 1.0) / 2.0;
    }
    (pairs > 0.0).then(|| near / pairs)
}

/// Krippendorff's alpha with squared differences (K. Krippendorff, Computing Krippendorff's alpha-reliability, 2011): one minus
/// the differences within slides by those among all ratings. None where no slide has two ratings or all ratings are equal.
fn alpha(units: &[[u32; Score::LEVELS]]) -> Option<f64> {
    // The sum over ordered pairs of squared differences is 2 (n Σv² − (Σv)²).
    let sums = |counts: &[u32; Score::LEVELS]| {
        counts.iter().enumerate().fold((0.0, 0.0, 0.0), |(n, s, q), (level, &count)| {
            let (value, count) = (level as f64, f64::from(count));
            (n + count, s + count * value, q + count * value * value)
        })
    };
    let spread = |(n, s, q): (f64, f64, f64)| 2.0 * (n * q - s * s);
    let (mut all, mut within) = ((0.0, 0.0, 0.0), 0.0);
    for unit in units.iter().map(sums).filter(|unit| unit.0 >= 2.0) {
        within += spread(unit) / (unit.0 - 1.0);
        all = (all.0 + unit.0, all.1 + unit.1, all.2 + unit.2);
    }
    let expected = spread(all) / (all.0 - 1.0);
    (expected > 0.0).then(|| 1.0 - within / expected)
}

fn gaps(
    card: &mut String,
    store: &Store,
    labelled: usize,
    usable: usize,
    licenses: &BTreeMap<String, usize>,
) {
    card.push_str("## Gaps\n\n");
    let set_aside =
        store.inputs().filter(|input| matches!(input.outcome, Outcome::Quarantined { .. })).count();
    let unlabelled = usable.saturating_sub(labelled);
    let unstated = licenses.get("not stated").copied().unwrap_or(0);
    let lines = [
        (unlabelled, "usable slides are not labelled"),
        (unstated, "slides have no stated licence or consent; do not publish them"),
        (set_aside, "input files could not be read"),
    ];
    for (count, words) in lines.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(card, "- {count} {words}.");
    }
    if lines.iter().all(|(count, _)| *count == 0) {
        card.push_str("- None known.\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_that_of_the_literature() {
        // Krippendorff 2011, example of four observers and twelve units, interval metric: 0.849.
        let units = [
            [3, 0, 0, 0, 0],
            [0, 3, 1, 0, 0],
            [0, 0, 4, 0, 0],
            [0, 0, 4, 0, 0],
            [0, 4, 0, 0, 0],
            [1, 1, 1, 1, 0],
            [0, 0, 0, 4, 0],
            [3, 1, 0, 0, 0],
            [0, 4, 0, 0, 0],
            [0, 0, 0, 0, 3],
            [2, 0, 0, 0, 0],
            [0, 0, 1, 0, 0],
        ];
        let got = alpha(&units).unwrap();
        assert!((got - 0.849).abs() < 5e-4, "{got}");
    }

    #[test]
    fn one_rating_a_slide_says_nothing_of_agreement() {
        assert_eq!((alpha(&[[1, 0, 0, 0, 0]]), within_one(&[[1, 0, 0, 0, 0]])), (None, None));
    }
}
