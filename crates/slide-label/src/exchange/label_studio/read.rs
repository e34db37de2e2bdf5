//! Tasks with annotations, as Label Studio exports them, and as older versions did (`completions`).

use std::rc::Rc;

use serde_json::{Map, Value};

use super::ANSWER_MARK;
use crate::Kind;
use crate::exchange::cell::text_of;
use crate::exchange::grid::MAX_COLUMNS;
use crate::exchange::heads::{normal, rank};
use crate::exchange::plan::Becomes;
use crate::exchange::sheet::{Draft, Exported, Record, Sheet};
use crate::exchange::{Context, slides};

/// Whether something is a task of Label Studio.
pub(in crate::exchange) fn is_task(value: &Value) -> bool {
    let has_list =
        ["annotations", "completions"].iter().any(|key| value.get(*key).is_some_and(Value::is_array));
    has_list || value.get("data").is_some_and(Value::is_object)
}

pub(in crate::exchange) fn read(tasks: Vec<Record>, context: Context<'_>) -> Result<Sheet, String> {
    let mut sheet = Sheet::new("tasks of Label Studio");
    for (place, mut task) in tasks {
        sheet.plan.rows += 1;
        sheet.plan.drafts += length(task.get("drafts"));
        sheet.plan.predictions += length(task.get("predictions"));
        let data = task.remove("data");
        let Some(data) = data.as_ref().and_then(Value::as_object) else {
            sheet.plan.leave_out(&place, "a task without `data`");
            continue;
        };
        let slide = slide_texts(data, context);
        if slide.is_empty() {
            sheet.plan.leave_out(&place, "its data names neither `slide_id` nor `image`");
            continue;
        }
        let exported = exported(&mut sheet, data, &place);
        let lists = ["annotations", "completions"].iter().filter_map(|key| task.get(*key)?.as_array());
        for annotation in lists.flatten() {
            let Some(annotation) = annotation.as_object() else {
                sheet.plan.leave_out(&place, "an annotation that is not an object");
                continue;
            };
            let base = Draft {
                place: place.clone(),
                slide: slide.clone(),
                exported: exported.clone(),
                ..Draft::default()
            };
            let draft = draft(&mut sheet, base, annotation, context);
            sheet.drafts.push(draft);
        }
        if sheet.plan.columns.len() > MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} different controls"));
        }
    }
    Ok(sheet)
}

fn length(value: Option<&Value>) -> usize {
    value.and_then(Value::as_array).map_or(0, Vec::len)
}

/// What may name the slide of a task: data that are named for it first, then all other texts where a manifest can tell, else the
/// one text that is the address of an image.
pub(in crate::exchange) fn slide_texts(data: &Map<String, Value>, context: Context<'_>) -> Vec<String> {
    let mut texts: Vec<(usize, &str)> = data
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .map(|(key, text)| match context.rules.meaning(key, context.rubric) {
            Becomes::Slide => (rank(key).min(usize::MAX - 1), text),
            _ => (usize::MAX, text),
        })
        .filter(|(rank, text)| {
            *rank < usize::MAX
                || context.slides.is_some_and(|known| known.find(text).is_some())
                || slides::is_image(text)
        })
        .collect();
    texts.sort_by_key(|(rank, _)| *rank);
    texts.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// What our export said of the ratings of the slide.
fn exported(sheet: &mut Sheet, data: &Map<String, Value>, place: &str) -> Option<Rc<Vec<Exported>>> {
    let value = data.iter().find(|(key, _)| normal(key) == "pitchquest").map(|(_, value)| value.clone())?;
    let exported: Option<Vec<Exported>> = serde_json::from_value(value).ok();
    if exported.is_none() {
        let what = "`pitchquest` in the data of a task is not what an export writes, and is not used";
        sheet.plan.notice(what, place);
    }
    exported.map(Rc::new)
}

fn text_or_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What an annotation is, where that is not told by its answers; `stated` is what our own exports say.
fn kind(is_skipped: bool, stated: Option<&str>) -> Option<Kind> {
    match (is_skipped, stated) {
        (true, _) => Some(Kind::Skipped),
        (_, Some("adjudicated")) => Some(Kind::Adjudicated),
        (_, Some("changed")) => Some(Kind::Changed),
        _ => None,
    }
}

fn draft(sheet: &mut Sheet, base: Draft, annotation: &Map<String, Value>, context: Context<'_>) -> Draft {
    let is_true = |key: &str| annotation.get(key).and_then(Value::as_bool).unwrap_or_default();
    let text = |key: &str| text_or_number(annotation.get(key)?);
    let stated = text("kind"); // earlier exports of ours
    let mut draft = Draft {
        person: who(annotation.get("completed_by").unwrap_or(&Value::Null)),
        time: text("updated_at").or_else(|| text("created_at")),
        event_id: text("unique_id"),
        seconds: text("lead_time"),
        model_version: text("model_version"),
        is_starred: is_true("ground_truth"),
        ..base
    };
    draft.kind = kind(is_true("was_cancelled") || is_true("skipped"), stated.as_deref());
    for item in annotation.get("result").and_then(Value::as_array).into_iter().flatten() {
        let id = item.get("id").and_then(Value::as_str);
        let own = id.and_then(|id| id.split_once(ANSWER_MARK)).map(|(event, _)| event.to_owned());
        draft.exported_id = draft.exported_id.take().or(own);
        answer(sheet, &mut draft, item, context);
    }
    draft
}

/// What a control of this name is; texts that nothing is said of are notes.
fn meaning(name: &str, is_text: bool, context: Context<'_>) -> Becomes {
    match context.rules.meaning(name, context.rubric) {
        Becomes::Ignored if is_text && !context.rules.is_mapped(name) => Becomes::Notes,
        becomes @ (Becomes::Criterion(_) | Becomes::NotApplicable(_) | Becomes::Notes) => becomes,
        _ => Becomes::Ignored,
    }
}

/// Takes what a control says; what it cannot be taken as costs the control.
fn answer(sheet: &mut Sheet, draft: &mut Draft, item: &Value, context: Context<'_>) {
    let name = item.get("from_name").and_then(Value::as_str).unwrap_or("(no name)");
    let Some(value) = item.get("value").and_then(Value::as_object) else { return };
    let is_text = value.len() == 1 && value.contains_key("text");
    let column = sheet.column(name, || meaning(name, is_text, context));
    let becomes = sheet.plan.columns[column].becomes.clone();
    if becomes == Becomes::Notes {
        let notes = notes_of(&Value::Object(value.clone()));
        for note in notes {
            sheet.fill(draft, column, note);
        }
        return;
    }
    match text_of(&Value::Object(value.clone())) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => sheet.fill(draft, column, text),
        Err(_) if becomes == Becomes::Ignored => sheet.plan.columns[column].filled += 1,
        Err(reason) => sheet.lose(draft, column, format!("`{name}`: {reason}")),
    }
}

/// The texts of a text area, in whichever form they are written.
pub(in crate::exchange) fn notes_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(parts) => parts.iter().flat_map(notes_of).collect(),
        Value::Object(fields) => {
            ["text", "choices"].iter().find_map(|key| fields.get(*key)).map(notes_of).unwrap_or_default()
        }
        Value::Number(number) => vec![number.to_string()],
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

/// How Label Studio names a person: by number, or by an object with an address; the name that is used comes first.
pub(in crate::exchange) fn who(completed_by: &Value) -> Vec<String> {
    let numbered = |id: &dyn std::fmt::Display| vec![format!("label-studio {id}"), id.to_string()];
    match completed_by {
        Value::Number(number) => numbered(number),
        Value::String(name) => person_names(name),
        Value::Object(person) => {
            let texts = ["email", "username"].iter().filter_map(|key| person.get(*key)?.as_str());
            let mut names: Vec<String> = texts.map(str::to_owned).collect();
            names.extend(person.get("id").into_iter().flat_map(|id| numbered(&id.to_string())));
            names
        }
        _ => Vec::new(),
    }
}

fn person_names(text: &str) -> Vec<String> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if is_number { vec![format!("label-studio {text}"), text.to_owned()] } else { vec![text.to_owned()] }
}

/// The name for a person whom a table of Label Studio names.
pub(in crate::exchange) fn person_of_text(text: &str) -> String {
    person_names(text).into_iter().next().unwrap_or_default()
}
