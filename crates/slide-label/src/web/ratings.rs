use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use slide_data::{Correction, Scores};

use super::error::Rejection;
use super::session::SignedIn;
use super::state::App;
use crate::{Acknowledged, Error, Event, Kind, Person, Role, Store, exchange};

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Slides that the page has; pages that were loaded before an update say `held`.
    #[serde(default, alias = "held")]
    assigned: Vec<String>,
    /// Slides that the person has dealt with, on this page or another, though that may not have arrived.
    #[serde(default)]
    done: Vec<String>,
    count: usize,
}

/// So many slides are handed out at once at most.
const MAX_HANDED_OUT: usize = 20;

/// The next slides of the person, assigned to them.
pub(super) async fn queue(
    State(app): State<Arc<App>>,
    SignedIn(person): SignedIn,
    Json(wanted): Json<Wanted>,
) -> Json<Value> {
    app.refresh_slides();
    let now = Instant::now();
    let (ids, progress) = {
        let mut queue = app.queue();
        let count = wanted.count.min(MAX_HANDED_OUT);
        let ids = queue.next(&person.name, &wanted.assigned, &wanted.done, count, now);
        (ids, progress(&queue.progress(&person.name, now), queue.len()))
    };
    let store = app.ledger().store();
    let slides: Vec<Value> = ids.iter().filter_map(|id| describe(&app, &store, id, &person.name)).collect();
    Json(json!({"person": person.name, "slides": slides, "progress": progress}))
}

fn progress(progress: &crate::Progress, slides: usize) -> Value {
    json!({"rated": progress.rated, "skipped": progress.skipped, "open": progress.open, "slides": slides})
}

/// A slide as the page needs it: what it is, and what the person has said of it.
fn describe(app: &App, store: &Store, id: &str, annotator: &str) -> Option<Value> {
    let slide = app.slide(id)?;
    Some(json!({
        "slide_id": id, "deck_id": &*slide.deck_id, "deck": &*slide.deck, "number": slide.number, "width": slide.width, "height": slide.height,
        "mine": mine_of(store, id, annotator),
    }))
}

fn mine_of(store: &Store, id: &str, annotator: &str) -> Value {
    let current = store.current(id, annotator);
    json!({
        "head": store.head(id, annotator),
        "event": current.map(|event| event.id()),
        "kind": current.map(|event| event.kind()),
        "scores": current.map(|event| event.scores()),
        "notes": current.map(|event| event.notes()),
        "at": current.map(|event| event.at()),
    })
}

/// One slide.
pub(super) async fn slide(
    State(app): State<Arc<App>>,
    SignedIn(person): SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    let store = app.ledger().store();
    describe(&app, &store, &id, &person.name).map(Json).ok_or_else(|| Rejection::unknown_slide(&id))
}

/// The slides the person has rated or passed over, in the order of their doing.
pub(super) async fn mine(State(app): State<Arc<App>>, SignedIn(person): SignedIn) -> Json<Value> {
    let store = app.ledger().store();
    let events = store.of_annotator(&person.name);
    let slides: Vec<Value> = events
        .iter()
        .map(|event| json!({"slide_id": event.slide_id(), "kind": event.kind(), "at": event.at()}))
        .collect();
    Json(json!({"slides": slides}))
}

#[derive(Deserialize)]
pub(super) struct Submitted {
    id: String,
    kind: Kind,
    slide_id: String,
    annotator: String,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    scores: Scores,
    #[serde(default)]
    notes: String,
    #[serde(default)]
    undoes: Option<String>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    seconds: Option<f64>,
}

impl Submitted {
    fn into_event(self) -> Event {
        let mut event = Event::new(self.id, self.kind, &self.slide_id, &self.annotator, Timestamp::now());
        event.base = self.base;
        event.scores = self.scores;
        event.notes = self.notes;
        event.undoes = self.undoes;
        event.model_version = self.model_version;
        event.seconds = self.seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        event
    }
}

/// Whether an event is a final word, or takes one back.
fn is_adjudication(app: &App, event: &Event) -> bool {
    event.kind == Kind::Adjudicated
        || event.undoes.as_deref().is_some_and(|id| {
            let store = app.ledger().store();
            store.event(id).is_some_and(|target| store.is_adjudication(target))
        })
}

/// Of a conflict the answer tells what the person's rating is by now.
fn refused(app: &App, slide_id: &str, person: &Person, error: Error) -> Rejection {
    let store = app.ledger().store();
    let details = match &error {
        Error::Conflict { .. } => json!({"current": mine_of(&store, slide_id, &person.name)}),
        _ => Value::Null,
    };
    Rejection { details, ..Rejection::from(error) }
}

/// Takes an event; the answer comes after it is on disk.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    SignedIn(person): SignedIn,
    Json(submitted): Json<Submitted>,
) -> Result<Json<Value>, Rejection> {
    app.note_work();
    let event = submitted.into_event();
    check_actor(&app, &person, &event)?;
    let slide_id = event.slide_id.clone();
    let is_adjudication = is_adjudication(&app, &event);
    let refused = |error| refused(&app, &slide_id, &person, error);
    let acknowledged = app.ledger().submit(event).await.map_err(refused)?;
    Ok(Json(saved(&app, &person, &acknowledged, is_adjudication)))
}

/// What is answered for an event that is on disk: how far the person is by now, and what a later event of the slide has to name.
fn saved(app: &App, person: &Person, acknowledged: &Acknowledged, is_adjudication: bool) -> Value {
    let slide_id = &acknowledged.event.slide_id;
    let store = app.ledger().store();
    let mut queue = app.queue();
    queue.update(&store, slide_id, &person.name);
    let progress = progress(&queue.progress(&person.name, Instant::now()), queue.len());
    let head =
        if is_adjudication { store.adjudication_head(slide_id) } else { store.head(slide_id, &person.name) };
    json!({
        "id": acknowledged.event.id,
        "at": acknowledged.event.at,
        "was_known": acknowledged.was_known,
        "head": head,
        "progress": progress,
        "prediction": committed_prediction(app, &store, slide_id, person),
    })
}

/// An event must be the signed-in person's own (a queue kept by a browser that somebody else used before is not), about a slide that
/// exists; a final word is a lead's.
fn check_actor(app: &App, person: &Person, event: &Event) -> Result<(), Rejection> {
    if event.annotator != person.name {
        let message =
            format!("this is a rating of `{}`, but `{}` is signed in", event.annotator, person.name);
        return Err(Rejection::new(StatusCode::FORBIDDEN, "other_person", message));
    }
    if event.kind == Kind::Adjudicated && person.role != Role::Lead {
        return Err(Rejection::leads_only());
    }
    if let Some(target) = event.undoes.as_deref() {
        let store = app.ledger().store();
        let is_final = store.event(target).is_some_and(|target| store.is_adjudication(target));
        if is_final && person.role != Role::Lead {
            return Err(Rejection::leads_only());
        }
    }
    let is_known = app.slide(&event.slide_id).is_some() || app.ledger().store().event(&event.id).is_some();
    if is_known { Ok(()) } else { Err(Rejection::unknown_slide(&event.slide_id)) }
}

/// The model's scores of a slide, for a person who has rated it; before that they would sway the rating.
fn committed_prediction(app: &App, store: &Store, slide_id: &str, person: &Person) -> Option<Value> {
    if !app.settings().config.model_help {
        return None;
    }
    let current = store.current(slide_id, &person.name)?;
    if current.kind() == Kind::Skipped {
        return None;
    }
    let prediction = app.prediction(slide_id)?;
    Some(json!({"model_version": prediction.model_version, "expected": prediction.expected}))
}

#[derive(Deserialize)]
pub(super) struct Corrected {
    id: String,
    slide_id: String,
    #[serde(default)]
    notes: String,
}

/// Sends a person's own rating of a slide as a correction of what the model said: the criteria on which they differ.
pub(super) async fn correct(
    State(app): State<Arc<App>>,
    SignedIn(person): SignedIn,
    Json(corrected): Json<Corrected>,
) -> Result<Json<Value>, Rejection> {
    let prediction = app.prediction(&corrected.slide_id).ok_or_else(|| {
        Rejection::new(StatusCode::NOT_FOUND, "no_prediction", "the model has not scored this slide")
    })?;
    let scores = app.ledger().store().current(&corrected.slide_id, &person.name).map(|event| event.scores());
    let differing = differing(&scores.unwrap_or_default(), &prediction.expected);
    let correction = Correction {
        schema_version: 1,
        id: corrected.id,
        slide_id: corrected.slide_id,
        model_version: prediction.model_version.clone(),
        annotator: person.name,
        corrected_at: Timestamp::now(),
        predicted: prediction.expected.clone(),
        scores: differing,
        notes: corrected.notes,
    };
    let (state, kept) = (app.clone(), correction.clone());
    let before = tokio::task::spawn_blocking(move || state.corrections().add(&kept)).await;
    let before = before.unwrap_or(Err(Error::Failed))?;
    let is_new = before.is_none();
    let Correction { id, scores, .. } = before.unwrap_or(correction);
    Ok(Json(json!({"id": id, "is_new": is_new, "scores": scores})))
}

/// The scores that the model's, rounded, do not equal.
fn differing(scores: &Scores, expected: &BTreeMap<String, f64>) -> Scores {
    let differs = |key: &String, score: &Option<slide_data::Score>| {
        expected.get(key).is_some_and(|expected| {
            score.is_none_or(|score| (expected - f64::from(score.get())).abs() >= 0.5)
        })
    };
    scores
        .iter()
        .filter(|(key, score)| differs(key, score))
        .map(|(key, score)| (key.clone(), *score))
        .collect()
}

/// The person's ratings as CSV; a lead gets everybody's.
pub(super) async fn export(
    State(app): State<Arc<App>>,
    SignedIn(person): SignedIn,
) -> Result<Response, Rejection> {
    let store = app.ledger().store();
    let text = if person.role == Role::Lead {
        exchange::write(&store, exchange::Format::Csv, &slide_data::Labels::default())?
    } else {
        exchange::csv_of(&store, &person.name)?
    };
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ratings.csv\""),
    ];
    Ok((headers, text).into_response())
}
