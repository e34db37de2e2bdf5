use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use project_files::DoubtfulLabels;
use slide_data::Contract as _;

use crate::Result;

/// Slides with ratings that a model would not have expected, the least expected first.
///
/// Who looks at them sees what people said and which criterion is meant, never what the model says: it may be the model that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubts {
    /// When they were found. What a lead decided since is settled.
    pub found_at: Timestamp,
    /// Each slide with the criteria that are doubted.
    pub slides: Vec<(String, Vec<String>)>,
}

impl Doubts {
    /// Reads a run's `doubtful_labels.json`; a missing file holds none. Slides of `except` are left out: that they are doubted would say
    /// what the model makes of them.
    ///
    /// # Errors
    /// When the file cannot be read or is no such list.
    pub fn read(path: &Path, except: &BTreeSet<String>) -> Result<Self> {
        let Some(list) = DoubtfulLabels::read_if_present(path)? else { return Ok(Self::default()) };
        let mut doubts = Self { found_at: list.created_at, slides: Vec::new() };
        for label in list.labels.into_iter().filter(|label| !except.contains(&label.slide_id)) {
            match doubts.slides.iter_mut().find(|(slide, _)| *slide == label.slide_id) {
                Some((_, criteria)) => criteria.push(label.criterion),
                None => doubts.slides.push((label.slide_id, vec![label.criterion])),
            }
        }
        Ok(doubts)
    }
}
