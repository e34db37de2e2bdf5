use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Rejection;
use super::site::{PublicUrl, came_through_a_proxy, is_loopback};
use super::state::{Access, App};

/// Refuses what another site's page may have sent, and names that only look like this machine.
///
/// Without a public address the server is for people at this machine: the `Host` must be a loopback name (a foreign name that resolves
/// here, DNS rebinding, is refused), and what came through a proxy is refused. Everywhere, a request that changes something must come
/// from the page itself.
pub(super) async fn refuse_foreign(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if app.access() == Access::Local && (!is_loopback(headers) || came_through_a_proxy(headers)) {
        let message = "this server answers people at this machine only; to put it behind a proxy, start it with --public-url";
        return Rejection::new(StatusCode::FORBIDDEN, "local_only", message).into_response();
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_safe && let Err(message) = check_origin(headers, app.settings().public_url.as_ref()) {
        return Rejection::new(StatusCode::FORBIDDEN, "foreign", message).into_response();
    }
    next.run(request).await
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the request may come from the page itself; else why not, and what to do about it.
fn check_origin(headers: &HeaderMap, public: Option<&PublicUrl>) -> Result<(), String> {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let foreign = "the request came from another site";
    if !matches!(site, None | Some("same-origin" | "none")) {
        return Err(foreign.to_owned());
    }
    // Programs send no origin; a browser always does with such a request.
    let Some(origin) = text(headers, &header::ORIGIN) else { return Ok(()) };
    let host = text(headers, &header::HOST).unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(_, name)| name == host);
    match public {
        _ if is_own => Ok(()),
        Some(public) if public.is_origin(origin) => Ok(()),
        Some(public) => Err(format!("{foreign}: {origin}; this one is {public} (--public-url)")),
        None => Err(format!(
            "{foreign}: {origin}, while this one is called {host}; if a proxy stands between, start pq-label with --public-url {origin}"
        )),
    }
}

/// Nothing but the page's own files may run, be shown or be asked; nobody may frame the page or guess a type.
pub(super) async fn add_headers(request: Request, next: Next) -> Response {
    const HEADERS: [(&str, &str); 6] = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
             worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
