//! Records in JSON, one rating each: simple lines, lists of objects, Label Studio's JSON-MIN.

use serde_json::{Map, Value};

use super::cell::text_of;
use super::grid::MAX_COLUMNS;
use super::heads::rank;
use super::plan::Becomes;
use super::sheet::{Draft, Record, Sheet};
use super::{Context, label_studio};

/// Reads records into the sheet; their scores may stand side by side or in `scores`.
pub(super) fn read(sheet: &mut Sheet, records: &[Record], context: Context<'_>) -> Result<(), String> {
    for (_, record) in records {
        for (key, _) in fields(record) {
            sheet.named(key, context.rules, context.rubric);
        }
        if sheet.plan.columns.len() > MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} different keys"));
        }
    }
    slide_key(sheet, records, context);
    sheet.one_column_each(|name| if context.rules.is_mapped(name) { 0 } else { rank(name) });
    for (place, record) in records {
        sheet.plan.rows += 1;
        let draft = draft(sheet, place, record, context);
        if draft.slide.is_empty() {
            sheet.plan.leave_out(place, "it names no `slide_id`");
        } else {
            sheet.drafts.push(draft);
        }
    }
    Ok(())
}

/// One record's fields.
fn draft(sheet: &mut Sheet, place: &str, record: &Map<String, Value>, context: Context<'_>) -> Draft {
    let is_label_studio = record.contains_key("annotation_id");
    let mut draft = Draft { place: place.to_owned(), ..Draft::default() };
    for (key, value) in fields(record) {
        let column = sheet.named(key, context.rules, context.rubric);
        match field_text(value, &sheet.plan.columns[column].becomes, is_label_studio) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => sheet.fill(&mut draft, column, text),
            Err(reason) => sheet.lose(&mut draft, column, format!("`{key}`: {reason}")),
        }
    }
    draft
}

/// The fields of a record, those of `scores` among them.
fn fields(record: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let nested = record.get("scores").and_then(Value::as_object);
    record
        .iter()
        .filter(move |(key, _)| nested.is_none() || *key != "scores")
        .chain(nested.into_iter().flatten())
}

/// Where no key is named for the slide, one whose values are slides of the manifest is it.
fn slide_key(sheet: &mut Sheet, records: &[Record], context: Context<'_>) {
    let Some(known) = context.slides else { return };
    if sheet.plan.columns.iter().any(|column| column.becomes == Becomes::Slide) {
        return;
    }
    for column in &mut sheet.plan.columns {
        let texts = records.iter().take(1000).filter_map(|(_, record)| record.get(&column.name)?.as_str());
        if column.becomes == Becomes::Ignored && texts.into_iter().any(|text| known.find(text).is_some()) {
            column.becomes = Becomes::Slide;
            "its values are slides of the manifest".clone_into(&mut column.reason);
            return;
        }
    }
}

fn field_text(value: &Value, becomes: &Becomes, is_label_studio: bool) -> Result<String, String> {
    match becomes {
        Becomes::Criterion(_) | Becomes::NotApplicable(_) | Becomes::Refused => text_of(value),
        Becomes::OurRatings => Ok(value.to_string()),
        Becomes::Notes => Ok(label_studio::notes_of(value).join("\n")),
        Becomes::Annotator => Ok(match (value, is_label_studio) {
            (Value::String(name), false) => name.clone(),
            (Value::Null, _) => String::new(),
            _ => label_studio::who(value).into_iter().next().unwrap_or_default(),
        }),
        _ => Ok(match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }),
    }
}
