//! Signals by which a machine says that it will end the process soon: `SIGTERM` and `SIGUSR1`, as schedulers and spot machines
//! send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether such a signal came. Unlike after Ctrl-C the run is to be carried on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preemption(Arc<AtomicBool>);

impl Preemption {
    /// Listens from now on; what else listens to these signals still does.
    pub(crate) fn listen() -> Self {
        let preemption = Self::default();
        preemption.register();
        preemption
    }

    #[cfg(unix)]
    fn register(&self) {
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGUSR1] {
            if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&self.0)) {
                tracing::warn!("signal {signal} will not be heard: {error}");
            }
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "there are no such signals")]
    fn register(&self) {}

    /// Whether the process will be ended.
    pub(crate) fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
