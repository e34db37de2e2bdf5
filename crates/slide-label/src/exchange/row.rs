//! A rating whose parts were checked, before it is an event.

use std::rc::Rc;

use jiff::Timestamp;
use slide_data::{Scores, sha256_hex};

use super::Context;
use super::sheet::Exported;
use crate::{Event, Kind};

#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) place: String,
    pub(super) slide_id: String,
    /// How the file names the person, best first.
    pub(super) person: Vec<String>,
    /// The name that they get.
    pub(super) annotator: String,
    pub(super) scores: Scores,
    pub(super) notes: String,
    pub(super) rated_at: Option<Timestamp>,
    pub(super) event_id: Option<String>,
    pub(super) kind: Option<Kind>,
    pub(super) seconds: Option<f64>,
    pub(super) model_version: Option<String>,
    pub(super) is_starred: bool,
    pub(super) exported: Option<Rc<Vec<Exported>>>,
    pub(super) exported_id: Option<String>,
}

impl Row {
    /// The final word that a starred rating is besides the person's own.
    pub(super) fn final_word(&self) -> Option<Self> {
        let is_final = self.is_starred && !matches!(self.kind, Some(Kind::Adjudicated | Kind::Skipped));
        is_final.then(|| Self {
            kind: Some(Kind::Adjudicated),
            event_id: self.event_id.as_ref().map(|id| format!("{id}-final")).filter(|id| id.len() <= 64),
            is_starred: false,
            ..self.clone()
        })
    }

    /// The event. Its id is the row's own or a digest of what the row says, so that reading a file twice adds nothing.
    pub(super) fn into_event(self, context: Context<'_>) -> Result<Event, String> {
        let annotator = crate::clean_name(&self.annotator)
            .ok_or_else(|| format!("`{}` is not a usable annotator name", self.annotator))?;
        let kind = self.kind.unwrap_or(Kind::Rated);
        let id = self.event_id.unwrap_or_else(|| {
            let said =
                serde_json::json!([self.slide_id, annotator, self.scores, self.notes, self.rated_at, kind]);
            format!("import-{}", &sha256_hex(said.to_string().as_bytes())[..32])
        });
        let mut event =
            Event::new(id, kind, &self.slide_id, &annotator, self.rated_at.unwrap_or(context.now));
        event.scores = self.scores;
        event.notes = self.notes;
        event.seconds = self.seconds;
        event.model_version = self.model_version;
        event.validate(context.rubric).map_err(|error| error.to_string())?;
        Ok(event)
    }
}
