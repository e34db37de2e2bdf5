use std::fmt;
use std::sync::Arc;

use project_files::RunFiles;

use crate::{BasePlaces, Result, Seal};

/// What a registry works with beside its folder.
#[derive(Clone, Default)]
pub struct Options {
    /// Where bases lie on this machine.
    pub base: BasePlaces,
    /// What signs releases and checks versions; nothing is signed or asked for without it.
    pub seal: Option<Arc<dyn Seal>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Options {
    /// Checks the signature of a stored version, where a key is trusted.
    pub(crate) fn check(&self, stored: &RunFiles) -> Result<()> {
        self.seal.as_ref().map_or(Ok(()), |seal| seal.check(stored))
    }
}
