//! The store of slides: bringing decks in, provenance, duplicates, exports.

mod card;
mod comparer;
mod config;
mod duplicates;
mod export;
mod ingest;
mod leakage;
mod production;
mod report;
mod run;
mod sketches;
pub mod source;
mod store;
mod subprocess;
mod verify;
mod worker;

pub use card::dataset_card;
pub use config::{DataConfig, SourcesConfig};
pub use export::{Export, ExportSummary};
pub use leakage::{SplitProof, prove};
pub use production::{BroughtIn, Production};
pub use report::{Progress, Quarantined, Report};
pub use run::Collector;
pub use store::{InputRecord, Outcome, Store};
pub use subprocess::Subprocess;
pub use verify::{Finding, verify};
pub use worker::{InProcess, Reader, serve};
