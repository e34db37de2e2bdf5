use std::path::PathBuf;

/// What can go wrong while a model is exported, or an export is read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// The checkpoint or the adapter cannot be used.
    #[error(transparent)]
    Model(#[from] vlm_lora::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
    /// A file does not hold what it should.
    #[error("`{path}` cannot be used: {reason}")]
    Invalid { path: PathBuf, reason: String },
    /// The target format has no form for something of this model.
    #[error("{what} has no form in {format}")]
    Unsupported { what: String, format: &'static str },
    /// A GGUF file cannot be encoded, written or decoded.
    #[error("`{path}` cannot be written or read as GGUF")]
    Gguf { path: PathBuf, source: Box<candle_core::Error> },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
