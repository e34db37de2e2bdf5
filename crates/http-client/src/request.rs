use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::address::{Origin, place};
use crate::{Error, Result, Retry};

/// A body that can be sent again.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A part of a file, read while it is sent.
    File {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        offset: u64,
        /// How many bytes it has.
        size: u64,
    },
}

impl Body {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    pub(crate) fn reader(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Self::Empty => Ok(Box::new(io::empty())),
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::File { path, offset, size } => {
                let failed = |source| Error::Io { action: "read", path: path.clone(), source };
                let mut file = File::open(path).map_err(failed)?;
                file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                Ok(Box::new(file.take(*size)))
            }
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// What proves who asks, bound to the origin that may see it.
#[derive(Clone)]
pub struct Credential {
    origin: Origin,
    value: HeaderValue,
    secret: Arc<str>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Credential {
    /// `Authorization: <scheme> <secret>` for the origin of `base`.
    ///
    /// # Errors
    /// When the secret cannot be sent in a header, as one with a line break.
    pub fn new(base: &Url, scheme: &str, secret: &str) -> Result<Self> {
        let unsendable = || Error::Header { name: "Authorization".to_owned() };
        let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        let origin = Origin::of(base).ok_or_else(|| Error::Address { address: place(base), source: None })?;
        Ok(Self { origin, value, secret: secret.into() })
    }

    /// `Authorization: Bearer <token>`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn bearer(base: &Url, token: &str) -> Result<Self> {
        Self::new(base, "Bearer", token)
    }

    /// Takes the secret out of a text that a server sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.secret.is_empty() { text.to_owned() } else { text.replace(&*self.secret, "…") }
    }
}

/// One request, which can be sent any number of times.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) credential: Option<Credential>,
    pub(crate) retry: Option<Retry>,
    pub(crate) redirects: usize,
    pub(crate) limit: u64,
    pub(crate) total: Option<Duration>,
}

impl Request {
    /// A request without body; up to 5 redirects and an answer of up to 64 MiB.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            credential: None,
            retry: None,
            redirects: 5,
            limit: 64 << 20,
            total: None,
        }
    }

    /// A `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `POST`.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// A `PUT`.
    pub fn put(url: Url) -> Self {
        Self::new(Method::PUT, url)
    }

    /// Sets a header. `Authorization` and `Cookie` are sent to the origin of this request only.
    ///
    /// # Errors
    /// When name or value cannot be sent.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let unsendable = || Error::Header { name: name.to_owned() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        let value = HeaderValue::from_str(value).map_err(|_| unsendable())?;
        self.headers.insert(parsed, value);
        Ok(self)
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its content type.
    ///
    /// # Errors
    /// When the value is no JSON, as a map with keys that are no text.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec(value).map_err(|source| Error::Form {
            place: self.place(),
            found: "a body that is no JSON".to_owned(),
            source,
        })?;
        self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        Ok(self.body(text))
    }

    /// Sends the credential, where the address is of its origin.
    pub fn credential(mut self, credential: Option<&Credential>) -> Self {
        self.credential = credential.cloned();
        self
    }

    /// Another policy than the client's.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How many redirects are followed; with 0 the redirect itself is the answer.
    pub fn redirects(mut self, most: usize) -> Self {
        self.redirects = most;
        self
    }

    /// The most bytes that an answer may have.
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The longest time that one attempt may take in all.
    pub fn total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }

    /// Method and address without query, as messages show them.
    pub fn place(&self) -> String {
        format!("{} {}", self.method, place(&self.url))
    }

    /// The headers for one hop.
    pub(crate) fn headers_for(&self, url: &Url) -> HeaderMap {
        let mut headers = self.headers.clone();
        let origin = Origin::of(url);
        if origin != Origin::of(&self.url) {
            headers.remove(AUTHORIZATION);
            headers.remove(COOKIE);
        }
        if let Some(credential) = self.credential.as_ref().filter(|c| Some(&c.origin) == origin.as_ref()) {
            headers.insert(AUTHORIZATION, credential.value.clone());
        }
        headers
    }
}
