use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use super::{Context, Imported, Row, parse_score, parse_time, slide_of};
use crate::{Event, EventRef, Kind, Store, code};

/// A cell that a spreadsheet would run as a formula is written with an apostrophe before it, which reading takes away again.
const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

fn guard(text: &str) -> String {
    if text.starts_with(GUARDED) { format!("'{text}") } else { text.to_owned() }
}

fn unguard(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| rest.starts_with(GUARDED)).unwrap_or(text)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Skipped => "skipped",
        Kind::Adjudicated => "adjudicated",
        Kind::Changed => "changed",
        _ => "rated",
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let deserializer: StrDeserializer<'_, ValueError> = text.into_deserializer();
    match Kind::deserialize(deserializer) {
        Ok(kind @ (Kind::Rated | Kind::Changed | Kind::Skipped | Kind::Adjudicated)) => Ok(kind),
        _ => Err(format!("`{text}` is not rated, skipped or adjudicated")),
    }
}

pub(super) fn write(store: &Store, annotator: Option<&str>) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["slide_id", "annotator"].into_iter().chain(store.rubric().keys());
    let header = header.chain(["notes", "rated_at", "event_id", "kind", "seconds", "model_version"]);
    writer.write_record(header).map_err(|error| error.to_string())?;
    for event in store.current_events().filter(|event| annotator.is_none_or(|name| name == event.annotator()))
    {
        writer.write_record(record(event)).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn record(event: EventRef<'_>) -> Vec<String> {
    let score = |&code: &u8| match code {
        code::UNSET => String::new(),
        code::NOT_APPLICABLE => "na".to_owned(),
        score => score.to_string(),
    };
    let mut cells = vec![guard(event.slide_id()), guard(event.annotator())];
    cells.extend(event.codes().iter().map(score));
    cells.push(guard(event.notes()));
    cells.extend([event.at().to_string(), event.id().to_owned(), kind_name(event.kind()).to_owned()]);
    cells.push(event.seconds().map(|seconds| seconds.to_string()).unwrap_or_default());
    cells.push(guard(event.model_version().unwrap_or_default()));
    cells
}

pub(super) fn read(text: &str, context: Context<'_>) -> Result<Imported, String> {
    let delimiter =
        text.lines().next().filter(|line| line.contains(';') && !line.contains(',')).map_or(b',', |_| b';');
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let header: Vec<String> = reader
        .headers()
        .map_err(|error| error.to_string())?
        .iter()
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for needed in ["slide_id"] {
        if !header.iter().any(|name| name == needed) {
            return Err(format!("its first line has no column `{needed}`"));
        }
    }
    let known =
        ["slide_id", "annotator", "notes", "rated_at", "event_id", "kind", "seconds", "model_version"];
    let is_known =
        |name: &String| known.contains(&name.as_str()) || context.rubric.keys().any(|key| key == name);
    if let Some(unknown) = header.iter().find(|name| !is_known(name)) {
        let keys = context.rubric.keys().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "the column `{unknown}` is neither one of {} nor a criterion ({keys})",
            known.join(", ")
        ));
    }
    let mut imported = Imported::default();
    for (index, record) in reader.records().enumerate() {
        let place = |line: Option<u64>| format!("line {}", line.unwrap_or(index as u64 + 2));
        match record {
            Ok(record) => {
                let line = record.position().map(csv::Position::line);
                imported.take(place(line), row(&header, &record, context));
            }
            Err(error) => {
                imported.take(place(error.position().map(csv::Position::line)), Err(error.to_string()));
            }
        }
    }
    Ok(imported)
}

fn row(header: &[String], record: &csv::StringRecord, context: Context<'_>) -> Result<Event, String> {
    if record.len() > header.len() {
        return Err(format!("{} cells, but the first line names {}", record.len(), header.len()));
    }
    let mut row = Row::default();
    for (name, cell) in header.iter().zip(record) {
        match name.as_str() {
            "slide_id" => row.slide_id = slide_of(unguard(cell.trim())),
            "annotator" => row.annotator = Some(unguard(cell).to_owned()),
            "notes" => unguard(cell).clone_into(&mut row.notes),
            "rated_at" => row.rated_at = parse_time(cell)?,
            "event_id" => row.event_id = Some(cell.trim().to_owned()),
            "kind" | "seconds" if cell.trim().is_empty() => {}
            "kind" => row.kind = Some(parse_kind(cell.trim())?),
            "seconds" => {
                let seconds = cell.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite());
                row.seconds = Some(seconds.ok_or_else(|| format!("`{cell}` is not a number of seconds"))?);
            }
            "model_version" => {
                row.model_version =
                    Some(unguard(cell.trim()).to_owned()).filter(|version| !version.is_empty());
            }
            key => {
                if let Some(score) = parse_score(cell).map_err(|reason| format!("`{key}`: {reason}"))? {
                    row.scores.insert(key.to_owned(), score);
                }
            }
        }
    }
    row.into_event(context)
}
