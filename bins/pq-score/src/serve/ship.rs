//! Ships what the service logs to a bucket, now and then and at the end.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use pq_cli::Layout;
use slide_data::prediction_log::ship;

use crate::args::ServeArgs;
use crate::shared::Shared;

/// How long the last shipping may take, after all is answered.
const LAST: Duration = Duration::from_secs(20);

/// The bucket that one service ships to.
pub(super) struct Shipping {
    layout: Layout,
    replica: String,
    place: Shared,
    every: Duration,
    /// When the last shipping must be over, once it has begun.
    deadline: Arc<OnceLock<Instant>>,
}

impl Shipping {
    /// None where it was not asked for.
    pub(super) fn of(layout: &Layout, args: &ServeArgs) -> Result<Option<Self>> {
        let (Some(url), Some(replica)) = (&args.ship, &args.replica) else { return Ok(None) };
        let deadline = Arc::new(OnceLock::new());
        let end = Arc::clone(&deadline);
        // What asks the service to end also ends what is shipped just then, which the last shipping repeats.
        let cancel = move || end.get().map_or_else(pq_cli::interrupted, |end| Instant::now() > *end);
        let place = Shared::open_bucket(url, Arc::new(cancel))?;
        let every = Duration::from_secs(args.ship_every.max(1));
        Ok(Some(Self { layout: layout.clone(), replica: replica.clone(), place, every, deadline }))
    }

    /// Ships until `ended` says that the service ends. What cannot be shipped is warned of, and waits.
    pub(super) fn now_and_then(&self, ended: &Receiver<()>) {
        let mut is_failing = false;
        while ended.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            let failed = self.ship().err();
            if let (Some(error), false) = (&failed, is_failing) {
                tracing::warn!("what is logged waits on this machine to be shipped: {error:#}");
            }
            is_failing = failed.is_some();
        }
    }

    /// Ships what is there; whether it went.
    pub(super) fn at_the_end(&self) -> bool {
        self.deadline.get_or_init(|| Instant::now() + LAST);
        let shipped = self.ship();
        if let Err(error) = &shipped {
            tracing::warn!(
                "what was logged lies in `{}` and is shipped by the next service of this name: {error:#}",
                self.layout.replica_segments(&self.replica).display()
            );
        }
        shipped.is_ok()
    }

    fn ship(&self) -> Result<()> {
        ship(&self.layout, &self.replica, |name, content| self.place.put(name, content)).map(drop)
    }
}
