//! The folder of an export: made beside its place and renamed when it is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use durable_files::{FileLock, sync_dir};
use model_export::{GgufPair, Quantization};
use pq_cli::{Hint, WithHint as _};
use project_files::{Contract as _, ExportRecord, FileHash, hash_file};
use tempfile::TempDir;

/// What the folders begin with that are not finished; nothing of them is used again.
const BEGUN: &str = ".export-";

/// The record of an export.
pub(super) fn record(folder: &Path) -> PathBuf {
    folder.join(ExportRecord::FILE)
}

/// An export that is being made.
pub(super) struct ExportFolder {
    out: PathBuf,
    parent: PathBuf,
    staged: TempDir,
    _lock: FileLock,
}

impl ExportFolder {
    /// Begins an export. Of what killed commands left beside it nothing stays.
    pub(super) fn begin(out: &Path) -> Result<Self> {
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
        let lock = FileLock::try_exclusive(&parent.join("exports"))
            .hint(format!("`{}` cannot be locked", parent.display()), "see that its folder can be written")?;
        let Some(lock) = lock else {
            bail!(Hint::new(format!("another command exports to `{}`", parent.display()), "wait for it"));
        };
        for entry in std::fs::read_dir(parent)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(BEGUN) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let staged = tempfile::Builder::new().prefix(BEGUN).tempdir_in(parent)?;
        std::fs::create_dir(staged.path().join("files"))?;
        Ok(Self { out: out.to_owned(), parent: parent.to_owned(), staged, _lock: lock })
    }

    /// What its files are written to.
    pub(super) fn files(&self) -> PathBuf {
        self.staged.path().join("files")
    }

    /// The files as a checkpoint that can be asked: themselves, or what a GGUF pair holds.
    pub(super) fn as_checkpoint(&self, quantization: Option<Quantization>, name: &str) -> Result<PathBuf> {
        let Some(quantization) = quantization else { return Ok(self.files()) };
        let unpacked = self.staged.path().join("unpacked");
        GgufPair::in_folder(&self.files(), name, quantization)
            .unpack(&unpacked)
            .context("the GGUF files cannot be read back")?;
        Ok(unpacked)
    }

    /// Every file with its hash.
    pub(super) fn hashes(&self) -> Result<BTreeMap<String, FileHash>> {
        let entries = std::fs::read_dir(self.files())?.collect::<std::io::Result<Vec<_>>>()?;
        let one = |entry: &std::fs::DirEntry| {
            Ok((entry.file_name().to_string_lossy().into_owned(), hash_file(&entry.path())?))
        };
        entries.iter().map(one).collect()
    }

    /// Writes the record and puts the folder in its place.
    pub(super) fn finish(self, written: &ExportRecord) -> Result<()> {
        let files = self.files();
        written.write(&record(&files))?;
        sync_dir(&files)?;
        if self.out.is_dir() {
            std::fs::remove_dir(&self.out)?; // an empty one
        }
        std::fs::rename(&files, &self.out)
            .with_context(|| format!("cannot write `{}`", self.out.display()))?;
        Ok(sync_dir(&self.parent)?)
    }
}
