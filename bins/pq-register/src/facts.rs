//! What the cards say of the data: counts of labels and slides, as long as they are those that the run was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use project_files::{Layout, RunRecord, hash_file, input};
use registry::{CriterionFacts, DataFacts};
use slide_data::{Contract as _, Label, Labels, Manifest, SlideRecord, SourceKind, Split, Splits};

/// The counts; `None`, with a warning, where a file is not here or is not what the run was made from.
pub(crate) fn data_facts(layout: &Layout, record: &RunRecord) -> Result<Option<DataFacts>> {
    let slides = layout.slides();
    for (path, name) in [
        (layout.labels(), input::LABELS),
        (layout.splits(), input::SPLITS),
        (slides.manifest(), input::MANIFEST),
    ] {
        let Some(reason) = differs(&path, record.inputs.get(name))? else { continue };
        tracing::warn!("the data card cannot count sources and ratings: `{}` {reason}", path.display());
        return Ok(None);
    }
    let labels = Labels::read(&layout.labels())?;
    let manifest = Manifest::read(slides.root())?;
    let splits = Splits::read(&layout.splits())?;
    Ok(Some(count(&labels, &manifest, &splits)))
}

fn differs(path: &Path, expected: Option<&String>) -> Result<Option<&'static str>> {
    if !path.exists() {
        return Ok(Some("is not here"));
    }
    Ok((Some(&hash_file(path)?.sha256) != expected).then_some("is not what the run was made from"))
}

/// Counts the slides that have labels.
fn count(labels: &Labels, manifest: &Manifest, splits: &Splits) -> DataFacts {
    let mut facts = DataFacts::default();
    let mut decks: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for slide in manifest.usable() {
        let Some(label) = labels.slides.get(&slide.slide_id) else { continue };
        let split = splits.of(slide).map_or("none", name_of);
        facts.splits.entry(split.to_owned()).or_default().slides += 1;
        let (of_split, groups) = decks.entry(split).or_default();
        of_split.insert(&slide.deck_id);
        groups.insert(&slide.group);
        count_source(&mut facts, slide);
        *facts.raters_of_a_slide.entry(label.annotators).or_default() += 1;
        count_ratings(&mut facts.criteria, label);
    }
    for (split, (of_split, groups)) in decks {
        let facts = facts.splits.entry(split.to_owned()).or_default();
        (facts.decks, facts.groups) = (of_split.len(), groups.len());
    }
    facts
}

fn name_of(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Val => "val",
        Split::Test => "test",
    }
}

fn count_source(facts: &mut DataFacts, slide: &SlideRecord) {
    let kind = match slide.source.kind {
        SourceKind::Image => "image files",
        SourceKind::Pdf => "pages of PDF files",
        SourceKind::Presentation => "presentations",
        SourceKind::Web => "the web",
        SourceKind::Generated => "drawn by a program",
    };
    *facts.sources.entry(kind.to_owned()).or_default() += 1;
    *facts.licenses.entry(license(slide.source.license.as_deref())).or_default() += 1;
    let day = slide.collected_at.strftime("%Y-%m-%d").to_string();
    let (first, last) = facts.collected.take().unwrap_or_else(|| (day.clone(), day.clone()));
    facts.collected = Some((first.min(day.clone()), last.max(day)));
}

/// A licence by its identifier; what somebody wrote in their own words may name people and is only counted.
fn license(stated: Option<&str>) -> String {
    let is_id = |text: &&str| {
        text.len() <= 30
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.+".contains(letter))
    };
    match stated.map(str::trim).filter(|text| !text.is_empty()) {
        None => "none stated".to_owned(),
        Some(text) => Some(text).filter(is_id).unwrap_or("stated in words of their own").to_owned(),
    }
}

fn count_ratings(criteria: &mut BTreeMap<String, CriterionFacts>, label: &Label) {
    for (key, counts) in &label.distribution {
        let facts = criteria.entry(key.clone()).or_default();
        for (at, count) in counts.iter().copied().map(u64::from).enumerate() {
            facts.scores[at] += count;
            facts.equal += count * count.saturating_sub(1) / 2;
            let above = counts.get(at + 1).copied().map_or(0, u64::from);
            facts.within_one += count * count.saturating_sub(1) / 2 + count * above;
            let higher: u64 = counts[at + 1..].iter().copied().map(u64::from).sum();
            facts.pairs += count * count.saturating_sub(1) / 2 + count * higher;
        }
    }
    for (key, count) in &label.not_applicable {
        criteria.entry(key.clone()).or_default().not_applicable += u64::from(*count);
    }
    for key in label.decided.keys() {
        criteria.entry(key.clone()).or_default().decided += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_scores_are_counted_as_one_by_one() {
        let mut random = 7_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 30
        };
        for _ in 0..50 {
            let counts = std::array::from_fn(|_| next());
            let label = Label { distribution: [("clarity".to_owned(), counts)].into(), ..Label::default() };
            let mut criteria = BTreeMap::new();
            count_ratings(&mut criteria, &label);
            let scores: Vec<i64> =
                (0_i64..).zip(counts).flat_map(|(score, n)| std::iter::repeat_n(score, n as usize)).collect();
            let mut expected = CriterionFacts { scores: counts.map(u64::from), ..CriterionFacts::default() };
            for (at, one) in scores.iter().enumerate() {
                for other in &scores[at + 1..] {
                    expected.pairs += 1;
                    expected.equal += u64::from(one == other);
                    expected.within_one += u64::from((one - other).abs() <= 1);
                }
            }
            assert_eq!(criteria["clarity"], expected, "{counts:?}");
        }
    }

    #[test]
    fn what_people_wrote_about_a_licence_is_not_repeated() {
        assert_eq!(license(Some("CC-BY-4.0")), "CC-BY-4.0");
        assert_eq!(license(Some(" ")), "none stated");
        assert_eq!(license(None), "none stated");
        assert_eq!(license(Some("consent by mail of Ann Smith")), "stated in words of their own");
    }

    #[test]
    fn labelled_slides_are_counted_by_split_with_their_decks() {
        let slides = [("a", 1), ("a", 2), ("b", 1), ("c", 1)];
        let slides: Vec<SlideRecord> = slides.map(|(deck, number)| SlideRecord::sample(deck, number)).into();
        let label = Label { annotators: 3, ..Label::default() };
        let labelled = slides.iter().filter(|slide| slide.deck_id != "c");
        let labels =
            Labels { slides: labelled.map(|slide| (slide.slide_id.clone(), label.clone())).collect() };
        let groups =
            [("a", Split::Train), ("b", Split::Test)].map(|(group, split)| (group.to_owned(), split));
        let splits = Splits { groups: groups.into(), ..Splits::default() };
        let facts = count(&labels, &Manifest { slides }, &splits);
        let told: Vec<_> =
            facts.splits.iter().map(|(name, s)| (name.as_str(), s.slides, s.decks, s.groups)).collect();
        assert_eq!(told, [("test", 1, 1, 1), ("train", 2, 1, 1)], "a slide without a label is not counted");
        assert_eq!(facts.raters_of_a_slide, [(3, 3)].into());
        assert_eq!(facts.sources, [("drawn by a program".to_owned(), 3)].into());
    }
}
