//! `POST /slides`: images in, scores out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use slide_data::render::{FileFormat, load_bytes, sniff};
use slide_data::{FailedInput, FailureKind, Limits, Prediction, RenderedSlide, sha256_hex};
use utoipa::ToSchema;

use super::answer::{Problem, Rejection};
use super::keys::{self, Stored};
use super::queue::Failure;
use super::state::App;
use super::upload::{self, File};

/// What stands behind the question mark.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(super) struct Named {
    /// The file's name, where the body is the file itself.
    name: Option<String>,
}

impl Named {
    pub(super) fn into_name(self) -> Option<String> {
        self.name
    }
}

/// The scores of the images of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rated {
    /// What rated them.
    model_version: String,
    /// In the order of the request.
    slides: Vec<RatedSlide>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RatedSlide {
    /// The file's name.
    name: String,
    /// Whether its pixels had been rated before.
    cached: bool,
    /// The line of the log: for each criterion probabilities, mean, chosen score, entropy and interval.
    #[schema(value_type = Object)]
    scores: Prediction,
}

/// Rates images.
#[utoipa::path(
    post, path = "/slides", tag = "scores", params(Named, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, so that it can be sent again")),
    request_body(content((Vec<u8> = "application/octet-stream"), (BTreeMap<String, Vec<u8>> = "multipart/form-data")), description = "An image (PNG, JPEG, WebP, GIF, BMP, TIFF), or a form with up to 16 of them"),
    responses(
        (status = 200, body = Rated), (status = 401, body = Problem), (status = 408, body = Problem), (status = 413, body = Problem),
        (status = 422, description = "No image, or one that cannot be read", body = Problem),
        (status = 429, description = "The queue is full; `Retry-After` says when to ask again", body = Problem),
        (status = 503, description = "Starting, stopping, or the log cannot be written", body = Problem),
    )
)]
pub(super) async fn rate(
    State(app): State<Arc<App>>,
    Query(named): Query<Named>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Rejection> {
    app.check_ready()?;
    let key = keys::key_of(&headers)?;
    if app.desk.queue.is_full() {
        return Err(busy(&app));
    }
    let most = app.config.max_slide_mib << 20;
    let files = upload::read(&app, request, named.into_name(), most).await?;
    let asked = fingerprint("slides", &files.files);
    let (keys, name) = (app.keys.clone(), key.clone());
    keys.once(key, asked, async move {
        let reader = app.clone();
        let decoded = tokio::task::spawn_blocking(move || {
            let decoded = files.files.iter().map(|file| decode(file, &reader)).collect();
            drop(files.permit);
            decoded
        });
        let slides: Result<Vec<(String, RenderedSlide)>, Rejection> = decoded.await.map_err(|_| failed())?;
        rate_slides(&app, name.as_deref(), slides?).await
    })
    .await
}

/// SHA-256 of what is asked.
pub(super) fn fingerprint(route: &str, files: &[File]) -> String {
    let parts: Vec<String> = files.iter().map(|file| sha256_hex(&file.bytes)).collect();
    sha256_hex(format!("{route} {}", parts.join(" ")).as_bytes())
}

/// An image, by its content; what declares too many pixels is refused before it is decoded.
fn decode(file: &File, app: &App) -> Result<(String, RenderedSlide), Rejection> {
    let refused = |reason: &str| {
        let deck = FailedInput::deck_of(&sha256_hex(&file.bytes));
        app.failures.note_part(deck, None, FailureKind::Refusal, reason);
    };
    if !matches!(sniff(&file.bytes), FileFormat::Image) {
        refused("is no image, and was sent as one");
        let message = format!("`{}` is no image; send decks to POST /decks", file.name);
        return Err(Rejection::invalid(message));
    }
    let limits = Limits { max_pages: 1, ..app.limits.clone() };
    let mut slides = load_bytes(&file.name, file.bytes.to_vec(), &limits);
    match slides.pop() {
        Some(Ok(slide)) if slides.is_empty() => Ok((file.name.clone(), slide)),
        Some(Err(error)) => {
            let message = error.to_string();
            app.failures.note_error(&error.into());
            Err(Rejection::invalid(message))
        }
        _ => {
            refused("holds no single image");
            Err(Rejection::invalid(format!("`{}` holds no single image", file.name)))
        }
    }
}

async fn rate_slides(
    app: &Arc<App>,
    key: Option<&str>,
    slides: Vec<(String, RenderedSlide)>,
) -> Result<Stored, Rejection> {
    let (mut names, mut tasks, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (name, slide)) in slides.into_iter().enumerate() {
        let deck = slide.deck_id.clone();
        let (task, outcome) = app.desk.task(slide, key, number);
        names.push((name, deck));
        tasks.push(task);
        outcomes.push(outcome);
    }
    app.desk.offer(tasks).map_err(|_| busy(app))?;
    let patience = Duration::from_secs(app.config.slide_timeout_s);
    let waiting = async {
        let mut rated = Vec::new();
        for ((name, deck), outcome) in names.into_iter().zip(outcomes) {
            let scored = outcome.await.map_err(|_| failed())?.map_err(|failure| match failure {
                Failure::Model => {
                    note_failure_of_model(app, deck);
                    Rejection::invalid(format!("`{name}` cannot be rated by this model"))
                }
                Failure::NotSaved => Rejection::not_saved(),
            })?;
            rated.push(RatedSlide {
                name,
                cached: scored.is_cached,
                scores: Prediction::clone(&scored.prediction),
            });
        }
        Ok(rated)
    };
    let late = |_| Rejection::unavailable("late", "the slide was not rated in time", 10);
    let slides = tokio::time::timeout(patience, waiting).await.map_err(late)??;
    Stored::json(StatusCode::OK, &Rated { model_version: app.version.clone(), slides })
}

/// On a thread that may wait for the disk.
fn note_failure_of_model(app: &Arc<App>, deck: String) {
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        app.failures.note_part(Some(deck), None, FailureKind::Error, "the model cannot rate it");
    });
}

/// The queue is full: when half of it may be done, by what the last batches took.
fn busy(app: &App) -> Rejection {
    Rejection::busy("too many slides are waiting", app.desk.seconds_of_queue().clamp(1, 120))
}

fn failed() -> Rejection {
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the slide could not be rated")
}
