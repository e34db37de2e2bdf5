use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use crate::{Error, FileLock, Result, io_error, write_atomic_with};

/// Takes lines out of a log, atomically and while no other process appends; the others keep their bytes and their order. An unfinished
/// last line is asked for like the others. Returns how many were taken out: with none, the file is not written. A log that does not
/// exist has none.
///
/// # Errors
/// When the log cannot be locked, read or written; it is then untouched.
pub fn remove_lines(path: &Path, mut is_removed: impl FnMut(&[u8]) -> bool) -> Result<usize> {
    if !path.exists() {
        return Ok(0);
    }
    let _lock = FileLock::exclusive(path)?;
    let removed = count(path, &mut is_removed)?;
    if removed > 0 {
        write_atomic_with(path, |out| {
            each(path, |line| {
                let written = if is_removed(content(line)) { Ok(()) } else { out.write_all(line) };
                written.map_err(io_error("write", path))
            })
        })?;
    }
    Ok(removed)
}

/// How many lines [`remove_lines`] would take out.
///
/// # Errors
/// When the log cannot be read.
pub fn count_lines(path: &Path, mut is_removed: impl FnMut(&[u8]) -> bool) -> Result<usize> {
    if !path.exists() {
        return Ok(0);
    }
    let _lock = FileLock::shared(path);
    count(path, &mut is_removed)
}

fn count(path: &Path, is_removed: &mut impl FnMut(&[u8]) -> bool) -> Result<usize> {
    let mut removed = 0;
    each(path, |line| {
        removed += usize::from(is_removed(content(line)));
        Ok(())
    })?;
    Ok(removed)
}

/// A line without its newline.
fn content(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

fn each(path: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(io_error("read", path))? > 0 {
        take(&line)?;
        line.clear();
    }
    Ok::<(), Error>(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_lines_keep_their_bytes_and_a_log_without_such_lines_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let text = "{ \"a\":1 }\n\nnot json \u{e9}\r\n{\"gone\":1}\n{\"a\": 2}\n{\"gone\":2}\n{\"tor";
        std::fs::write(&path, text).unwrap();
        let is_gone = |line: &[u8]| line.windows(4).any(|part| part == b"gone");
        assert_eq!(count_lines(&path, is_gone).unwrap(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "counting changes nothing");
        assert_eq!(remove_lines(&path, is_gone).unwrap(), 2);
        let kept = "{ \"a\":1 }\n\nnot json \u{e9}\r\n{\"a\": 2}\n{\"tor";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(remove_lines(&path, is_gone).unwrap(), 0);
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(remove_lines(&path, |line| line.ends_with(b"{\"tor")).unwrap(), 1, "a torn line too");
        assert_eq!(remove_lines(&dir.path().join("none.jsonl"), |_| true).unwrap(), 0);
    }

    #[test]
    fn what_is_appended_meanwhile_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        crate::append_json_lines(&path, &[0_u32]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=200_u32).for_each(|at| crate::append_json_lines(&path, &[at]).unwrap()));
            for _ in 0..50 {
                remove_lines(&path, |line| line == b"7").unwrap();
            }
        });
        remove_lines(&path, |line| line == b"7").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<String> = (0..=200).filter(|at| *at != 7).map(|at: u32| at.to_string()).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
