//! What the thread that writes ratings and the one that derives labels share.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use project_files::Layout;

use crate::{ConsensusRule, Store};

/// What the writing and the deriving thread share.
pub(crate) struct Shared {
    pub(crate) store: RwLock<Store>,
    pub(crate) revision: AtomicU64,
    pub(crate) changed: Mutex<Changed>,
    pub(crate) wake: Condvar,
    pub(crate) paths: Layout,
    pub(crate) rule: ConsensusRule,
}

/// The slides whose labels must be derived anew.
#[derive(Default)]
pub(crate) struct Changed {
    pub(crate) slides: BTreeSet<String>,
    pub(crate) is_closing: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
