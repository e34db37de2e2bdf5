use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The page's files, which travel in the program.
const ASSETS: [(&str, &str, &str); 12] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
    ("app.js", SCRIPT, include_str!("../assets/app.js")),
    ("api.js", SCRIPT, include_str!("../assets/api.js")),
    ("outbox.js", SCRIPT, include_str!("../assets/outbox.js")),
    ("form.js", SCRIPT, include_str!("../assets/form.js")),
    ("deck.js", SCRIPT, include_str!("../assets/deck.js")),
    ("viewer.js", SCRIPT, include_str!("../assets/viewer.js")),
    ("dom.js", SCRIPT, include_str!("../assets/dom.js")),
    ("lead.js", SCRIPT, include_str!("../assets/lead.js")),
    ("lead-tables.js", SCRIPT, include_str!("../assets/lead-tables.js")),
    ("dispute.js", SCRIPT, include_str!("../assets/dispute.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &str = include_str!("../assets/index.html");
const LEAD_PAGE: &str = include_str!("../assets/lead.html");

/// The labelling page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    serve(PAGE, "text/html; charset=utf-8", &headers)
}

/// The lead's page.
pub(super) async fn lead_page(headers: HeaderMap) -> Response {
    serve(LEAD_PAGE, "text/html; charset=utf-8", &headers)
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
