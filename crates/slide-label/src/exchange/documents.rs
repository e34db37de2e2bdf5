//! JSON documents: what kind one is, by what stands in it.

use serde_json::Value;

use super::sheet::{Record, Sheet};
use super::{Context, argilla, foreign, label_studio, records};

/// Reads a list of tasks, of records of one rating each or of Argilla's records, or a single one.
pub(super) fn read(document: Value, context: Context<'_>) -> Result<Sheet, String> {
    let items = items(document)?;
    let (mut objects, mut others): (Vec<Record>, Vec<(String, Value)>) = (Vec::new(), Vec::new());
    let word = if items.iter().any(label_studio::is_task) { "task" } else { "record" };
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("{word} {}", index + 1);
        match item {
            Value::Object(fields) => objects.push((place, fields)),
            other => others.push((place, other)),
        }
    }
    let mut sheet = sheet(objects, word == "task", context)?;
    for (place, other) in others {
        sheet.plan.rows += 1;
        sheet.plan.leave_out(&place, format!("`{}` is not an object", shortened(&other)));
    }
    Ok(sheet)
}

/// The entries of a list, of an object around one, or a single entry.
fn items(document: Value) -> Result<Vec<Value>, String> {
    match document {
        Value::Array(items) => Ok(items),
        Value::Object(mut fields) => match fields.remove("records").or_else(|| fields.remove("tasks")) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(vec![Value::Object(fields)]),
        },
        other => Err(format!("`{}` is neither a list nor an object", shortened(&other))),
    }
}

/// Reads the entries as what the first of them is.
fn sheet(objects: Vec<Record>, has_tasks: bool, context: Context<'_>) -> Result<Sheet, String> {
    match objects.first() {
        Some((_, first)) if foreign::name(first).is_some() => Err(foreign::name(first).unwrap_or_default()),
        Some((_, first)) if foreign::is_argilla(first) => Ok(argilla::read(&objects, context)),
        _ if has_tasks => label_studio::read(objects, context),
        Some((_, first)) => {
            let is_min = first.contains_key("annotation_id");
            let mut sheet =
                Sheet::new(if is_min { "Label Studio's JSON-MIN" } else { "a list of ratings in JSON" });
            records::read(&mut sheet, &objects, context)?;
            Ok(sheet)
        }
        None => Ok(Sheet::new("a list of ratings in JSON")),
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}
