use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use slide_data::{Labels, Score, Scores};

use super::{Context, Imported, Row, parse_score, parse_time, slide_of};
use crate::{Event, Kind, Store};

const NOT_APPLICABLE: &str = "Not applicable";

#[derive(Deserialize)]
struct Task {
    #[serde(default)]
    data: serde_json::Map<String, Value>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    completed_by: Value,
    #[serde(default)]
    result: Vec<Item>,
    #[serde(default)]
    was_cancelled: bool,
    #[serde(default)]
    ground_truth: bool,
    #[serde(default)]
    unique_id: Option<String>,
    #[serde(default)]
    updated_at: Option<String>,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    lead_time: Option<f64>,
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    model_version: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    from_name: String,
    #[serde(default)]
    value: serde_json::Map<String, Value>,
}

/// One task per slide in the form of Label Studio's JSON export: a `Rating` per criterion, a `Choices` `<key>_na` where a criterion
/// does not apply, a `TextArea` for the notes; a skip is a cancelled annotation, a final word is ground truth.
pub(super) fn write(store: &Store, labels: &Labels) -> serde_json::Result<String> {
    let mut tasks: Vec<Value> = Vec::new();
    let mut last = None;
    for event in store.current_events() {
        let slide = event.slide_id();
        if last != Some(slide) {
            let image = labels
                .slides
                .get(slide)
                .map_or_else(|| format!("data/raw/slides/{slide}.png"), |label| label.image_path.clone());
            let data = json!({"image": image, "slide_id": slide});
            tasks.push(json!({"id": tasks.len() + 1, "data": data, "annotations": []}));
            last = Some(slide);
        }
        if let Some(annotations) = tasks.last_mut().and_then(|task| task["annotations"].as_array_mut()) {
            // Scores of criteria that the rubric does not have stay in the journal.
            annotations.push(annotation(&Event { scores: event.scores(), ..event.to_event() }));
        }
    }
    serde_json::to_string_pretty(&tasks)
}

fn annotation(event: &Event) -> Value {
    let item = |name: &str, kind: &str, value: Value| json!({"from_name": name, "to_name": "image", "type": kind, "value": value});
    let mut result: Vec<Value> = event
        .scores
        .iter()
        .map(|(key, score)| match score {
            Some(score) => item(key, "rating", json!({"rating": Score::get(*score)})),
            None => item(&format!("{key}_na"), "choices", json!({"choices": [NOT_APPLICABLE]})),
        })
        .collect();
    if !event.notes.is_empty() {
        result.push(item("notes", "textarea", json!({"text": [event.notes]})));
    }
    json!({
        "unique_id": event.id,
        "completed_by": {"email": event.annotator},
        "result": result,
        "was_cancelled": event.kind == Kind::Skipped,
        "ground_truth": event.kind == Kind::Adjudicated,
        "created_at": event.at,
        "updated_at": event.at,
        "lead_time": event.seconds,
        "kind": event.kind,
        "model_version": event.model_version,
    })
}

pub(super) fn read(text: &str, context: Context<'_>) -> Result<Imported, String> {
    let tasks: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut imported = Imported::default();
    for (index, task) in tasks.into_iter().enumerate() {
        let place = format!("task {}", index + 1);
        let Ok(task) = Task::deserialize(task).map_err(|error| imported.take(&place, Err(error.to_string())))
        else {
            continue;
        };
        let named = ["slide_id", "image"].iter().find_map(|key| task.data.get(*key)?.as_str());
        let Some(slide_id) = named.map(slide_of) else {
            imported.take(&place, Err("its data name neither `slide_id` nor `image`".to_owned()));
            continue;
        };
        for annotation in task.annotations {
            imported.take(&place, row(&slide_id, annotation).and_then(|row| row.into_event(context)));
        }
    }
    Ok(imported)
}

fn row(slide_id: &str, annotation: Annotation) -> Result<Row, String> {
    let (mut scores, mut notes) = (Scores::new(), Vec::new());
    for item in &annotation.result {
        read_item(item, &mut scores, &mut notes)?;
    }
    let kind = match (annotation.was_cancelled, annotation.ground_truth) {
        (true, _) => Kind::Skipped,
        (_, true) => Kind::Adjudicated,
        _ if annotation.kind == "changed" => Kind::Changed,
        _ => Kind::Rated,
    };
    let time = annotation.updated_at.or(annotation.created_at).unwrap_or_default();
    Ok(Row {
        slide_id: slide_id.to_owned(),
        annotator: who(&annotation.completed_by),
        scores,
        notes: notes.join("\n"),
        rated_at: parse_time(&time)
            .or_else(|_| time.parse::<Timestamp>().map(Some).map_err(|e| e.to_string()))?,
        event_id: annotation.unique_id,
        kind: Some(kind),
        seconds: annotation.lead_time,
        model_version: annotation.model_version,
    })
}

fn read_item(item: &Item, scores: &mut Scores, notes: &mut Vec<String>) -> Result<(), String> {
    let key = item.from_name.as_str();
    if let Some(rating) = item.value.get("rating") {
        let score = Score::deserialize(rating).map_err(|error| format!("`{key}`: {error}"))?;
        scores.insert(key.to_owned(), Some(score));
    } else if let Some(choice) = item.value.get("choices").and_then(|choices| choices.get(0)?.as_str()) {
        if choice == NOT_APPLICABLE {
            scores.insert(key.strip_suffix("_na").unwrap_or(key).to_owned(), None);
        } else if let Some(score) = parse_score(choice).map_err(|reason| format!("`{key}`: {reason}"))? {
            scores.insert(key.to_owned(), score);
        }
    } else if let Some(text) = item.value.get("text") {
        match text {
            Value::String(text) => notes.push(text.clone()),
            Value::Array(parts) => notes.extend(parts.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
    }
    Ok(())
}

/// Label Studio names a person by number, or by an object with an email address.
fn who(completed_by: &Value) -> Option<String> {
    match completed_by {
        Value::Number(number) => Some(format!("label-studio {number}")),
        Value::String(name) => Some(name.clone()),
        Value::Object(person) => {
            ["email", "username"].iter().find_map(|key| person.get(*key)?.as_str()).map(str::to_owned)
        }
        _ => None,
    }
}
