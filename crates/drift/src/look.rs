use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::decision::Decision;
use crate::flight::Flight;

/// The decisions so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// The lines of `decisions.jsonl`.
    pub past: &'a [Decision],
    /// Lines of it that cannot be read.
    pub broken: usize,
    /// A retraining that was asked for.
    pub flight: Option<&'a Flight>,
}

impl<'a> Look<'a> {
    /// The decisions that asked for a retraining, without those that were taken back because it failed.
    pub fn asked(&self) -> impl DoubleEndedIterator<Item = &'a Decision> {
        let failed: BTreeSet<Timestamp> = self.past.iter().filter_map(|past| past.takes_back).collect();
        self.past.iter().filter(move |past| past.should_retrain && !failed.contains(&past.decided_at))
    }
}
