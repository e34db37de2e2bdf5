use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::atomic::folder_of;
use crate::{Error, FileLock, Result, io_error, sync_dir, write_atomic};

/// What follows the last whole line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Bytes of a line that was never finished, and so never acknowledged.
    pub torn_bytes: usize,
}

/// Appends values as JSON lines with one write; otherwise as [`append_lines`].
///
/// # Errors
/// As [`append_lines`], or when a value cannot be written as JSON; nothing is then appended.
pub fn append_json_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<()> {
    append_lines(path, &encode_lines(path, values)?)
}

pub(crate) fn encode_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for value in values {
        let failed = |source| Error::Encode { path: path.to_owned(), source };
        serde_json::to_writer(&mut lines, value).map_err(failed)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Appends `lines` (each ended by a newline) and returns once they are on disk. Several processes may append to one log at
/// once: each holds the log's [`FileLock`] while it writes.
///
/// The unfinished line of a writer that died is completed where it is whole JSON, and moved to `<path>.torn` where it is not.
/// A failed write is taken back.
///
/// # Errors
/// When the log cannot be created, locked or written.
pub fn append_lines(path: &Path, lines: &[u8]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    append(path, |_| Ok(lines.to_vec()))
}

/// As [`append_lines`], for lines that are made from what the log holds: `make` gets its last whole line, where there is one,
/// and no other writer comes in between. The caller's error type may hold this crate's.
///
/// # Errors
/// As [`append_lines`], and whatever `make` returns; nothing is then appended.
pub fn append_after<E: From<Error>>(
    path: &Path,
    make: impl FnOnce(Option<&[u8]>) -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<(), E> {
    append(path, |path| {
        let before = std::fs::read(path).map_err(io_error("read", path))?;
        let is_blank = |line: &&[u8]| !line.iter().all(u8::is_ascii_whitespace);
        make(before.split(|&byte| byte == b'\n').rfind(is_blank))
    })
}

fn append<E: From<Error>>(
    path: &Path,
    make: impl FnOnce(&Path) -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<(), E> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let _lock = FileLock::exclusive(path)?;
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(io_error("append to", path))?;
    let completion = mend_torn_line(path, &mut file)?;
    let lines = make(path)?;
    let before = file.metadata().map_err(io_error("read", path))?.len();
    let written = file.write_all(completion).and_then(|()| file.write_all(&lines));
    if let Err(source) = written.and_then(|()| file.sync_data()) {
        let _ = file.set_len(before); // what remains where this fails too is mended by the next append
        return Err(io_error("append to", path)(source).into());
    }
    if is_new { Ok(sync_dir(folder)?) } else { Ok(()) }
}

/// Replaces the whole log, atomically and while no other process appends.
///
/// # Errors
/// When it cannot be locked or written; the old log is then untouched.
pub fn replace_lines(path: &Path, lines: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let _lock = FileLock::exclusive(path)?;
    write_atomic(path, lines)
}

/// Keeps bytes that are about to leave a log: appends them, and a newline, to `<path>.<suffix>`.
///
/// # Errors
/// When that file cannot be written.
pub fn set_aside(path: &Path, suffix: &str, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    let aside = PathBuf::from(name);
    let mut lines = bytes.to_vec();
    lines.push(b'\n');
    let opened = OpenOptions::new().append(true).create(true).open(&aside);
    opened
        .and_then(|mut file| file.write_all(&lines).and_then(|()| file.sync_data()))
        .map_err(io_error("append to", &aside))
}

/// Hands out the whole lines of a log with their numbers (from 1) and without their newlines; blank ones are passed over.
///
/// Only what was there when the reading began is read, between two appends: a line that is being written is not seen in part.
///
/// # Errors
/// When the log cannot be read, or `take` fails.
pub fn for_each_line<E: From<Error>>(
    path: &Path,
    mut take: impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<Tail, E> {
    let (file, length) = open_between_appends(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, file.take(length));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(io_error("read", path))?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            break;
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            take(number, &line)?;
        }
    }
    Ok(Tail { torn_bytes: line.len() })
}

fn open_between_appends(path: &Path) -> Result<(File, u64)> {
    let _lock = FileLock::shared(path);
    let file = File::open(path).map_err(io_error("read", path))?;
    let length = file.metadata().map_err(io_error("read", path))?.len();
    Ok((file, length))
}

/// Moves an unfinished last line aside; of a whole one that lacks its newline, returns the newline.
fn mend_torn_line(path: &Path, file: &mut File) -> Result<&'static [u8]> {
    let (start, torn) = torn_line(file).map_err(io_error("read", path))?;
    if torn.is_empty() {
        return Ok(b"");
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&torn).is_ok() {
        return Ok(b"\n");
    }
    set_aside(path, "torn", &torn)?;
    file.set_len(start).map_err(io_error("mend", path))?;
    Ok(b"")
}

/// Where the last whole line ends, and what follows it.
fn torn_line(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    const STEP: u64 = 1 << 16;
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    let mut start = length;
    while start > 0 {
        let step = if start == length { 1 } else { STEP.min(start) }; // nearly always one byte says it
        let mut part = vec![0; step as usize];
        file.seek(SeekFrom::Start(start - step))?;
        file.read_exact(&mut part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            let whole = start - step + at as u64 + 1;
            let mut torn = part.split_off(at + 1);
            torn.append(&mut tail);
            return Ok((whole, torn));
        }
        part.append(&mut tail);
        tail = part;
        start -= step;
    }
    Ok((0, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(path: &Path) -> (Vec<u32>, usize) {
        let mut numbers = Vec::new();
        let tail = for_each_line(path, |_, line| {
            numbers.push(serde_json::from_slice(line).unwrap());
            Ok::<(), Error>(())
        });
        (numbers, tail.unwrap().torn_bytes)
    }

    #[test]
    fn a_log_goes_on_after_a_torn_line_which_is_kept() {
        for (before, kept, torn) in [
            ("", 0, None),
            ("1\n2\n", 2, None),
            ("1\n{\"a\":", 1, Some("{\"a\":\n")),
            ("1\n22", 2, None),
            ("\"to", 0, Some("\"to\n")),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log.jsonl");
            std::fs::write(&path, before).unwrap();
            append_json_lines(&path, &[7]).unwrap();
            let (values, rest) = numbers(&path);
            assert_eq!((values.len(), values.last(), rest), (kept + 1, Some(&7), 0), "{before:?}");
            let aside = std::fs::read_to_string(dir.path().join("log.jsonl.torn")).ok();
            assert_eq!(aside.as_deref(), torn);
        }
    }

    #[test]
    fn a_torn_line_longer_than_a_step_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, format!("\"{}\"\n\"{}", "a".repeat(70_000), "b".repeat(200_000))).unwrap();
        append_json_lines(&path, &["c"]).unwrap();
        let mut lengths = Vec::new();
        for_each_line(&path, |number, line| {
            lengths.push((number, line.len()));
            Ok::<(), Error>(())
        })
        .unwrap();
        assert_eq!(lengths, [(1, 70_002), (2, 3)]);
        assert_eq!(std::fs::metadata(dir.path().join("log.jsonl.torn")).unwrap().len(), 200_002);
    }

    #[test]
    fn a_line_can_be_made_from_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let count = |last: Option<&[u8]>| {
            let last: u32 = last.map_or(0, |last| serde_json::from_slice(last).unwrap());
            Ok::<_, Error>(format!("{}\n", last + 1).into_bytes())
        };
        for before in ["", "{\"torn", "\n\n"] {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .and_then(|mut file| file.write_all(before.as_bytes()))
                .unwrap();
            append_after(&path, count).unwrap();
        }
        assert_eq!(numbers(&path), (vec![1, 2, 3], 0));
        let refused =
            append_after(&path, |_| Err(io_error("write", &path)(std::io::ErrorKind::Other.into())));
        assert!(refused.is_err());
        assert_eq!(numbers(&path).0.len(), 3);
    }

    #[test]
    fn blank_lines_count_but_are_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "1\n\n  \n2\n3").unwrap();
        let mut seen = Vec::new();
        let tail = for_each_line(&path, |number, line| {
            seen.push((number, line.to_vec()));
            Ok::<(), Error>(())
        });
        assert_eq!(seen, [(1, b"1".to_vec()), (4, b"2".to_vec())]);
        assert_eq!(tail.unwrap(), Tail { torn_bytes: 1 });
    }

    #[test]
    fn a_missing_log_is_an_error_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.jsonl");
        assert!(matches!(
            for_each_line(&path, |_, _| Ok::<(), Error>(())),
            Err(Error::Io { action: "read", .. })
        ));
    }
}
