//! What the cards say of the data: counts of labels, slides and raters, as long as they are those that the run was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use project_files::{Layout, RunFiles, RunRecord, input};
use registry::{CriterionFacts, DataFacts};
use slide_data::{Contract as _, Label, Labels, Manifest, Rubric, SlideRecord, SourceKind, Split, Splits};
use slide_label::{Journal, StoreBuilder};

use crate::data::{self, DataFiles};

/// The counts, from the project's files or the run's copies of them; `None`, with a warning, where neither is what the run was
/// made from.
pub(crate) fn data_facts(layout: &Layout, run: &RunFiles, record: &RunRecord) -> Result<Option<DataFacts>> {
    let data = match DataFiles::of_record(layout, run, record)? {
        Ok(data) => data,
        Err(reason) => {
            tracing::warn!("the data card cannot count sources and ratings: {reason}");
            return Ok(None);
        }
    };
    let mut labels = Labels::read(data.path(input::LABELS))?;
    let manifest = Manifest::read(data.slides())?;
    let splits = Splits::read(data.path(input::SPLITS))?;
    let rubric = data::rubric(run)?;
    let raters = raters(&layout.journal(), &rubric, &labels, record.started_at)?;
    splits.hold_test_labels(&mut labels, &rubric);
    Ok(Some(DataFacts { raters, ..count(&labels, &manifest, &splits) }))
}

/// How many people gave the ratings that the labels were made of: by the journal as it was when the run began, and only where it
/// has as many ratings of every slide as the labels say.
fn raters(path: &Path, rubric: &Rubric, labels: &Labels, until: Timestamp) -> Result<Option<usize>> {
    let mut store = StoreBuilder::new(rubric.clone());
    Journal::read_with(path, |event| {
        if event.at <= until {
            store.add(event);
        }
    })?;
    let (store, _) = store.finish();
    let mut people = BTreeSet::new();
    for (slide, label) in &labels.slides {
        let raters: Vec<String> = store.ratings(slide).map(|rating| rating.annotator.to_owned()).collect();
        // Whom a final word alone stands for is one, by the labels.
        if raters.len() != label.annotators && !(raters.is_empty() && label.annotators == 1) {
            return Ok(None);
        }
        people.extend(raters);
    }
    Ok((!people.is_empty()).then_some(people.len()))
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
    fn raters_are_counted_as_long_as_the_journal_is_what_the_labels_follow_from() {
        use slide_label::{Event, Kind};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings");
        let rubric = Rubric::default();
        let until: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
        let rated = |id: &str, kind: Kind, slide: &str, who: &str, at: Timestamp| {
            let scores = rubric.keys().map(|key| (key.to_owned(), slide_data::Score::new(3))).collect();
            Event { scores, ..Event::new(id, kind, slide, who, at) }
        };
        let skipped = |id: &str, slide: &str, who: &str| Event::new(id, Kind::Skipped, slide, who, until);
        let mut events = vec![
            rated("1", Kind::Rated, "a", "Ann", until),
            rated("2", Kind::Rated, "a", "Bob", until),
            rated("3", Kind::Rated, "b", "Bob", until),
            skipped("4", "b", "Eve"),
        ];
        let count = |events: &[Event], labels: &[(&str, usize)]| {
            Event::replace_log(&path, events).unwrap();
            let label = |annotators| Label { annotators, ..Label::default() };
            let slides = labels.iter().map(|(slide, count)| ((*slide).to_owned(), label(*count))).collect();
            raters(&path, &rubric, &Labels { slides }, until).unwrap()
        };
        assert_eq!(count(&events, &[("a", 2), ("b", 1)]), Some(2), "who passed a slide over rated nothing");
        assert_eq!(count(&events, &[("b", 1)]), Some(1), "of the labelled slides alone");
        assert_eq!(count(&events, &[("a", 3), ("b", 1)]), None, "the labels are of other ratings");
        assert_eq!(count(&events, &[("c", 1)]), None, "labels without ratings");
        events.push(rated("5", Kind::Rated, "b", "Cleo", later));
        assert_eq!(count(&events, &[("a", 2), ("b", 1)]), Some(2), "people rated on after the run began");
        assert_eq!(raters(&dir.path().join("none"), &rubric, &Labels::default(), until).unwrap(), None);
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
