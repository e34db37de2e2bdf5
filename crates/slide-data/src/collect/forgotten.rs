//! What was forgotten: receipts without content, by which the same files are known when they come again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use crate::receipt::{ForgettingAct, Forgotten};
use crate::{Contract as _, Result};

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
            slides: BTreeSet::new(),
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
            slides: BTreeSet::new(),
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
