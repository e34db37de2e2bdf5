use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// Told of each step that changes something, before it is taken; `true` ends the command there.
pub type Watch = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The steps of a command that changes a registry.
#[derive(Clone, Default)]
pub(crate) struct Steps(pub(crate) Option<Watch>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

impl Steps {
    /// To be called before each change.
    pub(crate) fn take(&self, what: &str) -> Result<()> {
        tracing::debug!("{what}");
        match &self.0 {
            Some(watch) if watch(what) => Err(Error::Stopped { before: what.to_owned() }),
            _ => Ok(()),
        }
    }
}
