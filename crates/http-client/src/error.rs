use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong on the way to a service and back. `place` is method and address, without query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// Not an address that is asked.
    #[error("`{address}` is not an http or https address without a password")]
    Address { address: String, source: Option<url::ParseError> },
    /// A header that cannot be sent, as a token with a line break. Its value is not shown.
    #[error(
        "the value for the header `{name}` cannot be sent: it holds a line break or another control character"
    )]
    Header { name: String },
    /// The certificates that were named cannot be used.
    #[error("the certificates in `{path}` cannot be used")]
    Certificates { path: PathBuf, source: io::Error },
    /// The server's certificate is not trusted.
    #[error(
        "{place}: the server's certificate is not trusted (SSL_CERT_FILE names a file of those that are)"
    )]
    Untrusted { place: String, source: Box<ureq::Error> },
    /// No connection, or it broke off before the answer.
    #[error("{place}: no answer after {attempts} attempts")]
    Unreachable { place: String, attempts: u32, source: Box<ureq::Error> },
    /// The server took too long.
    #[error("{place}: no {awaited} within {} s, {attempts} attempts", limit.as_secs())]
    TimedOut { place: String, awaited: &'static str, limit: Duration, attempts: u32 },
    /// The answer broke off.
    #[error("{place}: the answer broke off, {attempts} attempts")]
    BrokenOff { place: String, attempts: u32, source: io::Error },
    /// The answer ended before its announced end.
    #[error("{place}: the answer ended after {received} of {size} bytes, {attempts} attempts")]
    Short { place: String, received: u64, size: u64, attempts: u32 },
    /// The answer is larger than allowed or announced.
    #[error("{place}: the answer is larger than {limit} bytes")]
    TooLarge { place: String, limit: u64 },
    /// A redirect that is not followed.
    #[error("{place}: {reason}")]
    Redirect { place: String, reason: &'static str },
    /// The service refused.
    #[error("{place} was answered with status {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused { place: String, status: u16, code: Option<String>, message: String },
    /// The answer is not JSON, or not of the form that was expected.
    #[error("{place} was answered with {found} where JSON of the service is due")]
    Form { place: String, found: String, source: serde_json::Error },
    /// What was received, or is to be sent, cannot be written or read on this machine.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The caller asked to stop.
    #[error("{place}: stopped on request")]
    Cancelled { place: String },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BrokenOff { .. }
            | Self::Short { .. } => true,
            Self::Refused { status, .. } => crate::is_transient(*status),
            _ => false,
        }
    }

    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn after(mut self, count: u32) -> Self {
        match &mut self {
            Self::Unreachable { attempts, .. }
            | Self::TimedOut { attempts, .. }
            | Self::BrokenOff { attempts, .. }
            | Self::Short { attempts, .. } => *attempts = count,
            _ => {}
        }
        self
    }
}
