use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;

/// Knows whether a process of a group is gone.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Option<Error>>>);

impl Watch {
    /// Who is gone, and why; `None` while everybody is there.
    pub fn lost(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the first loss; the others most likely follow from it. Whether it is the first.
    pub(crate) fn note(&self, loss: Error) -> bool {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = first.is_none();
        first.get_or_insert(loss);
        is_first
    }
}
