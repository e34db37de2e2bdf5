use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result, io_error};

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// As the process's umask has it.
    Usual,
    /// Its owner alone.
    Owner,
}

/// Replaces the content of `path`, so that a reader meets either the old content or the whole new one: temporary sibling,
/// fsync, rename, fsync of the folder. A symbolic link stays, and what it leads to is replaced.
///
/// # Errors
/// When the folder cannot be created or the file cannot be written; the old content is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, Access::Usual, |file| file.write_all(bytes).map_err(io_error("write", path)))
}

/// As [`write_atomic`], where there is no such file yet; whether there was none. Of several who try at once, one is told that it wrote.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    if path.exists() {
        return Ok(false);
    }
    let mut file = sibling(folder, Access::Usual).map_err(io_error("write", path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io_error("write", path))?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_dir(folder).map(|()| true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("write", path)(error.error)),
    }
}

/// As [`write_atomic`], and only the owner may read or write the file: for secrets.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, Access::Owner, |file| file.write_all(bytes).map_err(io_error("write", path)))
}

/// As [`write_atomic`], for content that is produced piece by piece; the caller's error type may hold this crate's.
///
/// # Errors
/// As [`write_atomic`], and whatever `write` returns.
pub fn write_atomic_with<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    replace(path, Access::Usual, write)
}

/// Writes `value` as indented JSON with a final newline, atomically.
///
/// # Errors
/// As [`write_atomic`], or when the value cannot be written as JSON.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, &encode(path, value)?)
}

/// As [`write_json`], and only the owner may read or write the file: for secrets.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_private<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    write_private(path, &encode(path, value)?)
}

fn encode<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let failed = |source| Error::Encode { path: path.to_owned(), source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Makes renames and new files inside `folder` durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_dir(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("write", folder))?;
    #[cfg(not(unix))]
    let _ = folder; // folders cannot be synced there
    Ok(())
}

/// The folder of `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn replace<E: From<Error>>(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let path = &target(path);
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let mut file = sibling(folder, access).map_err(io_error("write", path))?;
    let mut buffered = BufWriter::with_capacity(1 << 18, file.as_file_mut());
    write(&mut buffered)?;
    buffered.flush().map_err(io_error("write", path))?;
    drop(buffered);
    file.as_file().sync_all().map_err(io_error("write", path))?;
    file.persist(path).map_err(|error| io_error("write", path)(error.error))?;
    Ok(sync_dir(folder)?)
}

/// What `path` leads to: a rename over a symbolic link would put a file in its place.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..16 {
        match std::fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => break,
        }
    }
    path
}

/// A temporary file that gets the permissions of an ordinary new file, unless it is for its owner alone.
fn sibling(folder: &Path, access: Access) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    if access == Access::Usual {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    }
    #[cfg(not(unix))]
    let _ = access;
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_who_write_a_new_file_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/plan.json");
        let wrote: usize = std::thread::scope(|scope| {
            let one = |number: u8| {
                let path = path.clone();
                scope.spawn(move || usize::from(write_new(&path, &[number; 1000]).unwrap()))
            };
            let all: Vec<_> = (0..8).map(one).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(wrote, 1);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|byte| *byte == bytes[0]), "whole, and one's own");
        assert_eq!(
            std::fs::read_dir(dir.path().join("folder")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value.json");
        write_json(&path, &[1, 2]).unwrap();
        let failed = write_atomic_with(&path, |file| {
            file.write_all(b"half").map_err(io_error("write", &path))?;
            Err(io_error("write", &path)(std::io::ErrorKind::StorageFull.into()))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[\n  1,\n  2\n]\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (link, shared) = (dir.path().join("link"), dir.path().join("elsewhere/value"));
        std::os::unix::fs::symlink("elsewhere/value", &link).unwrap();
        for content in ["one", "two"] {
            write_atomic(&link, content.as_bytes()).unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read_to_string(&shared).unwrap(), content);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_private(&path, b"x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}
