//! Ships what the service logs to a bucket, now and then and at the end.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Result;
use pq_cli::Layout;
use slide_data::prediction_log::ship;

use crate::args::ServeArgs;
use crate::shared::Shared;

/// The bucket that one service ships to.
pub(super) struct Shipping {
    layout: Layout,
    replica: String,
    place: Shared,
    every: Duration,
}

impl Shipping {
    /// None where it was not asked for.
    pub(super) fn of(layout: &Layout, args: &ServeArgs) -> Result<Option<Self>> {
        let (Some(url), Some(replica)) = (&args.ship, &args.replica) else { return Ok(None) };
        let place = Shared::open_bucket(url)?;
        let every = Duration::from_secs(args.ship_every.max(1));
        Ok(Some(Self { layout: layout.clone(), replica: replica.clone(), place, every }))
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
