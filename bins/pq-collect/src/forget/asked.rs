use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who asks for it, why and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) by: String,
    pub(crate) why: String,
    pub(crate) at: Timestamp,
}

impl Asked {
    /// What is noted where the test set lost slides by it.
    pub(crate) fn event(&self) -> String {
        let why = self.why.trim();
        if why.is_empty() {
            "slides were forgotten".to_owned()
        } else {
            format!("slides were forgotten: {why}")
        }
    }
}
