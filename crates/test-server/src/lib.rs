//! A small HTTP server for tests: hands every request to a closure, keeps what it was asked, and can do what servers do on bad
//! days: hang, lose an answer, cut a body, answer drop by drop. [`hub`] is a whole Hugging Face Hub in memory, [`moto`] starts a
//! program that stands in for S3. With the feature `tls` servers speak TLS with a certificate of the test's own authority.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod hub;
pub mod moto;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "tls")]
pub use tls::Authority;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had arrived.
    pub at: Instant,
}

impl Request {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The path without the query.
    pub fn plain_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The headers of an answer.
pub type Headers = Vec<(&'static str, String)>;

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers.
    Status(u16, Headers, Vec<u8>),
    /// Announces more bytes than it sends, then closes the connection.
    Cut {
        /// The status.
        status: u16,
        /// Further headers.
        headers: Headers,
        /// What is sent.
        body: Vec<u8>,
        /// What is announced.
        announced: usize,
    },
    /// Answers in pieces.
    Drip {
        /// Further headers.
        headers: Headers,
        /// The body.
        body: Vec<u8>,
        /// Bytes a piece.
        piece: usize,
        /// The pause after each.
        pause: Duration,
    },
    /// Closes the connection without an answer.
    Lost,
    /// Says nothing for that long, then closes the connection.
    Hang(Duration),
}

/// An answer with a JSON body.
pub fn json(status: u16, value: &serde_json::Value) -> Answer {
    Answer::Status(
        status,
        vec![("Content-Type", "application/json".to_owned())],
        value.to_string().into_bytes(),
    )
}

/// An answer with a text body.
pub fn text(status: u16, text: &str) -> Answer {
    Answer::Status(status, vec![], text.as_bytes().to_vec())
}

/// A redirect.
pub fn redirect(status: u16, to: impl Into<String>) -> Answer {
    Answer::Status(status, vec![("Location", to.into())], Vec::new())
}

/// The content, or the range of it that was asked for.
pub fn ranged(request: &Request, mut headers: Headers, content: &[u8]) -> Answer {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else { return Answer::Status(200, headers, content.to_vec()) };
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(content.len(), |to: usize| (to + 1).min(content.len()));
    if from >= to {
        headers.push(("Content-Range", format!("bytes */{}", content.len())));
        return Answer::Status(416, headers, Vec::new());
    }
    headers.push(("Content-Range", format!("bytes {from}-{}/{}", to - 1, content.len())));
    Answer::Status(206, headers, content[from..to].to_vec())
}

/// A server on a free port of 127.0.0.1; its threads end with the process.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`, or with `https`.
    pub base: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts it.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(0, handler).unwrap()
    }

    /// Starts it on a given port, if that is free.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_at(
        port: u16,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::listen(port, "http", move |socket, seen| serve(&mut &socket, seen, &handler))
    }

    /// Hands each connection to `work`, on a thread of its own, with the list of what was asked.
    fn listen(
        port: u16,
        scheme: &str,
        work: impl Fn(TcpStream, &Mutex<Vec<Request>>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let base = format!("{scheme}://{}", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let work = Arc::new(work);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (seen, work) = (Arc::clone(&seen), Arc::clone(&work));
                std::thread::spawn(move || work(socket, &seen));
            }
        });
        Ok(Self { base, requests })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.base.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()
    }

    /// The same server under another host name: another origin.
    pub fn other_name(&self) -> String {
        self.base.replace("127.0.0.1", "localhost")
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// Forgets the requests so far and returns them.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.requests))
    }

    /// The requests of a method whose path holds `part`.
    pub fn asked(&self, method: &str, part: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.method == method && request.path.contains(part));
        requests
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve<S: Read + Write>(
    stream: &mut S,
    seen: &Mutex<Vec<Request>>,
    handler: &(dyn Fn(&Request) -> Answer + Send + Sync),
) {
    let Some(request) = read(stream) else { return };
    lock(seen).push(request.clone());
    let is_head = request.method == "HEAD";
    let shown = |body: Vec<u8>| if is_head { Vec::new() } else { body };
    let _ = match handler(&request) {
        Answer::Status(status, headers, body) => {
            let size = body.len();
            send(stream, status, &headers, &shown(body), size)
        }
        Answer::Cut { status, headers, body, announced } => send(stream, status, &headers, &body, announced),
        Answer::Drip { headers, body, piece, pause } => drip(stream, &headers, &body, piece, pause),
        Answer::Lost => Ok(()),
        Answer::Hang(duration) => {
            std::thread::sleep(duration);
            Ok(())
        }
    };
}

fn send(
    stream: &mut impl Write,
    status: u16,
    headers: &Headers,
    body: &[u8],
    announced: usize,
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {announced}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())
}

fn drip(
    stream: &mut impl Write,
    headers: &Headers,
    body: &[u8],
    piece: usize,
    pause: Duration,
) -> io::Result<()> {
    send(stream, 200, headers, &[], body.len())?;
    for part in body.chunks(piece) {
        stream.write_all(part)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body, at: Instant::now() })
}
