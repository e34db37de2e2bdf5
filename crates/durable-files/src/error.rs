use std::path::{Path, PathBuf};

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name each field")]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A value cannot be written as JSON.
    #[error("`{path}` cannot hold this value")]
    Encode { path: PathBuf, source: serde_json::Error },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the action and the file of an I/O error, as in `.map_err(io_error("read", path))`.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
