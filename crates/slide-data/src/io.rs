use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

/// Writes `bytes` so that a reader meets either the old file or the whole new one: temporary sibling, fsync, rename.
///
/// # Errors
/// When the folder cannot be created or the file cannot be written; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io_error("write", path))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.as_file().sync_all().map_err(io_error("write", path))?;
    file.persist(path).map_err(|error| io_error("write", path)(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("write", folder))
}

/// Writes `value` as indented JSON, atomically.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let invalid = |source| Error::Invalid { path: path.to_owned(), line: None, what: "JSON value", source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(invalid)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

/// Reads one JSON value; `what` names the contract in the error.
///
/// # Errors
/// When the file cannot be read or is not a valid `what`.
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Invalid {
        path: path.to_owned(),
        line: None,
        what,
        source,
    })
}

/// Appends one JSON line and syncs it, so that what was acknowledged is on disk.
///
/// A torn last line (a crash in the middle of an append) is first closed with a newline, so that it cannot swallow the new one.
///
/// # Errors
/// When the file cannot be created or written.
pub fn append_json_line<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let invalid = |source| Error::Invalid { path: path.to_owned(), line: None, what: "JSON line", source };
    let mut line = if ends_torn(path)? { vec![b'\n'] } else { Vec::new() };
    line.extend(serde_json::to_vec(value).map_err(invalid)?);
    line.push(b'\n');
    let mut file =
        OpenOptions::new().append(true).create(true).open(path).map_err(io_error("append to", path))?;
    file.write_all(&line).and_then(|()| file.sync_data()).map_err(io_error("append to", path))
}

fn ends_torn(path: &Path) -> Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = File::open(path) else { return Ok(false) };
    if file.metadata().map_err(io_error("read", path))?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(io_error("read", path))?;
    Ok(last[0] != b'\n')
}

/// Reads a journal of JSON lines. A torn last line (no newline at its end) is left out; the flag says that there was one.
///
/// # Errors
/// When the file cannot be read, or a whole line is not a valid `what`.
pub fn read_json_lines<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<(Vec<T>, bool)> {
    let bytes = std::fs::read(path).map_err(io_error("read", path))?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut items = Vec::new();
    for (index, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        items.push(serde_json::from_slice(line).map_err(|source| Error::Invalid {
            path: path.to_owned(),
            line: Some(index + 1),
            what,
            source,
        })?);
    }
    Ok((items, whole < bytes.len()))
}

/// The SHA-256 of `bytes` in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
