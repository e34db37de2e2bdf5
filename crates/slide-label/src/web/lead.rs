use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::Rejection;
use super::session::Lead;
use super::state::{Access, App};
use crate::agreement::{
    Agreement, AgreementOptions, Ceiling, PairAgreement, RatingMatrix, agreement, human_ceiling,
    pair_agreement,
};
use crate::queue::spread;
use crate::{Error, Event, EventRef, HelpEffect, Role, Store, exchange, help_effect};

/// What a lead sees.
#[derive(Debug, Serialize)]
pub(super) struct LeadReport {
    slides: usize,
    complete: usize,
    raters_per_slide: usize,
    corrections: usize,
    people: Vec<PersonRow>,
    agreement: Agreement,
    pairs: Vec<PairAgreement>,
    ceiling: Vec<Ceiling>,
    model_help: HelpEffect,
    disputed: Vec<Disputed>,
}

#[derive(Debug, Serialize)]
struct PersonRow {
    name: String,
    rated: usize,
    skipped: usize,
    open: usize,
    last_at: Option<Timestamp>,
    median_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Disputed {
    slide_id: String,
    deck_id: String,
    number: usize,
    spread: u8,
    ratings: Vec<Event>,
    adjudication: Option<Event>,
    adjudication_head: Option<String>,
}

/// While ratings stream in, the report is made anew at most this often.
const REPORT_PAUSE: Duration = Duration::from_secs(2);
/// The most disputed slides that are listed.
const MAX_DISPUTED: usize = 100;
/// Resamples behind an interval on the page.
const RESAMPLES: usize = 400;

/// Progress, agreement and disputes.
pub(super) async fn report(State(app): State<Arc<App>>, _lead: Lead) -> Result<Response, Rejection> {
    let made = tokio::task::spawn_blocking(move || current_report(&app)).await;
    made.map(|report| Json(&*report).into_response()).map_err(|_| Error::Failed.into())
}

fn current_report(app: &App) -> Arc<LeadReport> {
    let mut held = app.report.lock().unwrap_or_else(PoisonError::into_inner);
    let revision = app.ledger().revision();
    if let Some((made_for, made_at, report)) = &*held
        && (*made_for == revision || made_at.elapsed() < REPORT_PAUSE)
    {
        return report.clone();
    }
    let report = Arc::new(make_report(app));
    *held = Some((revision, Instant::now(), report.clone()));
    report
}

fn make_report(app: &App) -> LeadReport {
    let (matrix, people, disputed, model_help) = {
        let store = app.ledger().store();
        let matrix = RatingMatrix::from_store(&store, |slide| app.deck_of(slide));
        (matrix, people(app, &store), disputed(app, &store), help_effect(&store))
    };
    let options = AgreementOptions { resamples: RESAMPLES, ..AgreementOptions::default() };
    // Beyond a dozen people the pairs are hundreds; their intervals would take longer than anybody reads them.
    let pair_resamples = if matrix.raters().len() <= 12 { RESAMPLES } else { 0 };
    let (slides, complete) = {
        let queue = app.queue();
        (queue.len(), queue.complete())
    };
    LeadReport {
        slides,
        complete,
        raters_per_slide: app.settings().config.raters_per_slide,
        corrections: app.corrections().len(),
        people,
        agreement: agreement(&matrix, options),
        pairs: pair_agreement(&matrix, pair_resamples, 0),
        ceiling: human_ceiling(&matrix),
        model_help,
        disputed,
    }
}

fn people(app: &App, store: &Store) -> Vec<PersonRow> {
    let queue = app.queue();
    let row = |name: &str| {
        let events = store.of_annotator(name);
        let mut seconds: Vec<f64> = events.iter().filter_map(EventRef::seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let progress = queue.progress(name, Instant::now());
        PersonRow {
            name: name.to_owned(),
            rated: progress.rated,
            skipped: progress.skipped,
            open: progress.open,
            last_at: events.last().map(EventRef::at),
            median_seconds: seconds.get(seconds.len() / 2).copied(),
        }
    };
    store.annotators().map(row).collect()
}

fn disputed(app: &App, store: &Store) -> Vec<Disputed> {
    let limit = app.settings().config.disagreement_spread.min(2);
    let mut found: Vec<(u8, &str)> = store
        .rated_slides()
        .filter_map(|(slide, ratings)| {
            let codes: Vec<&[u8]> = ratings.iter().map(|rating| rating.codes).collect();
            let spread = spread(&codes);
            (ratings.len() >= 2 && (spread >= limit || store.adjudication(slide).is_some()))
                .then_some((spread, slide))
        })
        .collect();
    // What is decided goes to the end.
    found.sort_by_key(|(spread, slide)| (store.adjudication(slide).is_some(), std::cmp::Reverse(*spread)));
    found.truncate(MAX_DISPUTED);
    let describe = |(spread, slide): (u8, &str)| {
        let record = app.slide(slide)?;
        Some(Disputed {
            slide_id: slide.to_owned(),
            deck_id: record.deck_id.to_string(),
            number: record.number,
            spread,
            ratings: store.ratings(slide).map(|rating| rating.event.to_event()).collect(),
            adjudication: store.adjudication(slide).map(|event| event.to_event()),
            adjudication_head: store.adjudication_head(slide).map(str::to_owned),
        })
    };
    found.into_iter().filter_map(describe).collect()
}

/// Everything that happened to a slide.
pub(super) async fn history(State(app): State<Arc<App>>, _lead: Lead, Path(id): Path<String>) -> Json<Value> {
    let store = app.ledger().store();
    let events: Vec<Event> = store.history(&id).iter().map(EventRef::to_event).collect();
    Json(json!({"events": events}))
}

/// The whole journal.
pub(super) async fn export(State(app): State<Arc<App>>, _lead: Lead) -> Result<Response, Rejection> {
    let store = app.ledger().store();
    let text = exchange::write(&store, exchange::Format::Jsonl, &slide_data::Labels::default())?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ratings.jsonl\""),
    ];
    Ok((headers, text).into_response())
}

/// The invitations that hold; tokens are kept nowhere.
pub(super) async fn invitations(State(app): State<Arc<App>>, _lead: Lead) -> Json<Value> {
    let shown: Vec<Value> = app
        .people()
        .invitations()
        .iter()
        .map(|invitation| json!({"id": invitation.id, "name": invitation.name, "role": invitation.role, "created_at": invitation.created_at}))
        .collect();
    Json(json!({"invitations": shown, "is_used": app.access() != Access::Local}))
}

#[derive(Deserialize)]
pub(super) struct Invited {
    name: String,
    role: Role,
}

/// Invites a person; the token is shown this once.
pub(super) async fn invite(
    State(app): State<Arc<App>>,
    _lead: Lead,
    Json(invited): Json<Invited>,
) -> Result<Json<Value>, Rejection> {
    let (invitation, token) =
        app.change_people(move |people| people.invite(&invited.name, invited.role)).await?;
    Ok(Json(json!({"id": invitation.id, "name": invitation.name, "path": format!("/join#{token}")})))
}

/// Withdraws an invitation.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    _lead: Lead,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    let was_known = app.change_people(move |people| people.revoke(&id)).await?;
    Ok(Json(json!({"was_known": was_known})))
}
