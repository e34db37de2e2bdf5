use serde::Deserialize;
use serde_json::{Map, Value};
use slide_data::{Score, Scores};

use super::{Context, Imported, Row, parse_time, slide_of};
use crate::{Event, EventRef, Store};

/// The whole journal: history included.
pub(super) fn write(store: &Store) -> serde_json::Result<String> {
    let mut events: Vec<EventRef<'_>> = store.events().collect();
    events.sort_by_key(EventRef::order);
    let mut text = String::new();
    for event in events {
        text.push_str(&serde_json::to_string(&event.to_event())?);
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn read(text: &str, context: Context<'_>) -> Imported {
    let mut imported = Imported::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        imported.take(format!("line {}", index + 1), read_line(line, context));
    }
    imported
}

/// A line is an event of a journal (it names its kind and id), or a rating with its scores nested or side by side.
fn read_line(line: &str, context: Context<'_>) -> Result<Event, String> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if fields.contains_key("kind") && fields.contains_key("id") {
        let event: Event =
            serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())?;
        event.validate(context.rubric).map_err(|error| error.to_string())?;
        return Ok(event);
    }
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let scores = match fields.get("scores") {
        Some(nested) => Scores::deserialize(nested).map_err(|error| format!("`scores`: {error}"))?,
        None => beside(&fields, context)?,
    };
    let row = Row {
        slide_id: slide_of(&text("slide_id").ok_or("the line names no `slide_id`")?),
        annotator: text("annotator"),
        scores,
        notes: text("notes").unwrap_or_default(),
        rated_at: parse_time(&text("rated_at").unwrap_or_default())?,
        event_id: text("event_id"),
        kind: None,
        seconds: fields.get("seconds").and_then(Value::as_f64),
        model_version: text("model_version"),
    };
    row.into_event(context)
}

fn beside(fields: &Map<String, Value>, context: Context<'_>) -> Result<Scores, String> {
    let found = context.rubric.keys().filter_map(|key| Some((key, fields.get(key)?)));
    found
        .map(|(key, value)| {
            let score = Option::<Score>::deserialize(value).map_err(|error| format!("`{key}`: {error}"))?;
            Ok((key.to_owned(), score))
        })
        .collect()
}
