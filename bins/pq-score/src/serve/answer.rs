//! Answers that say no.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A refusal: a status, a short code for programs and a sentence for people. It never holds what a client sent as its token.
#[derive(Debug, Clone)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Seconds after which it is worth to ask again.
    pub(super) retry_after: Option<u64>,
}

/// The code of a refusal, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code(pub(super) &'static str);

/// The code of what is larger than it may be.
pub(super) const TOO_LARGE: &str = "too_large";

/// What a client gets to read of a refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A short code for programs.
    error: &'static str,
    /// A sentence for people.
    message: String,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, message)
    }

    /// Too much is waiting already.
    pub(super) fn busy(what: &'static str, seconds: u64) -> Self {
        let message = format!("{what}; ask again in {seconds} s");
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message);
        Self { retry_after: Some(seconds), ..refusal }
    }

    pub(super) fn unavailable(code: &'static str, message: &str, seconds: u64) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        Self { retry_after: Some(seconds), ..refusal }
    }

    /// The scores are not in the log, so they do not count.
    pub(super) fn not_saved() -> Self {
        Self::unavailable("not_saved", "the server could not write its files; nothing was rated or noted", 30)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let Self { status, code, message, retry_after } = self;
        let mut response = (status, Json(Problem { error: code, message })).into_response();
        response.extensions_mut().insert(Code(code));
        let headers = response.headers_mut();
        headers.extend(retry_after.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // What remains of a body that is not read would be taken for the next request.
        if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&status) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
