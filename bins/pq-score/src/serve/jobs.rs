//! Decks that were handed in: what waits, what is being rated, and the results for as long as they are kept.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use report_pages::{OlderVersion, ScoredSlide};
use serde::Serialize;
use slide_data::Page;
use utoipa::ToSchema;

use super::metrics::Metrics;

/// Where a deck is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// It waits.
    Queued,
    /// Its pages are read and rated.
    Running,
    /// Its result can be fetched.
    Done,
    /// No page of it has scores.
    Failed,
}

/// A deck and how far it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct JobState {
    /// The job's id.
    pub(super) id: String,
    /// The name of the file.
    pub(super) name: String,
    /// Where it is.
    pub(super) state: Phase,
    /// Decks before it in the queue.
    pub(super) ahead: usize,
    /// Pages of the deck, as soon as they were counted.
    pub(super) pages: Option<usize>,
    /// Pages that are rated and logged.
    pub(super) scored: usize,
    /// Those of them whose pixels had been rated before.
    pub(super) cached: usize,
    /// Pages that cannot be rated, each with the reason.
    pub(super) failed: Vec<String>,
    /// What rates.
    pub(super) model_version: String,
}

/// A deck that waits to be read.
pub(super) struct Deck {
    pub(super) id: String,
    /// The file, in a folder that is removed with it.
    pub(super) path: PathBuf,
    pub(super) folder: tempfile::TempDir,
    /// The key under which the client may ask again.
    pub(super) key: Option<String>,
    /// The older version that it is compared with.
    pub(super) before: Option<Box<Earlier>>,
}

/// A deck that was rated before.
pub(super) struct Earlier {
    pub(super) name: String,
    pub(super) rated: Arc<RatedDeck>,
}

/// What became of a deck.
#[derive(Default)]
pub(super) struct RatedDeck {
    /// The slides that could be rated, in the order of the deck.
    pub(super) slides: Vec<ScoredSlide>,
    /// What they are matched by, in the same order.
    pub(super) pages: Vec<Page>,
    /// The older version that was named, compared.
    pub(super) older: Option<OlderVersion>,
}

/// The decks of a service.
pub(super) struct Jobs {
    inner: Mutex<Inner>,
    arrived: Condvar,
    most_waiting: usize,
    most_kept: usize,
    kept_for: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Deck>,
    known: HashMap<String, Known>,
    running: usize,
    is_closed: bool,
    /// When the last deck was done.
    ended: Option<Instant>,
}

struct Known {
    state: JobState,
    rated: Arc<RatedDeck>,
    /// When it ended.
    ended: Option<Instant>,
}

impl Jobs {
    pub(super) fn new(
        most_waiting: usize,
        most_kept: usize,
        kept_for: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { inner: Mutex::default(), arrived: Condvar::new(), most_waiting, most_kept, kept_for, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().waiting.len() >= self.most_waiting
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes a deck, or gives it back where the queue is full.
    pub(super) fn offer(&self, deck: Deck, name: &str, model_version: &str) -> Result<JobState, Deck> {
        let mut inner = self.lock();
        if inner.is_closed || inner.waiting.len() >= self.most_waiting {
            return Err(deck);
        }
        self.forget(&mut inner);
        let state = JobState {
            id: deck.id.clone(),
            name: name.to_owned(),
            state: Phase::Queued,
            ahead: inner.waiting.len(),
            pages: None,
            scored: 0,
            cached: 0,
            failed: Vec::new(),
            model_version: model_version.to_owned(),
        };
        let known = Known { state: state.clone(), rated: Arc::default(), ended: None };
        inner.known.insert(deck.id.clone(), known);
        inner.waiting.push_back(deck);
        self.metrics.waiting_decks.set(inner.waiting.len() as i64);
        self.arrived.notify_one();
        Ok(state)
    }

    /// Results that are too old, or more than are kept, the oldest first.
    fn forget(&self, inner: &mut Inner) {
        let mut ended: Vec<(Instant, String)> =
            inner.known.iter().filter_map(|(id, known)| Some((known.ended?, id.clone()))).collect();
        ended.sort();
        let too_many = (ended.len() + 1).saturating_sub(self.most_kept);
        for (at, (when, id)) in ended.into_iter().enumerate() {
            if at < too_many || when.elapsed() > self.kept_for {
                inner.known.remove(&id);
            }
        }
    }

    /// The next deck to be read; `None` once nothing more comes.
    pub(super) fn next(&self) -> Option<Deck> {
        let mut inner = self.lock();
        loop {
            if let Some(deck) = inner.waiting.pop_front() {
                inner.running += 1;
                self.metrics.waiting_decks.set(inner.waiting.len() as i64);
                if let Some(known) = inner.known.get_mut(&deck.id) {
                    known.state.state = Phase::Running;
                }
                return Some(deck);
            }
            if inner.is_closed {
                return None;
            }
            inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Changes what is known of a deck that is being read.
    pub(super) fn update(&self, id: &str, change: impl FnOnce(&mut JobState)) {
        if let Some(known) = self.lock().known.get_mut(id) {
            change(&mut known.state);
        }
    }

    /// A deck was read to its end.
    pub(super) fn finish(&self, id: &str, rated: RatedDeck) {
        let mut inner = self.lock();
        inner.running -= 1;
        inner.ended = Some(Instant::now());
        if let Some(known) = inner.known.get_mut(id) {
            known.state.state = if rated.slides.is_empty() { Phase::Failed } else { Phase::Done };
            known.rated = Arc::new(rated);
            known.ended = Some(Instant::now());
        }
    }

    /// What is known of a deck.
    pub(super) fn state(&self, id: &str) -> Option<JobState> {
        let mut inner = self.lock();
        let place = inner.waiting.iter().position(|deck| deck.id == id);
        let kept_for = self.kept_for;
        let known = inner.known.get_mut(id)?;
        if known.ended.is_some_and(|ended| ended.elapsed() > kept_for) {
            inner.known.remove(id);
            return None;
        }
        known.state.ahead = place.unwrap_or(0);
        Some(known.state.clone())
    }

    /// What became of a deck that is done.
    pub(super) fn rated(&self, id: &str) -> Option<Arc<RatedDeck>> {
        self.lock().known.get(id).map(|known| known.rated.clone())
    }

    /// Whether no deck waits or is being read.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting.is_empty() && inner.running == 0
    }

    /// Whether who waited for the last deck has had a moment to fetch it.
    pub(super) fn was_fetched(&self) -> bool {
        const MOMENT: Duration = Duration::from_secs(3);
        self.lock().ended.is_none_or(|ended| ended.elapsed() >= MOMENT)
    }

    /// No more decks; those that wait are given up.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        inner.waiting.clear();
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Jobs {
        Jobs::new(2, 2, Duration::from_mins(1), Arc::new(Metrics::new("v1")))
    }

    fn deck(id: &str) -> Deck {
        let folder = tempfile::tempdir().unwrap();
        Deck { id: id.to_owned(), path: folder.path().join("deck.pdf"), folder, key: None, before: None }
    }

    #[test]
    fn decks_wait_in_their_order_and_no_more_than_fit() {
        let jobs = jobs();
        assert!(jobs.offer(deck("a"), "a.pdf", "v1").is_ok());
        assert_eq!(jobs.offer(deck("b"), "b.pdf", "v1").ok().map(|state| state.ahead), Some(1));
        assert!(jobs.offer(deck("c"), "c.pdf", "v1").is_err() && jobs.is_full());
        assert_eq!(jobs.next().map(|deck| deck.id).as_deref(), Some("a"));
        assert_eq!(jobs.state("a").map(|state| state.state), Some(Phase::Running));
        assert_eq!(jobs.state("b").map(|state| state.ahead), Some(0));
        assert!(jobs.state("c").is_none() && !jobs.is_idle());
        jobs.finish("a", RatedDeck::default());
        assert_eq!(jobs.state("a").map(|state| state.state), Some(Phase::Failed), "nothing was rated");
        jobs.close();
        assert!(jobs.next().is_none());
    }

    #[test]
    fn only_the_newest_results_are_kept() {
        let jobs = jobs();
        for id in ["a", "b", "c", "d"] {
            assert!(jobs.offer(deck(id), id, "v1").is_ok());
            jobs.next();
            jobs.finish(id, RatedDeck::default());
        }
        let known = ["a", "b", "c", "d"].map(|id| jobs.state(id).is_some());
        assert_eq!(known, [false, false, true, true]);
    }
}
