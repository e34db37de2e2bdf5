/// What can go wrong while drawing a page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names each field")]
pub enum Error {
    /// A template failed.
    #[error("cannot render `{page}`")]
    Template { page: &'static str, source: minijinja::Error },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
