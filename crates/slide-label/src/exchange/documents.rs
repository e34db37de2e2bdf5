//! JSON documents: what kind one is, by what stands in it.

use serde_json::Value;

use super::sheet::{Record, Sheet};
use super::{Context, argilla, foreign, label_studio, records};

/// Reads a list of tasks, of records of one rating each or of Argilla's records, or a single one.
pub(super) fn read(document: Value, context: Context<'_>) -> Result<Sheet, String> {
    let items = match document {
        Value::Array(items) => items,
        Value::Object(mut fields) => match fields.remove("records").or_else(|| fields.remove("tasks")) {
            Some(Value::Array(items)) => items,
            _ => vec![Value::Object(fields)],
        },
        other => return Err(format!("`{}` is neither a list nor an object", shortened(&other))),
    };
    let (mut objects, mut others): (Vec<Record>, Vec<(String, Value)>) = (Vec::new(), Vec::new());
    let word = if items.iter().any(label_studio::is_task) { "task" } else { "record" };
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("{word} {}", index + 1);
        match item {
            Value::Object(fields) => objects.push((place, fields)),
            other => others.push((place, other)),
        }
    }
    let mut sheet = match objects.first() {
        Some((_, first)) if foreign::name(first).is_some() => {
            return Err(foreign::name(first).unwrap_or_default());
        }
        Some((_, first)) if foreign::is_argilla(first) => argilla::read(&objects, context),
        _ if word == "task" => label_studio::read(objects, context)?,
        Some((_, first)) => {
            let is_min = first.contains_key("annotation_id");
            let mut sheet =
                Sheet::new(if is_min { "Label Studio's JSON-MIN" } else { "a list of ratings in JSON" });
            records::read(&mut sheet, &objects, context)?;
            sheet
        }
        None => Sheet::new("a list of ratings in JSON"),
    };
    for (place, other) in others {
        sheet.plan.rows += 1;
        sheet.plan.leave_out(&place, format!("`{}` is not an object", shortened(&other)));
    }
    Ok(sheet)
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
