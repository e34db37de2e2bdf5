use std::path::PathBuf;

/// What can go wrong while loading, adapting, training or scoring a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A file does not hold what it should.
    #[error("`{path}` is not a valid {what}: {reason}")]
    InvalidFile { path: PathBuf, what: &'static str, reason: String },
    /// A configuration value is outside its domain.
    #[error("`{key}` must be {expected}, got {actual}")]
    InvalidConfig { key: String, expected: String, actual: String },
    /// A tensor that the model needs is not in the checkpoint, or one is there that the model does not know.
    #[error("tensor `{name}` is {problem} in `{path}`")]
    Tensor { name: String, problem: &'static str, path: PathBuf },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{name}` has shape {actual:?}, expected {expected:?}")]
    Shape { name: String, expected: Vec<usize>, actual: Vec<usize> },
    /// A feature of another library that this one does not have.
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// Text that cannot be used as a prompt or an answer.
    #[error("cannot use the text: {reason}")]
    Text { reason: String },
    /// An image that cannot be used.
    #[error("cannot use the image: {reason}")]
    Image { reason: String },
    /// The device or a kernel failed.
    #[error("{device}: {reason}")]
    Backend { device: String, reason: String },
    /// The memory does not suffice.
    #[error(
        "{device}: {needed_mib} MiB more are needed and {available_mib} MiB are free; `per_device_train_batch_size`, \
         `gradient_checkpointing`, `load_in_8bit` and `longest_edge` change what a step takes"
    )]
    OutOfMemory { device: String, needed_mib: usize, available_mib: usize },
    /// A run that cannot go on from where it stands.
    #[error("cannot resume from `{path}`: {reason}")]
    Resume { path: PathBuf, reason: String },
    /// A checkpoint could not be fetched.
    #[cfg(feature = "hub")]
    #[error("cannot fetch `{id}`")]
    Hub { id: String, source: hub_client::Error },
    /// Somebody asked for the end of a measurement: for evaluators, whose run then ends as if an observer had asked for it.
    #[error("stopped before its end")]
    Stopped,
    /// Another process of the run is gone, or gave up.
    #[error(transparent)]
    Group(#[from] process_group::Error),
    /// The processes of a run do not train the same.
    #[error("the processes of the run do not agree: {reason}")]
    Peers { reason: String },
    /// A loss or a gradient is not a finite number.
    #[error("{what} is not finite at step {step}")]
    NotFinite { what: &'static str, step: usize },
}

impl From<durable_files::Error> for Error {
    fn from(error: durable_files::Error) -> Self {
        match error {
            durable_files::Error::Io { action, path, source } => Self::Io { action, path, source },
            other => {
                let reason = std::error::Error::source(&other).map(ToString::to_string).unwrap_or_default();
                Self::InvalidFile {
                    path: PathBuf::new(),
                    what: "file to write",
                    reason: format!("{other}: {reason}"),
                }
            }
        }
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
