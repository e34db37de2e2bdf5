use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CheckpointFingerprint, Fingerprint, FingerprintScheme, Stamp, Stamped, canonical_json};
use crate::feature_cache::hex;
use crate::files::{read_bytes, write_atomic};
use crate::{Checkpoint, Processor, Result};

const FILE: &str = "fingerprints.json";
const LOCK: &str = ".fingerprints.lock";
const SCHEMA_VERSION: u32 = 1;

/// Fingerprints that are kept; the oldest go first.
const MOST: usize = 512;

/// Fingerprints of checkpoints that were read before, in `fingerprints.json` of a folder.
///
/// A file counts as unchanged while size, time of modification (in nanoseconds) and, where the system has them, device, inode
/// and time of change are the same. What changed within two seconds before it was opened is not remembered: a second change
/// in the same tick of the clock would not show. The names of blobs in the Hub's cache, which are SHA-256 of files, are not
/// taken instead of reading: they name files and not tensors, and who wrote them and whether they were touched since is not
/// known.
///
/// Several processes may use the folder at once. What cannot be read counts as missing, and what cannot be written costs time
/// alone: the fingerprint is computed again.
#[derive(Debug, Clone)]
pub struct FingerprintCache {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema_version: u32,
    entries: Vec<Entry>,
}

impl Default for Content {
    fn default() -> Self {
        Self { schema_version: SCHEMA_VERSION, entries: Vec::new() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Hash of the stamps of all files.
    key: String,
    /// As text, so that a scheme of another version does not hide the rest.
    fingerprint: String,
    /// Hash of both, so that a changed digit is not taken for another fingerprint.
    check: String,
}

impl Entry {
    fn new(key: String, fingerprint: Fingerprint) -> Self {
        let fingerprint = fingerprint.written();
        let check = check(&key, &fingerprint);
        Self { key, fingerprint, check }
    }

    fn is_whole(&self) -> bool {
        self.check == check(&self.key, &self.fingerprint)
    }
}

fn check(key: &str, fingerprint: &str) -> String {
    hex(&Sha256::digest(format!("{key} {fingerprint}"))[..8])
}

impl FingerprintCache {
    /// What is remembered in this folder, which is created when there is something to remember.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Both names of a checkpoint.
    ///
    /// # Errors
    /// When a file of the checkpoint's processor is missing or invalid.
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<CheckpointFingerprint> {
        Ok(CheckpointFingerprint {
            weights: self.weights(checkpoint),
            processor: self.processor(checkpoint.dir())?,
        })
    }

    /// [`Checkpoint::fingerprint`], remembered.
    pub fn weights(&self, checkpoint: &Checkpoint) -> Fingerprint {
        let files = checkpoint.stamps().map(|files| files.into_iter().map(Some).collect());
        let key = key(FingerprintScheme::Tensors, &checkpoint.numbers(), files);
        self.get(key.as_deref()).unwrap_or_else(|| {
            let fingerprint = checkpoint.fingerprint();
            self.remember(key, fingerprint);
            fingerprint
        })
    }

    /// [`Processor::fingerprint`], remembered.
    fn processor(&self, dir: &Path) -> Result<Fingerprint> {
        let stamps = || {
            let stamps = Processor::FILES.iter().map(|name| stamp_if_present(&dir.join(name)));
            key(
                FingerprintScheme::Processor,
                "",
                stamps.collect::<std::io::Result<Vec<Option<Stamped>>>>().ok(),
            )
        };
        let before = stamps();
        if let Some(fingerprint) = self.get(before.as_deref()) {
            return Ok(fingerprint);
        }
        let fingerprint = Processor::fingerprint(dir)?;
        if before == stamps() {
            self.remember(before, fingerprint);
        }
        Ok(fingerprint)
    }

    fn get(&self, key: Option<&str>) -> Option<Fingerprint> {
        let key = key?;
        let entry = self.read().entries.into_iter().rev().find(|entry| entry.key == key)?;
        entry.fingerprint.parse().ok().filter(|_| entry.is_whole())
    }

    fn remember(&self, key: Option<String>, fingerprint: Fingerprint) {
        let Some(key) = key else { return };
        let Some(_lock) = self.lock() else { return };
        let mut content = self.read();
        content.entries.retain(|entry| entry.key != key && entry.is_whole());
        content.entries.push(Entry::new(key, fingerprint));
        let surplus = content.entries.len().saturating_sub(MOST);
        content.entries.drain(..surplus);
        if let Ok(bytes) = serde_json::to_vec_pretty(&content) {
            let _ = write_atomic(&self.path(), &bytes); // it is computed again
        }
    }

    fn read(&self) -> Content {
        let bytes = read_bytes(&self.path(), "list of fingerprints").unwrap_or_default();
        let content: Option<Content> = serde_json::from_slice(&bytes).ok();
        content.filter(|content| content.schema_version == SCHEMA_VERSION).unwrap_or_default()
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The lock of those who write; not waited for longer than what it protects is worth.
    fn lock(&self) -> Option<File> {
        std::fs::create_dir_all(&self.folder).ok()?;
        let mut options = File::options();
        let file = options.create(true).append(true).open(self.folder.join(LOCK)).ok()?;
        for _ in 0..100 {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

/// What a fingerprint is remembered under; `None` where a file has no stamp, or one that cannot be relied on.
fn key(scheme: FingerprintScheme, numbers: &str, files: Option<Vec<Option<Stamped>>>) -> Option<String> {
    let files = files?;
    if files.iter().flatten().any(|file| !file.is_settled) {
        return None;
    }
    let stamps: Vec<Option<Stamp>> = files.into_iter().map(|file| file.map(|file| file.stamp)).collect();
    let text = canonical_json(serde_json::json!({
        "scheme": scheme.name(), "numbers": numbers, "files": stamps,
    }));
    Some(hex(&Sha256::digest(text)))
}

/// By what a file is recognised, where it is there; an error where the system does not say.
fn stamp_if_present(path: &Path) -> std::io::Result<Option<Stamped>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Stamped::of(path, &metadata).map(Some).ok_or_else(|| ErrorKind::Unsupported.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint whose files have rested since the repository was checked out.
    fn rested() -> Checkpoint {
        Checkpoint::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model"))
            .unwrap()
    }

    fn computed(checkpoint: &Checkpoint) -> CheckpointFingerprint {
        let processor = Processor::fingerprint(checkpoint.dir()).unwrap();
        CheckpointFingerprint { weights: checkpoint.fingerprint(), processor }
    }

    #[test]
    fn what_was_read_once_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, checkpoint) = (FingerprintCache::in_folder(dir.path().join("new")), rested());
        let expected = computed(&checkpoint);
        assert_eq!(cache.checkpoint(&checkpoint).unwrap(), expected);
        let mut content = cache.read();
        assert_eq!(content.entries.len(), 2);
        // What nobody computes shows that it was looked up.
        for entry in &mut content.entries {
            *entry = Entry::new(entry.key.clone(), Fingerprint::of_bytes(b"kept"));
        }
        write_atomic(&cache.path(), &serde_json::to_vec(&content).unwrap()).unwrap();
        let kept = Fingerprint::of_bytes(b"kept");
        let found = cache.checkpoint(&checkpoint).unwrap();
        assert_eq!(found, CheckpointFingerprint { weights: kept, processor: kept });
    }

    #[test]
    fn files_that_just_changed_are_not_remembered_until_they_rest() {
        let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copy = || {
            for entry in std::fs::read_dir(rested().dir()).unwrap().flatten() {
                std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
            }
        };
        let cache = FingerprintCache::in_folder(folder.path());
        let look = || cache.checkpoint(&Checkpoint::open(dir.path()).unwrap()).unwrap();
        copy();
        assert_eq!(look(), computed(&rested()), "in the copy too");
        assert!(cache.read().entries.is_empty());
        std::thread::sleep(Duration::from_millis(2100));
        let before = look();
        assert_eq!(cache.read().entries.len(), 2);

        let path = dir.path().join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_ne!(look().weights, before.weights);
        if cfg!(unix) {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
            assert_ne!(look().weights, before.weights, "of the same size and time");
        }
        copy();
        assert_eq!(look(), before);
    }

    #[test]
    fn garbage_counts_as_missing_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, checkpoint) = (FingerprintCache::in_folder(dir.path()), rested());
        let expected = cache.checkpoint(&checkpoint).unwrap();
        let whole = std::fs::read(cache.path()).unwrap();
        let cut = (0..whole.len()).step_by(151).map(|at| whole[..at].to_vec());
        let changed = (0..whole.len()).step_by(17).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        });
        for garbage in
            cut.chain(changed).chain([b"[]".to_vec(), br#"{"schema_version":9,"entries":[]}"#.to_vec()])
        {
            std::fs::write(cache.path(), &garbage).unwrap();
            for fingerprint in [
                cache.get(key_of(&checkpoint).as_deref()).unwrap_or(expected.weights),
                cache.weights(&checkpoint),
            ] {
                assert_eq!(fingerprint, expected.weights, "{}", String::from_utf8_lossy(&garbage));
            }
        }
        assert!(cache.read().entries.iter().all(Entry::is_whole));
        assert_eq!(cache.get(key_of(&checkpoint).as_deref()), Some(expected.weights));
    }

    fn key_of(checkpoint: &Checkpoint) -> Option<String> {
        let files = checkpoint.stamps()?.into_iter().map(Some).collect();
        key(FingerprintScheme::Tensors, &checkpoint.numbers(), Some(files))
    }

    #[test]
    fn several_writers_lose_nothing_that_is_whole_and_the_list_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let cache = FingerprintCache::in_folder(dir.path());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..5 {
                        let key = format!("{writer} {number}");
                        cache.remember(Some(key.clone()), Fingerprint::of_bytes(key.as_bytes()));
                    }
                });
            }
        });
        let entries = cache.read().entries;
        assert!(entries.len() > 5, "{} entries", entries.len()); // who waits too long for the lock goes on without
        for entry in &entries {
            assert_eq!(cache.get(Some(&entry.key)), Some(Fingerprint::of_bytes(entry.key.as_bytes())));
        }
        let entries = (0..2 * MOST).map(|at| Entry::new(at.to_string(), Fingerprint::of_bytes(b"")));
        let content = Content { entries: entries.collect(), ..Content::default() };
        write_atomic(&cache.path(), &serde_json::to_vec(&content).unwrap()).unwrap();
        cache.remember(Some("newest".to_owned()), Fingerprint::of_bytes(b""));
        assert_eq!(cache.read().entries.len(), MOST);
        assert!(cache.get(Some("newest")).is_some() && cache.get(Some("0")).is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_time_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let checkpoint = rested();
        let cache = FingerprintCache::in_folder(dir.path().join("file"));
        assert_eq!(cache.checkpoint(&checkpoint).unwrap(), computed(&checkpoint));
    }
}
