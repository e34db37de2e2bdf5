use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Hash, RemoteFile, failed};
use crate::Result;
use crate::files::{io_error, write_atomic};

/// The folder of one repository in the cache.
pub(super) struct Cache {
    id: String,
    root: PathBuf,
}

impl Cache {
    pub(super) fn new(cache_dir: &Path, id: &str) -> Self {
        Self { id: id.to_owned(), root: cache_dir.join(format!("models--{}", id.replace('/', "--"))) }
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn blob(&self, hash: &Hash) -> PathBuf {
        self.blobs().join(hash.hex())
    }

    /// Whether the file is there whole; one that fails its check is removed.
    pub(super) fn holds(&self, file: &RemoteFile) -> Result<bool> {
        let path = self.blob(&file.hash);
        let Ok(metadata) = std::fs::metadata(&path) else { return Ok(false) };
        if metadata.len() == file.size && digest(&path, &file.hash)? == file.hash.hex() {
            return Ok(true);
        }
        std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        Ok(false)
    }

    /// Links the snapshot to its blobs and lets the revision point to it; only then is it found offline.
    pub(super) fn publish(&self, revision: &str, commit: &str, files: &[RemoteFile]) -> Result<PathBuf> {
        let snapshot = self.root.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).map_err(io_error("create", &snapshot))?;
        for file in files {
            link(&self.blob(&file.hash), &snapshot.join(&file.path), file.hash.hex())?;
        }
        if revision != commit {
            write_atomic(&self.root.join("refs").join(revision), commit.as_bytes())?;
        }
        Ok(snapshot)
    }

    /// The snapshot of a revision without the network, every file checked against the hash that is its name.
    pub(super) fn verified_snapshot(&self, revision: &str) -> Result<PathBuf> {
        let absent =
            || failed(&self.id, format!("revision `{revision}` is not in the cache, and offline is set"));
        let named = std::fs::read_to_string(self.root.join("refs").join(revision));
        let commit = named.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
        if !matches!(Hash::parse(&commit), Some(Hash::GitBlob(_))) {
            return Err(absent());
        }
        let snapshot = self.root.join("snapshots").join(commit);
        let entries = std::fs::read_dir(&snapshot).map_err(|_| absent())?;
        let mut weights = false;
        for entry in entries {
            let path = entry.map_err(io_error("read", &snapshot))?.path();
            weights |= path.extension().is_some_and(|extension| extension == "safetensors");
            if path.is_dir() {
                continue;
            }
            self.check_entry(&path)?;
        }
        if weights { Ok(snapshot) } else { Err(absent()) }
    }

    fn check_entry(&self, path: &Path) -> Result<()> {
        let target = path.canonicalize().map_err(io_error("read", path))?;
        let hash = target.file_name().and_then(|name| name.to_str()).and_then(Hash::parse);
        match hash {
            Some(hash) if digest(&target, &hash)? != hash.hex() => Err(failed(
                &self.id,
                format!("`{}` in the cache is damaged; remove it and fetch it again", path.display()),
            )),
            _ => Ok(()), // a copy where links are not possible: its hash is not known here
        }
    }
}

#[cfg(unix)]
fn link(_blob: &Path, at: &Path, name: &str) -> Result<()> {
    let target = Path::new("../../blobs").join(name);
    if std::fs::read_link(at).is_ok_and(|existing| existing == target) {
        return Ok(());
    }
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error("replace", at)(error));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, at).map_err(io_error("link", at))
}

#[cfg(not(unix))]
fn link(blob: &Path, at: &Path, _name: &str) -> Result<()> {
    std::fs::copy(blob, at).map(drop).map_err(io_error("copy", at))
}

/// The running hash of a file's content.
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(super) fn new(hash: &Hash, size: u64) -> Self {
        match hash {
            Hash::Sha256(_) => Self::Sha256(Sha256::new()),
            Hash::GitBlob(_) => Self::GitBlob(Sha1::new().chain_update(format!("blob {size}\0"))),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::GitBlob(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest(path: &Path, hash: &Hash) -> Result<String> {
    let mut file = File::open(path).map_err(io_error("read", path))?;
    let size = file.metadata().map_err(io_error("read", path))?.len();
    let mut hasher = Hasher::new(hash, size);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io_error("read", path))? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
