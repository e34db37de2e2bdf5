use std::path::PathBuf;
use std::time::Duration;

use crate::card::CardProblem;

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
    /// The cards of a release say what a stranger could not rely on.
    #[error("the cards cannot be released: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Card { problems: Vec<CardProblem> },
    /// A release that others shall see says nothing of what they may do with it.
    #[error("{version} has no licence, and without one nothing goes to the Hub")]
    NoLicense { version: String },
    /// A version was not signed by the key that is trusted, or is not what was signed.
    #[error("`{path}` is not used: {reason}")]
    Signature { path: PathBuf, reason: String },
    /// A release that was begun is to be signed by a key that is not at hand.
    #[error("{version} was begun with the key {fingerprint}, which is not the one at hand")]
    OtherKey { version: String, fingerprint: String },
    /// A key cannot be used.
    #[error("`{what}` cannot be used as a key: {problem}")]
    Key { what: String, problem: String },
    /// A file is there that must not be overwritten.
    #[error("`{path}` exists, and is not overwritten")]
    Exists { path: PathBuf },
    /// A file of a run cannot be made fit for others to read.
    #[error("`{path}` cannot be released: {problem}")]
    Unusable { path: PathBuf, problem: String },
    /// The files that a release would copy from its base are not those of the run.
    #[error("the base's processor files are not those that the run was trained with: {}", reasons.join("; "))]
    OtherProcessor { reasons: Vec<String> },
    /// Another command has the registry open.
    #[error("another command has the registry `{path}` open")]
    Busy { path: PathBuf },
    /// Another process writes or sends the tracked run.
    #[error("another process tracks the run of `{path}`, and sends it")]
    SpoolBusy { path: PathBuf },
    /// A newer version wrote the spool of a tracked run.
    #[error("`{path}` is of version {version}, and this program reads up to version 1")]
    NewerSpool { path: PathBuf, version: u32 },
    /// The spool of a tracked run cannot be used.
    #[error("the run cannot be tracked: {problem}")]
    Spool { problem: String },
    /// A file that a release needs is not there.
    #[error("`{path}` is missing: {needed_for}")]
    Missing { path: PathBuf, needed_for: &'static str },
    /// A configuration value or an argument is outside its domain.
    #[error("`{key}` must be {expected}, got `{actual}`")]
    Domain { key: &'static str, expected: &'static str, actual: String },
    /// The validation results speak of other files than those in the run.
    #[error("the validation results in `{run}` are not of this run, validate it again: {}", reasons.join("; "))]
    StaleValidation { run: PathBuf, reasons: Vec<String> },
    /// A file is not what was released.
    #[error("`{what}` of version {version} does not have the hash that was released")]
    Corrupt { what: String, version: String },
    /// Another release has the same name.
    #[error(
        "{version} was released to {place} by another registry; nothing of this release is to be seen there: run it again, and it gets a later number"
    )]
    Taken { version: String, place: String },
    /// A place has no such version, or one without a manifest.
    #[error("{place} has no version `{version}` that can be fetched")]
    NoVersion { version: String, place: String },
    /// A place serves a version that came after all that this registry knows.
    #[error(
        "{place} serves {version}, which this registry does not have: `pq-register fetch {version}` brings it"
    )]
    Ahead { version: String, place: String },
    /// An earlier release was killed.
    #[error(
        "the release {version} of run `{run_id}` is not finished: `pq-register resume` finishes it, `pq-register resume --abandon` gives it up"
    )]
    Unfinished { version: String, run_id: String },
    /// There is no version to go back to.
    #[error("no version was in use before {}", live.as_deref().unwrap_or("now"))]
    NothingBefore { live: Option<String> },
    /// The caller asked to stop; what is done stays, and the same command goes on from there.
    #[error("stopped on request, before: {before}")]
    Stopped { before: String },
    /// Weights & Biases refused a request; `wait` is how long it asks to wait before the next one.
    #[error("Weights & Biases refused with status {status}")]
    Refused { status: u16, wait: Option<Duration>, source: http_client::Error },
    /// Weights & Biases could not be reached, or did not answer in time.
    #[error("cannot reach Weights & Biases")]
    Unreachable { source: http_client::Error },
    /// Weights & Biases answered something else than its protocol says.
    #[error("Weights & Biases answered in an unexpected form: {reason}")]
    Protocol { reason: String, source: Option<http_client::Error> },
    /// A bucket refused or could not be reached.
    #[cfg(feature = "object-store")]
    #[error("{title} refused, could not be reached, or holds something else")]
    Bucket { title: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The Hub refused or could not be reached.
    #[error(transparent)]
    Hub(#[from] hub_client::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
