//! Tasks with annotations, which Label Studio takes and gives back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use slide_data::Score;

use super::{ANSWER_MARK, NOT_APPLICABLE};
use crate::exchange::sheet::Exported;
use crate::{Event, ImagePath, Kind, Store};

/// One task for each slide that somebody rated, and for each of `others`: a `Rating` per criterion, a `Choices` `<key>_na` where a
/// criterion does not apply, a `TextArea` for the notes; a skip is a cancelled annotation, a final word is ground truth.
///
/// Label Studio gives annotations ids, times and people of its own, and knows people by the address of an account alone. It keeps
/// the data of a task: there `pitchquest` has what is to come back.
pub(in crate::exchange) fn write(
    store: &Store,
    others: &[String],
    image: ImagePath<'_>,
) -> serde_json::Result<String> {
    let mut slides: BTreeMap<String, Vec<Event>> =
        others.iter().map(|slide| (slide.clone(), Vec::new())).collect();
    for event in store.current_events() {
        // Scores of criteria that the rubric does not have stay in the journal.
        let event = Event { scores: event.scores(), ..event.to_event() };
        slides.entry(event.slide_id.clone()).or_default().push(event);
    }
    let tasks: Vec<Value> =
        slides.iter().enumerate().map(|(index, (slide, events))| task(index, slide, events, image)).collect();
    serde_json::to_string_pretty(&tasks)
}

fn task(index: usize, slide: &str, events: &[Event], image: ImagePath<'_>) -> Value {
    let exported: Vec<Exported> = events.iter().map(exported).collect();
    let annotations: Vec<Value> = events.iter().map(annotation).collect();
    let data = json!({"image": image(slide), "slide_id": slide, "pitchquest": exported});
    json!({"id": index + 1, "data": data, "annotations": annotations})
}

fn exported(event: &Event) -> Exported {
    Exported {
        id: event.id.clone(),
        annotator: event.annotator.clone(),
        kind: event.kind,
        rated_at: event.at,
        scores: event.scores.clone(),
        notes: event.notes.clone(),
        seconds: event.seconds,
        model_version: event.model_version.clone(),
    }
}

/// The scores and notes of an event, as Label Studio's controls hold them.
fn answers(event: &Event) -> Vec<Value> {
    let item = |name: &str, kind: &str, value: Value| {
        let id = format!("{}{ANSWER_MARK}{name}", event.id);
        json!({"id": id, "from_name": name, "to_name": "image", "type": kind, "value": value})
    };
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
    result
}

fn annotation(event: &Event) -> Value {
    json!({
        "unique_id": event.id,
        "result": answers(event),
        "was_cancelled": event.kind == Kind::Skipped,
        "ground_truth": event.kind == Kind::Adjudicated,
        "created_at": event.at,
        "updated_at": event.at,
        "lead_time": event.seconds,
    })
}
