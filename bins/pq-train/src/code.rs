//! Which code a run was made with, and what it was made from: what `pq-register reproduce` needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use project_files::{CodeState, RunFiles, hash_file, sha256_hex, write_atomic};
use registry::tracking::git_state;

/// The program's file, and what git says of the folder that it was started in.
pub(crate) fn state() -> CodeState {
    let program = std::env::current_exe().ok().and_then(|program| hash_file(&program).ok());
    let here = Path::new(".");
    let git = git_state(here);
    let diff_sha256 = git.as_ref().filter(|git| git.is_dirty).and_then(|_| diff(here));
    CodeState {
        program_sha256: program.map(|hash| hash.sha256).unwrap_or_default(),
        commit: git.map(|git| git.commit),
        diff_sha256,
    }
}

/// SHA-256 of how the files that git knows differ from the commit.
fn diff(folder: &Path) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args(["diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| sha256_hex(&output.stdout))
}

/// Copies of the small files that a run reads, taken in the same moment as their hashes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(BTreeMap<String, Vec<u8>>);

impl Snapshot {
    pub(crate) fn take(inputs: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let one = |(name, path): (&String, &PathBuf)| {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok((name.clone(), bytes))
        };
        inputs.iter().map(one).collect::<Result<_>>().map(Self)
    }

    /// SHA-256 of each file, by name.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(name, bytes)| (name.clone(), sha256_hex(bytes)))
    }

    /// Writes the files into the run's folder, beside each other.
    pub(crate) fn write(&self, run: &RunFiles) -> project_files::Result<()> {
        let folder = run.data();
        std::fs::create_dir_all(&folder).map_err(durable_files::io_error("create", &folder))?;
        for (name, bytes) in &self.0 {
            write_atomic(&folder.join(name), bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, args: &[&str]) {
        let output = Command::new("git").arg("-C").arg(folder).args(args).output().expect("git is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_changed_file_gives_another_diff() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(diff(dir.path()), None, "no git");
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "one\n").expect("a file");
        git(dir.path(), &["init", "-q"]);
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "one"]);
        let clean = diff(dir.path());
        assert_eq!(clean, Some(sha256_hex(b"")));
        std::fs::write(&file, "two\n").expect("a file");
        let two = diff(dir.path());
        std::fs::write(&file, "three\n").expect("a file");
        assert!(two.is_some() && two != clean && diff(dir.path()) != two);
    }

    #[test]
    fn the_program_has_a_hash() {
        assert_eq!(state().program_sha256.len(), 64);
    }
}
