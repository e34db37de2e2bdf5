//! Requests with the retry rules that both services' own clients keep.

use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request};

use crate::{Error, Result};

/// How long and how often a request is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Repetitions after the first attempt.
    pub(crate) retries: u32,
    /// First wait; doubles up to a minute.
    pub(crate) base_delay: Duration,
    /// No attempt starts later than this after the first one.
    pub(crate) budget: Duration,
}

impl Patience {
    pub(crate) const NONE: Self = Self { retries: 0, base_delay: Duration::ZERO, budget: Duration::ZERO };
}

/// An answer that is read whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What a person should read of a refusal.
    fn message(&self) -> String {
        if let Some(message) = self.header("x-error-message") {
            return message.to_owned();
        }
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let found = json.as_ref().and_then(|json| {
            let first =
                json.get("errors").and_then(|errors| errors.get(0)).and_then(|error| error.get("message"));
            json.get("error").or(first)?.as_str().map(str::to_owned)
        });
        found.unwrap_or_else(|| String::from_utf8_lossy(&self.body).chars().take(200).collect())
    }
}

/// One service: its name for messages, its address and its credentials.
#[derive(Clone)]
pub(crate) struct Service {
    agent: Agent,
    name: &'static str,
    base: String,
    authorization: String,
    patience: Patience,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.name).field("base", &self.base).finish_non_exhaustive()
    }
}

/// One request; a path that starts with `http` is taken as it is and gets no credentials (a signed address).
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, String)],
    pub(crate) body: &'a [u8],
    /// Whether repeating it is harmless.
    pub(crate) repeatable: bool,
}

impl Service {
    pub(crate) fn new(
        name: &'static str,
        base: &str,
        authorization: String,
        timeout: Duration,
        patience: Patience,
    ) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pitchquest/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, name, base: base.trim_end_matches('/').to_owned(), authorization, patience }
    }

    /// Sends a request, repeats it where that helps, and returns the first answer that is final, whatever its status.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Response> {
        let patience = if call.repeatable { self.patience } else { Patience::NONE };
        let start = Instant::now();
        let mut attempt = 0;
        loop {
            let outcome = self.once(call);
            let wait = match &outcome {
                Ok(answer) if !is_transient(answer.status) => return outcome,
                Ok(answer) => asked_wait(answer).unwrap_or_else(|| patience.delay(attempt)),
                Err(_) => patience.delay(attempt),
            };
            if attempt >= patience.retries || start.elapsed() + wait > patience.budget {
                return outcome;
            }
            std::thread::sleep(wait);
            attempt += 1;
        }
    }

    /// As [`send`](Self::send), but any status outside 200–299 is an error.
    pub(crate) fn expect(&self, call: &Call<'_>) -> Result<Response> {
        let answer = self.send(call)?;
        if answer.is_success() { Ok(answer) } else { Err(self.refusal(call, &answer)) }
    }

    pub(crate) fn refusal(&self, call: &Call<'_>, answer: &Response) -> Error {
        let method = match call.method {
            Method::GET => "GET",
            Method::PUT => "PUT",
            _ => "POST",
        };
        let message = answer.message();
        Error::Refused {
            service: self.name,
            status: answer.status,
            method,
            path: public_path(call.path),
            message,
        }
    }

    pub(crate) fn protocol(&self, path: &str, reason: impl Into<String>) -> Error {
        Error::Protocol { service: self.name, path: public_path(path), reason: reason.into() }
    }

    fn once(&self, call: &Call<'_>) -> Result<Response> {
        let signed = call.path.starts_with("http");
        let url = if signed { call.path.to_owned() } else { format!("{}{}", self.base, call.path) };
        let unreachable =
            |reason: String| Error::Unreachable { service: self.name, path: public_path(call.path), reason };
        let mut request = Request::builder().method(call.method.clone()).uri(&url);
        if !signed {
            request = request.header("Authorization", &self.authorization);
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let answer = if call.body.is_empty() && call.method == Method::GET {
            self.agent.run(request.body(()).map_err(|error| unreachable(error.to_string()))?)
        } else {
            self.agent.run(request.body(call.body).map_err(|error| unreachable(error.to_string()))?)
        };
        let (parts, mut body) = answer.map_err(|error| unreachable(error.to_string()))?.into_parts();
        let body = body
            .with_config()
            .limit(1 << 32)
            .read_to_vec()
            .map_err(|error| unreachable(format!("the answer broke off: {error}")))?;
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

impl Patience {
    fn delay(self, attempt: u32) -> Duration {
        self.base_delay.saturating_mul(1 << attempt.min(6)).min(Duration::from_mins(1))
    }
}

fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429) || (status >= 500 && status != 501)
}

/// `Retry-After` in seconds, or the `t` of a `RateLimit` header.
fn asked_wait(answer: &Response) -> Option<Duration> {
    let after = answer.header("retry-after").and_then(|text| text.trim().parse::<f64>().ok());
    let reset = || {
        let limit = answer.header("ratelimit")?;
        limit.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse::<f64>().ok())
    };
    let seconds = after.or_else(reset)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// An address without its query, which may be a signature.
fn public_path(path: &str) -> String {
    path.split('?').next().unwrap_or(path).to_owned()
}

/// Percent-encodes everything but unreserved characters: one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
