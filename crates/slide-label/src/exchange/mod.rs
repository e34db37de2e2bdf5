//! Ratings in and out: tables, JSON lines, the original's `labels.json`, Label Studio, and what of a file is taken as what.
//!
//! A reader brings a sheet of drafts, which say nothing but what stands in the file; one place judges columns, cells and rows,
//! names people and decides which of two ratings counts. Both write into a [`Plan`], so that nothing is lost in silence.

mod argilla;
mod cell;
mod decode;
mod documents;
mod foreign;
mod grid;
mod heads;
mod json_lines;
mod label_studio;
mod labels;
mod order;
mod people;
mod plan;
mod records;
mod row;
mod settle;
mod sheet;
mod slides;
mod table;
mod when;
#[cfg(feature = "workbook")]
mod workbook;

use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;
use slide_data::Rubric;

pub use cell::Scale;
pub use heads::{Mapping, Rules};
pub use label_studio::config_xml;
pub use plan::{Becomes, ColumnPlan, Notice, PersonPlan, Plan, Problem};
pub use slides::KnownSlides;

use crate::error::io_error;
use crate::{Error, Event, ImagePath, Result, Store};
use decode::{Content, MAX_BYTES, decode};
use sheet::Sheet;

/// A form in which ratings travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table, read also from workbooks; written with one line per current rating: `slide_id,annotator,<criteria>,notes,rated_at,event_id,kind,seconds,model_version`.
    Csv,
    /// The journal's events, one JSON object a line; simple ratings are read too.
    Jsonl,
    /// `labels.json`: the consensus by slide.
    Labels,
    /// Label Studio's task list with annotations; read also any list of ratings in JSON.
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
    fn what(self) -> &'static str {
        match self {
            Self::Csv => "a table of ratings",
            Self::Jsonl => "lines of ratings in JSON",
            Self::Labels => "a label file",
            Self::LabelStudio => "a Label Studio export or a list of ratings",
        }
    }

    /// Guesses the format from a file's name and from what it begins with.
    pub fn guess(path: &Path, text: &str) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "tab" => return Self::Csv,
            "jsonl" | "ndjson" => return Self::Jsonl,
            _ => {}
        }
        match text.trim_start().as_bytes().first() {
            Some(b'[') => Self::LabelStudio,
            Some(b'{') => Self::guess_object(text),
            None if extension == "json" => Self::Labels,
            _ => Self::Csv,
        }
    }

    fn guess_object(text: &str) -> Self {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let first = values.next();
        if let (Some(Ok(_)), Some(Ok(_))) = (&first, values.next()) {
            return Self::Jsonl;
        }
        match first {
            Some(Ok(Value::Object(fields))) => {
                let is_list =
                    ["tasks", "records"].iter().any(|key| fields.get(*key).is_some_and(Value::is_array));
                let is_one =
                    fields.keys().any(|key| heads::normal(key) == "slideid") || foreign::is_argilla(&fields);
                let is_foreign = foreign::name(&fields).is_some();
                let is_task = label_studio::is_task(&Value::Object(fields));
                if is_list || is_one || is_task || is_foreign { Self::LabelStudio } else { Self::Labels }
            }
            _ => Self::Labels,
        }
    }
}

/// What a file holds, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imported {
    /// The ratings as events; the same file always gives the same ids.
    pub events: Vec<Event>,
    /// What is taken as what, and what is not taken.
    pub plan: Plan,
}

/// What an import needs to know besides the file.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The criteria.
    pub rubric: &'a Rubric,
    /// The one person whose the ratings are that name nobody; left out, several of one slide are several people's.
    pub annotator: Option<&'a str>,
    /// The time for ratings that name none.
    pub now: Timestamp,
    /// The slides that there are; left out, every name is taken for a slide's.
    pub slides: Option<&'a KnownSlides>,
    /// What the command line says of columns, scales and people.
    pub rules: &'a Rules,
}

impl<'a> Context<'a> {
    /// The name for ratings that name nobody.
    fn nameless(self) -> &'a str {
        self.annotator.unwrap_or("imported")
    }

    /// Whether ratings of a slide are taken.
    fn takes(self, slide_id: &str) -> bool {
        self.rules.keeps_unknown || self.slides.is_none_or(|known| known.find(slide_id) == Some(slide_id))
    }
}

fn not_utf8(encoding: &str) -> String {
    format!("it is not UTF-8 and is read as {encoding}: see that names and notes are right")
}

fn check_bytes(size: u64) -> std::result::Result<(), String> {
    if size > MAX_BYTES {
        return Err(format!("it has {} MB, more than {} MB: divide it", size >> 20, MAX_BYTES >> 20));
    }
    Ok(())
}

/// Reads a file of ratings; what single rows and cells hold wrong is listed in the plan, not fatal.
///
/// # Errors
/// When the file cannot be read, is too large or is no file of ratings at all.
pub fn read(path: &Path, format: Option<Format>, context: Context<'_>) -> Result<Imported> {
    let not = |what: &'static str, reason: String| Error::Import { path: path.to_owned(), what, reason };
    let size = std::fs::metadata(path).map_err(io_error("read", path))?.len();
    check_bytes(size).map_err(|reason| not("a file of ratings", reason))?;
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    let (text, encoding) = match decode(bytes).map_err(|reason| not("a file of ratings", reason))? {
        Content::Text(text, encoding) => (text, encoding),
        Content::Workbook(bytes) => {
            let sheet = workbook_of(bytes).and_then(|grid| table::read(grid, context));
            let sheet = sheet.map_err(|reason| not("a table of ratings", reason))?;
            return Ok(settle::settle(sheet, context));
        }
    };
    let text = text.trim_start_matches('\u{feff}'); // spreadsheets mark UTF-8 so
    let format = format.unwrap_or_else(|| Format::guess(path, text));
    let mut sheet = sheet_of(text, format, context).map_err(|reason| not(format.what(), reason))?;
    if let Some(encoding) = encoding {
        sheet.plan.notice(not_utf8(encoding), "");
    }
    Ok(settle::settle(sheet, context))
}

#[cfg(feature = "workbook")]
fn workbook_of(bytes: Vec<u8>) -> std::result::Result<grid::Grid, String> {
    workbook::read(bytes)
}

#[cfg(not(feature = "workbook"))]
fn workbook_of(_: Vec<u8>) -> std::result::Result<grid::Grid, String> {
    Err("an Excel workbook: save it as `CSV UTF-8` (File > Save as) and import that".to_owned())
}

fn sheet_of(text: &str, format: Format, context: Context<'_>) -> std::result::Result<Sheet, String> {
    let document = || serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    match format {
        Format::Csv => table::read(grid::of_text(text)?, context),
        Format::Jsonl => json_lines::read(text, context),
        Format::LabelStudio => documents::read(document()?, context),
        Format::Labels => match document()? {
            Value::Object(labels) => Ok(labels::read(labels, context)),
            _ => Err("labels stand in one object, by slide".to_owned()),
        },
    }
}

/// Writes the store's ratings in the format. `labels` are the consensus, for [`Format::Labels`].
///
/// # Errors
/// When a value cannot be written as JSON or CSV.
pub fn write(store: &Store, format: Format, labels: &slide_data::Labels) -> Result<String> {
    match format {
        Format::Csv => table::write(store, None).map_err(unwritable),
        Format::Jsonl => json_lines::write(store).map_err(unwritable),
        Format::Labels => serde_json::to_string_pretty(labels).map_err(unwritable),
        Format::LabelStudio => {
            let image = |slide: &str| labels.slides.get(slide).map(|label| label.image_path.clone());
            label_studio_tasks(store, &[], &|slide| image(slide).unwrap_or_else(|| format!("{slide}.png")))
        }
    }
}

/// Tasks for Label Studio: the slides that somebody rated with their annotations, and `others` without any. `image` is the address
/// of a slide's image.
///
/// # Errors
/// When a value cannot be written as JSON.
pub fn label_studio_tasks(store: &Store, others: &[String], image: ImagePath<'_>) -> Result<String> {
    label_studio::write(store, others, image).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the ratings cannot be written: {error}"))
}

/// One annotator's ratings as CSV.
///
/// # Errors
/// When a value cannot be written.
pub fn csv_of(store: &Store, annotator: &str) -> Result<String> {
    table::write(store, Some(annotator)).map_err(Error::Invalid)
}

#[cfg(test)]
mod tests;
