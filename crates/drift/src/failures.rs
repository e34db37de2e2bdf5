//! Files and pages that were handed in and have no scores, beside the slides that have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use slide_data::{FailedInput, FailureKind, InputRecord, Outcome};

use crate::DriftConfig;
use crate::days::days_before;

/// What became no slide, in collecting and in production.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures<'a> {
    /// Of the collection that the version in use was made from ([`failures_of_collecting`]).
    pub collected: &'a [FailedInput],
    /// The log of what could not be scored.
    pub scored: &'a [FailedInput],
}

/// What collecting could not read up to a time, of each file what became of it last.
pub fn failures_of_collecting(records: &[InputRecord], until: Option<Timestamp>) -> Vec<FailedInput> {
    let mut last: BTreeMap<(Option<&str>, &str), &InputRecord> = BTreeMap::new();
    for record in records.iter().filter(|record| until.is_none_or(|until| record.at <= until)) {
        let name = if record.place.is_some() { "" } else { &record.origin };
        last.insert((record.place.as_deref(), name), record);
    }
    last.into_iter().flat_map(|(place, record)| of_file(&format!("{place:?}"), record)).collect()
}

fn of_file(id: &str, record: &InputRecord) -> Vec<FailedInput> {
    let failed = |part: Option<&str>, reason: &str| FailedInput {
        schema_version: 1,
        id: format!("{id} {part:?}"),
        deck_id: FailedInput::deck_of(&record.sha256),
        part: part.map(str::to_owned),
        failed_at: record.at,
        model_version: String::new(),
        kind: FailureKind::of_words(reason),
        reason: reason.to_owned(),
    };
    match &record.outcome {
        Outcome::Quarantined { reason } => vec![failed(None, reason)],
        Outcome::Collected { .. } => {
            record.set_aside.iter().map(|(part, reason)| failed(Some(part), reason)).collect()
        }
    }
}

/// A file or page of a deck that has no scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedPart {
    pub(crate) deck: String,
    pub(crate) kind: FailureKind,
}

/// The failures of both sides.
#[derive(Debug, Default)]
pub(crate) struct FailedParts {
    pub(crate) reference: Vec<FailedPart>,
    pub(crate) recent: Vec<FailedPart>,
}

impl FailedParts {
    /// Each page counts once, however often it was handed in; of production those of the version within the window count.
    pub(crate) fn new(
        failures: &Failures<'_>,
        version: Option<&str>,
        config: &DriftConfig,
        now: Timestamp,
    ) -> Self {
        let from = days_before(now, config.window_days);
        let is_recent = |failed: &&FailedInput| {
            Some(failed.model_version.as_str()) == version && (from..=now).contains(&failed.failed_at)
        };
        let mut recent: Vec<&FailedInput> = failures.scored.iter().filter(is_recent).collect();
        recent.sort_by_key(|failed| std::cmp::Reverse(failed.failed_at));
        Self {
            reference: once_each(failures.collected.iter(), usize::MAX),
            recent: once_each(recent.into_iter(), config.max_decks),
        }
    }

    pub(crate) fn count(&self, kind: FailureKind) -> usize {
        self.recent.iter().filter(|failed| failed.kind == kind).count()
    }
}

/// The parts of the first `most` decks, each once.
fn once_each<'a>(failures: impl Iterator<Item = &'a FailedInput>, most: usize) -> Vec<FailedPart> {
    let (mut met, mut decks, mut parts) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for failed in failures {
        let deck = failed.deck_id.as_deref().unwrap_or(&failed.id);
        let is_chosen = decks.contains(deck) || decks.len() < most && decks.insert(deck);
        if is_chosen && met.insert((deck, failed.part.as_deref())) {
            parts.push(FailedPart { deck: deck.to_owned(), kind: failed.kind });
        }
    }
    parts
}

const KINDS: [(&str, FailureKind); 2] =
    [("presence.readable", FailureKind::Error), ("presence.accepted", FailureKind::Refusal)];

/// Whether a feature says how much of what was handed in became no slide: nothing that a training could learn.
pub(crate) fn is_of_failures(name: &str) -> bool {
    KINDS.iter().any(|(feature, _)| *feature == name)
}

/// A value of one side: the deck, the place of the slide (none, of a failure), and 1 for a slide or 0 for a failure.
pub(crate) type Became = (usize, Option<usize>, f64);

/// Of the decks of one side's slides and failures the features of failures, each only where either side has any of the kind.
pub(crate) fn features(
    decks: &[usize],
    failed: &[(usize, FailureKind)],
    is_met: [bool; 2],
) -> Vec<(&'static str, Vec<Became>)> {
    let of_kind = |kind: FailureKind| {
        let slides = decks.iter().enumerate().map(|(slide, deck)| (*deck, Some(slide), 1.0));
        let own = failed.iter().filter(move |(_, of)| *of == kind);
        slides.chain(own.map(|(deck, _)| (*deck, None, 0.0))).collect()
    };
    let met = KINDS.into_iter().zip(is_met).filter(|(_, is_met)| *is_met);
    met.map(|((name, kind), _)| (name, of_kind(kind))).collect()
}

impl FailedParts {
    /// Whether there are errors, and whether there are refusals, on either side.
    pub(crate) fn kinds_met(&self) -> [bool; 2] {
        let is_met = |kind| self.reference.iter().chain(&self.recent).any(|failed| failed.kind == kind);
        KINDS.map(|(_, kind)| is_met(kind))
    }
}
