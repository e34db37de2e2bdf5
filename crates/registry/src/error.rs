use std::path::PathBuf;

/// What can go wrong while tracking a run or releasing a version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
    /// A file of the project does not hold what its contract says.
    #[error(transparent)]
    Contract(#[from] project_files::Error),
    /// Another command has the registry open.
    #[error("another command has the registry `{path}` open")]
    Busy { path: PathBuf },
    /// A file that a release needs is not there.
    #[error("`{path}` is missing: {needed_for}")]
    Missing { path: PathBuf, needed_for: &'static str },
    /// A configuration value or an argument is outside its domain.
    #[error("`{key}` must be {expected}, got `{actual}`")]
    Domain { key: &'static str, expected: &'static str, actual: String },
    /// The validation results speak of other files than those in the run.
    #[error("the validation results in `{run}` are not of this run, validate it again: {}", reasons.join("; "))]
    StaleValidation { run: PathBuf, reasons: Vec<String> },
    /// What is stored is not what was released.
    #[error("`{what}` of version {version} does not have the hash that was released")]
    Corrupt { what: String, version: String },
    /// A service refused a request.
    #[error("{service} answered {status} to {method} {path}: {message}")]
    Refused { service: &'static str, status: u16, method: &'static str, path: String, message: String },
    /// A service could not be reached, or did not answer in time.
    #[error("cannot reach {service} ({path}): {reason}")]
    Unreachable { service: &'static str, path: String, reason: String },
    /// A service answered something else than its protocol says.
    #[error("{service} answered {path} in an unexpected form: {reason}")]
    Protocol { service: &'static str, path: String, reason: String },
    /// A tag or a run exists already and stands for something else.
    #[error("{what} exists already and is something else")]
    Exists { what: String },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
