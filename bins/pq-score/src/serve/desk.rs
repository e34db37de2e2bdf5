//! Where slides are handed in, and the two threads that rate them and note the result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use durable_files::GroupLog;
use jiff::Timestamp;
use slide_data::{Prediction, RenderedSlide, pixels_sha256};
use slide_scorer::{ServeConfig, SlideImage, SlideScorer};
use tokio::sync::oneshot;

use crate::ids::{id_for_key, new_id};
use crate::keep::{Keeper, Origin};

use super::metrics::Metrics;
use super::queue::{Failure, Full, Outcome, Queue, Scored, Task};
use super::recent::Recent;

/// Takes slides: those whose pixels are known go straight to the log, the others wait for the model.
pub(super) struct Desk {
    pub(super) queue: Queue,
    pub(super) metrics: Arc<Metrics>,
    scorer: OnceLock<Arc<SlideScorer>>,
    /// Scores by pixels; all of them are of the one version that this service has.
    by_pixels: Mutex<Recent<Arc<Prediction>>>,
    /// What is in the log, by slide and by line.
    logged: Mutex<Recent<Arc<Prediction>>>,
    records: Mutex<Option<Sender<Record>>>,
    /// Slides that were taken and not answered yet.
    open: AtomicUsize,
    /// Milliseconds that a slide of the last batches took the model.
    pace_ms: AtomicU64,
}

/// A rated slide on its way into the log.
pub(super) struct Record {
    prediction: Prediction,
    task: Task,
    is_cached: bool,
}

impl Desk {
    pub(super) fn new(config: &ServeConfig, metrics: Arc<Metrics>) -> (Self, Receiver<Record>) {
        let (records, recorded) = channel();
        let desk = Self {
            queue: Queue::new(config.queue_slides, metrics.clone()),
            metrics,
            scorer: OnceLock::new(),
            by_pixels: Mutex::new(Recent::new(config.cache_slides)),
            logged: Mutex::new(Recent::new(2 * config.cache_slides.max(1000))),
            records: Mutex::new(Some(records)),
            open: AtomicUsize::new(0),
            pace_ms: AtomicU64::new(1000),
        };
        (desk, recorded)
    }

    /// Says which model rates, once it has.
    pub(super) fn open_with(&self, scorer: Arc<SlideScorer>) {
        let _ = self.scorer.set(scorer);
    }

    /// Whether no slide is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }

    /// A slide with what it takes to rate it, and where its scores arrive. `key` and `number` name it where a client may ask again.
    pub(super) fn task(
        &self,
        slide: RenderedSlide,
        key: Option<&str>,
        number: usize,
    ) -> (Task, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        let origin = Origin::of(&slide);
        let pixels = pixels_sha256(&slide.image);
        let id = key.map_or_else(new_id, |key| id_for_key(key, number, &pixels));
        let (width, height) = slide.image.dimensions();
        let tokens = self.scorer.get().map_or(1, |scorer| scorer.image_tokens(width, height));
        let slide = SlideImage { slide_id: slide.slide_id, deck_id: slide.deck_id, image: slide.image };
        (Task { slide, pixels, origin, id, tokens, since: Instant::now(), reply }, outcome)
    }

    /// Takes the slides of a request, or refuses them all where those that must be rated find no place.
    pub(super) fn offer(&self, tasks: Vec<Task>) -> Result<(), Full> {
        let (known, new): (Vec<_>, Vec<_>) = tasks
            .into_iter()
            .map(|task| (self.known(&task.pixels), task))
            .partition(|(known, _)| known.is_some());
        let new: Vec<Task> = new.into_iter().map(|(_, task)| task).collect();
        let count = new.len();
        self.open.fetch_add(count, Ordering::SeqCst);
        if count > 0 && self.queue.offer(new).is_err() {
            self.open.fetch_sub(count, Ordering::SeqCst);
            return Err(Full);
        }
        for (known, task) in known {
            if let Some(known) = known {
                self.open.fetch_add(1, Ordering::SeqCst);
                self.record(task, &known, true);
            }
        }
        Ok(())
    }

    /// After how many seconds half of what waits may be rated, by what slides took of late.
    pub(super) fn seconds_of_queue(&self) -> u64 {
        (self.queue.len() as u64 * self.pace_ms.load(Ordering::Relaxed)).div_ceil(2000)
    }

    /// Takes a page of a deck that was accepted before.
    pub(super) fn push(&self, task: Task) {
        self.open.fetch_add(1, Ordering::SeqCst);
        match self.known(&task.pixels) {
            Some(known) => self.record(task, &known, true),
            None => self.queue.push(task),
        }
    }

    fn known(&self, pixels: &str) -> Option<Arc<Prediction>> {
        self.by_pixels.lock().unwrap_or_else(PoisonError::into_inner).get(pixels)
    }

    /// What this service logged of a slide, or under the id of a line.
    pub(super) fn logged(&self, id: &str) -> Option<Arc<Prediction>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).get(id)
    }

    /// Hands scores on to be logged.
    fn record(&self, task: Task, rated: &Prediction, is_cached: bool) {
        let mut prediction = Prediction {
            id: Some(task.id.clone()),
            slide_id: task.slide.slide_id.clone(),
            deck_id: task.slide.deck_id.clone(),
            ..rated.clone()
        };
        if is_cached {
            prediction.scored_at = Timestamp::now();
            prediction.latency_ms = task.since.elapsed().as_secs_f64() * 1e3;
        }
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Record { prediction, task, is_cached };
        if let Some(records) = records.as_ref()
            && let Err(unsent) = records.send(record)
        {
            self.answer(unsent.0.task, Err(Failure::NotSaved));
        }
    }

    fn answer(&self, task: Task, outcome: Outcome) {
        self.metrics.slide(match &outcome {
            Ok(scored) if scored.is_cached => "cached",
            Ok(_) => "rated",
            Err(_) => "failed",
        });
        let _ = task.reply.send(outcome); // a client that went away is not told
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Nothing more is taken and what waits is given up; the threads end with what they have begun.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Nothing more will be rated, so there is nothing more to be noted.
    pub(super) fn end_notes(&self) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Rates what waits, batch by batch, until the desk is closed: the one thread that uses the model.
    pub(super) fn rate_all(&self, scorer: &SlideScorer, config: &ServeConfig) {
        let patience = Duration::from_millis(config.batch_wait_ms);
        while let Some(tasks) = self.queue.next_batch(config.batch_tokens, patience) {
            self.rate(scorer, tasks);
        }
    }

    fn rate(&self, scorer: &SlideScorer, tasks: Vec<Task>) {
        let mut new: Vec<(String, Vec<Task>)> = Vec::new();
        for task in tasks {
            self.metrics.waited(task.since.elapsed());
            if task.reply.is_closed() {
                self.answer(task, Err(Failure::Model)); // nobody waits for it any more
            } else if let Some(known) = self.known(&task.pixels) {
                self.record(task, &known, true);
            } else {
                match new.iter_mut().find(|(pixels, _)| *pixels == task.pixels) {
                    Some((_, alike)) => alike.push(task),
                    None => new.push((task.pixels.clone(), vec![task])),
                }
            }
        }
        let images: Vec<SlideImage> = new.iter().map(|(_, alike)| alike[0].slide.clone()).collect();
        let start = Instant::now();
        let rated = rate_apart(scorer, &images);
        if !images.is_empty() {
            self.metrics.batch(images.len(), start.elapsed());
            let took = start.elapsed().as_millis() as u64 / images.len() as u64;
            self.pace_ms.store((3 * self.pace_ms.load(Ordering::Relaxed) + took) / 4, Ordering::Relaxed);
        }
        for ((pixels, alike), rated) in new.into_iter().zip(rated) {
            let Some(rated) = rated.map(Arc::new) else {
                for task in alike {
                    self.answer(task, Err(Failure::Model));
                }
                continue;
            };
            self.by_pixels.lock().unwrap_or_else(PoisonError::into_inner).insert(&pixels, rated.clone());
            for (at, task) in alike.into_iter().enumerate() {
                self.record(task, &rated, at > 0);
            }
        }
    }

    /// Keeps and logs what was rated, as much at once as waits, and answers those who asked once it is on disk; until no more can come.
    pub(super) fn note_all(&self, records: &Receiver<Record>, log: Option<&GroupLog>, mut keeper: Keeper) {
        const AT_ONCE: usize = 256;
        const PRUNED_EVERY: Duration = Duration::from_hours(1);
        let mut pruned = Instant::now();
        while let Ok(first) = records.recv() {
            let mut all = vec![first];
            while all.len() < AT_ONCE
                && let Ok(next) = records.try_recv()
            {
                all.push(next);
            }
            // First, so that what is acknowledged can be corrected.
            keeper.keep(
                all.iter().map(|record| (&record.task.origin, &record.task.slide.image, &record.prediction)),
            );
            let lines: Vec<&Prediction> = all.iter().map(|record| &record.prediction).collect();
            let is_saved = match log.map_or(Ok(()), |log| log.append_json(&lines)) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!("{} slides were not logged: {:#}", all.len(), anyhow::Error::from(error));
                    false
                }
            };
            for record in all {
                self.settle(record, is_saved);
            }
            if pruned.elapsed() >= PRUNED_EVERY {
                keeper.prune();
                pruned = Instant::now();
            }
        }
        keeper.prune();
    }

    fn settle(&self, Record { prediction, task, is_cached }: Record, is_saved: bool) {
        if !is_saved {
            return self.answer(task, Err(Failure::NotSaved));
        }
        let prediction = Arc::new(prediction);
        {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            logged.insert(&prediction.slide_id, prediction.clone());
            logged.insert(&task.id, prediction.clone());
        }
        self.answer(task, Ok(Scored { prediction, is_cached }));
    }
}

/// Rates images together, and where that fails one by one, so that one that cannot be rated spoils no other.
fn rate_apart(scorer: &SlideScorer, images: &[SlideImage]) -> Vec<Option<Prediction>> {
    if images.is_empty() {
        return Vec::new();
    }
    match rate_guarded(scorer, images) {
        Ok(rated) => rated.into_iter().map(Some).collect(),
        Err(error) if images.len() == 1 => {
            tracing::error!("a slide cannot be rated: {error:#}");
            vec![None]
        }
        Err(_) => images.chunks(1).flat_map(|image| rate_apart(scorer, image)).collect(),
    }
}

/// A panic is an error: the service goes on with the next slide.
pub(super) fn rate_guarded(scorer: &SlideScorer, images: &[SlideImage]) -> anyhow::Result<Vec<Prediction>> {
    catch_unwind(AssertUnwindSafe(|| scorer.rate(images)))
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the model stopped in the middle of a slide")))
}
