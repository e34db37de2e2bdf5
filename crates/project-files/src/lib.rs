//! Where each file of a PitchQuest project lies, what it holds, and in which version of its format.
//!
//! [`Layout`] answers where: it is computed once, from the configuration, and draws the tree of a project in its documentation.
//! [`Contract`] answers what: each file that crosses a boundary between two stages is one type with a name and a version, read,
//! appended and written through that trait. [`CATALOG`] lists all of them with who writes and who reads them.
//!
//! The types that belong to one stage live with it (`slide_data::SlideRecord`, `drift::DriftReport`, …); those that several
//! stages share live here: [`RunRecord`], [`ValidationResults`], and those of released versions: [`Manifest`], [`VersionFile`] and
//! [`Journal`]; and [`ExportRecord`]. [`check_stored`] says whether a version's folder is what was released.
#![forbid(unsafe_code)]

mod applicability;
mod catalog;
mod causes;
mod comparison;
mod contract;
mod decision;
mod doubtful;
mod error;
mod export_record;
mod gate;
pub mod input;
mod interval;
mod journal;
mod kept_files;
mod layout;
mod manifest;
mod numbers;
mod release;
mod run_files;
mod run_record;
mod score_head;
mod seal;
mod slide_files;
mod stored;
mod validation;
mod verdict;
mod version;

pub use applicability::{Applicability, ApplicabilityHead};
pub use catalog::{CATALOG, Entry, Shape};
pub use causes::with_causes;
pub use comparison::{Baseline, Comparison, ErrorSpread, Gain, HumanCeiling, Sizes, Slice};
pub use contract::{BrokenLine, Contract, Defects, Log, for_each_entry, versions_of};
pub use decision::{CriterionDecision, DecisionRule, ReadScore, ScoreDecision};
pub use doubtful::{DoubtfulLabel, DoubtfulLabels};
pub use durable_files::{FileHash, hash_file, sha256_hex, write_atomic};
pub use error::{Error, Result};
pub use export_record::{ExportBounds, ExportCheck, ExportRecord};
pub use gate::{Check, Gate, Outcome, Override};
pub use interval::Interval;
pub use journal::{Event, Journal, JournalEntry};
pub use kept_files::KeptFiles;
pub use layout::{Layout, Storage};
pub use manifest::{Basis, Manifest};
pub use numbers::{decimals, signed};
pub use release::{Aliases, HubRelease, Lineage, Release, VersionFile};
pub use run_files::{PROCESSOR_FILES, RELEASED_FILES, ReleasedFile, RunFiles};
pub use run_record::{
    BestCheckpoint, CodeState, DataSummary, Hardware, LearningLimit, LearningVerdict, Outlook, RunRecord,
    StartedFrom, TestSet, TrainingSummary,
};
pub use score_head::{CriterionHead, ScoreHead};
pub use slide_files::SlideFiles;
pub use stored::{check_stored, differences};
pub use validation::ValidationResults;
pub use version::{Change, Version};
