use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use durable_files::io_error;

use crate::Result;

/// Removes the entries of a folder of features that were written longest ago, until the others take at most so many bytes. Returns how
/// many were removed. One that another process removes meanwhile is no failure: its features are computed again.
///
/// # Errors
/// When the folder cannot be read.
pub fn prune_features(folder: &Path, bytes: u64) -> Result<usize> {
    if !folder.exists() {
        return Ok(0);
    }
    let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for part in entries(folder)? {
        if part.path().is_dir() {
            all.extend(entries(&part.path())?.iter().filter_map(described));
        }
    }
    all.sort();
    let (mut kept, mut removed) = (0, 0);
    for (_, size, path) in all.into_iter().rev() {
        kept += size;
        if kept > bytes {
            removed += usize::from(std::fs::remove_file(path).is_ok());
        }
    }
    Ok(removed)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let all = std::fs::read_dir(folder).and_then(Iterator::collect);
    Ok(all.map_err(io_error("list", folder))?)
}

fn described(entry: &DirEntry) -> Option<(SystemTime, u64, PathBuf)> {
    let file = entry.metadata().ok()?;
    Some((file.modified().ok()?, file.len(), entry.path()))
}
