//! Files and pages that were handed in and have no scores, beside the slides that have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use slide_data::{FailedInput, FailureKind, InputRecord, Outcome, Prediction};

use crate::DriftConfig;
use crate::days::days_before;

/// What became no slide, in collecting and in production.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures<'a> {
    /// What became of the files that were collected for the version in use ([`collected_files`]); none where that is not known.
    pub collected: &'a [CollectedFile],
    /// The log of what could not be scored, without decks that the version was trained or chosen on.
    pub scored: &'a [FailedInput],
}

/// A file that was collected, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedFile {
    /// What tells it from others.
    pub name: String,
    /// Its slides.
    pub slides: usize,
    /// Its pages that could not be read, or the file itself, by what failed.
    pub failed: Vec<FailureKind>,
}

/// What collecting made of files up to a time, of each what became of it last.
pub fn collected_files(records: &[InputRecord], until: Option<Timestamp>) -> Vec<CollectedFile> {
    let mut last: BTreeMap<(Option<&str>, &str), &InputRecord> = BTreeMap::new();
    for record in records.iter().filter(|record| until.is_none_or(|until| record.at <= until)) {
        let name = if record.place.is_some() { "" } else { &record.origin };
        last.insert((record.place.as_deref(), name), record);
    }
    let file = |((place, origin), record): ((Option<&str>, &str), &InputRecord)| {
        let name = format!("collected {}", place.unwrap_or(origin));
        let aside = record.set_aside.iter().map(|(_, reason)| FailureKind::of_words(reason));
        match &record.outcome {
            Outcome::Quarantined { reason } => {
                CollectedFile { name, slides: 0, failed: vec![FailureKind::of_words(reason)] }
            }
            Outcome::Collected { slides } => CollectedFile { name, slides: *slides, failed: aside.collect() },
        }
    };
    last.into_iter().map(file).collect()
}

/// What was handed in and became a slide, or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The deck, or the collected file.
    pub(crate) deck: String,
    /// None where it became a slide.
    pub(crate) failed: Option<FailureKind>,
}

/// What was handed in on both sides; nothing, where nothing failed or it is not known what was collected.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) reference: Vec<Part>,
    pub(crate) recent: Vec<Part>,
    /// How many files and pages failed in the window, each once.
    pub(crate) errors: usize,
    pub(crate) refusals: usize,
}

impl Parts {
    /// Each page counts once, however often it was handed in; of production those of the version within the window count, and where only the
    /// latest decks are looked at, those that failed since these were scored.
    pub(crate) fn new(
        failures: &Failures<'_>,
        recent: &[&Prediction],
        version: Option<&str>,
        config: &DriftConfig,
        now: Timestamp,
    ) -> Self {
        let from = days_before(now, config.window_days);
        let is_recent = |failed: &&FailedInput| {
            Some(failed.model_version.as_str()) == version && (from..=now).contains(&failed.failed_at)
        };
        let all = once_each(failures.scored.iter().filter(is_recent));
        let count = |kind| all.iter().filter(|(_, failed)| failed.kind == kind).count();
        let (errors, refusals) = (count(FailureKind::Error), count(FailureKind::Refusal));
        let of_collecting = failures.collected.iter().flat_map(|file| &file.failed).count();
        if failures.collected.is_empty() || all.len() + of_collecting == 0 {
            return Self { errors, refusals, ..Self::default() };
        }
        let decks: BTreeSet<&str> = recent.iter().map(|slide| slide.deck_id.as_str()).collect();
        let since =
            recent.iter().map(|slide| slide.scored_at).min().filter(|_| decks.len() >= config.max_decks);
        let all = all.into_iter().filter(|(_, failed)| since.is_none_or(|since| failed.failed_at >= since));
        let part = |deck: &str, failed| Part { deck: deck.to_owned(), failed };
        let slides = recent.iter().map(|slide| part(&slide.deck_id, None));
        let of_files = failures.collected.iter().flat_map(|file| {
            let slides = std::iter::repeat_n(None, file.slides);
            slides.chain(file.failed.iter().map(|kind| Some(*kind))).map(|failed| part(&file.name, failed))
        });
        Self {
            reference: of_files.collect(),
            recent: slides.chain(all.map(|(deck, failed)| part(deck, Some(failed.kind)))).collect(),
            errors,
            refusals,
        }
    }
}

/// Each part of a deck once, as it failed last, with the deck.
fn once_each<'a>(failures: impl Iterator<Item = &'a FailedInput>) -> Vec<(&'a str, &'a FailedInput)> {
    let mut last: BTreeMap<(&str, Option<&str>), &FailedInput> = BTreeMap::new();
    for failed in failures {
        let deck = failed.deck_id.as_deref().unwrap_or(&failed.id);
        let known = last.entry((deck, failed.part.as_deref())).or_insert(failed);
        if known.failed_at < failed.failed_at {
            *known = failed;
        }
    }
    last.into_iter().map(|((deck, _), failed)| (deck, failed)).collect()
}

const KINDS: [(&str, FailureKind); 2] =
    [("presence.readable", FailureKind::Error), ("presence.accepted", FailureKind::Refusal)];

/// Whether a feature says how much of what was handed in became a slide: nothing that a training could learn.
pub(crate) fn is_of_failures(name: &str) -> bool {
    KINDS.iter().any(|(feature, _)| *feature == name)
}

/// Of each feature of failures the values of one side: 1 of a slide, 0 of what failed by it. What failed otherwise has none.
pub(crate) fn features(parts: &[Part]) -> [(&'static str, Vec<(&str, f64)>); 2] {
    KINDS.map(|(name, kind)| {
        let own = parts.iter().filter(|part| part.failed.is_none_or(|failed| failed == kind));
        (name, own.map(|part| (part.deck.as_str(), f64::from(u8::from(part.failed.is_none())))).collect())
    })
}
