//! Whether the service is there, what it counts, its description and its pages.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

use super::answer::{Problem, Rejection};
use super::state::App;
use super::{decks, feedback, slides};

/// The interface as programs read it.
#[derive(OpenApi)]
#[openapi(
    info(title = "pq-score serve", description = "Rates slides and decks as a team's own people do. A result counts once it is answered: it is in the log then. Every route that works answers 429 with `Retry-After` when too much is waiting."),
    paths(slides::rate, decks::submit, decks::show, decks::result, decks::report, feedback::scores, feedback::correct, health, ready, metrics),
    components(schemas(Problem)),
    tags((name = "scores"), (name = "decks"), (name = "service"))
)]
struct Interface;

/// The description, which asks for the token where there is one.
pub(super) fn description(has_token: bool) -> utoipa::openapi::OpenApi {
    let mut description = Interface::openapi();
    if has_token {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("token", scheme);
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    description
}

pub(super) async fn openapi(State(app): State<Arc<App>>) -> Response {
    Json(description(app.token.is_some())).into_response()
}

/// Whether the service runs.
#[utoipa::path(get, path = "/health", tag = "service", security(()), responses((status = 200, description = "It runs", body = String)))]
pub(super) async fn health() -> &'static str {
    "ok"
}

/// Whether it takes work: the model has rated a slide, and nobody is stopping it.
#[utoipa::path(get, path = "/ready", tag = "service", security(()), responses((status = 200, description = "It takes work", body = String), (status = 503, body = Problem)))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Rejection> {
    app.check_ready().map(|()| "ready")
}

/// What was counted and timed, as Prometheus reads it.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the pages, which travel in the program.
const ASSETS: [(&str, &str, &str); 5] = [
    ("page.css", STYLE, include_str!("assets/page.css")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("report.js", SCRIPT, report_pages::REPORT_SCRIPT),
    ("docs.js", SCRIPT, include_str!("assets/docs.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

/// The page for founders.
pub(super) async fn page() -> Response {
    file(HTML, include_str!("assets/page.html"))
}

/// The page that shows the interface and tries it.
pub(super) async fn docs() -> Response {
    file(HTML, include_str!("assets/docs.html"))
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, _, _)| *known == name) {
        Some((_, media_type, text)) => file(media_type, text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_asks_for_the_token() {
        let described = serde_json::to_value(description(true)).unwrap();
        let paths: Vec<&String> = described["paths"].as_object().unwrap().keys().collect();
        let wanted = [
            "/corrections",
            "/decks",
            "/decks/{id}",
            "/decks/{id}/report",
            "/decks/{id}/result",
            "/health",
            "/metrics",
            "/ready",
            "/scores/{id}",
            "/slides",
        ];
        assert_eq!(paths, wanted);
        assert_eq!(described["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        for (path, methods) in described["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let works = method == "post" || path.starts_with("/scores");
                assert!(!works || operation["responses"]["429"].is_object(), "{method} {path}");
            }
        }
        let open = serde_json::to_value(description(false)).unwrap();
        assert!(open["security"].is_null());
    }
}
