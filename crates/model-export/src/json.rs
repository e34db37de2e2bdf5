//! JSON files of a checkpoint's folder.

use std::path::Path;

use durable_files::io_error;
use serde_json::{Map, Value};

use crate::{Error, Result};

pub(crate) fn invalid(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Invalid { path: path.to_owned(), reason: reason.to_string() }
}

/// The object that a file holds; `None` where there is no such file.
pub(crate) fn object_if_present(path: &Path) -> Result<Option<Map<String, Value>>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| invalid(path, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error).into()),
    }
}

/// As [`object_if_present`], of a file that must be there.
pub(crate) fn object(path: &Path) -> Result<Map<String, Value>> {
    object_if_present(path)?.ok_or_else(|| invalid(path, "it is missing"))
}
