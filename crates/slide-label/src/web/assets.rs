use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        ($name, $media_type, include_str!(concat!("../assets/", $name)))
    };
}

/// The page's files, which travel in the program.
const ASSETS: [(&str, &str, &str); 21] = [
    asset!("icon.svg", "image/svg+xml"),
    asset!("lead.css", STYLE),
    asset!("rate.css", STYLE),
    asset!("style.css", STYLE),
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("deck.js", SCRIPT),
    asset!("dispute.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("form.js", SCRIPT),
    asset!("help.js", SCRIPT),
    asset!("keys.js", SCRIPT),
    asset!("lead.js", SCRIPT),
    asset!("lead-tables.js", SCRIPT),
    asset!("offline.js", SCRIPT),
    asset!("outbox.js", SCRIPT),
    asset!("page.js", SCRIPT),
    asset!("rater.js", SCRIPT),
    asset!("tabs.js", SCRIPT),
    asset!("trouble.js", SCRIPT),
    asset!("viewer.js", SCRIPT),
];
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &str = include_str!("../assets/index.html");
const SERVICE_WORKER: &str = include_str!("../assets/sw.js");
const LEAD_PAGE: &str = include_str!("../assets/lead.html");

/// The labelling page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    serve(PAGE, "text/html; charset=utf-8", &headers)
}

/// The lead's page.
pub(super) async fn lead_page(headers: HeaderMap) -> Response {
    serve(LEAD_PAGE, "text/html; charset=utf-8", &headers)
}

/// The service worker; it stands at the root because it may answer only for what lies below it.
pub(super) async fn service_worker(headers: HeaderMap) -> Response {
    serve(SERVICE_WORKER, SCRIPT, &headers)
}

/// A style sheet or module of the page.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|(known, _, _)| *known == name) {
        Some((_, media_type, text)) => serve(text, media_type, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Browsers ask each time whether the file has changed, so that a new program never meets old modules.
fn serve(text: &'static str, media_type: &'static str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &slide_data::sha256_hex(text.as_bytes())[..16]);
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, media_type)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_worker_keeps_every_file_of_the_labelling_page() {
        let of_lead = ["dispute.js", "lead.css", "lead.js", "lead-tables.js"];
        for (name, ..) in ASSETS.iter().filter(|(name, ..)| !of_lead.contains(name)) {
            assert!(SERVICE_WORKER.contains(&format!("\"assets/{name}\"")), "{name}");
        }
        let kept = SERVICE_WORKER.matches("\"assets/").count();
        assert_eq!(kept, ASSETS.len() - of_lead.len(), "it asks for a file that is not there");
    }
}
