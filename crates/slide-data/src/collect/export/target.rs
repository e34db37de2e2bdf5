use std::path::{Path, PathBuf};

use crate::error::io_error;
use crate::{Error, Result, write_atomic};

/// Marks a folder that an export wrote and a later one may therefore replace.
const MARK: &str = ".pitchquest-export";

/// A folder that is written beside its place and put there when it is whole.
pub(super) struct Target {
    out: PathBuf,
    /// Where to write.
    pub(super) partial: PathBuf,
}

impl Target {
    /// Refuses to replace a folder that no export wrote.
    pub(super) fn new(out: &Path) -> Result<Self> {
        let is_empty =
            |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if out.exists() && !out.join(MARK).exists() && !is_empty(out) {
            return Err(Error::Domain {
                key: "the folder to export to".to_owned(),
                expected: "new, empty or an earlier export".to_owned(),
                actual: format!("`{}`, which holds other files", out.display()),
            });
        }
        let partial = beside(out, "partial");
        remove(&partial)?;
        std::fs::create_dir_all(&partial).map_err(io_error("create", &partial))?;
        Ok(Self { out: out.to_owned(), partial })
    }

    /// Writes the card and puts the folder in its place.
    pub(super) fn finish(self, card: &str) -> Result<()> {
        write_atomic(&self.partial.join("README.md"), card.as_bytes())?;
        write_atomic(&self.partial.join(MARK), b"pq-collect export may replace this folder\n")?;
        let old = beside(&self.out, "old");
        remove(&old)?;
        if self.out.exists() {
            std::fs::rename(&self.out, &old).map_err(io_error("replace", &self.out))?;
        }
        std::fs::rename(&self.partial, &self.out).map_err(io_error("write", &self.out))?;
        remove(&old)
    }
}

fn beside(out: &Path, suffix: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    out.with_file_name(name)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() { std::fs::remove_dir_all(folder).map_err(io_error("remove", folder)) } else { Ok(()) }
}
