//! Ratings in and out: CSV, JSON lines, the original's `labels.json`, Label Studio's JSON.

mod json_lines;
mod label_studio;
mod labels;
mod table;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use slide_data::{Rubric, Score, Scores, sha256_hex};

use crate::error::io_error;
use crate::{Error, Event, Kind, Result, Store};

/// A form in which ratings travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line per current rating: `slide_id,annotator,<criteria>,notes,rated_at,event_id,kind,seconds,model_version`.
    Csv,
    /// The journal's events, one JSON object a line; simple ratings are read too.
    Jsonl,
    /// `labels.json`: the consensus by slide.
    Labels,
    /// Label Studio's task list with annotations.
    LabelStudio,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            "labels" => Ok(Self::Labels),
            "label-studio" => Ok(Self::LabelStudio),
            _ => Err(Error::Domain {
                key: "format".to_owned(),
                expected: "csv, jsonl, labels or label-studio".to_owned(),
                actual: name.to_owned(),
            }),
        }
    }
}

impl Format {
    /// Guesses the format from a file's name and, between the two kinds of JSON, from its first character.
    pub fn guess(path: &Path, text: &str) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Self::Csv,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ if text.trim_start().starts_with('[') => Self::LabelStudio,
            _ => Self::Labels,
        }
    }
}

/// A row that could not be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: a line, or the slide's id.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imported {
    /// The ratings as events; the same file always gives the same ids.
    pub events: Vec<Event>,
    /// The rows that were left out.
    pub problems: Vec<Problem>,
}

impl Imported {
    fn take(&mut self, place: impl Into<String>, event: std::result::Result<Event, String>) {
        match event {
            Ok(event) => self.events.push(event),
            Err(reason) => self.problems.push(Problem { place: place.into(), reason }),
        }
    }
}

/// What an import needs to know besides the file.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The criteria.
    pub rubric: &'a Rubric,
    /// The name for ratings that name nobody.
    pub annotator: &'a str,
    /// The time for ratings that name none.
    pub now: Timestamp,
}

/// Reads a file of ratings; what single rows hold wrong is listed, not fatal.
///
/// # Errors
/// When the file cannot be read or is not of the format at all.
pub fn read(path: &Path, format: Option<Format>, context: Context<'_>) -> Result<Imported> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    let not = |what: &'static str, reason: String| Error::Import { path: PathBuf::from(path), what, reason };
    let text = String::from_utf8(bytes).map_err(|error| not("text in UTF-8", error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}'); // spreadsheets mark UTF-8 so
    match format.unwrap_or_else(|| Format::guess(path, text)) {
        Format::Csv => table::read(text, context).map_err(|reason| not("a table of ratings", reason)),
        Format::Jsonl => Ok(json_lines::read(text, context)),
        Format::Labels => labels::read(text, context).map_err(|reason| not("a label file", reason)),
        Format::LabelStudio => {
            label_studio::read(text, context).map_err(|reason| not("a Label Studio export", reason))
        }
    }
}

/// Writes the store's ratings in the format. `labels` are the consensus, for [`Format::Labels`].
///
/// # Errors
/// When a value cannot be written as JSON or CSV.
pub fn write(store: &Store, format: Format, labels: &slide_data::Labels) -> Result<String> {
    let invalid = |error: String| Error::Invalid(format!("the ratings cannot be written: {error}"));
    match format {
        Format::Csv => table::write(store, None).map_err(invalid),
        Format::Jsonl => json_lines::write(store).map_err(|error| invalid(error.to_string())),
        Format::Labels => serde_json::to_string_pretty(labels).map_err(|error| invalid(error.to_string())),
        Format::LabelStudio => label_studio::write(store, labels).map_err(|error| invalid(error.to_string())),
    }
}

/// One annotator's ratings as CSV.
///
/// # Errors
/// When a value cannot be written.
pub fn csv_of(store: &Store, annotator: &str) -> Result<String> {
    table::write(store, Some(annotator)).map_err(Error::Invalid)
}

/// A rating as a file gives it, before it is an event.
#[derive(Debug, Default)]
struct Row {
    slide_id: String,
    annotator: Option<String>,
    scores: Scores,
    notes: String,
    rated_at: Option<Timestamp>,
    event_id: Option<String>,
    kind: Option<Kind>,
    seconds: Option<f64>,
    model_version: Option<String>,
}

impl Row {
    /// The event. Its id is the row's own or a digest of what the row says, so that reading a file twice adds nothing.
    fn into_event(self, context: Context<'_>) -> std::result::Result<Event, String> {
        let annotator = self.annotator.filter(|name| !name.trim().is_empty());
        let annotator = annotator.unwrap_or_else(|| context.annotator.to_owned());
        let annotator = crate::clean_name(&annotator)
            .ok_or_else(|| format!("`{annotator}` is not a usable annotator name"))?;
        let kind = self.kind.unwrap_or(Kind::Rated);
        let id = self.event_id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            let said =
                serde_json::json!([self.slide_id, annotator, self.scores, self.notes, self.rated_at, kind]);
            format!("import-{}", &sha256_hex(said.to_string().as_bytes())[..32])
        });
        let at = self.rated_at.unwrap_or(context.now);
        let mut event = Event::new(id, kind, &self.slide_id, &annotator, at);
        event.scores = self.scores;
        event.notes = self.notes;
        event.seconds = self.seconds;
        event.model_version = self.model_version;
        event.validate(context.rubric).map_err(|error| error.to_string())?;
        Ok(event)
    }
}

/// A score as people write it: empty is unset, `na` is not applicable.
#[expect(clippy::option_option, reason = "a score, not applicable, or nothing said: the form of `Scores`")]
fn parse_score(text: &str) -> std::result::Result<Option<Option<Score>>, String> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "na" | "n/a" => Ok(Some(None)),
        _ => {
            let number = text.strip_suffix(".0").unwrap_or(text).parse::<u8>().ok();
            let score = number.and_then(Score::new);
            score
                .map(|score| Some(Some(score)))
                .ok_or_else(|| format!("`{text}` is not 1 to 5, `na` or empty"))
        }
    }
}

fn parse_time(text: &str) -> std::result::Result<Option<Timestamp>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("`{text}` is not a time such as 2026-01-31T09:30:00Z"))
}

/// The slide that a key or an image's path names: its file name without the extension of an image.
fn slide_of(text: &str) -> String {
    let name = text.rsplit(['/', '\\', '=']).next().unwrap_or(text);
    let lower = name.to_ascii_lowercase();
    let image = [".png", ".jpg", ".jpeg", ".webp"].iter().find(|extension| lower.ends_with(*extension));
    image.map_or(name, |extension| &name[..name.len() - extension.len()]).to_owned()
}

#[cfg(test)]
mod tests;
