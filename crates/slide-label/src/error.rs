use std::path::PathBuf;

/// What can go wrong while ratings are taken, kept and compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// Another process holds the store.
    #[error("`{path}` is in use by another process{}", holder.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Locked { path: PathBuf, holder: Option<String> },
    /// An earlier write failed in a way that leaves unknown what is on disk.
    #[error("the journal failed to write earlier and takes nothing more until it is opened again")]
    Failed,
    /// An event that breaks a rule of the journal.
    #[error("{0}")]
    Invalid(String),
    /// The event follows another event than the newest one of its slide and annotator.
    #[error("slide `{slide_id}` has been changed since it was shown")]
    Conflict { slide_id: String, head: Option<String> },
    /// An event id that is taken by another event.
    #[error("the id `{id}` belongs to another event")]
    IdTaken { id: String },
    /// A file that is imported does not hold what its format says.
    #[error("`{path}` is not {what}: {reason}")]
    Import { path: PathBuf, what: &'static str, reason: String },
    /// A value outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    Domain { key: String, expected: String, actual: String },
    /// A file that several stages share could not be read or written.
    #[error(transparent)]
    Data(#[from] slide_data::Error),
    /// A file of the project does not hold what its contract says.
    #[error(transparent)]
    Contract(#[from] project_files::Error),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn io_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
