use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Result, io_error};

/// An advisory lock that lies beside the file it protects, as `.<name>.lock`: the file itself may be replaced while it is held.
///
/// It is released when it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// The lock file of `path`.
fn lock_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

impl FileLock {
    /// Waits until no other process holds the lock of `path`, and takes it.
    ///
    /// # Errors
    /// When the lock file cannot be created, or the file system knows no locks.
    pub fn exclusive(path: &Path) -> Result<Self> {
        let lock = lock_path(path);
        loop {
            let file = open(&lock)?;
            file.lock().map_err(io_error("lock", &lock))?;
            if is_current(&file, &lock) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Takes the lock of `path` if no other process holds it.
    ///
    /// # Errors
    /// As [`exclusive`](Self::exclusive).
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let lock = lock_path(path);
        loop {
            let file = open(&lock)?;
            match file.try_lock() {
                Ok(()) if is_current(&file, &lock) => return Ok(Some(Self { _file: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock)(source)),
            }
        }
    }

    /// Waits until no process writes, and keeps writers out; `None` where nobody ever locked `path`, or this process may not.
    pub fn shared(path: &Path) -> Option<Self> {
        let file = File::open(lock_path(path)).ok()?;
        file.lock_shared().ok()?;
        Some(Self { _file: file })
    }
}

fn open(lock: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(lock)
        .map_err(io_error("create", lock))
}

/// Whether the locked file is still the one that its name leads to: somebody may have removed it in between.
#[cfg(unix)]
fn is_current(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(locked), Ok(named)) => identity(locked) == identity(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_current(_: &File, _: &Path) -> bool {
    true // an open file cannot be removed there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_the_lock_at_a_time_also_after_its_file_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let held = FileLock::exclusive(&path).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        let held = FileLock::try_exclusive(&path).unwrap();
        assert!(held.is_some());
        std::fs::remove_file(lock_path(&path)).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_some(), "the name leads to a new lock");
    }
}
