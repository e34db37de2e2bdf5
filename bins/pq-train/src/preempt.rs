//! Signals by which a machine says that it will end the process soon: `SIGTERM` and `SIGUSR1`, as schedulers and spot machines
//! send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use pq_cli::Hint;

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

    /// Ends what follows the last step between two slides, where somebody asked for it.
    ///
    /// # Errors
    /// When Ctrl-C was pressed or the process will be ended.
    pub(crate) fn check(&self, run: &str) -> Result<()> {
        if self.is_wanted() {
            let remedy = format!("`pq-train --resume --run {run}` does the rest; no step is repeated");
            bail!(Hint::new("stopped after the last step, before the run was whole", remedy));
        }
        Ok(())
    }

    /// Whether Ctrl-C was pressed, or the process will be ended.
    pub(crate) fn is_wanted(&self) -> bool {
        pq_cli::interrupted() || self.is_announced()
    }

    /// Whether the process will be ended.
    pub(crate) fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
