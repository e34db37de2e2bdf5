//! What was forgotten: receipts without content, by which the same files are known when they come again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Contract, Result, sha256_hex};

/// A receipt: a line of `data/raw/forgotten.jsonl`. It holds no name, no text and no hash of what was forgotten, only hashes of hashes:
/// who has the file can tell that it is meant, nobody can tell from the line what was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// Names the act: one that is finished later, because it was stopped, is one line.
    pub id: String,
    /// What was done.
    pub act: ForgettingAct,
    /// The decks: [`Forgotten::mark`] of their ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub decks: BTreeSet<String>,
    /// The files: [`Forgotten::mark`] of their SHA-256.
    pub files: BTreeSet<String>,
    /// How much was removed of each kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed: BTreeMap<String, usize>,
    /// Runs that learned from the slides, were chosen by them or measured on them, each with which of it: adapters cannot unlearn.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<String, String>,
    /// Released versions of these runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub versions: BTreeSet<String>,
    /// Files that still spoke of them afterwards and were left: those of released versions, which never change.
    #[serde(default)]
    pub left: usize,
    /// Who asked for it.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What a receipt is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgettingAct {
    /// Decks were forgotten.
    Forgotten,
    /// Files that were forgotten were taken in again, because a person asked for it.
    TakenAgain,
}

impl Contract for Forgotten {
    const NAME: &'static str = "receipt of what was forgotten";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        let is_mark = |mark: &&String| mark.len() == 64 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.files.iter().chain(&self.decks).find(|mark| !is_mark(mark)) {
            Some(other) => Err(format!("`{other}` is not the hash of a hash")),
            None => Ok(()),
        }
    }
}

impl Forgotten {
    /// What stands in a receipt for an id or a hash: SHA-256 of it behind `forgotten:`.
    pub fn mark(of: &str) -> String {
        sha256_hex(format!("forgotten:{of}").as_bytes())
    }
}

/// The files that must not come back by themselves.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    files: BTreeMap<String, Timestamp>,
    /// Who takes them in again.
    again: Option<String>,
    taken: BTreeSet<String>,
}

impl Tombstones {
    /// Those of a log; none where there is no log.
    pub(super) fn read(log: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for receipt in Forgotten::read_log_if_present(log)?.entries {
            for file in receipt.files {
                if receipt.act == ForgettingAct::Forgotten {
                    files.insert(file, receipt.at);
                } else {
                    files.remove(&file);
                }
            }
        }
        Ok(Self { files, ..Self::default() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Takes what was forgotten in again, for this person.
    pub(super) fn lift(&mut self, by: &str) {
        self.again = Some(by.to_owned());
    }

    /// Why the file with this SHA-256 is not taken in, if it was forgotten.
    pub(super) fn refusal(&mut self, sha256: &str) -> Option<String> {
        if self.files.is_empty() {
            return None;
        }
        let mark = Forgotten::mark(sha256);
        let at = *self.files.get(&mark)?;
        if self.again.is_some() {
            self.taken.insert(mark);
            return None;
        }
        let date = at.to_string();
        let date = date.split('T').next().unwrap_or_default();
        Some(format!("was forgotten on {date}; `--again` takes it in again"))
    }

    /// Notes in the log what was taken in again.
    pub(super) fn note(&mut self, log: &Path) -> Result<()> {
        let Some(by) = self.again.take() else { return Ok(()) };
        let files = std::mem::take(&mut self.taken);
        if files.is_empty() {
            return Ok(());
        }
        self.files.retain(|file, _| !files.contains(file));
        let at = Timestamp::now();
        let names: Vec<&str> = files.iter().map(String::as_str).collect();
        let receipt = Forgotten {
            schema_version: Forgotten::VERSION,
            id: Forgotten::mark(&format!("{at} {}", names.concat()))[..16].to_owned(),
            act: ForgettingAct::TakenAgain,
            files,
            decks: BTreeSet::new(),
            removed: BTreeMap::new(),
            runs: BTreeMap::new(),
            versions: BTreeSet::new(),
            left: 0,
            by,
            why: String::new(),
            at,
        };
        Ok(Forgotten::append(log, &[receipt])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(file: &str) -> Forgotten {
        Forgotten {
            schema_version: 1,
            id: "1".to_owned(),
            act: ForgettingAct::Forgotten,
            decks: BTreeSet::new(),
            files: [Forgotten::mark(file)].into(),
            removed: BTreeMap::new(),
            runs: BTreeMap::new(),
            versions: BTreeSet::new(),
            left: 0,
            by: "Ana".to_owned(),
            why: String::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_file_stays_away_until_somebody_takes_it_in_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("forgotten.jsonl");
        assert!(Tombstones::read(&log).unwrap().is_empty());
        Forgotten::append(&log, &[receipt("one"), receipt("two")]).unwrap();
        let mut stones = Tombstones::read(&log).unwrap();
        assert_eq!(stones.refusal("three"), None);
        let reason = stones.refusal("one").unwrap();
        assert_eq!(reason, "was forgotten on 1970-01-01; `--again` takes it in again");
        stones.note(&log).unwrap();
        stones.lift("Ben");
        assert_eq!(stones.refusal("one"), None);
        stones.note(&log).unwrap();
        let mut stones = Tombstones::read(&log).unwrap();
        assert_eq!(stones.refusal("one"), None, "it is in the store by now");
        assert!(stones.refusal("two").is_some());
        assert_eq!(Forgotten::read_log(&log).unwrap().entries.len(), 3);
        Forgotten::append(&log, &[receipt("one")]).unwrap();
        assert!(Tombstones::read(&log).unwrap().refusal("one").is_some(), "forgotten again");
    }

    #[test]
    fn a_receipt_with_content_is_refused() {
        let named = Forgotten { files: ["acme.pdf".to_owned()].into(), ..receipt("one") };
        assert!(named.check().unwrap_err().contains("hash"));
        let bare = Forgotten { decks: ["d0123456789ab".to_owned()].into(), ..receipt("one") };
        assert!(bare.check().is_err() && receipt("one").check().is_ok());
    }
}
