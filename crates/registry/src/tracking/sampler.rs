use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Machine, Tracker};

/// Measures the machine now and then, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    /// Its end ends the thread, which nobody waits for.
    _alive: Option<Sender<()>>,
}

impl Sampler {
    /// Tells the trackers every `interval`. Where no thread can be had, nothing is measured.
    pub fn start(interval: Duration, trackers: Vec<Arc<dyn Tracker>>) -> Self {
        let (alive, ended) = mpsc::channel::<()>();
        let measure = move || {
            let mut machine = Machine::new();
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let values = machine.sample();
                trackers.iter().filter(|_| !values.is_empty()).for_each(|tracker| tracker.system(&values));
            }
        };
        let spawned = std::thread::Builder::new().name("sampler".to_owned()).spawn(measure);
        Self { _alive: spawned.is_ok().then_some(alive) }
    }
}
