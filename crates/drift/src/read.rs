use std::path::Path;

use durable_files::for_each_line;
use project_files::{Contract, Defects, Error, Log};

use crate::Result;

/// Reads a log whose bad lines must not stop the loop: a line that cannot be read, or is of a newer version, is set aside, counted
/// and warned of.
///
/// # Errors
/// When the file cannot be read, or holds lines of which not a single one is valid: it is something else.
pub fn read_lines<T: Contract>(path: &Path) -> Result<Log<T>> {
    let (mut entries, mut defects, mut first) = (Vec::new(), Defects::default(), None);
    let tail = for_each_line(path, |line, bytes| {
        match T::parse(path, Some(line), bytes) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                defects.add(line, &error);
                first.get_or_insert(error);
            }
        }
        Ok::<(), Error>(())
    })?;
    if let Some(error) = first.filter(|_| entries.is_empty()) {
        return Err(error.into());
    }
    defects.torn_bytes = tail.torn_bytes;
    defects.warn(path, T::NAME);
    Ok(Log { entries, defects })
}

/// As [`read_lines`]; a log that does not exist is empty.
///
/// # Errors
/// As [`read_lines`].
pub fn read_lines_if_present<T: Contract>(path: &Path) -> Result<Log<T>> {
    if path.exists() { read_lines(path) } else { Ok(Log::default()) }
}
