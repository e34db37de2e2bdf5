use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use durable_files::{sync_dir, write_atomic};
use http_client::{Notice, Watch};

use super::hasher::digest;
use crate::error::io;
use crate::{Error, Hash, RemoteFile, Result};

/// The folder of one repository in the cache.
pub(super) struct Cache {
    id: String,
    root: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(cache_dir: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self { id: id.to_owned(), root: cache_dir.join(&name), locks: cache_dir.join(".locks").join(name) }
    }

    fn blob(&self, hash: &Hash) -> PathBuf {
        self.root.join("blobs").join(hash.hex())
    }

    fn partial(&self) -> PathBuf {
        self.root.join(".partial")
    }

    /// Where a file lies until it is whole.
    pub(super) fn staging(&self, hash: &Hash) -> PathBuf {
        self.partial().join(hash.hex())
    }

    /// Whether the file is there whole.
    pub(super) fn holds(&self, file: &RemoteFile) -> Result<bool> {
        let path = self.blob(&file.hash);
        let Ok(metadata) = std::fs::metadata(&path) else { return Ok(false) };
        Ok(metadata.len() == file.size && digest(&path, &file.hash)? == file.hash.hex())
    }

    /// Removes a blob that failed its check.
    pub(super) fn remove_blob(&self, hash: &Hash) -> Result<()> {
        super::remove(&self.blob(hash))
    }

    /// Waits for the lock on a file, the one that the Python client takes. It is held until the returned file is dropped, and
    /// ends with the process.
    pub(super) fn lock(&self, hash: &Hash, place: &str, watch: &Watch<'_>) -> Result<File> {
        std::fs::create_dir_all(&self.locks).map_err(io("create", &self.locks))?;
        let path = self.locks.join(format!("{}.lock", hash.hex()));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io("open", &path))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                    return Ok(file); // a file system without locks: two processes may fetch twice
                }
                Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
            }
            watch.look(place, || Notice::Locked { place, since: begun.elapsed() })?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives a file that passed its check its name.
    pub(super) fn accept(&self, part: &Path, hash: &Hash) -> Result<()> {
        let target = self.blob(hash);
        let folder = self.root.join("blobs");
        std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        File::open(part).and_then(|file| file.sync_all()).map_err(io("write", part))?;
        std::fs::rename(part, &target).map_err(io("write", &target))?;
        Ok(sync_dir(&folder)?)
    }

    /// Links the snapshot to its blobs and lets the revision point to it; only then is it found offline.
    pub(super) fn publish(&self, revision: &str, commit: &str, files: &[RemoteFile]) -> Result<PathBuf> {
        let snapshot = self.root.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).map_err(io("create", &snapshot))?;
        for file in files {
            link(&self.blob(&file.hash), &snapshot.join(&file.path), file.hash.hex())?;
        }
        if revision != commit {
            write_atomic(&self.root.join("refs").join(revision), commit.as_bytes())?;
        }
        Ok(snapshot)
    }

    /// Removes what earlier processes left of files that nobody is fetching.
    pub(super) fn sweep(&self) {
        for entry in std::fs::read_dir(self.partial()).into_iter().flatten().flatten() {
            let Some(hash) = entry.file_name().to_str().and_then(Hash::parse) else { continue };
            let lock = self.locks.join(format!("{}.lock", hash.hex()));
            let is_free = match File::open(&lock) {
                Ok(file) => file.try_lock().is_ok().then_some(file),
                Err(_) => continue,
            };
            if is_free.is_some() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let _ = std::fs::remove_dir(self.partial());
    }

    /// The snapshot of a revision without the network, every file checked against the hash that is its name.
    pub(super) fn verified_snapshot(&self, revision: &str) -> Result<PathBuf> {
        let absent = || Error::Offline { id: self.id.clone(), revision: revision.to_owned() };
        let named = std::fs::read_to_string(self.root.join("refs").join(revision));
        let commit = named.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
        if !matches!(Hash::parse(&commit), Some(Hash::GitBlob(_))) {
            return Err(absent());
        }
        let snapshot = self.root.join("snapshots").join(commit);
        let entries = std::fs::read_dir(&snapshot).map_err(|_| absent())?;
        let mut has_weights = false;
        for entry in entries {
            let path = entry.map_err(io("read", &snapshot))?.path();
            has_weights |= path.extension().is_some_and(|extension| extension == "safetensors");
            if !path.is_dir() {
                check_entry(&path)?;
            }
        }
        if has_weights { Ok(snapshot) } else { Err(absent()) }
    }
}

fn check_entry(path: &Path) -> Result<()> {
    let target = path.canonicalize().map_err(io("read", path))?;
    let hash = target.file_name().and_then(|name| name.to_str()).and_then(Hash::parse);
    match hash {
        Some(hash) if digest(&target, &hash)? != hash.hex() => Err(Error::Damaged { path: path.to_owned() }),
        _ => Ok(()), // a copy where links are not possible: its hash is not known here
    }
}

#[cfg(unix)]
fn link(_blob: &Path, at: &Path, name: &str) -> Result<()> {
    let target = Path::new("../../blobs").join(name);
    if std::fs::read_link(at).is_ok_and(|existing| existing == target) {
        return Ok(());
    }
    super::remove(at)?;
    match std::os::unix::fs::symlink(&target, at) {
        // Another process that publishes the same snapshot was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(io("link", at)),
    }
}

#[cfg(not(unix))]
fn link(blob: &Path, at: &Path, _name: &str) -> Result<()> {
    std::fs::copy(blob, at).map(drop).map_err(io("copy", at))
}
