//! Rating slides together: journal, queue, agreement, consensus and the labelling page.
//!
//! The truth is an append-only [`Journal`] of [`Event`]s. A [`Store`] is what the events amount to; it depends on the set of events
//! alone, so journals can be merged in any order. A [`Ledger`] is a store that is being written: it acknowledges an event once it is
//! on disk. [`labels`] derives the consensus, [`agreement`] says how far people agree, and [`web::app`] serves the page.
#![forbid(unsafe_code)]

pub mod agreement;
mod audits;
mod calibration;
mod config;
mod consensus;
mod correction_file;
mod derived;
#[cfg(feature = "server")]
mod deriver;
mod doubts;
mod error;
mod event;
pub mod exchange;
mod interned;
mod journal;
#[cfg(feature = "server")]
mod ledger;
mod merge;
mod model_help;
mod people;
mod queue;
#[cfg(feature = "server")]
mod shared;
mod store;
#[cfg(feature = "server")]
pub mod web;

#[cfg(test)]
fn layout_in(dir: &std::path::Path) -> project_files::Layout {
    let (data_dir, monitoring_dir) = (dir.join("data"), dir.join("monitoring"));
    let storage = project_files::Storage { data_dir, monitoring_dir, ..Default::default() };
    project_files::Layout::new(&storage, &dir.join("outputs"))
}

pub use audits::Audits;
pub use calibration::Calibration;
pub use config::{ConsensusRule, LabelConfig};
pub use consensus::{ImagePath, labels, median, median_label};
pub use correction_file::{
    CorrectionPlan, CorrectionRules, NotTaken, read_corrections, slides_of_corrections,
};
pub use doubts::Doubts;
pub use error::{Error, Result};
pub use event::{Event, Kind, MAX_NAME, MAX_NOTES, clean_name};
pub use interned::{EventRef, code};
pub use journal::Journal;
#[cfg(feature = "server")]
pub use ledger::{Acknowledged, Ledger, Opened};
pub use merge::{Merged, merge, preview, rebuild};
pub use model_help::{Corrections, HelpEffect, help_effect, read_predictions, uncertainty};
pub use people::{Accepted, Invitation, People, PeopleFile, Person, Role};
pub use queue::{Progress, Queue};
pub use store::{Rating, Standing, Store, StoreBuilder};
