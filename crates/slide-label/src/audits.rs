use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use slide_data::{Audit, Contract as _};

use crate::Result;

/// Scored slides that were drawn at random so that people's ratings tell how good the model is in production.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audits {
    /// All of them. What the model said of these is never shown.
    pub drawn: BTreeSet<String>,
    /// Those that were scored lately enough for a rating to count.
    pub open: BTreeSet<String>,
}

impl Audits {
    /// Reads `monitoring/audits.jsonl`; a missing file holds none. A rating counts for `days` days after the slide was scored.
    ///
    /// # Errors
    /// When the file cannot be read or no line of it is an audit.
    pub fn read(path: &Path, days: f64, now: Timestamp) -> Result<Self> {
        let window = SignedDuration::from_secs_f64((days * 86_400.0).clamp(0.0, 1e11));
        let mut audits = Self::default();
        for audit in Audit::read_shared_log_if_present(path)?.entries {
            if now.duration_since(audit.scored_at) <= window {
                audits.open.insert(audit.slide_id.clone());
            }
            audits.drawn.insert(audit.slide_id);
        }
        Ok(audits)
    }
}
