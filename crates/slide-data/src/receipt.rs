//! Receipts of what was forgotten, without content.

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
    /// Their slides: [`Forgotten::mark`] of their ids. Receipts that were written before this was noted have none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub slides: BTreeSet<String>,
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
        match self.files.iter().chain(&self.decks).chain(&self.slides).find(|mark| !is_mark(mark)) {
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

/// Which decks and slides were forgotten, and until when what is of them is meant: what comes of them from elsewhere later, as from the log of
/// a scoring service on another machine, is not taken in.
#[derive(Debug, Clone, Default)]
pub struct ForgottenMarks(BTreeMap<String, Timestamp>);

impl ForgottenMarks {
    /// Those of a log of receipts; none where there is no log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(log: &Path) -> Result<Self> {
        let mut marks = Self::default();
        for receipt in Forgotten::read_log_if_present(log)?.entries {
            for mark in receipt.decks.into_iter().chain(receipt.slides) {
                let until = marks.0.entry(mark).or_insert(receipt.at);
                *until = receipt.at.max(*until);
            }
        }
        Ok(marks)
    }

    /// Whether nothing was forgotten.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a deck or slide of this id was forgotten after this time. What is scored or said of it later is new.
    pub fn hold(&self, id: &str, at: Timestamp) -> bool {
        !self.is_empty() && self.0.get(&Forgotten::mark(id)).is_some_and(|until| at <= *until)
    }
}
