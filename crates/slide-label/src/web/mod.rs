//! The labelling page and what it asks of the server.
//!
//! [`app`] is an ordinary axum router over a shared [`App`], so it can be tested without a socket and mounted anywhere.

mod assets;
pub(crate) mod cards;
mod error;
mod guard;
mod image;
mod lead;
mod ratings;
mod session;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};

pub use state::{Access, App, AppSettings};

/// The largest request that is read: a rating with the longest note fits many times.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The routes: the page, its modules, and the interface under `/api`.
pub fn app(state: Arc<App>) -> Router {
    let interface = Router::new()
        .route("/session", get(session::show).post(session::sign_in).delete(session::sign_out))
        .route("/queue", post(ratings::queue))
        .route("/mine", get(ratings::mine))
        .route("/events", post(ratings::submit))
        .route("/corrections", post(ratings::correct))
        .route("/export.csv", get(ratings::export))
        .route("/slides/{id}", get(ratings::slide))
        .route("/slides/{id}/image", get(image::image))
        .route("/slides/{id}/history", get(lead::history))
        .route("/lead", get(lead::report))
        .route("/disputes", get(lead::disputes))
        .route("/export.jsonl", get(lead::export))
        .route("/invitations", get(lead::invitations).post(lead::invite))
        .route("/invitations/{id}", delete(lead::revoke));
    Router::new()
        .nest("/api", interface)
        .route("/", get(assets::page))
        .route("/join", get(assets::page))
        .route("/lead", get(assets::lead_page))
        .route("/sw.js", get(assets::service_worker))
        .route("/assets/{name}", get(assets::asset))
        .route("/healthz", get(|| async { "ok" }))
        .layer(from_fn_with_state(state.clone(), guard::refuse_foreign))
        .layer(from_fn(guard::add_headers))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

#[cfg(test)]
mod tests;
