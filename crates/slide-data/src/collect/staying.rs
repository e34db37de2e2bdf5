use std::collections::BTreeSet;

/// Slides that a run treats with care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staying {
    /// Slides that people have rated: a better copy that comes later repeats them.
    pub rated: BTreeSet<String>,
    /// The frozen test set: of these also rules that change, and new versions of their files, leave each as it is.
    pub test: BTreeSet<String>,
}

impl Staying {
    /// Whether a slide stays in use when a better copy comes.
    pub fn holds(&self, slide_id: &str) -> bool {
        self.rated.contains(slide_id) || self.test.contains(slide_id)
    }
}
