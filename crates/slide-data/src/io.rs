use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

/// A temporary file that gets the permissions of an ordinary new file, not only those of its owner.
fn sibling(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    builder.tempfile_in(folder)
}

/// Writes `bytes` so that a reader meets either the old file or the whole new one: temporary sibling, fsync, rename.
///
/// # Errors
/// When the folder cannot be created or the file cannot be written; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, sibling)
}

fn replace(
    path: &Path,
    bytes: &[u8],
    sibling: impl FnOnce(&Path) -> std::io::Result<tempfile::NamedTempFile>,
) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let mut file = sibling(folder).map_err(io_error("write", path))?;
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
    write_atomic(path, &json(path, value)?)
}

/// As [`write_json`], and only the owner may read or write the file: for secrets.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_json_private<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, &json(path, value)?, |folder| tempfile::NamedTempFile::new_in(folder))
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let invalid = |source| Error::Invalid { path: path.to_owned(), line: None, what: "JSON value", source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(invalid)?;
    bytes.push(b'\n');
    Ok(bytes)
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
/// A torn last line (a crash in the middle of an append) is first closed if it is whole and cut off if it is not.
///
/// # Errors
/// When the file cannot be created or written.
pub fn append_json_line<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    append_json_lines(path, std::slice::from_ref(value))
}

/// Appends JSON lines with one write and syncs them; otherwise as [`append_json_line`].
///
/// # Errors
/// When the file cannot be created or written.
pub fn append_json_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let invalid = |source| Error::Invalid { path: path.to_owned(), line: None, what: "JSON line", source };
    let mut lines = mend_torn_line(path)?;
    for value in values {
        serde_json::to_writer(&mut lines, value).map_err(invalid)?;
        lines.push(b'\n');
    }
    let mut file =
        OpenOptions::new().append(true).create(true).open(path).map_err(io_error("append to", path))?;
    file.write_all(&lines).and_then(|()| file.sync_data()).map_err(io_error("append to", path))
}

/// Cuts off a torn last line; of a whole one that lacks its newline, returns the newline.
fn mend_torn_line(path: &Path) -> Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    const STEP: u64 = 1 << 16;
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(path) else { return Ok(Vec::new()) };
    let failed = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let length = file.metadata().map_err(failed)?.len();
    let (mut start, mut tail) = (length, Vec::new());
    while start > 0 && !tail.contains(&b'\n') {
        let from = start.saturating_sub(STEP);
        let mut part = vec![0; (start - from) as usize];
        file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut part)).map_err(failed)?;
        part.append(&mut tail);
        (start, tail) = (from, part);
        if length - start == STEP.min(length) && tail.last() == Some(&b'\n') {
            return Ok(Vec::new());
        }
    }
    let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let torn = &tail[whole..];
    if torn.is_empty() {
        return Ok(Vec::new());
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_ok() {
        return Ok(vec![b'\n']);
    }
    file.set_len(start + whole as u64).map_err(io_error("mend", path))?;
    Ok(Vec::new())
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
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        for (before, kept) in [("", 0), ("1\n2\n", 2), ("1\n{\"a\":", 1), ("1\n22", 2), ("\"to", 0)] {
            std::fs::write(&path, before).unwrap();
            append_json_line(&path, &7).unwrap();
            let (values, torn) = read_json_lines::<u32>(&path, "number").unwrap();
            assert_eq!((values.len(), values.last(), torn), (kept + 1, Some(&7), false), "{before:?}");
        }
    }

    #[test]
    fn a_torn_line_longer_than_a_step_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, format!("\"{}\"\n\"{}", "a".repeat(70_000), "b".repeat(200_000))).unwrap();
        append_json_line(&path, &"c").unwrap();
        let (values, _) = read_json_lines::<String>(&path, "text").unwrap();
        assert_eq!(values.iter().map(String::len).collect::<Vec<_>>(), [70_000, 1]);
    }
}
