use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Notice, Notify, Result, Retry};

/// How often a wait looks around.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// How long nothing is said.
const SILENCE: Duration = Duration::from_millis(1500);

/// When something was last said, and when the last call ended: calls that follow each other share one silence.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<(Instant, Instant)>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((Instant::now(), Instant::now())))
    }
}

/// The caller's eye on a wait: whether to stop, and what to say.
pub struct Watch<'a> {
    cancel: &'a dyn Fn() -> bool,
    notify: Option<&'a Notify>,
    clock: &'a Clock,
    said: Cell<Instant>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(cancel: &'a dyn Fn() -> bool, notify: Option<&'a Notify>, clock: &'a Clock) -> Self {
        let (said, ended) = *clock.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = if ended.elapsed() > Duration::from_millis(500) { Instant::now() } else { said };
        Self { cancel, notify, clock, said: Cell::new(said) }
    }

    /// One look around, to be taken several times a second: says the notice if nothing was said for a while.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller asks to stop.
    pub fn look<'n>(&self, place: &str, notice: impl FnOnce() -> Notice<'n>) -> Result<()> {
        if (self.cancel)() {
            return Err(Error::Cancelled { place: place.to_owned() });
        }
        if self.said.get().elapsed() >= SILENCE {
            self.say(&notice());
        }
        Ok(())
    }

    /// Says a notice now.
    pub fn say(&self, notice: &Notice<'_>) {
        self.said.set(Instant::now());
        if let Some(notify) = self.notify {
            notify(notice);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) = (self.said.get(), Instant::now());
    }
}

/// Counts attempts and pauses between them, as a [`Retry`] has it.
pub struct Pace<'a> {
    retry: Retry,
    watch: &'a Watch<'a>,
    place: String,
    begun: Instant,
    attempt: u32,
}

impl<'a> Pace<'a> {
    /// Begins with attempt 1.
    pub fn new(retry: Retry, watch: &'a Watch<'a>, place: impl Into<String>) -> Self {
        Self { retry, watch, place: place.into(), begun: Instant::now(), attempt: 1 }
    }

    /// The number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts anew, because the last attempt brought something.
    pub fn progressed(&mut self) {
        (self.attempt, self.begun) = (1, Instant::now());
    }

    /// Pauses before the next attempt; `false` when there is none, or none within the budget. `asked` is the wait that the
    /// service asked for.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller asks to stop.
    pub fn pause(&mut self, reason: &str, asked: Option<Duration>) -> Result<bool> {
        if self.attempt >= self.retry.attempts {
            return Ok(false);
        }
        // Never earlier than asked, and a little later, each client in its own way.
        let wait = asked.map_or_else(
            || self.retry.delay(self.attempt, fastrand::f64()),
            |asked| asked + self.retry.base.min(asked).mul_f64(self.retry.jitter * fastrand::f64() / 2.0),
        );
        if self.begun.elapsed() + wait > self.retry.budget {
            return Ok(false);
        }
        self.attempt += 1;
        let until = Instant::now() + wait;
        let left = || until.saturating_duration_since(Instant::now());
        let notice = || Notice::Retrying { place: &self.place, attempt: self.attempt, reason, wait: left() };
        if wait >= Duration::from_secs(1) {
            self.watch.say(&notice());
        }
        while !left().is_zero() {
            std::thread::sleep(left().min(TICK));
            self.watch.look(&self.place, notice)?;
        }
        Ok(true)
    }
}
