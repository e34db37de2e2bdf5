/// Why the processes cannot go on together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A process ended without a word, or nothing is heard of it any more.
    #[error("process {rank} of {size} is gone: {reason}")]
    Lost { rank: usize, size: usize, reason: String },
    /// A process ended and said why.
    #[error("process {rank} of {size} ended the job: {reason}")]
    Aborted { rank: usize, size: usize, reason: String },
    /// Two processes are at different points of their program.
    #[error("process {rank} of {size} is at another point of the program: {reason}")]
    OutOfStep { rank: usize, size: usize, reason: String },
    /// The processes did not come together.
    #[error("the processes do not come together: {reason}")]
    Start { reason: String },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
