//! What a run's handle and its thread tell each other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tracking::Finished;

/// How often a wait looks at its check.
const TICK: Duration = Duration::from_millis(50);

/// What both sides see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    quit: Arc<AtomicBool>,
    stop_asked: AtomicBool,
}

/// What changes under the lock.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are told apart by name, and change one by one")]
pub(super) struct State {
    /// Whether nothing is written into the spool any more.
    pub(super) is_ending: bool,
    /// Whether the first question to the service has been answered, or has failed.
    pub(super) is_settled: bool,
    /// Whether the thread has ended.
    pub(super) is_done: bool,
    pub(super) is_complete: bool,
    pub(super) url: Option<String>,
    pub(super) offline: Option<PathBuf>,
    /// The newest trouble; gone when the service takes something again.
    pub(super) problem: Option<String>,
    pub(super) sent_lines: u64,
    pub(super) damaged_lines: u64,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for it.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The flag that ends the thread's requests.
    pub(super) fn quit_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.quit)
    }

    pub(super) fn quit(&self) {
        self.quit.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(super) fn is_quitting(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    pub(super) fn ask_stop(&self) {
        self.stop_asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stop_asked(&self) -> bool {
        self.stop_asked.load(Ordering::Relaxed)
    }

    /// Waits at most that long, and not once the run ends (where it did not end before) or the thread is to end.
    pub(super) fn pause(&self, longest: Duration) {
        let until = Instant::now() + longest;
        let was_ending = self.lock().is_ending;
        self.wait_until(until, &|| self.is_quitting(), |state| state.is_ending != was_ending);
    }

    /// Waits until the state is as asked, the time is over, or `cancel` says so; whether the state is as asked.
    pub(super) fn wait_until(
        &self,
        until: Instant,
        cancel: &dyn Fn() -> bool,
        is_reached: impl Fn(&State) -> bool,
    ) -> bool {
        let mut state = self.lock();
        loop {
            if is_reached(&state) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left.min(TICK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How it stands.
    pub(super) fn finished(&self) -> Finished {
        let state = self.lock();
        Finished {
            complete: state.is_complete,
            url: state.url.clone(),
            offline: state.offline.clone(),
            problem: state.problem.clone(),
            sent_lines: state.sent_lines,
            damaged_lines: state.damaged_lines,
        }
    }
}
