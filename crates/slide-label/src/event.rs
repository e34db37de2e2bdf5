use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slide_data::{Contract, Rubric, Scores};

use crate::{Error, Result};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An annotator rated a slide.
    Rated,
    /// An annotator changed their rating of a slide.
    Changed,
    /// An annotator passed a slide over.
    Skipped,
    /// The event named by `undoes` does not count any more.
    Undone,
    /// A lead set the final scores of a slide; the raters' own scores stay.
    Adjudicated,
    /// The model's scores were shown to an annotator who had rated the slide.
    ModelSeen,
}

impl Kind {
    /// Whether events of this kind set a value (as opposed to taking one back or only being noted).
    pub fn sets_value(self) -> bool {
        matches!(self, Self::Rated | Self::Changed | Self::Skipped | Self::Adjudicated)
    }
}

/// One line of `data/labeled/ratings.jsonl`, the journal that everything else is derived from.
///
/// Events form one chain per annotator and slide, and one per slide for adjudications. `base` names the event that was the newest
/// of its chain when the annotator acted, so that a page that has become stale cannot overwrite what it has not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Names the event; the same id sent again is the same event. 1 to 64 letters, digits, `-` and `_`.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// The slide.
    pub slide_id: String,
    /// Who did it.
    pub annotator: String,
    /// When it reached the journal (or, for an imported rating, when it was given).
    pub at: Timestamp,
    /// The newest event of the chain when the annotator acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Scores by criterion: absent where nothing was said, null where the criterion does not apply.
    #[serde(default, skip_serializing_if = "Scores::is_empty")]
    pub scores: Scores,
    /// The annotator's notes; for an adjudication its reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The event that an undo takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// The version of the model whose scores were on screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// How long the slide was looked at, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// The longest name of an annotator, in characters.
pub const MAX_NAME: usize = 64;
/// The longest note, in characters.
pub const MAX_NOTES: usize = 10_000;

impl Contract for Event {
    const NAME: &'static str = "rating event";
    const VERSION: u32 = 1;
}

impl Event {
    /// An event without scores, at the given time.
    pub fn new(id: impl Into<String>, kind: Kind, slide_id: &str, annotator: &str, at: Timestamp) -> Self {
        Self {
            schema_version: Self::VERSION,
            id: id.into(),
            kind,
            slide_id: slide_id.to_owned(),
            annotator: annotator.to_owned(),
            at,
            base: None,
            scores: Scores::new(),
            notes: String::new(),
            undoes: None,
            model_version: None,
            seconds: None,
        }
    }

    /// Whether the event sets a value (as opposed to taking one back or only being noted).
    pub fn sets_value(&self) -> bool {
        self.kind.sets_value()
    }

    /// Whether two events say the same, whenever they arrived. A change read back from a table of ratings is a rating.
    pub fn is_same(&self, other: &Self) -> bool {
        let kind = |event: &Self| if event.kind == Kind::Changed { Kind::Rated } else { event.kind };
        self.id == other.id
            && kind(self) == kind(other)
            && self.slide_id == other.slide_id
            && self.annotator == other.annotator
            && self.scores == other.scores
            && self.notes == other.notes
            && self.undoes == other.undoes
    }

    /// Checks the event by itself and against the rubric: no new rating may name a criterion that nobody is asked about.
    ///
    /// # Errors
    /// Says in words what is wrong.
    pub fn validate(&self, rubric: &Rubric) -> Result<()> {
        self.check()?;
        match self.scores.keys().find(|key| !rubric.keys().any(|known| known == *key)) {
            Some(unknown) => Err(Error::Invalid(format!("`{unknown}` is not a criterion of the rubric"))),
            None => Ok(()),
        }
    }

    /// Checks the event by itself: its id, names and notes. It may be older than the rubric and name a criterion of another one.
    ///
    /// # Errors
    /// Says in words what is wrong.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if self.schema_version != Self::VERSION {
            return invalid(format!("schema version {} is not known to this program", self.schema_version));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(plain) {
            return invalid(format!("the event id `{}` is not 1 to 64 letters, digits, `-` or `_`", self.id));
        }
        if self.slide_id.is_empty() {
            return invalid("the event names no slide".to_owned());
        }
        if clean_name(&self.annotator).as_deref() != Some(self.annotator.as_str()) {
            return invalid(format!("`{}` is not a usable annotator name", self.annotator));
        }
        if self.notes.chars().count() > MAX_NOTES {
            return invalid(format!("the notes are longer than {MAX_NOTES} characters"));
        }
        self.check_content()
    }

    /// Whether it holds what an event of its kind is made for.
    fn check_content(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
        match self.kind {
            Kind::Undone if self.undoes.is_none() => invalid("an undo names no event"),
            Kind::Rated | Kind::Changed | Kind::Adjudicated if self.scores.is_empty() => {
                invalid("a rating holds no score")
            }
            _ => Ok(()),
        }
    }
}

/// An annotator's name in its one spelling: trimmed, single spaces; `None` if it is empty, too long or holds control characters.
pub fn clean_name(name: &str) -> Option<String> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let usable = !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    usable.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slide_data::Score;

    fn rated() -> Event {
        let mut event = Event::new("e-1", Kind::Rated, "s1", "Ana", Timestamp::UNIX_EPOCH);
        event.scores.insert("clarity".to_owned(), Score::new(4));
        event.scores.insert("data_visualization".to_owned(), None);
        event
    }

    #[test]
    fn an_event_survives_writing_and_reading() {
        let text = serde_json::to_string(&rated()).unwrap();
        assert_eq!(
            text,
            r#"{"schema_version":1,"id":"e-1","kind":"rated","slide_id":"s1","annotator":"Ana","at":"1970-01-01T00:00:00Z","scores":{"clarity":4,"data_visualization":null}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), rated());
    }

    #[test]
    fn what_breaks_a_rule_is_refused_in_words() {
        let rubric = Rubric::default();
        assert!(rated().validate(&rubric).is_ok());
        let refused = |change: fn(&mut Event), words: &str| {
            let mut event = rated();
            change(&mut event);
            let message = event.validate(&rubric).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        };
        refused(|e| e.id = "a b".to_owned(), "event id `a b`");
        refused(|e| e.annotator = " Ana".to_owned(), "annotator name");
        refused(|e| e.scores.clear(), "no score");
        refused(|e| _ = e.scores.insert("clearness".to_owned(), None), "`clearness`");
        refused(|e| e.kind = Kind::Undone, "names no event");
        refused(|e| e.schema_version = 9, "schema version 9");
        refused(|e| e.notes = "x".repeat(MAX_NOTES + 1), "longer than");
    }

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(clean_name("  Ana \t  Li ").as_deref(), Some("Ana Li"));
        assert_eq!(clean_name(" \n "), None);
        assert_eq!(clean_name("a\u{7}b"), None);
    }
}
