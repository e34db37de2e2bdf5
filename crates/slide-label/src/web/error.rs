use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::Error;

/// An answer that says no: a status, a short code for the page and a sentence for people.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What else the page needs to go on.
    pub(super) details: Value,
}

impl Rejection {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Value::Null }
    }

    pub(super) fn sign_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign_in", "sign in first")
    }

    pub(super) fn leads_only() -> Self {
        Self::new(StatusCode::FORBIDDEN, "leads_only", "only a lead may do this")
    }

    pub(super) fn unknown_slide(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_slide", format!("there is no slide `{id}`"))
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(_) | Error::Domain { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
            }
            Error::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", message),
            Error::IdTaken { .. } => Self::new(StatusCode::CONFLICT, "id_taken", message),
            _ => {
                tracing::error!("{message}");
                // The page keeps what it has and tries again; paths of this machine are nobody's business.
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not_saved",
                    "the server could not read or write its files",
                )
            }
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut body = json!({"error": self.code, "message": self.message});
        if let (Value::Object(body), Value::Object(details)) = (&mut body, self.details) {
            body.extend(details);
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}
