use std::path::PathBuf;

/// What can go wrong between this machine and the Hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// Not the id of a repository.
    #[error("`{id}` is not of the form `owner/name`")]
    Id { id: String },
    /// Not the name of a branch, a tag or a commit.
    #[error("`{revision}` is no revision")]
    Revision { revision: String },
    /// The Hub refused, for a reason that its answer names.
    #[error("{reason}")]
    Refused { reason: &'static str, source: http_client::Error },
    /// The way to the Hub failed.
    #[error(transparent)]
    Http(http_client::Error),
    /// The Hub answered something else than its protocol says.
    #[error("the Hub's answer about {about} is not as its protocol has it: {reason}")]
    Protocol { about: String, reason: String },
    /// A tag stands on another commit already.
    #[error("{what} exists already and is something else")]
    Exists { what: String },
    /// A repository that shall be private is public.
    #[error("{id} is public, and was to be private: make it private on its page, or set `private = false`")]
    Public { id: String },
    /// What was to be found is not there.
    #[error("{what} does not exist")]
    Missing { what: String },
    /// What arrived is not what the Hub lists.
    #[error("`{file}` arrived with the hash {actual}, not {expected}")]
    Hash { file: String, expected: String, actual: String },
    /// A file in the cache is not what its name says.
    #[error("`{path}` in the cache is damaged; remove it and fetch it again")]
    Damaged { path: PathBuf },
    /// Not in the cache, and nothing else was allowed.
    #[error("revision `{revision}` of {id} is not in the cache, and offline is set")]
    Offline { id: String, revision: String },
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A file of the cache could not be written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the caller asked to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Http(http_client::Error::Cancelled { .. }))
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_transient())
    }

    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } | Self::Http(source) => source.status(),
            _ => None,
        }
    }
}

impl From<http_client::Error> for Error {
    fn from(source: http_client::Error) -> Self {
        let http_client::Error::Refused { status, code, .. } = &source else { return Self::Http(source) };
        let reason = match (*status, code.as_deref().unwrap_or_default()) {
            (401 | 403, "GatedRepo") => "access has to be granted to your account first",
            (401, "RepoNotFound") => "no such repository, or it is private and needs a token",
            (401, _) => "the token is not valid",
            (403, _) => "the token may not do this",
            (404, "RevisionNotFound") => "no such revision",
            (404, "EntryNotFound") => "no such file",
            (404, "RepoNotFound") => "no such repository, or the token may not see it",
            _ => return Self::Http(source),
        };
        Self::Refused { reason, source }
    }
}

pub(crate) fn protocol(about: &str, reason: impl Into<String>) -> Error {
    Error::Protocol { about: about.to_owned(), reason: reason.into() }
}

#[cfg(feature = "download")]
pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}
