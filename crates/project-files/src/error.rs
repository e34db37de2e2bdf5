use std::path::PathBuf;

/// What can go wrong with a project's files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
    /// A file does not hold what its contract says.
    #[error("`{path}`{} is not a valid {contract}", line.map(|n| format!(" line {n}")).unwrap_or_default())]
    Invalid { path: PathBuf, line: Option<usize>, contract: &'static str, source: serde_json::Error },
    /// A file holds its contract's fields, with a value that none of them may have.
    #[error("`{path}`{} is not a valid {contract}: {reason}", line.map(|n| format!(" line {n}")).unwrap_or_default())]
    Value { path: PathBuf, line: Option<usize>, contract: &'static str, reason: String },
    /// A file was written by a newer program.
    #[error(
        "`{path}`{} is a {contract} of version {found}, and this program reads up to version {known}: update PitchQuest",
        line.map(|n| format!(" line {n}")).unwrap_or_default()
    )]
    Newer { path: PathBuf, line: Option<usize>, contract: &'static str, found: u32, known: u32 },
    /// A folder that the configuration or the command line names is not there.
    #[error("there is no folder `{path}` ({setting})")]
    NoFolder { path: PathBuf, setting: &'static str },
    /// A file that the command line names is not there.
    #[error("there is no file `{path}` ({setting})")]
    NoFile { path: PathBuf, setting: &'static str },
    /// A version's folder does not hold what was released.
    #[error("`{path}` does not hold what was released: {reasons}")]
    NotReleased { path: PathBuf, reasons: String },
    /// A version that the registry does not know.
    #[error("version `{version}` is not in the registry (known: {known})")]
    UnknownVersion { version: String, known: String },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
