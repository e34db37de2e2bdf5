use std::path::Path;

use durable_files::{append_after, for_each_line, sha256_hex};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::seal::{sealed, stated_hash};
use crate::{Contract, HubRelease, Result, with_causes};

const PREFIX: &str = "{\"hash\":\"";

/// What happened in a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A version was released; it may be in use at once.
    #[default]
    Released,
    /// A version was put in use.
    Promoted,
    /// An earlier version was put in use again.
    RolledBack,
    /// The Hub got a version, or serves another one from now on.
    Pushed,
    /// The gate said no.
    Refused,
    /// A version came from the Hub.
    Fetched,
    /// A version that was there was entered: from before the journal, or after its entry was lost.
    Adopted,
    /// A version that was named and lay nowhere was struck out, or an unfinished release was given up.
    Removed,
}

/// One line of `journal.jsonl`: what happened to a registry. The line holds its own hash and that of the line before it, so
/// that what was changed or left out later is noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// SHA-256 of this line with this value empty.
    #[serde(default)]
    pub hash: String,
    /// Version of this contract.
    pub schema_version: u32,
    /// The hash of the line before; empty in the first one.
    #[serde(default)]
    pub previous: String,
    /// When it happened; never before the line before.
    pub at: Timestamp,
    /// Who did it.
    #[serde(default)]
    pub who: String,
    /// What happened.
    pub event: Event,
    /// The version that it happened to.
    #[serde(default)]
    pub version: Option<String>,
    /// The identity of that version's manifest.
    #[serde(default)]
    pub id: Option<String>,
    /// The run that it happened to.
    #[serde(default)]
    pub run_id: Option<String>,
    /// Why, where somebody said so; of a refusal, what the gate said.
    #[serde(default)]
    pub reason: Option<String>,
    /// The version in use before.
    #[serde(default)]
    pub before: Option<String>,
    /// The version in use from then on.
    #[serde(default)]
    pub live: Option<String>,
    /// Where the version stands on the Hub.
    #[serde(default)]
    pub hub: Option<HubRelease>,
}

impl Contract for JournalEntry {
    const NAME: &'static str = "journal entry";
    const VERSION: u32 = 1;
}

/// The journal of a registry, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// The entries, oldest first.
    pub entries: Vec<JournalEntry>,
    /// What shows that the file was changed, in words.
    pub problems: Vec<String>,
    /// Bytes of a last line that was never finished, and so never acknowledged.
    pub torn_bytes: usize,
}

impl Journal {
    /// Takes the next entry; `before` is the name of the line before it.
    fn take(&mut self, entry: JournalEntry, number: usize, before: &str) {
        if entry.previous != before {
            self.problems.push(format!("what came before line {number} was changed or left out"));
        }
        self.entries.push(entry);
    }

    /// Reads a journal and follows its chain; one that does not exist is empty.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let mut journal = Self::default();
        if !path.exists() {
            return Ok(journal);
        }
        let mut before = String::new();
        let tail = for_each_line(path, |number, line| {
            match JournalEntry::parse(path, Some(number), line) {
                Ok(entry) => {
                    if stated_hash(line, PREFIX).as_ref() != Some(&entry.hash) {
                        journal.problems.push(format!("line {number} was changed after it was written"));
                    }
                    journal.take(entry, number, &before);
                }
                Err(newer @ crate::Error::Newer { .. }) => return Err(newer),
                Err(error) => journal.problems.push(with_causes(&error)),
            }
            before = name_of(line);
            Ok(())
        })?;
        journal.torn_bytes = tail.torn_bytes;
        Ok(journal)
    }

    /// Appends entries, chained to the last line, with one write; several processes may do so at once. Returns them as they
    /// were written.
    ///
    /// # Errors
    /// When the journal cannot be locked or written; what was there stays.
    pub fn append(path: &Path, mut entries: Vec<JournalEntry>) -> Result<Vec<JournalEntry>> {
        append_after(path, |last| Self::chain(path, last, &mut entries))?;
        Ok(entries)
    }

    /// The lines of entries that follow the line `last`, which becomes part of them: for a journal that is no file, `path` is
    /// what messages call it.
    ///
    /// # Errors
    /// When an entry cannot be written as JSON.
    pub fn chain(path: &Path, last: Option<&[u8]>, entries: &mut [JournalEntry]) -> Result<Vec<u8>> {
        let mut previous = last.map(name_of).unwrap_or_default();
        let mut at = last.and_then(|last| Some(JournalEntry::parse(path, None, last).ok()?.at));
        let mut lines = String::new();
        for entry in entries {
            entry.schema_version = JournalEntry::VERSION;
            entry.at = at.map_or(entry.at, |at| at.max(entry.at));
            at = Some(entry.at);
            entry.hash.clear();
            entry.previous = previous;
            let failed = |source| durable_files::Error::Encode { path: path.to_owned(), source };
            let empty = serde_json::to_string(entry).map_err(failed)?;
            let (hash, line) = sealed(&empty, PREFIX).unwrap_or_default();
            entry.hash.clone_from(&hash);
            previous = hash;
            lines.extend([&*line, "\n"]);
        }
        Ok(lines.into_bytes())
    }

    /// The version in use now.
    pub fn live(&self) -> Option<&str> {
        self.entries.last()?.live.as_deref()
    }

    /// The entry that decided which version was in use at a time; `None` before the first one.
    pub fn at(&self, time: Timestamp) -> Option<&JournalEntry> {
        let until = self.entries.partition_point(|entry| entry.at <= time);
        let known = &self.entries[..until];
        let live = known.last()?.live.as_ref();
        let since = known.iter().rposition(|entry| entry.live.as_ref() != live).map_or(0, |at| at + 1);
        known.get(since)
    }

    /// The versions in use one after the other, without those that were gone back from or struck out; the last one is in use.
    pub fn line_of_use(&self) -> Vec<&str> {
        let mut line: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if entry.event == Event::Removed {
                line.retain(|version| Some(*version) != entry.version.as_deref());
            }
            let Some(live) = entry.live.as_deref() else {
                line.clear();
                continue;
            };
            match line.iter().rposition(|version| *version == live) {
                Some(at) if entry.event == Event::RolledBack => line.truncate(at + 1),
                Some(at) if at + 1 == line.len() => {}
                _ => line.push(live),
            }
        }
        line
    }
}

/// How the next line names this one: by the hash that it states, or where it states none, by that of its bytes.
fn name_of(line: &[u8]) -> String {
    stated_hash(line, PREFIX).unwrap_or_else(|| sha256_hex(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seconds: i64, event: Event, before: &str, live: &str) -> JournalEntry {
        let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        JournalEntry {
            at: Timestamp::from_second(seconds).unwrap(),
            event,
            version: name(live),
            before: name(before),
            live: name(live),
            ..JournalEntry::default()
        }
    }

    fn journal(entries: &[JournalEntry]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        for entry in entries {
            Journal::append(&path, vec![entry.clone()]).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_changed_a_lost_and_a_torn_line_are_noticed() {
        let entries = [1, 2, 3].map(|n| entry(n, Event::Promoted, "", "v1.0.0"));
        let (_dir, path) = journal(&entries);
        let whole = std::fs::read_to_string(&path).unwrap();
        assert!(Journal::read(&path).unwrap().problems.is_empty());
        let without_newlines = whole.len() - 3;
        for at in 0..without_newlines {
            let mut changed = whole.clone().into_bytes();
            if changed[at] != b'\n' {
                changed[at] ^= 1;
                std::fs::write(&path, &changed).unwrap();
                assert!(!Journal::read(&path).unwrap().problems.is_empty(), "byte {at}");
            }
        }
        let lines: Vec<&str> = whole.lines().collect();
        for (left, problems) in [([0, 2], 1), ([1, 2], 1), ([0, 1], 0)] {
            std::fs::write(&path, format!("{}\n{}\n", lines[left[0]], lines[left[1]])).unwrap();
            assert_eq!(Journal::read(&path).unwrap().problems.len(), problems, "{left:?}");
        }
        std::fs::write(&path, format!("{}\n{}", lines[0], &lines[1][..40])).unwrap();
        assert_eq!(Journal::read(&path).unwrap().torn_bytes, 40);
        Journal::append(&path, vec![entries[2].clone()]).unwrap();
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.entries.len(), journal.problems.len(), journal.torn_bytes), (2, 0, 0));
    }

    #[test]
    fn several_writers_make_one_chain() {
        let (_dir, path) = journal(&[]);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..10 {
                        Journal::append(path, vec![entry(writer, Event::Pushed, "", "")]).unwrap();
                    }
                });
            }
        });
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.entries.len(), journal.problems), (40, vec![]));
        assert!(journal.entries.is_sorted_by_key(|entry| entry.at), "time never goes back");
    }

    #[test]
    fn going_back_twice_goes_further_back() {
        let (_dir, path) = journal(&[
            entry(1, Event::Released, "", "v1.0.0"),
            entry(2, Event::Released, "v1.0.0", "v1.1.0"),
            entry(3, Event::Released, "v1.1.0", "v1.2.0"),
            entry(4, Event::RolledBack, "v1.2.0", "v1.1.0"),
            entry(5, Event::Refused, "v1.1.0", "v1.1.0"),
        ]);
        let journal = Journal::read(&path).unwrap();
        assert_eq!(journal.line_of_use(), ["v1.0.0", "v1.1.0"]);
        let live = |seconds| {
            let entry = journal.at(Timestamp::from_second(seconds).unwrap());
            entry.map(|entry| (entry.live.clone().unwrap(), entry.at.as_second()))
        };
        assert_eq!(live(0), None);
        assert_eq!(live(3), Some(("v1.2.0".to_owned(), 3)));
        assert_eq!(live(9), Some(("v1.1.0".to_owned(), 4)));
    }
}
