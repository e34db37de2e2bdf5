//! What there is to learn from that the version in use did not read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use project_files::{RunRecord, input, sha256_hex};
use sha2::{Digest as _, Sha256};
use slide_data::{Correction, Labels, Score, SlideRecord, Split, Splits};

/// The slides that the next training could learn from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnable {
    /// Slides that may be trained on and that people rated.
    rated: BTreeSet<String>,
    /// Slides that may be trained on once they are corrected.
    unrated: BTreeSet<String>,
    /// Slides that are kept for validation or test.
    held_out: BTreeSet<String>,
    /// Slides that repeat another or that the rules leave out.
    left_out: BTreeSet<String>,
    /// Scored slides that are kept, and may be brought in.
    kept: BTreeSet<String>,
}

impl Learnable {
    /// As `pq-train` chooses them: collected, neither repeated nor excluded, and not of the splits for validation and test.
    pub fn new(slides: &[SlideRecord], labels: &Labels, splits: &Splits) -> Self {
        let mut learnable = Self::default();
        for slide in slides {
            let id = slide.slide_id.clone();
            let is_rated = labels.slides.get(&id).is_some_and(|label| label.scored().next().is_some());
            let is_open = !splits.groups.contains_key(&slide.group) || splits.of(slide) == Some(Split::Train);
            let kind = if slide.duplicate_of.is_some() || slide.excluded {
                &mut learnable.left_out
            } else if !is_open {
                &mut learnable.held_out
            } else if is_rated {
                &mut learnable.rated
            } else {
                &mut learnable.unrated
            };
            kind.insert(id);
        }
        learnable
    }

    /// The same, with the slides that were kept as they were scored.
    pub fn with_kept(self, kept: impl IntoIterator<Item = String>) -> Self {
        Self { kept: kept.into_iter().collect(), ..self }
    }

    /// Whether a run learned from a correction of the slide only if it says so: nobody rated it, or it was not in the store.
    fn unrated_or_unknown(&self, slide: &str) -> bool {
        ![&self.rated, &self.held_out, &self.left_out].into_iter().any(|slides| slides.contains(slide))
    }
}

/// What the run of the version in use read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// When it read its data; absent where no record of the run is there.
    pub read_at: Option<Timestamp>,
    /// The ids of the corrections that it read, where its hash of their log tells how far it read.
    pub corrections: Option<BTreeSet<String>>,
    /// The slides of the corrections that it obeyed.
    pub corrected: BTreeSet<String>,
    /// How many slides it trained on.
    pub train_slides: Option<usize>,
    /// SHA-256 of the labels that it read.
    pub labels: Option<String>,
    /// What later runs read that are not in use: those that were asked for and refused, and those of versions that were gone back from.
    pub tried: Vec<Known>,
    /// When the version was put in use by hand, or gone back to, if that was the last that happened.
    pub put_in_use: Option<Timestamp>,
}

impl Known {
    /// What a run's record says; `corrections` is the log as it is now.
    pub fn new(run: &RunRecord, corrections: &[u8]) -> Self {
        let read = run.inputs.get(input::CORRECTIONS);
        let ids = match read {
            Some(hash) => read_until(corrections, hash, run),
            None if run.inputs.is_empty() => None,
            None => Some(BTreeSet::new()), // there was no such log
        };
        Self {
            read_at: Some(run.started_at),
            corrections: ids,
            corrected: run.corrections.values().cloned().collect(),
            train_slides: Some(run.data.train_slides).filter(|slides| *slides > 0),
            labels: run.inputs.get(input::LABELS).cloned(),
            ..Self::default()
        }
    }

    fn has_read(&self, correction: &Correction) -> bool {
        match (&self.corrections, self.read_at) {
            (Some(ids), _) => ids.contains(&correction.id),
            (None, Some(read_at)) => correction.corrected_at <= read_at,
            (None, None) => false,
        }
    }

    /// Whether it, or one that was tried since, learned from a correction: it read it, and had the slide.
    fn has_learned(&self, correction: &Correction, learnable: &Learnable) -> bool {
        let slide = &correction.slide_id;
        self.each().any(|known| {
            known.has_read(correction)
                && (!learnable.unrated_or_unknown(slide) || known.corrected.contains(slide))
        })
    }

    fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.tried)
    }
}

/// The ids of the entries of a log up to where it had this SHA-256; `None` where it never did, as after it was rewritten. One that was
/// dated ahead of the run was set aside by it, and is none of them.
fn read_until(log: &[u8], sha256: &str, run: &RunRecord) -> Option<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Line {
        id: String,
        corrected_at: Option<Timestamp>,
    }
    let was_read = |line: &Line| {
        line.corrected_at.is_none_or(|at| at <= run.started_at) || run.corrections.contains_key(&line.id)
    };
    let (mut hash, mut ids) = (Sha256::new(), BTreeSet::new());
    let is_it = |hash: &Sha256| durable_files::hex(&hash.clone().finalize()) == sha256;
    if is_it(&hash) {
        return Some(ids);
    }
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        hash.update(line);
        ids.extend(serde_json::from_slice::<Line>(line).ok().filter(was_read).map(|line| line.id));
        if is_it(&hash) {
            return Some(ids);
        }
    }
    None
}

/// What there is to learn from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usable {
    /// Corrections that can be learned from and that the run in use did not read, each counted once. One that says what that run has
    /// learned, or whose scores were corrected again since, is none of them.
    pub corrections: usize,
    /// Labelled slides that may be trained on, more than that run had.
    pub more_slides: usize,
    /// New corrections that cannot be learned from, by why.
    pub unusable: BTreeMap<String, usize>,
    /// Whether anything differs from what that run read; absent where it is not known what it read.
    pub is_new: Option<bool>,
    /// Names everything that a training would learn from now: equal where it would read the same.
    pub key: String,
    /// Files that were there and are not: what is counted without them is known to be wrong.
    pub missing: Vec<String>,
}

impl Usable {
    /// The same, counted without these files, which were there.
    #[must_use]
    pub fn without(self, missing: Vec<String>) -> Self {
        let is_new = self.is_new.filter(|_| missing.is_empty());
        Self { is_new, missing, ..self }
    }
}

/// Counts what can be learned from. `labels_sha256` is that of `labels.json`, empty where there is none.
pub fn usable(
    corrections: &[Correction],
    learnable: &Learnable,
    known: &Known,
    labels_sha256: &str,
    now: Timestamp,
) -> Usable {
    let by_id: BTreeMap<&str, &Correction> =
        corrections.iter().map(|correction| (correction.id.as_str(), correction)).collect();
    let (mut learned, mut new, mut unusable) = (Vec::new(), Vec::new(), BTreeMap::new());
    for correction in by_id.into_values() {
        match (obstacle(correction, learnable, now), known.has_learned(correction, learnable)) {
            (None, true) => learned.push(correction),
            (None, false) => new.push(correction),
            (Some(_), true) => {}
            (Some(why), false) => *unusable.entry(why.to_owned()).or_default() += 1,
        }
    }
    let before = decisive(learned.iter().copied());
    let after = decisive(learned.iter().chain(&new).copied());
    let teaching: BTreeSet<&str> = after
        .iter()
        .filter(|(place, (_, score))| before.get(*place).is_none_or(|(_, known)| known != score))
        .map(|(_, (correction, _))| correction.id.as_str())
        .collect();
    let repeating = new.iter().filter(|correction| !teaching.contains(correction.id.as_str())).count();
    if repeating > 0 {
        unusable.insert(REPEATING.to_owned(), repeating);
    }
    let slides = learnable.rated.len() + unrated_of(&learned, learnable);
    let before = known.each().filter_map(|known| known.train_slides).max();
    let more_slides = before.map_or(0, |before| slides.saturating_sub(before));
    let corrections = new.len() - repeating;
    let is_same = |known: &Known| known.labels.as_deref() == Some(labels_sha256);
    let same_labels = known.labels.as_ref().map(|_| known.each().any(is_same));
    Usable {
        corrections,
        more_slides,
        unusable,
        is_new: same_labels.map(|same| !same || corrections > 0 || more_slides > 0),
        key: key_of(labels_sha256, &after),
        missing: Vec::new(),
    }
}

const REPEATING: &str = "that repeat others or were corrected again since";

/// By slide and criterion, what is said last, as training obeys it: the newest, of equally old ones that with the larger id.
type Decisive<'c> = BTreeMap<(&'c str, &'c str), (&'c Correction, Option<Score>)>;

fn decisive<'c>(corrections: impl Iterator<Item = &'c Correction>) -> Decisive<'c> {
    let mut last = Decisive::new();
    for correction in corrections {
        for (key, score) in &correction.scores {
            let said =
                last.entry((correction.slide_id.as_str(), key.as_str())).or_insert((correction, *score));
            if (said.0.corrected_at, &said.0.id) <= (correction.corrected_at, &correction.id) {
                *said = (correction, *score);
            }
        }
    }
    last
}

/// How many slides that nobody rated were learned from by their corrections. One to which nothing applies is none of those that scores were
/// learned from.
fn unrated_of(learned: &[&Correction], learnable: &Learnable) -> usize {
    let has_score = |correction: &&&Correction| correction.scores.values().any(Option::is_some);
    let slides: BTreeSet<&String> = learned
        .iter()
        .filter(has_score)
        .filter_map(|correction| learnable.unrated.get(&correction.slide_id))
        .collect();
    slides.len()
}

/// What the labels and corrections say, whoever said it and however often.
fn key_of(labels_sha256: &str, said: &Decisive<'_>) -> String {
    let mut key = labels_sha256.to_owned();
    for ((slide, criterion), (_, score)) in said {
        let score = score.map_or_else(|| "-".to_owned(), |score| score.get().to_string());
        key.extend(["\n", *slide, "\t", *criterion, "\t", score.as_str()]);
    }
    sha256_hex(key.as_bytes())
}

/// Why a correction cannot be learned from.
fn obstacle(correction: &Correction, learnable: &Learnable, now: Timestamp) -> Option<&'static str> {
    let slide = &correction.slide_id;
    if correction.corrected_at > now {
        Some("dated ahead of now")
    } else if correction.scores.is_empty() {
        Some("without a score")
    } else if learnable.held_out.contains(slide) {
        Some("of slides kept for validation or test")
    } else if learnable.left_out.contains(slide) {
        Some("of slides that repeat another or are left out")
    } else if learnable.rated.contains(slide) || learnable.unrated.contains(slide) {
        None
    } else if learnable.kept.contains(slide) {
        Some("of kept slides, which `pq-collect production` brings in")
    } else {
        Some("of slides that were neither collected nor kept")
    }
}
