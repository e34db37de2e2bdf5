//! Reading and writing small files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Largest JSON or template file that is read into memory; the largest real one, a tokenizer, has a few MiB.
const MAX_FILE_BYTES: u64 = 256 << 20;

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

pub(crate) fn invalid_file(path: &Path, what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::InvalidFile { path: path.to_owned(), what, reason: reason.to_string() }
}

/// The whole content of a file of reasonable size.
pub(crate) fn read_bytes(path: &Path, what: &'static str) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid_file(path, what, format!("larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(bytes)
}

pub(crate) fn read_json_object(path: &Path, what: &'static str) -> Result<Map<String, Value>> {
    serde_json::from_slice(&read_bytes(path, what)?).map_err(|error| invalid_file(path, what, error))
}

/// As [`read_json_object`], `None` where there is no such file.
pub(crate) fn read_json_object_if_present(
    path: &Path,
    what: &'static str,
) -> Result<Option<Map<String, Value>>> {
    match read_json_object(path, what) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// As [`write_atomic_with`], for content that is at hand.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(durable_files::write_atomic(path, bytes)?)
}

/// Writes a file so that a reader meets the old one or the whole new one.
pub(crate) fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut std::io::BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    durable_files::write_atomic_with(path, write)
}

/// Makes a rename inside `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    Ok(durable_files::sync_dir(folder)?)
}
