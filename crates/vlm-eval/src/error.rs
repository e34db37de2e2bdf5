/// What can go wrong while evaluating predictions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// There is no rated criterion to compare with.
    #[error("there is nothing to evaluate: none of the {slides} slides has a rated criterion")]
    Empty { slides: usize },
    /// A slide is there twice.
    #[error("slide `{slide_id}` is there twice")]
    Repeated { slide_id: String },
    /// A label and a prediction of different slides were paired.
    #[error("the prediction for `{actual}` was paired with the label of `{expected}`")]
    Mismatch { expected: String, actual: String },
    /// A rated criterion has no distribution.
    #[error("the prediction for `{slide_id}` has no distribution for `{criterion}`")]
    Missing { slide_id: String, criterion: String },
    /// A distribution has negative or infinite entries or does not sum to 1.
    #[error(
        "the distribution of `{criterion}` for `{slide_id}` must be five probabilities that sum to 1, got {actual:?}"
    )]
    Distribution { slide_id: String, criterion: String, actual: [f64; 5] },
    /// An option is outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    Option { key: &'static str, expected: &'static str, actual: String },
    /// A file could not be read or written.
    #[error(transparent)]
    Data(#[from] slide_data::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
