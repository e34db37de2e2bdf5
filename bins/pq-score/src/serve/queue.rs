//! Slides that wait for the model.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slide_data::Prediction;
use slide_scorer::SlideImage;
use tokio::sync::oneshot;

use crate::keep::Origin;

use super::metrics::Metrics;

/// A slide on its way through the model and into the log.
pub(super) struct Task {
    pub(super) slide: SlideImage,
    /// SHA-256 of its pixels.
    pub(super) pixels: String,
    pub(super) origin: Origin,
    /// The id of its line in the log.
    pub(super) id: String,
    /// About how many tokens it takes the model.
    pub(super) tokens: usize,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// What became of a slide: its scores are in the log, or do not count.
pub(super) type Outcome = Result<Scored, Failure>;

/// The scores of a slide.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    pub(super) prediction: Arc<Prediction>,
    /// Whether its pixels had been rated before.
    pub(super) is_cached: bool,
}

/// Why a slide has no scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The model cannot rate it.
    Model,
    /// It could not be logged.
    NotSaved,
}

/// A bounded queue from which batches are taken.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    most: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    tasks: VecDeque<Task>,
    is_closed: bool,
}

/// The queue has no place for all of them; they are given back.
pub(super) struct Full;

impl Queue {
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), most, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Whether the next slide of a request would be refused.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    /// Takes all slides of a request, or none.
    pub(super) fn offer(&self, tasks: Vec<Task>) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.tasks.len() + tasks.len() > self.most.max(tasks.len()) {
            return Err(Full);
        }
        waiting.tasks.extend(tasks);
        self.announce(&waiting);
        Ok(())
    }

    /// Takes a page of a deck that was accepted before; whoever reads the deck lets only a few wait.
    pub(super) fn push(&self, task: Task) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.tasks.push_back(task);
            self.announce(&waiting);
        }
    }

    fn announce(&self, waiting: &Waiting) {
        self.metrics.waiting_slides.set(waiting.tasks.len() as i64);
        self.arrived.notify_all();
    }

    /// The next slides: as many as `tokens` lets through, at least one. The first of them waits for others until it has waited
    /// `patience` in all. `None` once the queue is closed.
    pub(super) fn next_batch(&self, tokens: usize, patience: Duration) -> Option<Vec<Task>> {
        let mut waiting = self.lock();
        loop {
            let Some(first) = waiting.tasks.front() else {
                if waiting.is_closed {
                    return None;
                }
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = patience.saturating_sub(first.since.elapsed());
            let count = fitting(&waiting.tasks, tokens);
            if left.is_zero() || count < waiting.tasks.len() {
                let batch = waiting.tasks.drain(..count).collect();
                self.metrics.waiting_slides.set(waiting.tasks.len() as i64);
                return Some(batch);
            }
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing more is taken, and what waits is given up: who waits for it is told that it came to nothing.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.tasks.clear();
        self.arrived.notify_all();
    }
}

/// How many of the first tasks fit into so many tokens, at least one.
fn fitting(tasks: &VecDeque<Task>, tokens: usize) -> usize {
    let mut sum = 0;
    let fits = tasks.iter().take_while(|task| {
        sum += task.tokens;
        sum <= tokens
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tokens: usize) -> Task {
        let image = slide_data::image::RgbImage::new(1, 1);
        let slide = SlideImage { slide_id: "s".to_owned(), deck_id: "d".to_owned(), image };
        Task {
            slide,
            pixels: String::new(),
            origin: Origin::unknown("d", 1),
            id: String::new(),
            tokens,
            since: Instant::now(),
            reply: oneshot::channel().0,
        }
    }

    fn queue(most: usize) -> Queue {
        Queue::new(most, Arc::new(Metrics::new("v1")))
    }

    #[test]
    fn batches_hold_what_fits_and_at_least_one() {
        let queue = queue(10);
        for tokens in [100, 100, 50, 900, 10] {
            queue.push(task(tokens));
        }
        let mut sizes = Vec::new();
        while queue.len() > 0 {
            sizes.push(queue.next_batch(250, Duration::ZERO).unwrap().len());
        }
        assert_eq!(sizes, [3, 1, 1]);
        let (reply, mut outcome) = oneshot::channel();
        queue.push(Task { reply, ..task(1) });
        queue.close();
        queue.push(task(1));
        assert!(queue.next_batch(250, Duration::from_mins(1)).is_none());
        assert!(outcome.try_recv().is_err(), "who waits is told");
    }

    #[test]
    fn the_first_waits_for_others_but_not_longer_than_it_may() {
        let queue = Arc::new(queue(10));
        queue.push(task(1));
        let later = queue.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            later.push(task(1));
        });
        let start = Instant::now();
        let batch = queue.next_batch(100, Duration::from_millis(400)).unwrap();
        assert_eq!(batch.len(), 2);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
        thread.join().unwrap();
    }

    #[test]
    fn a_request_is_taken_whole_or_not_at_all() {
        let queue = queue(2);
        assert!(queue.offer(vec![task(1)]).is_ok());
        assert!(queue.offer(vec![task(1), task(1)]).is_err());
        assert!(queue.offer(vec![task(1)]).is_ok() && queue.is_full());
        queue.push(task(1));
        assert_eq!(queue.len(), 3, "a page of a deck that was accepted is taken");
        queue.next_batch(9, Duration::ZERO);
        let many = (0..5).map(|_| task(1)).collect();
        assert!(
            queue.offer(many).is_ok(),
            "a request that is larger than the queue is taken when it is empty"
        );
        queue.close();
        assert!(queue.offer(vec![task(1)]).is_err());
    }
}
