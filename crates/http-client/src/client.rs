use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::header::{LOCATION, RANGE};
use ureq::http::{HeaderValue, Method};
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use crate::address::place;
use crate::attempt::{Exchange, Sending, reason};
use crate::pace::{Clock, Watch};
use crate::{Cancel, Error, Notify, Pace, Request, Response, Result, Retry, asked_wait, is_transient, tls};

/// How long the phases of one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, and connecting.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Without a byte, sent or received.
    pub idle: Duration,
}

impl Default for Timeouts {
    /// 10, 60 and 30 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(1),
            idle: Duration::from_secs(30),
        }
    }
}

/// How a client behaves.
#[derive(Clone)]
pub struct Options {
    /// What the client calls itself.
    pub user_agent: String,
    /// How often and how long requests are repeated.
    pub retry: Retry,
    /// How long one attempt may take.
    pub timeouts: Timeouts,
    /// PEM file of the certificates that are trusted in place of the platform's.
    pub certificates: Option<PathBuf>,
    /// Ends calls on request.
    pub cancel: Option<Cancel>,
    /// Told what is being waited for.
    pub notify: Option<Notify>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("pitchquest/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            certificates: None,
            cancel: None,
            notify: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("user_agent", &self.user_agent)
            .field("retry", &self.retry)
            .field("timeouts", &self.timeouts)
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// A client; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    plain: Agent,
    /// Made when the first `https` address is asked, because reading the platform's certificates takes a while.
    secure: OnceLock<Agent>,
    roots: Option<RootCerts>,
    clock: Clock,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When the certificates that the options name cannot be read.
    pub fn new(options: Options) -> Result<Self> {
        let roots = options.certificates.as_deref().map(|file| tls::roots(Some(file))).transpose()?;
        let plain = agent(&options, None);
        Ok(Self(Arc::new(Inner { options, plain, secure: OnceLock::new(), roots, clock: Clock::new() })))
    }

    /// How the client behaves.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Sends a request, repeats it where that helps, and returns the first answer that is final, whatever its status.
    ///
    /// # Errors
    /// When there is no answer, or it breaks off, is too large, or the caller asks to stop.
    pub fn send(&self, request: &Request) -> Result<Response> {
        self.send_watched(request, &self.watch())
    }

    /// As [`send`](Self::send), ended by another check than the client's.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_unless(&self, request: &Request, cancel: &dyn Fn() -> bool) -> Result<Response> {
        self.send_watched(request, &self.watch_by(cancel))
    }

    /// An eye on waits of the caller's own: the client's check and its notices.
    pub fn watch(&self) -> Watch<'_> {
        match &self.0.options.cancel {
            Some(cancel) => self.watch_by(&**cancel),
            None => self.watch_by(&|| false),
        }
    }

    fn watch_by<'a>(&'a self, cancel: &'a dyn Fn() -> bool) -> Watch<'a> {
        Watch::new(cancel, self.0.options.notify.as_ref(), &self.0.clock)
    }

    fn send_watched(&self, request: &Request, watch: &Watch<'_>) -> Result<Response> {
        let mut pace = Pace::new(request.retry.unwrap_or(self.0.options.retry), watch, request.place());
        loop {
            let exchange = self.follow(request, 0, watch, pace.attempt());
            let outcome = exchange.and_then(|exchange| collect(exchange, request, watch));
            let (reason, asked) = match &outcome {
                Ok(response) if !is_transient(response.status) => return outcome,
                Ok(response) => {
                    (format!("status {}", response.status), asked_wait(&response.headers, SystemTime::now()))
                }
                Err(error) if error.is_transient() => (reason(error), None),
                Err(_) => return outcome,
            };
            if !pace.pause(&reason, asked)? {
                return outcome.map_err(|error| error.after(pace.attempt()));
            }
        }
    }

    /// One attempt, redirects followed by hand: each hop is checked anew for who may see the credential.
    pub(crate) fn follow(
        &self,
        request: &Request,
        from: u64,
        watch: &Watch<'_>,
        attempt: u32,
    ) -> Result<Exchange> {
        let mut url = request.url.clone();
        let mut hops = request.redirects;
        loop {
            let mut headers = request.headers_for(&url);
            if from > 0 {
                let range = HeaderValue::try_from(format!("bytes={from}-"));
                headers.insert(RANGE, range.map_err(|_| Error::Header { name: "Range".to_owned() })?);
            }
            let timeouts = &self.0.options.timeouts;
            let sending = Sending {
                method: &request.method,
                url: url.clone(),
                headers,
                body: &request.body,
                attempt,
                first_byte: timeouts.connect + timeouts.first_byte,
                idle: timeouts.idle,
                total: request.total,
            };
            let exchange = Exchange::begin(self.agent(&url)?, sending, watch)?;
            if request.redirects == 0 || !is_redirect(exchange.status, &request.method) {
                return Ok(exchange);
            }
            let refused = |reason| Error::Redirect { place: exchange.place.clone(), reason };
            hops = hops.checked_sub(1).ok_or_else(|| refused("too many redirects"))?;
            let target = exchange.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            url = target
                .and_then(|target| url.join(target).ok())
                .ok_or_else(|| refused("a redirect without a target"))?;
            if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() {
                return Err(refused("a redirect to something else than an http or https address"));
            }
            if exchange.url.scheme() == "https" && url.scheme() == "http" {
                return Err(refused("a redirect from https to http"));
            }
            tracing::debug!("{}: leads to {}", exchange.place, place(&url));
        }
    }

    fn agent(&self, url: &Url) -> Result<&Agent> {
        if url.scheme() == "http" {
            return Ok(&self.0.plain);
        }
        if let Some(agent) = self.0.secure.get() {
            return Ok(agent);
        }
        let roots = match &self.0.roots {
            Some(roots) => roots.clone(),
            None => tls::roots(None)?,
        };
        Ok(self.0.secure.get_or_init(|| agent(&self.0.options, Some(roots))))
    }
}

fn agent(options: &Options, roots: Option<RootCerts>) -> Agent {
    let tls = match roots {
        Some(roots) => TlsConfig::builder().root_certs(roots).build(),
        None => TlsConfig::default(),
    };
    Agent::config_builder()
        .user_agent(options.user_agent.as_str())
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(tls)
        .timeout_resolve(Some(options.timeouts.connect))
        .timeout_connect(Some(options.timeouts.connect))
        .timeout_recv_response(Some(options.timeouts.first_byte))
        .timeout_per_read(Some(options.timeouts.idle.max(options.timeouts.first_byte)))
        .timeout_per_write(Some(options.timeouts.idle))
        .build()
        .new_agent()
}

/// 301, 302 and 303 would turn a `POST` into a `GET`, which is never what is wanted.
fn is_redirect(status: u16, method: &Method) -> bool {
    let keeps_method = *method == Method::GET || *method == Method::HEAD;
    matches!(status, 307 | 308) || (keeps_method && matches!(status, 301..=303))
}

fn collect(mut exchange: Exchange, request: &Request, watch: &Watch<'_>) -> Result<Response> {
    let too_large = |place: &str| Error::TooLarge { place: place.to_owned(), limit: request.limit };
    let has_body = request.method != Method::HEAD;
    if has_body && exchange.announced().is_some_and(|size| size > request.limit) {
        return Err(too_large(&exchange.place));
    }
    let mut body = Vec::new();
    while let Some(chunk) = exchange.chunk(watch)? {
        if (body.len() + chunk.len()) as u64 > request.limit {
            return Err(too_large(&exchange.place));
        }
        body.extend_from_slice(&chunk);
    }
    let size = exchange.announced().filter(|size| has_body && *size > body.len() as u64);
    if let Some(size) = size.filter(|_| !matches!(exchange.status, 204 | 304)) {
        let (place, received) = (exchange.place.clone(), body.len() as u64);
        return Err(Error::Short { place, received, size, attempts: 1 });
    }
    Ok(response(&exchange, request, body))
}

pub(crate) fn response(exchange: &Exchange, request: &Request, body: Vec<u8>) -> Response {
    Response {
        status: exchange.status,
        headers: exchange.headers.clone(),
        body,
        url: exchange.url.clone(),
        place: exchange.place.clone(),
        credential: request.credential.clone(),
    }
}
