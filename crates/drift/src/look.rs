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
