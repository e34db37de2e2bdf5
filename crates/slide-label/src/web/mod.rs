//! The labelling page and what it asks of the server.
//!
//! [`app`] is an ordinary axum router over a shared [`App`], so it can be tested without a socket and mounted anywhere.

mod assets;
pub(crate) mod cards;
mod disputes;
mod error;
mod guard;
mod image;
mod lead;
mod overview;
mod ratings;
mod serve;
mod session;
mod site;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{delete, get, post};
use tower::util::MapRequest;

pub use serve::{Limits, serve, serve_router};
pub use site::PublicUrl;
pub use state::{Access, App, AppSettings};

/// The largest request that is read: a rating with the longest note fits many times.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The routes: the page, its modules, and the interface under `/api`. Where the public address has a path, they stand below it as well:
/// a proxy may take it off or leave it.
pub fn app(state: Arc<App>) -> Router {
    let path = state.settings().public_url.as_ref().map(PublicUrl::path).unwrap_or_default().to_owned();
    let router = routes(state);
    if path.is_empty() {
        return router;
    }
    let (at_root, root) = (path.clone(), format!("{path}/"));
    let strip = move |mut request: Request| {
        if let Some(uri) = without(request.uri(), &path) {
            *request.uri_mut() = uri;
        }
        request
    };
    let redirect = move || async move { Redirect::permanent(&root) };
    Router::new().route(&at_root, get(redirect)).fallback_service(MapRequest::new(router, strip))
}

/// The address without the path that stands before it; nothing where it does not, or is all there is.
fn without(uri: &Uri, path: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(path)?;
    if rest.starts_with('/') { rest.parse().ok() } else { None }
}

/// What the pages' programs speak with.
fn interface() -> Router<Arc<App>> {
    Router::new()
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
        .route("/invitations/{id}", delete(lead::revoke))
}

fn routes(state: Arc<App>) -> Router {
    Router::new()
        .nest("/api", interface())
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
pub(crate) mod tests;
