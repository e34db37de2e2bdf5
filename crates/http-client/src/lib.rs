//! One blocking HTTP client for everything that leaves the machine.
//!
//! - One [`Retry`] policy: what is transient is repeated with exponential waits and jitter inside a budget; a wait that the
//!   service asks for (`Retry-After` in both forms, `RateLimit`) is kept, or the answer is returned where it is too long.
//! - A [`Credential`] goes to its own origin only: scheme, host and port of the parsed address, on every hop of a redirect.
//! - [`Client::download`] appends to a file and takes it up where it ended, also in a later process.
//! - Every wait is cancelled within a tenth of a second by the caller's check, also while a server accepts and never answers,
//!   and [`Notice`]s come at least every two seconds.
//! - Each attempt is one `tracing` line at level debug: method, address without query, status, milliseconds, attempt.
//!
//! The library reads no environment variable itself; `ureq` takes the usual proxy variables, and the roots of TLS are the
//! platform's (`rustls-native-certs`, which knows `SSL_CERT_FILE` and `SSL_CERT_DIR`) unless [`Options::certificates`] names a
//! file. No message shows a query string or a credential.
#![forbid(unsafe_code)]

mod address;
mod attempt;
mod client;
mod download;
mod error;
mod notice;
mod pace;
mod request;
mod response;
mod retry;
mod tls;

pub use address::{Origin, join, parse, place, segment};
pub use client::{Client, Options, Timeouts};
pub use error::{Error, Result};
pub use notice::{Cancel, Notice, Notify};
pub use pace::{Pace, Watch};
pub use request::{Body, Credential, Request};
pub use response::Response;
pub use retry::{Retry, asked_wait, is_transient};
pub use ureq::http::{HeaderMap, Method};
pub use url::Url;
