use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::store::{Outcome, Store};
use crate::{Labels, SlideRecord, Splits};

/// The dataset card in Markdown with the Hub's front matter: counts, sources, licences, quality, raters, agreement, gaps.
pub fn dataset_card(store: &Store, labels: Option<&Labels>, splits: Option<&Splits>) -> String {
    let slides = store.slides();
    let usable = slides.iter().filter(|slide| slide.duplicate_of.is_none() && !slide.excluded).count();
    let mut card = String::from(
        "---\ntask_categories: [image-classification]\ntags: [pitch-deck, slides, rubric]\n---\n\n# Pitch deck slides\n\n",
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
            splits
                .groups
                .get(&slide.group)
                .map_or("not assigned".to_owned(), |s| format!("{s:?}").to_lowercase())
        };
        let used: Vec<SlideRecord> =
            slides.iter().filter(|slide| slide.duplicate_of.is_none() && !slide.excluded).cloned().collect();
        table(&mut card, "Splits", "split", &tally(&used, of));
    }
    if let Some(labels) = labels {
        ratings(&mut card, labels, usable);
    }
    gaps(&mut card, store, labels.map_or(0, |labels| labels.slides.len()), usable, &licenses);
    card
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

/// Mean score, and how often two raters of one slide are at most one point apart, for each criterion.
fn ratings(card: &mut String, labels: &Labels, usable: usize) {
    let raters: usize = labels.slides.values().map(|label| label.annotators).sum();
    let _ = write!(
        card,
        "## Ratings\n\n{} of {usable} slides are labelled, by {:.1} raters on average.\n\n\
         | criterion | slides | mean | pairs of raters within one point |\n|---|---|---|---|\n",
        labels.slides.len(),
        raters as f64 / labels.slides.len().max(1) as f64
    );
    let mut rows: BTreeMap<&str, (usize, f64, f64, f64)> = BTreeMap::new();
    for label in labels.slides.values() {
        for (key, score) in &label.scores {
            let row = rows.entry(key).or_default();
            if let Some(score) = score {
                row.0 += 1;
                row.1 += f64::from(score.get());
            }
        }
        for (key, counts) in &label.distribution {
            let row = rows.entry(key).or_default();
            let n = counts.iter().map(|&c| f64::from(c)).sum::<f64>();
            let same: f64 = counts.iter().map(|&c| f64::from(c) * (f64::from(c) - 1.0) / 2.0).sum();
            let next: f64 = counts.windows(2).map(|pair| f64::from(pair[0]) * f64::from(pair[1])).sum();
            row.2 += same + next;
            row.3 += n * (n - 1.0) / 2.0;
        }
    }
    for (key, (count, sum, near, pairs)) in rows {
        let agreement =
            if pairs > 0.0 { format!("{:.0} %", 100.0 * near / pairs) } else { "one rater only".to_owned() };
        let _ = writeln!(card, "| {key} | {count} | {:.2} | {agreement} |", sum / count.max(1) as f64);
    }
    card.push('\n');
}

fn gaps(
    card: &mut String,
    store: &Store,
    labelled: usize,
    usable: usize,
    licenses: &BTreeMap<String, usize>,
) {
    card.push_str("## Gaps\n\n");
    let set_aside = store.inputs().filter(|input| matches!(input.outcome, Outcome::SetAside { .. })).count();
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
