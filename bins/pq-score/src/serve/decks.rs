//! `POST /decks` and what became of a deck: decks take longer than a request may, so they are jobs.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use report_pages::{CorrectionForm, DeckReport, Familiar, Image, MediaType, ScoredSlide, render_deck_report};
use serde::{Deserialize, Serialize};
use slide_data::{DeckVersions, FailureKind, Limits, Page, Prediction, RenderedSlide, render};
use slide_scorer::thumbnail;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::ids::new_id;
use crate::session::CAVEAT;

use super::answer::{Problem, Rejection};
use super::jobs::{Deck, Earlier, JobState, Phase, RatedDeck};
use super::keys::{self, Stored};
use super::queue::{Failure, Outcome};
use super::slides::fingerprint;
use super::state::App;
use super::upload::{self, File};
use super::versions;

/// Takes a deck to be rated.
#[utoipa::path(
    post, path = "/decks", tag = "decks", params(DeckQuery, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, so that it can be sent again")),
    request_body(content((Vec<u8> = "application/octet-stream"), (BTreeMap<String, Vec<u8>> = "multipart/form-data")), description = "A deck (PDF, presentation, ZIP of images, or one image)"),
    responses(
        (status = 202, description = "Taken; ask `/decks/{id}` how far it is", body = JobState), (status = 401, body = Problem),
        (status = 404, description = "The older version is not known, or no longer", body = Problem), (status = 408, body = Problem),
        (status = 409, description = "The older version is not rated yet", body = Problem), (status = 413, body = Problem), (status = 422, body = Problem),
        (status = 429, description = "Too many decks wait; `Retry-After` says when to ask again", body = Problem), (status = 503, body = Problem),
    )
)]
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Query(query): Query<DeckQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Rejection> {
    app.check_ready()?;
    let key = keys::key_of(&headers)?;
    if app.jobs.is_full() {
        return Err(busy(&app));
    }
    let DeckQuery { name, before } = query;
    let earlier = before.as_deref().map(|id| earlier(&app, id)).transpose()?;
    let most = app.config.max_deck_mib << 20;
    let mut files = upload::read(&app, request, name, most).await?;
    let asked = fingerprint(&format!("decks after {}", before.unwrap_or_default()), &files.files);
    let (keys, name) = (app.keys.clone(), key.clone());
    keys.once(key, asked, async move {
        let file = files.files.pop().filter(|_| files.files.is_empty());
        let file = file.ok_or_else(|| Rejection::invalid("send one deck a request"))?;
        let (file_name, stored) =
            (file.name.clone(), tokio::task::spawn_blocking(move || store(&file, name)));
        let unsaved = |error: &dyn std::fmt::Display| {
            tracing::error!("a deck could not be stored: {error}");
            Rejection::not_saved()
        };
        let mut deck = stored.await.map_err(|error| unsaved(&error))?.map_err(|error| unsaved(&error))?;
        drop(files.permit);
        deck.before = earlier;
        let state = app.jobs.offer(deck, &file_name, &app.version).map_err(|_| busy(&app))?;
        Stored::json(StatusCode::ACCEPTED, &state)
    })
    .await
}

/// How a deck is handed in.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(super) struct DeckQuery {
    /// The file's name.
    name: Option<String>,
    /// The job of an older version of the deck, to say which slides stayed and whether those that changed became better.
    before: Option<String>,
}

fn busy(app: &App) -> Rejection {
    Rejection::busy("too many decks are waiting", (10 * app.jobs.waiting() as u64).clamp(5, 300))
}

/// Puts a deck into a folder of its own, which goes with the job.
fn store(file: &File, key: Option<String>) -> std::io::Result<Deck> {
    let folder = tempfile::Builder::new().prefix("pq-score-").tempdir()?;
    let path = folder.path().join(&file.name);
    std::fs::write(&path, &file.bytes)?;
    Ok(Deck { id: new_id(), path, folder, key, before: None })
}

fn unknown(id: &str) -> Rejection {
    Rejection::not_found("unknown_deck", format!("there is no deck `{id}`, or its result is no longer kept"))
}

/// How far a deck is.
#[utoipa::path(get, path = "/decks/{id}", tag = "decks", params(("id" = String, Path)), responses((status = 200, body = JobState), (status = 404, body = Problem)))]
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Rejection> {
    let state = app.jobs.state(&id).ok_or_else(|| unknown(&id))?;
    Ok(axum::Json(state).into_response())
}

/// The slides of a deck that is done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeckScores {
    /// The job.
    #[serde(flatten)]
    state: JobState,
    /// The slides that could be rated, in the order of the deck.
    slides: Vec<PageScores>,
    /// The older version that was named, compared with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    versions: Option<DeckVersions>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageScores {
    /// Its place in the deck, from 1.
    number: usize,
    /// The line of the log.
    #[schema(value_type = Object)]
    scores: Prediction,
}

fn finished(app: &App, id: &str) -> Result<(JobState, Arc<RatedDeck>), Rejection> {
    let state = app.jobs.state(id).ok_or_else(|| unknown(id))?;
    match state.state {
        Phase::Done | Phase::Failed => {
            let rated = app.jobs.rated(id).ok_or_else(|| unknown(id))?;
            Ok((state, rated))
        }
        Phase::Queued | Phase::Running => {
            let message = "the deck is not rated yet; ask `/decks/{id}` how far it is";
            let refusal = Rejection::new(StatusCode::CONFLICT, "not_done", message);
            Err(Rejection { retry_after: Some(2), ..refusal })
        }
    }
}

/// The older version, held from now on.
fn earlier(app: &App, id: &str) -> Result<Box<Earlier>, Rejection> {
    let (state, rated) = finished(app, id)?;
    if rated.slides.is_empty() {
        return Err(unknown(id));
    }
    Ok(Box::new(Earlier { name: state.name, rated }))
}

/// The scores of a deck.
#[utoipa::path(get, path = "/decks/{id}/result", tag = "decks", params(("id" = String, Path)), responses((status = 200, body = DeckScores), (status = 404, body = Problem), (status = 409, description = "Not rated yet", body = Problem)))]
pub(super) async fn result(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Rejection> {
    let (state, rated) = finished(&app, &id)?;
    let page = |slide: &ScoredSlide| PageScores { number: slide.number, scores: slide.prediction.clone() };
    let versions = rated.older.as_ref().map(|older| older.versions.clone());
    let slides = rated.slides.iter().map(page).collect();
    Ok(axum::Json(DeckScores { state, slides, versions }).into_response())
}

/// How a report is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(super) struct ReportForm {
    /// A file to keep: without the buttons that correct scores.
    #[serde(default)]
    plain: bool,
}

/// The report of a deck, as a page.
#[utoipa::path(get, path = "/decks/{id}/report", tag = "decks", params(("id" = String, Path), ReportForm), responses((status = 200, content_type = "text/html", body = String), (status = 404, body = Problem), (status = 409, description = "Not rated yet", body = Problem)))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(form): Query<ReportForm>,
) -> Result<Response, Rejection> {
    let (state, rated) = finished(&app, &id)?;
    if rated.slides.is_empty() {
        return Err(Rejection::not_found("no_slides", state.failed.join("; ")));
    }
    let page = tokio::task::spawn_blocking(move || {
        render_deck_report(&DeckReport {
            title: state.name.rsplit_once('.').map_or(&state.name, |(stem, _)| stem),
            rubric: &app.rubric,
            slides: &rated.slides,
            model_version: &app.version,
            caveat: CAVEAT,
            quality: &app.quality,
            older: rated.older.as_ref(),
            failed: &state.failed,
            corrections: if form.plain { CorrectionForm::None } else { app.form },
            generated_at: Timestamp::now(),
        })
    });
    let failed = || Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the report cannot be drawn");
    let page = page.await.map_err(|_| failed())?.map_err(|error| {
        tracing::error!("{error}");
        failed()
    })?;
    Ok(([(header::CONTENT_LANGUAGE, "en")], Html(page)).into_response())
}

/// Reads and rates deck after deck, until none comes any more: a thread of its own, of which there are a few.
pub(super) fn read_all(app: &App) {
    while let Some(deck) = app.jobs.next() {
        let reading = Reading {
            app,
            deck: &deck,
            waiting: VecDeque::new(),
            rated: RatedDeck::default(),
            is_lost: false,
        };
        let mut rated = reading.run();
        if let Some(key) = deck.key.as_deref().filter(|_| rated.slides.is_empty()) {
            app.keys.forget(key); // so that it can be sent again
        }
        rated.older = deck.before.as_ref().map(|before| versions::compare(app, before, &rated));
        app.jobs.finish(&deck.id, rated);
        drop(deck.folder);
    }
}

/// So many pages of a deck wait for the model at most, so that slides of others come in between.
const IN_FLIGHT: usize = 8;

/// A deck that is being read.
struct Reading<'a> {
    app: &'a App,
    deck: &'a Deck,
    waiting: VecDeque<Waiting>,
    rated: RatedDeck,
    /// Whether scores could not be logged, so that the rest is not worth rating.
    is_lost: bool,
}

/// A page that waits for its scores.
struct Waiting {
    shown: ScoredSlide,
    page: Page,
    deck_id: String,
    outcome: oneshot::Receiver<Outcome>,
}

impl Reading<'_> {
    fn run(mut self) -> RatedDeck {
        let Self { app, deck, .. } = self;
        let limits =
            Limits { max_pages: app.config.max_pages.min(app.limits.max_pages), ..app.limits.clone() };
        match render::load(&deck.path, &limits) {
            Err(_) => self.say("the file could not be read again".to_owned()),
            Ok(mut pages) => {
                let mut number = 0;
                while let Some(page) = pages.next().filter(|_| !self.is_lost) {
                    let announced = pages.announced();
                    app.jobs
                        .update(&deck.id, |state| state.pages = Some(announced).filter(|count| *count > 0));
                    match page {
                        Ok(slide) => self.hand_in(slide, number),
                        Err(error) => {
                            self.say(error.to_string());
                            app.failures.note_error(&error.into());
                        }
                    }
                    number += 1;
                    while self.waiting.len() >= IN_FLIGHT {
                        self.collect();
                    }
                }
            }
        }
        while !self.waiting.is_empty() {
            self.collect();
        }
        if self.is_lost { RatedDeck::default() } else { self.rated }
    }

    fn say(&self, reason: String) {
        self.app.jobs.update(&self.deck.id, |state| state.failed.push(reason));
    }

    /// Says that a page that was read has no scores, and notes it.
    fn fail(&self, deck_id: String, number: usize, reason: &str) {
        self.say(format!("page {number}: {reason}"));
        let part = Some(format!("page {number}"));
        self.app.failures.note_part(Some(deck_id), part, FailureKind::Error, reason);
    }

    fn hand_in(&mut self, slide: RenderedSlide, number: usize) {
        let Ok(image) = thumbnail(&slide.image, 960) else {
            return self.fail(slide.deck_id, slide.number, "it cannot be drawn");
        };
        let shown = ScoredSlide {
            number: slide.number,
            title: slide.deck.clone(),
            image: Some(Image { media_type: MediaType::Jpeg, bytes: image }),
            prediction: Prediction::sample(&slide.slide_id),
            familiar: Familiar::default(),
        };
        let (page, deck_id) = (Page::of(&slide.image, slide.text.clone()), slide.deck_id.clone());
        let (task, outcome) = self.app.desk.task(slide, self.deck.key.as_deref(), number);
        self.app.desk.push(task);
        self.waiting.push_back(Waiting { shown, page, deck_id, outcome });
    }

    /// Waits for the page that was handed in first.
    fn collect(&mut self) {
        let Some(Waiting { shown: mut slide, page, deck_id, outcome }) = self.waiting.pop_front() else {
            return;
        };
        match outcome.blocking_recv().unwrap_or(Err(Failure::NotSaved)) {
            Ok(scored) => {
                slide.familiar = self.app.rated.like(&scored.prediction);
                slide.prediction = Prediction::clone(&scored.prediction);
                self.rated.slides.push(slide);
                self.rated.pages.push(page);
                self.app.jobs.update(&self.deck.id, |state| {
                    state.scored += 1;
                    state.cached += usize::from(scored.is_cached);
                });
            }
            Err(Failure::Model) => self.fail(deck_id, slide.number, "the model cannot rate it"),
            Err(Failure::NotSaved) if self.is_lost => {}
            Err(Failure::NotSaved) => {
                self.is_lost = true;
                self.say("the server could not write its files; send the deck again".to_owned());
            }
        }
    }
}
