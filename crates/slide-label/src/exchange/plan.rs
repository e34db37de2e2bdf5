//! What becomes of a file of ratings: every reader fills a [`Plan`], and people see it before anything is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What a column of a table, a key of a record or a control of a labelling page is taken as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "as", content = "key")]
pub enum Becomes {
    /// It names the slide.
    Slide,
    /// The score of the criterion with this key.
    Criterion(String),
    /// Whether the criterion with this key does not apply.
    NotApplicable(String),
    /// It names the person.
    Annotator,
    /// Notes.
    Notes,
    /// When the rating was given.
    Time,
    /// Whether it is a rating, a skip or a final word.
    Kind,
    /// The rating's own id.
    EventId,
    /// For how long the slide was looked at.
    Seconds,
    /// The model whose scores were on screen.
    ModelVersion,
    /// What an export of this program says of its own ratings.
    OurRatings,
    /// Nothing: the program has no use for it, or the command line says so.
    Ignored,
    /// Nothing, though it is a criterion: its values are on another scale.
    Refused,
}

impl fmt::Display for Becomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slide => f.write_str("slide"),
            Self::Criterion(key) => write!(f, "criterion {key}"),
            Self::NotApplicable(key) => write!(f, "not applicable: {key}"),
            Self::Annotator => f.write_str("annotator"),
            Self::Notes => f.write_str("notes"),
            Self::Time => f.write_str("time"),
            Self::Kind => f.write_str("rating, skip or final word"),
            Self::EventId => f.write_str("id of the rating"),
            Self::Seconds => f.write_str("seconds"),
            Self::ModelVersion => f.write_str("model version"),
            Self::OurRatings => f.write_str("ids, people and times of our export"),
            Self::Ignored => f.write_str("ignored"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

/// A column, key or control of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnPlan {
    /// Its name in the file.
    pub name: String,
    /// What it is taken as.
    pub becomes: Becomes,
    /// How many of its cells hold something.
    pub filled: usize,
    /// How many of these could not be taken.
    pub left_out: usize,
    /// Why it is ignored or refused, or how its values are taken; empty where nothing is to be said.
    pub reason: String,
}

/// A person of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonPlan {
    /// As the file names them; empty where it names nobody.
    pub found: String,
    /// The name that their ratings get.
    pub name: String,
    /// How many ratings are taken.
    pub ratings: usize,
    /// How many skips are taken.
    pub skips: usize,
    /// How many final words are taken.
    pub final_words: usize,
}

/// A row or cell that could not be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it stands: a line, a task or a slide.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Something that was taken otherwise than it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What, in a sentence.
    pub what: String,
    /// How often.
    pub count: usize,
    /// Where it stands first; empty where it is about the whole file.
    pub first: String,
}

/// What becomes of each column, control and person of a file, and what does not get in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What kind of file it is, as it was found.
    pub format: String,
    /// Rows, lines, tasks or labels in the file.
    pub rows: usize,
    /// Rows that say nothing of their slide.
    pub empty_rows: usize,
    /// Ratings that are taken.
    pub ratings: usize,
    /// Skips that are taken.
    pub skips: usize,
    /// Final words that are taken.
    pub final_words: usize,
    /// Other events of a journal (undone ratings, looks at the model's scores) that are taken.
    pub other_events: usize,
    /// Drafts in the file, which nobody submitted: not taken.
    pub drafts: usize,
    /// Predictions of a model in the file: not taken.
    pub predictions: usize,
    /// Columns, keys and controls in the order of the file.
    pub columns: Vec<ColumnPlan>,
    /// People by name.
    pub people: Vec<PersonPlan>,
    /// Slides that the manifest does not have, with how many ratings are left out for it.
    pub unknown_slides: BTreeMap<String, usize>,
    /// Rows for which a later row of the same person and slide stands.
    pub replaced: Vec<Problem>,
    /// What was taken otherwise than it stands.
    pub notices: Vec<Notice>,
    /// Rows and cells that are not taken.
    pub left_out: Vec<Problem>,
}

impl Plan {
    /// How many ratings and cells are not taken though somebody gave them.
    pub fn left_out_count(&self) -> usize {
        self.left_out.len() + self.unknown_slides.values().sum::<usize>()
    }

    /// Notes something that happens in many places once, with its number and its first place.
    pub(super) fn notice(&mut self, what: impl Into<String>, place: &str) {
        let what = what.into();
        match self.notices.iter_mut().find(|notice| notice.what == what) {
            Some(notice) => notice.count += 1,
            None => self.notices.push(Notice { what, count: 1, first: place.to_owned() }),
        }
    }

    pub(super) fn leave_out(&mut self, place: &str, reason: impl Into<String>) {
        self.left_out.push(Problem { place: place.to_owned(), reason: reason.into() });
    }
}
