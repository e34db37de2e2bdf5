//! The changes of single files: each is whole or has not happened, and doing it again changes nothing.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use durable_files::{count_lines, remove_lines};
use serde::Deserialize;
use serde_json::Value;
use slide_data::{Contract, Forgetting, write_json};

/// Makes changes, or counts what they would be.
pub(crate) struct Hand<'a> {
    /// Whether anything is written.
    pub(crate) writes: bool,
    /// Asked before each change.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// The work was stopped between two changes.
#[derive(Debug)]
pub(crate) struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped before its end")
    }
}

impl std::error::Error for Stopped {}

/// By what lines and documents are known to speak of forgotten slides.
pub(crate) struct Traces<'a> {
    pub(crate) gone: &'a Forgetting,
    /// Ids of decks and hashes, for what has no form that is known.
    pub(crate) ids: &'a [String],
    /// Names of files, which may be those of others too.
    pub(crate) names: &'a [String],
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(default, borrow)]
    slide_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    deck_id: Option<Cow<'a, str>>,
}

impl Traces<'_> {
    /// Whether a line of a log is about a forgotten slide: by its ids, where it is JSON, else by any trace.
    pub(crate) fn in_line(&self, line: &[u8]) -> bool {
        match serde_json::from_slice::<Named<'_>>(line) {
            Ok(Named { slide_id, deck_id }) => {
                slide_id.is_some_and(|id| self.gone.is_slide(&id))
                    || deck_id.is_some_and(|id| self.gone.is_deck(&id))
            }
            Err(_) => self.in_text(line),
        }
    }

    /// Whether bytes hold any of the ids.
    pub(crate) fn in_text(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.ids.iter().any(|id| text.contains(id.as_str()))
    }

    /// Whether bytes hold any of the ids, or a name that stands for itself and is not the end of a longer one.
    pub(crate) fn may_be_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let is_part = |c: char| c.is_alphanumeric() || "/-_.".contains(c);
        let stands = |name: &String| {
            text.match_indices(name.as_str()).any(|(at, _)| {
                let (before, after) = (&text[..at], &text[at + name.len()..]);
                !before.ends_with(is_part) && !after.starts_with(is_part)
            })
        };
        self.in_text(bytes) || self.names.iter().any(stands)
    }

    fn is_gone(&self, id: &str) -> bool {
        self.gone.is_deck(id) || self.gone.is_slide(id)
    }

    /// Takes out of a document what is named by a forgotten id: entries of that name or value, elements that are or state it.
    fn prune(&self, value: &mut Value) -> usize {
        let names = |value: &Value| value.as_str().is_some_and(|id| self.is_gone(id));
        let states = |value: &Value| {
            let object = value.as_object();
            object.is_some_and(|object| {
                ["slide_id", "deck_id"].iter().any(|key| object.get(*key).is_some_and(names))
            })
        };
        match value {
            Value::Array(elements) => {
                let before = elements.len();
                elements.retain(|element| !names(element) && !states(element));
                before - elements.len()
                    + elements.iter_mut().map(|element| self.prune(element)).sum::<usize>()
            }
            Value::Object(entries) => {
                let before = entries.len();
                entries.retain(|key, value| !self.is_gone(key) && !names(value) && !states(value));
                before - entries.len() + entries.values_mut().map(|value| self.prune(value)).sum::<usize>()
            }
            _ => 0,
        }
    }
}

impl Hand<'_> {
    /// Says before a change whether it is to be made.
    pub(crate) fn begin(&self) -> Result<bool> {
        if self.writes && (self.stop)() {
            return Err(Stopped.into());
        }
        Ok(self.writes)
    }

    /// Takes lines out of a log, and out of what was set aside of it. The others keep their bytes and their order.
    pub(crate) fn lines(&self, log: &Path, traces: &Traces<'_>) -> Result<usize> {
        Ok(self.filter(log, |line| traces.in_line(line))? + self.aside(log, traces)?)
    }

    /// Takes lines out of what was set aside of a log.
    pub(crate) fn aside(&self, log: &Path, traces: &Traces<'_>) -> Result<usize> {
        let mut removed = 0;
        for suffix in ["torn", "broken"] {
            removed +=
                self.filter(&beside(log, suffix), |line| traces.in_line(line) || traces.in_text(line))?;
        }
        Ok(removed)
    }

    pub(crate) fn filter(&self, log: &Path, is_removed: impl FnMut(&[u8]) -> bool) -> Result<usize> {
        if !log.exists() {
            return Ok(0);
        }
        Ok(if self.begin()? { remove_lines(log, is_removed)? } else { count_lines(log, is_removed)? })
    }

    /// Changes a document; `change` says how much.
    pub(crate) fn document<T: Contract>(
        &self,
        path: &Path,
        change: impl FnOnce(&mut T) -> usize,
    ) -> Result<usize> {
        let Some(mut document) = T::read_if_present(path)? else { return Ok(0) };
        let changed = change(&mut document);
        if changed > 0 && self.begin()? {
            document.write(path)?;
        }
        Ok(changed)
    }

    /// Changes all entries of a log together; `change` says how much.
    pub(crate) fn log<T: Contract>(
        &self,
        path: &Path,
        change: impl FnOnce(&mut Vec<T>) -> usize,
    ) -> Result<usize> {
        let mut entries = T::read_log_if_present(path)?.entries;
        let changed = change(&mut entries);
        if changed > 0 && self.begin()? {
            T::replace_log(path, &entries)?;
        }
        Ok(changed)
    }

    /// Takes out of a JSON document what speaks of forgotten slides. What is no JSON stays.
    pub(crate) fn json(&self, path: &Path, traces: &Traces<'_>) -> Result<usize> {
        let Ok(bytes) = std::fs::read(path) else { return Ok(0) };
        if !traces.in_text(&bytes) {
            return Ok(0);
        }
        let Ok(mut value) = serde_json::from_slice(&bytes) else { return Ok(0) };
        let removed = traces.prune(&mut value);
        if removed > 0 && self.begin()? {
            write_json(path, &value)?;
        }
        Ok(removed)
    }

    /// Removes a file, or a folder with all that is in it. Returns how many files there were.
    pub(crate) fn remove(&self, path: &Path) -> Result<usize> {
        let Ok(kind) = std::fs::symlink_metadata(path) else { return Ok(0) };
        let count = if kind.is_dir() { files_below(path).len() } else { 1 };
        if self.begin()? {
            let removed =
                if kind.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
        Ok(count)
    }

    /// Removes the folders that a file lay in, up to `root`, as far as nothing is left in them: their names may be the deck's.
    pub(crate) fn remove_empty(&self, path: &Path, root: &Path) -> Result<()> {
        for folder in
            path.ancestors().skip(1).take_while(|folder| folder.starts_with(root) && *folder != root)
        {
            if entries(folder).is_empty() && folder.is_dir() && self.begin()? {
                std::fs::remove_dir(folder)
                    .with_context(|| format!("cannot remove `{}`", folder.display()))?;
            }
        }
        Ok(())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The entries of a folder, in order; none where there is no folder.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// All files below a folder, in order; links are not followed.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(folder) {
        match std::fs::symlink_metadata(&path) {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}
