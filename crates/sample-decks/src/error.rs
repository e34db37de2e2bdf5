use std::path::PathBuf;

/// What can go wrong while drawing decks or rating them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A page cannot be drawn at this size.
    #[error("a page cannot be drawn {width} pixels wide")]
    PageSize { width: u32 },
    /// A file format could not be written.
    #[error("cannot write the {what}: {reason}")]
    Encode { what: &'static str, reason: String },
    /// A file or folder could not be read or written.
    #[error(transparent)]
    Data(#[from] slide_data::Error),
    /// A file does not hold what it should.
    #[error(transparent)]
    Contract(#[from] project_files::Error),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] durable_files::Error),
    /// A slide that nobody drew.
    #[error("`{origin}` page {page} is not in `{path}`")]
    UnknownSlide { origin: String, page: usize, path: PathBuf },
    /// Nothing to rate.
    #[error("`{path}` holds no slide that can be rated")]
    NoSlides { path: PathBuf },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
