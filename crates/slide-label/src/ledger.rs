use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread::JoinHandle;

use jiff::{Timestamp, ToSpan};
use project_files::{Defects, Layout, with_causes};
use slide_data::Rubric;
use tokio::sync::oneshot;

use crate::derived::LabelTexts;
use crate::deriver::derive_changes;
use crate::shared::{Shared, lock};
use crate::{ConsensusRule, Error, Event, Journal, Result, Standing, Store, StoreBuilder};

/// An event that is on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// The event as it stands in the journal.
    pub event: Event,
    /// Whether it had been there before.
    pub was_known: bool,
}

struct Job {
    event: Event,
    reply: oneshot::Sender<Result<Acknowledged>>,
}

/// How many events at most share one sync of the disk.
const MAX_BATCH: usize = 512;

/// The journal with its store, behind one writing thread: events that arrive together share one sync of the disk, and are
/// acknowledged only after it. A second thread keeps `labels.json` up to date.
pub struct Ledger {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// What was found when a ledger was opened.
#[derive(Debug, Default)]
pub struct Opened {
    /// What of the journal could not be read: an unfinished last line was set aside, other lines stay where they are.
    pub defects: Defects,
    /// Events that break a rule and do not count; they stay in the journal.
    pub refused: Vec<(Event, Error)>,
    /// Criteria that the rubric does not have, with how many events score them, as [`Store::uncounted`].
    pub uncounted: BTreeMap<String, usize>,
}

impl Ledger {
    /// Opens the journal for writing and derives `labels.json` from it.
    ///
    /// # Errors
    /// When another process holds the journal, it cannot be read or written, or a whole line is not an event.
    pub fn open(paths: &Layout, rubric: &Rubric, rule: ConsensusRule) -> Result<(Self, Opened)> {
        let mut builder = StoreBuilder::new(rubric.clone());
        let (journal, defects) = Journal::open_with(&paths.journal(), |event| builder.add(event))?;
        let (store, refused) = builder.finish();
        let uncounted = store.uncounted();
        let derived = LabelTexts::derive(&store, rule, paths);
        if !derived.is_empty() {
            derived.write(&paths.labels())?;
        }
        let shared = Arc::new(Shared {
            store: RwLock::new(store),
            revision: AtomicU64::new(0),
            changed: Mutex::default(),
            wake: Condvar::new(),
            paths: paths.clone(),
            rule,
        });
        Ok((Self::start(shared, journal, derived), Opened { defects, refused, uncounted }))
    }

    /// Starts both threads.
    fn start(shared: Arc<Shared>, journal: Journal, derived: LabelTexts) -> Self {
        let (jobs, queue) = mpsc::channel();
        let writer = std::thread::spawn({
            let shared = shared.clone();
            move || write_jobs(&shared, journal, &queue)
        });
        let deriver = std::thread::spawn({
            let shared = shared.clone();
            move || derive_changes(&shared, derived)
        });
        Self { shared, jobs: Some(jobs), threads: vec![writer, deriver] }
    }

    /// What the journal amounts to now.
    pub fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.shared.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the changes, so that what was computed from the store can be kept until it changes.
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// Appends an event of a person at a page; the answer comes after it is on disk. `at` is set to the time of arrival.
    ///
    /// # Errors
    /// As [`Store::submit_check`], and when the journal cannot be written.
    pub async fn submit(&self, event: Event) -> Result<Acknowledged> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Error::Failed)?;
        jobs.send(Job { event, reply }).map_err(|_| Error::Failed)?;
        answer.await.unwrap_or(Err(Error::Failed))
    }
}

impl Drop for Ledger {
    /// Waits until everything that was taken is on disk and `labels.json` is up to date.
    fn drop(&mut self) {
        drop(self.jobs.take());
        let mut threads = std::mem::take(&mut self.threads).into_iter();
        if let Some(writer) = threads.next() {
            let _ = writer.join();
        }
        lock(&self.shared.changed).is_closing = true;
        self.shared.wake.notify_all();
        threads.for_each(|thread| drop(thread.join()));
    }
}

fn write_jobs(shared: &Shared, mut journal: Journal, queue: &mpsc::Receiver<Job>) {
    let mut waiting: Vec<Job> = Vec::new();
    loop {
        if waiting.is_empty() {
            let Ok(job) = queue.recv() else { return };
            waiting.push(job);
        }
        waiting.extend(queue.try_iter().take(MAX_BATCH.saturating_sub(waiting.len())));
        waiting = write_batch(shared, &mut journal, waiting);
    }
}

/// Events that can be written together, in the order of those who wait for a reply, and jobs that have to wait for them.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    replies: Vec<oneshot::Sender<Result<Acknowledged>>>,
    later: Vec<Job>,
}

impl Batch {
    /// Sorts jobs; what is there already, or breaks a rule, is answered at once.
    fn of(store: &Store, jobs: Vec<Job>) -> Self {
        let (mut batch, mut touched) = (Self::default(), HashSet::new());
        for mut job in jobs {
            if touched.contains(&job.event.slide_id) || touched.contains(&job.event.id) {
                batch.later.push(job);
                continue;
            }
            match store.submit_check(&job.event) {
                Ok(Standing::New) => {
                    job.event.at = arrival(store, &job.event);
                    touched.extend([job.event.slide_id.clone(), job.event.id.clone()]);
                    batch.events.push(job.event);
                    batch.replies.push(job.reply);
                }
                Ok(Standing::Known) => acknowledge_again(store, job),
                Err(error) => drop(job.reply.send(Err(error))),
            }
        }
        batch
    }
}

/// Answers for an event that is in the journal already.
fn acknowledge_again(store: &Store, job: Job) {
    let held = store.event(&job.event.id).map(|held| held.to_event());
    let event = held.unwrap_or(job.event);
    let _ = job.reply.send(Ok(Acknowledged { event, was_known: true }));
}

/// Takes events that are on disk into the store, and wakes the thread that derives.
fn apply(shared: &Shared, events: &[Event]) {
    {
        let mut store = shared.store.write().unwrap_or_else(PoisonError::into_inner);
        events.iter().cloned().for_each(|event| store.apply(event));
    }
    shared.revision.fetch_add(1, Ordering::Release);
    lock(&shared.changed).slides.extend(events.iter().map(|event| event.slide_id.clone()));
    shared.wake.notify_all();
}

/// Writes what can be written together and returns the jobs that depend on it.
///
/// Two events of one slide cannot be checked against each other before the first counts, so the second waits a round.
fn write_batch(shared: &Shared, journal: &mut Journal, jobs: Vec<Job>) -> Vec<Job> {
    let Batch { events: batch, replies, later } = {
        let store = shared.store.read().unwrap_or_else(PoisonError::into_inner);
        Batch::of(&store, jobs)
    };
    if batch.is_empty() {
        return later;
    }
    if let Err(error) = journal.append(&batch) {
        tracing::error!("ratings could not be saved: {}", with_causes(&error));
        for reply in replies {
            let _ = reply.send(Err(Error::Failed));
        }
        return later;
    }
    apply(shared, &batch);
    for (event, reply) in batch.into_iter().zip(replies) {
        let _ = reply.send(Ok(Acknowledged { event, was_known: false }));
    }
    later
}

/// The time of arrival, but after the newest event of the chain even where a clock was set back: the order of a chain is that of its times.
fn arrival(store: &Store, event: &Event) -> Timestamp {
    let now = Timestamp::now();
    let newest = event.base.as_deref().and_then(|base| store.event(base)).map(|base| base.at());
    match newest.and_then(|newest| newest.checked_add(1.microsecond()).ok()) {
        Some(next) if next > now => next,
        _ => now,
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
