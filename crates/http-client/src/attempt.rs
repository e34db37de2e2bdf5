//! One request and its answer, on a thread of its own so that the caller can look around while it waits.

use std::error::Error as _;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use ureq::http::header::CONTENT_LENGTH;
use ureq::http::{HeaderMap, Method, Request as HttpRequest};
use ureq::{Agent, SendBody};
use url::Url;

use crate::address::place;
use crate::pace::{TICK, Watch};
use crate::{Body, Error, Notice, Result};

const CHUNK: usize = 1 << 16;

enum Event {
    Head(u16, HeaderMap),
    Chunk(Vec<u8>),
    End,
    Failed(ureq::Error),
    Broken(io::Error),
    Local(Error),
}

/// What the thread and the caller share.
#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    is_given_up: AtomicBool,
}

/// A request that is under way.
pub(crate) struct Exchange {
    events: Receiver<Event>,
    shared: Arc<Shared>,
    begun: Instant,
    attempt: u32,
    /// Method and address without query.
    pub(crate) place: String,
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    received: u64,
    first_byte: Duration,
    idle: Duration,
    total: Option<Duration>,
}

/// What one attempt sends, and how long it may take.
pub(crate) struct Sending<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'a Body,
    pub(crate) attempt: u32,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Option<Duration>,
}

impl Exchange {
    /// Sends and waits for the answer's head.
    pub(crate) fn begin(agent: &Agent, sending: Sending<'_>, watch: &Watch<'_>) -> Result<Self> {
        let place = format!("{} {}", sending.method, place(&sending.url));
        let (sender, events) = mpsc::sync_channel(8);
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            agent: agent.clone(),
            method: sending.method.clone(),
            url: sending.url.clone(),
            headers: sending.headers,
            body: sending.body.clone(),
            sender,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || thread.run())
            .map_err(|source| Error::Io { action: "start a thread for", path: "http".into(), source })?;
        let mut exchange = Self {
            events,
            shared,
            begun: Instant::now(),
            attempt: sending.attempt,
            place,
            url: sending.url,
            status: 0,
            headers: HeaderMap::new(),
            received: 0,
            first_byte: sending.first_byte,
            idle: sending.idle,
            total: sending.total,
        };
        let outcome = exchange.event(watch, "answer", exchange.first_byte);
        let milliseconds = exchange.begun.elapsed().as_millis();
        let Exchange { place, attempt, .. } = &exchange;
        match outcome {
            Ok(Event::Head(status, headers)) => {
                let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
                tracing::debug!(
                    "{place}: status {status} in {milliseconds} ms, attempt {attempt}, request {request_id}"
                );
                (exchange.status, exchange.headers) = (status, headers);
                Ok(exchange)
            }
            Ok(_) => Err(exchange.broken(io::Error::other("no head"))),
            Err(error) => {
                tracing::debug!("{place}: {} after {milliseconds} ms, attempt {attempt}", reason(&error));
                Err(error)
            }
        }
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn chunk(&mut self, watch: &Watch<'_>) -> Result<Option<Vec<u8>>> {
        match self.event(watch, "further bytes", self.idle)? {
            Event::Chunk(bytes) => {
                self.received += bytes.len() as u64;
                Ok(Some(bytes))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn announced(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
    }

    fn event(&self, watch: &Watch<'_>, awaited: &'static str, limit: Duration) -> Result<Event> {
        let (mut moved, mut sent) = (Instant::now(), 0);
        loop {
            let event = self.events.recv_timeout(TICK);
            watch.look(&self.place, || self.notice())?;
            match event {
                Ok(Event::Failed(error)) => return Err(self.failed(error)),
                Ok(Event::Broken(error)) => return Err(self.broken(error)),
                Ok(Event::Local(error)) => return Err(error),
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.broken(io::Error::other("the sending thread ended")));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.shared.sent.load(Ordering::Relaxed);
            if now != sent {
                (moved, sent) = (Instant::now(), now);
            }
            let is_over = self.total.is_some_and(|total| self.begun.elapsed() > total);
            if moved.elapsed() > limit || is_over {
                let limit = self.total.filter(|_| is_over).unwrap_or(limit);
                return Err(Error::TimedOut {
                    place: self.place.clone(),
                    awaited,
                    limit,
                    attempts: self.attempt,
                });
            }
        }
    }

    fn notice(&self) -> Notice<'_> {
        if self.status == 0 {
            let sent = self.shared.sent.load(Ordering::Relaxed);
            Notice::Waiting { place: &self.place, attempt: self.attempt, since: self.begun.elapsed(), sent }
        } else {
            Notice::Receiving { place: &self.place, done: self.received, total: self.announced() }
        }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::BrokenOff { place: self.place.clone(), attempts: self.attempt, source }
    }

    fn failed(&self, error: ureq::Error) -> Error {
        let place = self.place.clone();
        let source = Box::new(error);
        if is_untrusted(&source) {
            return Error::Untrusted { place, source };
        }
        Error::Unreachable { place, attempts: self.attempt, source }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.is_given_up.store(true, Ordering::Relaxed);
    }
}

/// What a failure was, for a notice or a log line.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Cancelled { .. } => "stopped on request".to_owned(),
        Error::TimedOut { awaited, .. } => format!("no {awaited}"),
        Error::Short { received, size, .. } => format!("{received} of {size} bytes"),
        Error::Refused { status, .. } => format!("status {status}"),
        error => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    }
}

fn is_untrusted(error: &ureq::Error) -> bool {
    let is_certificate = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    match error {
        ureq::Error::Rustls(error) => is_certificate(error),
        ureq::Error::Io(error) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .is_some_and(is_certificate),
        _ => false,
    }
}

struct Thread {
    agent: Agent,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Body,
    sender: SyncSender<Event>,
    shared: Arc<Shared>,
}

impl Thread {
    fn run(self) {
        let mut request = HttpRequest::builder().method(self.method).uri(self.url.as_str());
        if let Some(headers) = request.headers_mut() {
            *headers = self.headers;
        }
        let answer = if matches!(self.body, Body::Empty) {
            let is_bare =
                request.method_ref().is_some_and(|method| *method == Method::GET || *method == Method::HEAD);
            if !is_bare {
                request = request.header(CONTENT_LENGTH, "0");
            }
            request
                .body(SendBody::none())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        } else {
            let inner = match self.body.reader() {
                Ok(reader) => reader,
                Err(error) => return drop(self.sender.send(Event::Local(error))),
            };
            let reader = Counted { inner, shared: Arc::clone(&self.shared) };
            request
                .header(CONTENT_LENGTH, self.body.size())
                .body(SendBody::from_owned_reader(reader))
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        };
        let (parts, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => return drop(self.sender.send(Event::Failed(error))),
        };
        if self.sender.send(Event::Head(parts.status.as_u16(), parts.headers)).is_err() {
            return;
        }
        let mut body = body.into_reader();
        loop {
            let mut chunk = vec![0; CHUNK];
            let event = match body.read(&mut chunk) {
                Ok(0) => Event::End,
                Ok(count) => {
                    chunk.truncate(count);
                    Event::Chunk(chunk)
                }
                Err(error) => Event::Broken(error),
            };
            let is_last = !matches!(event, Event::Chunk(_));
            if self.sender.send(event).is_err() || is_last {
                return;
            }
        }
    }
}

/// Counts what is taken of a body, and ends it when nobody waits any more.
struct Counted {
    inner: Box<dyn Read + Send>,
    shared: Arc<Shared>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.shared.is_given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up"));
        }
        let count = self.inner.read(buffer)?;
        self.shared.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
