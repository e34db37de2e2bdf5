//! Idempotency keys: who asks again under the same key gets the answer of the first time, and nothing is rated or noted twice.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::answer::Rejection;

/// The header that names a request.
pub(super) const HEADER: &str = "idempotency-key";
/// The header of an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

/// An answer as it was given.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) json: Bytes,
}

impl Stored {
    pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Self, Rejection> {
        let json = serde_json::to_vec(value).map_err(|error| {
            tracing::error!("an answer cannot be written: {error}");
            Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the answer cannot be written")
        })?;
        Ok(Self { status, json: json.into() })
    }
}

impl IntoResponse for Stored {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json")], self.json).into_response()
    }
}

/// The keys that are known.
#[derive(Debug)]
pub(super) struct Keys {
    known: Mutex<HashMap<String, Entry>>,
    kept_for: Duration,
}

#[derive(Debug, Clone)]
struct Entry {
    /// SHA-256 of what was asked.
    request: String,
    since: Instant,
    outcome: watch::Receiver<Answer>,
}

/// The answer, once there is one.
type Answer = Option<Result<Stored, Rejection>>;

/// So many keys are known at most; the oldest are forgotten.
const MOST: usize = 10_000;

/// The key of a request, where it has one.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let is_key = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let refusal = || Rejection::invalid("an Idempotency-Key has 1 to 200 visible ASCII characters");
    is_key.then(|| Some(text.to_owned())).ok_or_else(refusal)
}

impl Keys {
    pub(super) fn new(kept_for: Duration) -> Self {
        Self { known: Mutex::default(), kept_for }
    }

    /// Does `work` unless it was done, or is being done, under this key. With a key it goes on when the client goes away; an answer
    /// that says no is not remembered.
    pub(super) async fn once(
        self: &Arc<Self>,
        key: Option<String>,
        request: String,
        work: impl Future<Output = Result<Stored, Rejection>> + Send + 'static,
    ) -> Result<Response, Rejection> {
        let Some(key) = key else { return Ok(work.await?.into_response()) };
        let (mut outcome, sender) = self.claim(&key, request)?;
        let is_first = sender.is_some();
        if let Some(sender) = sender {
            let keys = self.clone();
            tokio::spawn(async move {
                let mut forget = Forget { keys, key, is_kept: false };
                let answered = work.await;
                forget.is_kept = answered.is_ok();
                let _ = sender.send(Some(answered));
            });
        }
        let gone = || {
            Rejection::unavailable("interrupted", "the request under this key did not end; send it again", 1)
        };
        let answered = outcome.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        let mut response = answered.unwrap_or_else(|| Err(gone()))?.into_response();
        if !is_first {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// Forgets a key whose request was answered, but came to nothing later.
    pub(super) fn forget(&self, key: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Where the outcome of a key arrives, and for the first who asks where it is to be told.
    fn claim(
        &self,
        key: &str,
        request: String,
    ) -> Result<(watch::Receiver<Answer>, Option<watch::Sender<Answer>>), Rejection> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, entry| entry.since.elapsed() < self.kept_for || entry.outcome.borrow().is_none());
        if let Some(entry) = known.get(key) {
            let reused = || Rejection::invalid("this Idempotency-Key was used for another request");
            let same = (entry.request == request).then(|| entry.outcome.clone());
            return Ok((same.ok_or_else(reused)?, None));
        }
        if known.len() >= MOST
            && let Some(oldest) =
                known.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone())
        {
            known.remove(&oldest);
        }
        let (sender, outcome) = watch::channel(None);
        known.insert(key.to_owned(), Entry { request, since: Instant::now(), outcome: outcome.clone() });
        Ok((outcome, Some(sender)))
    }
}

/// Forgets a key when its work failed, or ended without an answer.
struct Forget {
    keys: Arc<Keys>,
    key: String,
    is_kept: bool,
}

impl Drop for Forget {
    fn drop(&mut self) {
        if !self.is_kept {
            self.keys.forget(&self.key);
        }
    }
}
