use std::path::PathBuf;

/// What can go wrong with slides and the files that describe them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A file does not hold what its contract says.
    #[error("`{path}`{} is not a valid {what}", line.map(|n| format!(" line {n}")).unwrap_or_default())]
    Invalid { path: PathBuf, line: Option<usize>, what: &'static str, source: serde_json::Error },
    /// A value outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    Domain { key: String, expected: String, actual: String },
    /// There are too few groups (decks) to put one into each split.
    #[error("{groups} independent decks are too few to split; at least {needed} are needed")]
    TooFewGroups { groups: usize, needed: usize },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
