//! Who is answered, and what stands on every answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::{Code, Rejection};
use super::state::App;

/// Paths that hold nothing of anybody: the pages and their parts, the description, and whether the service is there.
fn is_open(path: &str) -> bool {
    ["/", "/docs", "/openapi.json", "/health", "/ready"].contains(&path) || path.starts_with("/assets/")
}

/// Refuses who does not show the token. Without a token the service is for this machine: the `Host` must be a loopback name (a foreign
/// name that resolves here, DNS rebinding, is refused), and what another site's page sends or a proxy passes on is refused.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refused = match &app.token {
        Some(token) => {
            let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
            let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
            let is_known = is_open(request.uri().path()) || shown.is_some_and(|shown| token.is(shown));
            let message = "show the service's token: `Authorization: Bearer …`";
            (!is_known).then(|| Rejection::new(StatusCode::UNAUTHORIZED, "token", message))
        }
        None if !is_loopback(headers) || is_passed_on(headers) => {
            let message = "this service answers programs on its own machine only; it has no token";
            Some(Rejection::new(StatusCode::FORBIDDEN, "local_only", message))
        }
        None => None,
    };
    let refused = refused.or_else(|| {
        let is_foreign = request.method() != Method::GET && !is_own_page(headers);
        is_foreign
            .then(|| Rejection::new(StatusCode::FORBIDDEN, "foreign", "the request came from another site"))
    });
    match refused {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the `Host` names this machine itself.
fn is_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, &header::HOST) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_passed_on(headers: &HeaderMap) -> bool {
    let added = ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via"];
    added.iter().any(|name| headers.contains_key(*name))
}

/// Whether a browser sent it from a page of this service; programs say nothing of where they come from.
fn is_own_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if !matches!(site, None | Some("same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text(headers, &header::ORIGIN) else { return true };
    let host = text(headers, &header::HOST).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, name)| name == host)
}

/// Nothing but the service's own files may run or be asked; nobody may frame a page or guess a type. Styles may stand in a page: the
/// bars of a report are drawn by them.
pub(super) async fn add_headers(request: Request, next: Next) -> Response {
    const HEADERS: [(&str, &str); 5] = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
             frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Counts and times every request.
pub(super) async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = route_of(request.method(), request.uri().path());
    let response = next.run(request).await;
    let refused = response.extensions().get::<Code>().map(|code| code.0);
    let status = response.status();
    let refused = refused.or((status.is_client_error() || status.is_server_error()).then_some("other"));
    app.metrics.request(&route, status.as_u16(), refused, start.elapsed());
    tracing::debug!("{route}: {} in {:.0} ms", status.as_u16(), start.elapsed().as_secs_f64() * 1e3);
    response
}

/// The route without what stands for a slide or a deck: there are as many of those as clients like.
fn route_of(method: &Method, path: &str) -> String {
    let mut parts = path.trim_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    let last = parts.nth(1);
    let name = match (first, last) {
        ("decks", Some("result")) => "decks/result",
        ("decks", Some("report")) => "decks/report",
        ("" | "docs" | "openapi.json" | "assets", _) => "page",
        ("slides" | "decks" | "scores" | "corrections" | "health" | "ready" | "metrics", _) => first,
        _ => "unknown",
    };
    let method = if [Method::GET, Method::POST].contains(method) { method.as_str() } else { "OTHER" };
    format!("{method} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_machine_and_its_own_pages_are_let_in_without_a_token() {
        let host = |name: &str| is_loopback(&headers(&[("host", name)]));
        assert!(["localhost:7861", "127.0.0.1", "[::1]:80"].into_iter().all(host));
        assert!(!["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""].into_iter().any(host));
        assert!(is_own_page(&headers(&[("host", "a:1"), ("origin", "http://a:1")])));
        assert!(!is_own_page(&headers(&[("host", "a:1"), ("origin", "http://b:1")])));
        assert!(!is_own_page(&headers(&[("host", "a:1"), ("sec-fetch-site", "cross-site")])));
        assert!(is_own_page(&headers(&[("host", "a:1")])));
        assert!(is_passed_on(&headers(&[("x-forwarded-for", "10.0.0.1")])));
    }

    #[test]
    fn routes_are_few_whatever_is_asked() {
        let of = |path: &str| route_of(&Method::GET, path);
        assert_eq!(
            (of("/decks/1/report").as_str(), of("/decks/1").as_str()),
            ("GET decks/report", "GET decks")
        );
        assert_eq!((of("/").as_str(), of("/x/y").as_str()), ("GET page", "GET unknown"));
        assert_eq!(route_of(&Method::from_bytes(b"X1").unwrap(), "/scores/a"), "OTHER scores");
    }
}
