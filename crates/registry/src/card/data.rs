//! The data card: what the labelled slides are, in numbers. No text of a slide, no name, no path.

use project_files::{HumanCeiling, input};
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Subject;
use super::text::{NOTHING, Style, bullets, count, grouped, measured, pairs, plain, table};

/// What was counted in the labelled slides of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataFacts {
    /// Labelled slides and decks by split, as in `train`.
    pub splits: BTreeMap<String, SplitFacts>,
    /// Slides by the kind of their source, as in `pdf`.
    pub sources: BTreeMap<String, usize>,
    /// Slides by the licence that is stated for them; what is not an identifier is to be counted under words of the caller's.
    pub licenses: BTreeMap<String, usize>,
    /// The first and the last day on which slides were collected.
    pub collected: Option<(String, String)>,
    /// How many people rated, where that is known.
    pub raters: Option<usize>,
    /// Slides by how many people rated them.
    pub raters_of_a_slide: BTreeMap<usize, usize>,
    /// What was said of each criterion.
    pub criteria: BTreeMap<String, CriterionFacts>,
}

/// One split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SplitFacts {
    /// Its slides.
    pub slides: usize,
    /// Their decks.
    pub decks: usize,
    /// Groups of decks that share slides, which are never divided between splits.
    pub groups: usize,
}

/// What people said of one criterion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CriterionFacts {
    /// How many ratings gave 1, 2, 3, 4, 5.
    pub scores: [u64; 5],
    /// How many ratings said that it does not apply.
    pub not_applicable: u64,
    /// Slides whose score is one person's final word or a correction.
    pub decided: usize,
    /// Pairs of scores of one slide by two people.
    pub pairs: u64,
    /// Those of them that are equal.
    pub equal: u64,
    /// Those of them at most one point apart.
    pub within_one: u64,
}

/// The data card.
pub(super) fn data_card(subject: &Subject<'_>) -> String {
    let mut parts = vec![heading(subject), sizes(subject)];
    if let Some(facts) = &subject.facts.data {
        parts.extend([sources(facts), ratings(subject, facts), agreement(subject, facts)]);
    }
    parts.extend([ceiling(subject), labels(subject), limits(subject)]);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn heading(subject: &Subject<'_>) -> String {
    let inputs = &subject.record.inputs;
    let hashes = [input::LABELS, input::SPLITS, input::MANIFEST];
    let rows =
        hashes.map(|name| (name, inputs.get(name).map(|hash| format!("`{}`", hash.replace(['`', '|'], "")))));
    format!(
        "# The data of slide rater {}\n\n\
         The slides and ratings that it was trained, chosen and measured on. They are the team's own and are not published; these \
         are their numbers. Their files have the SHA-256:\n\n{}",
        subject.manifest.version,
        pairs(["file", "SHA-256"], rows.to_vec())
    )
}

fn sizes(subject: &Subject<'_>) -> String {
    let data = &subject.record.data;
    let names = [
        ("train", "training", data.train_slides),
        ("val", "choosing the checkpoint", data.val_slides),
        ("test", "test", data.test_slides),
    ];
    let facts = subject.facts.data.as_ref();
    let rows = names.map(|(key, name, slides)| {
        let split = facts.and_then(|facts| facts.splits.get(key));
        let told = |number: Option<usize>| number.map_or(NOTHING.to_owned(), grouped);
        vec![name.to_owned(), grouped(slides), told(split.map(|s| s.decks)), told(split.map(|s| s.groups))]
    });
    format!(
        "## How much\n\n{} of {} have labels.\n\n{}",
        count(data.slides, "slide"),
        count(data.decks, "deck"),
        table(&["for", "slides", "decks", "groups of decks that share slides"], &rows)
    )
}

fn counts(title: &str, counts: &BTreeMap<String, usize>) -> String {
    let rows: Vec<Vec<String>> =
        counts.iter().map(|(name, slides)| vec![plain(name), grouped(*slides)]).collect();
    table(&[title, "slides"], &rows)
}

fn sources(facts: &DataFacts) -> String {
    let mut text = format!(
        "## Where the slides come from\n\n{}\n{}",
        counts("source", &facts.sources),
        counts("stated licence or consent", &facts.licenses)
    );
    if let Some((first, last)) = &facts.collected {
        let _ = if first == last {
            write!(text, "\nCollected on {first}.\n")
        } else {
            write!(text, "\nCollected from {first} to {last}.\n")
        };
    }
    text
}

fn ratings(subject: &Subject<'_>, facts: &DataFacts) -> String {
    let raters: Vec<Vec<String>> = facts
        .raters_of_a_slide
        .iter()
        .map(|(raters, slides)| vec![raters.to_string(), grouped(*slides)])
        .collect();
    let rows = score_counts(subject, facts);
    let people = match facts.raters {
        Some(1) => "One person rated the labelled slides.",
        Some(people) => &format!("{people} people rated the labelled slides."),
        None => "How many people rated in all is not known.",
    };
    format!(
        "## The ratings\n\n{people}\n\n{}\nHow often each score was given, by raters; decided are slides whose score is one person's final word \
         or a user's correction:\n\n{}",
        table(&["people who rated a slide", "slides"], &raters),
        table(&["criterion", "1", "2", "3", "4", "5", "does not apply", "decided", "ratings"], &rows)
    )
}

/// How often each criterion was given each score, does not apply and was decided: a row each.
fn score_counts(subject: &Subject<'_>, facts: &DataFacts) -> Vec<Vec<String>> {
    let rows = subject.criteria().into_iter().filter_map(|(key, name)| {
        let criterion = facts.criteria.get(&key)?;
        let all: u64 = criterion.scores.iter().sum();
        let own = criterion.scores.iter().map(u64::to_string);
        let rest = [criterion.not_applicable.to_string(), criterion.decided.to_string(), all.to_string()];
        Some([plain(&name)].into_iter().chain(own).chain(rest).collect())
    });
    rows.collect()
}

fn agreement(subject: &Subject<'_>, facts: &DataFacts) -> String {
    let rows = subject
        .criteria()
        .into_iter()
        .filter_map(|(key, name)| Some(pairs_of(&name, facts.criteria.get(&key)?)));
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() || facts.criteria.values().all(|criterion| criterion.pairs == 0) {
        return "No slide has scores of two people: how far they agree is not known.\n".to_owned();
    }
    format!(
        "## How far people agree\n\nOver all pairs of scores that two people gave one slide:\n\n{}",
        table(&["criterion", "pairs", "equal", "at most one point apart"], &rows)
    )
}

/// The pairs of scores that two people gave a slide on one criterion, and how many of them agree.
fn pairs_of(name: &str, criterion: &CriterionFacts) -> Vec<String> {
    let share = |part: u64| {
        let share = part as f64 / criterion.pairs as f64;
        Style::Share.estimate((criterion.pairs > 0).then_some(share), None)
    };
    vec![plain(name), criterion.pairs.to_string(), share(criterion.equal), share(criterion.within_one)]
}

/// What the validation measured of people on the test slides.
fn ceiling(subject: &Subject<'_>) -> String {
    let Some(ceiling) = &subject.results.human_ceiling else { return String::new() };
    let header =
        ["criterion", "mean absolute error", "within one point", "equal", "noise of one score, in points"];
    let body = table(&header, &people_by_criterion(subject, ceiling));
    if body.is_empty() {
        return body;
    }
    format!(
        "On the test slides, one person against the label that the others give, over {} with at least two raters ({} % \
         intervals over decks):\n\n{body}",
        count(ceiling.ratings, "rating"),
        (subject.results.confidence * 100.0).round()
    )
}

/// By which rule ratings become labels, as the program does it.
fn labels(subject: &Subject<'_>) -> String {
    let has_corrections = subject.record.inputs.contains_key(input::CORRECTIONS);
    let mut rules = vec![
        "A lead's final word on a slide stands for all ratings of it.".to_owned(),
        "Where more than half of the raters say that a criterion does not apply, it has no score and no part in a measure."
            .to_owned(),
        "Else the raters' scores are taught as the distribution that they are; measured is against one score that follows from \
         them."
            .to_owned(),
        "Decks that share a slide are never divided between training, choosing and test.".to_owned(),
    ];
    if has_corrections {
        rules.insert(
            0,
            "A user's correction stands above everything else, in training slides alone.".to_owned(),
        );
    }
    format!("## How labels are made\n\n{}", bullets(rules))
}

/// What people reach against each other: all criteria together and each one, where anything was measured.
fn people_by_criterion(subject: &Subject<'_>, ceiling: &HumanCeiling) -> Vec<Vec<String>> {
    let own = |key: &str, measure: &str| {
        measured(&format!("{key}_{measure}"), &ceiling.person, &ceiling.person_intervals)
    };
    let noise = |key: &str| Style::Number.estimate(ceiling.noise.get(key).copied(), None);
    let all = [("overall".to_owned(), "all together".to_owned())];
    let rows = all.into_iter().chain(subject.criteria()).map(|(key, name)| {
        vec![plain(&name), own(&key, "mae"), own(&key, "within_1"), own(&key, "exact"), noise(&key)]
    });
    rows.filter(|row| row.iter().skip(1).any(|cell| cell != NOTHING)).collect()
}

fn limits(subject: &Subject<'_>) -> String {
    let record = subject.record;
    let mut facts = vec![format!(
        "All ratings are of one team, by at most {} of each slide.",
        count(record.data.raters_per_slide_at_most, "rater")
    )];
    if subject.facts.data.is_none() {
        facts.push(
            "Labels or slides have changed since the training, or were not at hand: sources and ratings could not be counted."
                .to_owned(),
        );
    }
    facts.extend(subject.criteria().iter().filter_map(|(key, name)| unrated(subject, key, name)));
    format!("## What is known of their limits\n\n{}", bullets(facts))
}

/// On how many of the evaluated slides nobody said anything about a criterion.
fn unrated(subject: &Subject<'_>, key: &str, name: &str) -> Option<String> {
    let sizes = &subject.results.sizes;
    let missing = sizes.missing.get(key).copied().unwrap_or_default();
    (missing > 0).then(|| {
        format!(
            "Nobody said anything about {} on {missing} of the {} evaluated slides.",
            plain(name).to_lowercase(),
            sizes.slides
        )
    })
}
