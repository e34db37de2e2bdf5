//! What a reader brings from a file: columns, and rows of text that are not yet ratings.

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slide_data::{Rubric, Scores};

use super::heads::Rules;
use super::plan::{Becomes, ColumnPlan, Plan};
use crate::{Event, Kind};

/// A record in JSON and where it stands.
pub(super) type Record = (String, Map<String, Value>);

/// A rating as a file gives it: nothing of it is checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// Where it stands, for messages.
    pub(super) place: String,
    /// What may name the slide, best first.
    pub(super) slide: Vec<String>,
    /// How the file names the person, best first; empty where it names nobody.
    pub(super) person: Vec<String>,
    /// Texts by column: scores, and what does not apply.
    pub(super) answers: Vec<(usize, String)>,
    pub(super) notes: Vec<String>,
    pub(super) time: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) kind: Option<Kind>,
    pub(super) seconds: Option<String>,
    pub(super) model_version: Option<String>,
    /// A person's rating that somebody made the final word, too.
    pub(super) is_starred: bool,
    /// How many of its answers no reader could make a text of.
    pub(super) lost: usize,
    /// What our export said of the ratings of this slide.
    pub(super) exported: Option<Rc<Vec<Exported>>>,
    /// The id of the exported rating that this one is, where the file still says it.
    pub(super) exported_id: Option<String>,
}

/// What our export says of a rating in the data of a task, which other tools hand on as they got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Exported {
    pub(super) id: String,
    pub(super) annotator: String,
    pub(super) kind: Kind,
    pub(super) rated_at: jiff::Timestamp,
    #[serde(default)]
    pub(super) scores: Scores,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) notes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model_version: Option<String>,
}

/// Everything that a reader found.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) plan: Plan,
    pub(super) drafts: Vec<Draft>,
    /// Whole events of a journal.
    pub(super) events: Vec<Event>,
    by_name: HashMap<String, usize>,
}

impl Sheet {
    pub(super) fn new(format: impl Into<String>) -> Self {
        let plan = Plan { format: format.into(), ..Plan::default() };
        Self { plan, ..Self::default() }
    }

    /// The column of this name; it is added where there is none.
    pub(super) fn column(&mut self, name: &str, becomes: impl FnOnce() -> Becomes) -> usize {
        if let Some(&column) = self.by_name.get(name) {
            return column;
        }
        self.by_name.insert(name.to_owned(), self.plan.columns.len());
        self.add_column(name, becomes())
    }

    /// Adds a column, though there may be another one of its name.
    pub(super) fn add_column(&mut self, name: &str, becomes: Becomes) -> usize {
        let reason = if becomes == Becomes::Ignored { "no criterion or field has this name" } else { "" };
        self.plan.columns.push(ColumnPlan {
            name: name.to_owned(),
            becomes,
            filled: 0,
            left_out: 0,
            reason: reason.to_owned(),
        });
        self.plan.columns.len() - 1
    }

    /// Notes a value that cannot be taken: the rating is without it.
    pub(super) fn lose(&mut self, draft: &mut Draft, column: usize, reason: String) {
        let found = &mut self.plan.columns[column];
        (found.filled, found.left_out) = (found.filled + 1, found.left_out + 1);
        draft.lost += 1;
        self.plan.leave_out(&draft.place, reason);
    }

    fn fill_kind(&mut self, draft: &mut Draft, text: &str) {
        draft.kind = kind(text);
        if draft.kind.is_none() {
            let what = format!("`{text}` is no kind of rating: taken as a rating");
            self.plan.notice(what, &draft.place);
        }
    }

    /// Puts a text where its column belongs in a rating. `text` is not empty.
    pub(super) fn fill(&mut self, draft: &mut Draft, column: usize, text: String) {
        let found = &mut self.plan.columns[column];
        found.filled += 1;
        match &found.becomes {
            Becomes::Slide => draft.slide.push(text),
            Becomes::Criterion(_) | Becomes::NotApplicable(_) | Becomes::Refused => {
                draft.answers.push((column, text));
            }
            Becomes::Annotator => {
                // Tables of Label Studio name people by number, which may be all that `--people` knows.
                let number = text.strip_prefix("label-studio ").map(str::to_owned);
                draft.person.push(text);
                draft.person.extend(number);
            }
            Becomes::Notes => draft.notes.push(text),
            Becomes::Time => draft.time = Some(text),
            Becomes::EventId => draft.event_id = Some(text.trim().to_owned()),
            Becomes::Seconds => draft.seconds = Some(text),
            Becomes::ModelVersion => draft.model_version = Some(text),
            Becomes::Kind => self.fill_kind(draft, text.trim()),
            Becomes::OurRatings => match serde_json::from_str::<Vec<Exported>>(&text) {
                Ok(exported) => draft.exported = Some(Rc::new(exported)),
                Err(_) => found.left_out += 1,
            },
            Becomes::Ignored => {}
        }
    }

    /// What a control or key means; only a criterion can be scored by a control.
    pub(super) fn named(&mut self, name: &str, rules: &Rules, rubric: &Rubric) -> usize {
        self.column(name, || rules.meaning(name, rubric))
    }

    /// Of several columns for one field the one with the best name is taken; the others are ignored, which is said.
    pub(super) fn one_column_each(&mut self, rank: impl Fn(&str) -> usize) {
        let columns = &mut self.plan.columns;
        for index in 0..columns.len() {
            let becomes = columns[index].becomes.clone();
            if matches!(becomes, Becomes::Ignored | Becomes::Notes | Becomes::Refused) {
                continue;
            }
            let same = (0..columns.len()).filter(|&other| columns[other].becomes == becomes);
            let Some(best) = same.min_by_key(|&other| (rank(&columns[other].name), other)) else { continue };
            if best != index {
                columns[index].reason = format!("`{}` is taken", columns[best].name);
                columns[index].becomes = Becomes::Ignored;
            }
        }
    }
}

fn kind(text: &str) -> Option<Kind> {
    match text.to_ascii_lowercase().as_str() {
        "rated" | "rating" => Some(Kind::Rated),
        "changed" => Some(Kind::Changed),
        "skipped" | "skip" => Some(Kind::Skipped),
        "adjudicated" | "final" => Some(Kind::Adjudicated),
        _ => None,
    }
}
