//! JSON lines: our journal's events, and simple ratings.

use serde_json::{Map, Value};

use super::sheet::{Record, Sheet};
use super::{Context, documents, foreign, records};
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

pub(super) fn read(text: &str, context: Context<'_>) -> Result<Sheet, String> {
    let mut sheet = Sheet::new("JSON lines");
    let simple = lines(&mut sheet, text, context);
    let is_task = |fields: &Map<String, Value>| {
        fields.get("data").is_some_and(Value::is_object) || foreign::is_argilla(fields)
    };
    if sheet.events.is_empty() && simple.first().is_some_and(|(_, fields)| is_task(fields)) {
        let tasks = simple.into_iter().map(|(_, fields)| Value::Object(fields)).collect();
        let mut found = documents::read(Value::Array(tasks), context)?;
        found.plan.left_out.append(&mut sheet.plan.left_out);
        found.plan.rows += sheet.plan.rows;
        return Ok(found);
    }
    if let Some(what) = simple.first().and_then(|(_, fields)| foreign::name(fields)) {
        return Err(what);
    }
    records::read(&mut sheet, &simple, context)?;
    Ok(sheet)
}

/// Takes the events of a journal into the sheet, and returns the other lines.
fn lines(sheet: &mut Sheet, text: &str, context: Context<'_>) -> Vec<Record> {
    let mut simple = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", index + 1);
        match serde_json::from_str::<Map<String, Value>>(line) {
            Ok(fields) if fields.contains_key("kind") && fields.contains_key("id") => {
                sheet.plan.rows += 1;
                event(sheet, &place, fields, context);
            }
            Ok(fields) => simple.push((place, fields)),
            Err(error) => {
                sheet.plan.rows += 1;
                sheet.plan.leave_out(&place, error.to_string());
            }
        }
    }
    if !sheet.events.is_empty() {
        "events of a journal".clone_into(&mut sheet.plan.format);
    }
    simple
}

/// An event of a journal names its kind and id.
fn event(sheet: &mut Sheet, place: &str, fields: Map<String, Value>, context: Context<'_>) {
    let event = serde_json::from_value::<Event>(Value::Object(fields)).map_err(|error| error.to_string());
    let checked = event
        .and_then(|event| event.validate(context.rubric).map(|()| event).map_err(|error| error.to_string()));
    match checked {
        Ok(event) if !context.takes(&event.slide_id) => {
            *sheet.plan.unknown_slides.entry(event.slide_id).or_default() += 1;
        }
        Ok(event) => sheet.events.push(event),
        Err(reason) => sheet.plan.leave_out(place, reason),
    }
}
