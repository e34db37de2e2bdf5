/// What can go wrong while monitoring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A configuration value is outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    Config { key: &'static str, expected: &'static str, actual: String },
    /// What a function was given does not fit together.
    #[error("{expected} are needed, got {actual}")]
    Input { expected: &'static str, actual: String },
    /// A file could not be read or written, or does not hold what it should.
    #[error(transparent)]
    Contract(#[from] project_files::Error),
    /// The log of scored slides could not be read.
    #[error(transparent)]
    Log(#[from] slide_data::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
