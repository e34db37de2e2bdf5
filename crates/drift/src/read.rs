use std::path::Path;

use project_files::{Contract, Log};

use crate::Result;

/// Reads a log whose bad lines must not stop the loop: a line that cannot be read, or is of a newer version, is set aside, counted
/// and warned of. A log that does not exist is empty.
///
/// # Errors
/// When the file cannot be read, or holds lines of which not a single one can be: it is something else, or of newer programs alone.
pub fn read_lines_if_present<T: Contract>(path: &Path) -> Result<Log<T>> {
    let log = T::read_shared_log_if_present(path)?;
    if log.entries.is_empty() && log.defects.broken_lines > 0 {
        return Ok(T::read_log(path)?); // names the newer version
    }
    Ok(log)
}
