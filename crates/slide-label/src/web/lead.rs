use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::disputes;
use super::error::Rejection;
use super::overview::{LeadReport, Snapshot};
use super::session::Lead;
use super::state::{Access, App};
use crate::{Error, Event, EventRef, Role, exchange};

/// While ratings stream in, the report is made anew at most this often.
const REPORT_PAUSE: Duration = Duration::from_secs(2);

/// Progress, agreement and disputes.
pub(super) async fn report(State(app): State<Arc<App>>, _lead: Lead) -> Result<Response, Rejection> {
    let made = tokio::task::spawn_blocking(move || current_report(&app)).await;
    made.map(|report| Json(&*report).into_response()).map_err(|_| Error::Failed.into())
}

fn current_report(app: &App) -> Arc<LeadReport> {
    let mut cached = app.report.lock().unwrap_or_else(PoisonError::into_inner);
    let revision = app.ledger().revision();
    if let Some((made_for, made_at, report)) = &*cached
        && (*made_for == revision || made_at.elapsed() < REPORT_PAUSE)
    {
        return report.clone();
    }
    let config = &app.settings().config;
    let invited = app.people().invitations();
    let snapshot =
        Snapshot::of(&app.ledger().store(), &app.queue(), config, &invited, &|slide| app.slide(slide));
    let report = Arc::new(snapshot.report(config.raters_per_slide, app.corrections().len()));
    *cached = Some((revision, Instant::now(), report.clone()));
    report
}

#[derive(Deserialize)]
pub(super) struct DisputesWanted {
    #[serde(default)]
    state: disputes::State,
    #[serde(default)]
    from: usize,
    count: usize,
}

/// So many disputes are told at once at most.
const MAX_DISPUTES: usize = 100;

/// Slides on which people disagree, decided or not, or that a model doubts, a part at a time.
pub(super) async fn disputes(
    State(app): State<Arc<App>>,
    _lead: Lead,
    Query(wanted): Query<DisputesWanted>,
) -> Result<Response, Rejection> {
    let part = (wanted.state, wanted.from, wanted.count.min(MAX_DISPUTES));
    let made = tokio::task::spawn_blocking(move || {
        let doubts = match app.doubts() {
            Ok(doubts) => Some(doubts),
            Err(error) if part.0 == disputes::State::Doubtful => return Err(error),
            Err(error) => {
                tracing::warn!("doubtful ratings cannot be shown: {error}");
                None
            }
        };
        let store = app.ledger().store();
        Ok(disputes::page(&app.settings().config, &store, part, doubts.as_ref(), &|slide| app.slide(slide)))
    });
    let page = made.await.unwrap_or(Err(Error::Failed))?;
    Ok(Json(page).into_response())
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
        .map(|invitation| {
            json!({
                "id": invitation.id, "name": invitation.name, "role": invitation.role, "created_at": invitation.created_at,
                "expires_at": invitation.expires_at, "is_expired": invitation.is_expired(Timestamp::now()),
                "uses": invitation.uses, "last_used_at": invitation.last_used_at,
            })
        })
        .collect();
    Json(json!({"invitations": shown, "is_used": app.access() != Access::Local}))
}

#[derive(Deserialize)]
pub(super) struct Invited {
    name: String,
    role: Role,
    /// For how long the link lets in; for ever where it is null.
    #[serde(default)]
    days: Option<u32>,
}

/// Invites a person; the token is shown this once.
pub(super) async fn invite(
    State(app): State<Arc<App>>,
    _lead: Lead,
    Json(invited): Json<Invited>,
) -> Result<Json<Value>, Rejection> {
    let (invitation, token) =
        app.change_people(move |people| people.invite(&invited.name, invited.role, invited.days)).await?;
    Ok(Json(json!({"id": invitation.id, "name": invitation.name, "path": format!("join#{token}")})))
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
