//! What changed in production: drift, performance, corrections, the retraining decision.
//!
//! Pure steps, each given the time by its caller: [`compare`] sets the properties and scores of recently scored slides against
//! those of training; [`draw_audits`] draws a random sample of them for people to rate; [`measure`] estimates accuracy from that
//! sample; [`decide`] looks at both, at the corrections and at what there is to learn from, and says with evidence whether to
//! retrain. Each says so where there is too little data, and counts that neither as healthy nor as a reason to retrain.
//!
//! ```
//! let reference = [1.0, 2.0, 3.0, 4.0];
//! let recent = [3.0, 4.0, 5.0, 6.0];
//! assert_eq!(drift::ks_statistic(&reference, &recent), 0.5);
//! assert_eq!(drift::wasserstein(&reference, &recent), 2.0);
//! ```
#![forbid(unsafe_code)]

mod audit;
mod budget;
mod chance;
mod classifier;
mod compare;
mod config;
mod days;
mod decision;
mod deck_means;
mod decks;
mod distances;
mod error;
mod estimate;
mod failures;
mod features;
mod flight;
mod foretold;
mod held;
#[cfg(feature = "segments")]
mod log;
mod look;
mod mmd;
mod moved;
mod pair;
mod performance;
mod power;
mod principal;
mod reached;
mod read;
mod recent;
mod report;
mod selection;
mod triggers;
mod usable;
mod vision;
mod words;

pub use audit::{Drawing, days_drawn_of, draw_audits};
pub use budget::{LOOKS_A_YEAR, Share};
pub use compare::{DriftInput, compare};
pub use config::{DriftConfig, MonitoringConfig, PerformanceConfig, TriggerConfig};
pub use decision::{Decision, LastRelease, Trigger, TriggerName, TriggerState};
pub use distances::{Bins, Weighted, js_divergence, ks_statistic, psi, wasserstein};
pub use error::{Error, Result};
pub use failures::{CollectedFile, Failures, collected_files};
pub use features::FeatureGroup;
pub use flight::Flight;
pub use foretold::{Counting, Draw, Foretold, ScoredDay, days_looked_at};
#[cfg(feature = "segments")]
pub use log::{Found, LookThrough, look_through};
pub use look::Look;
pub use mmd::{Mmd, MmdInput, mmd};
pub use performance::{
    CriterionAccuracy, PerformanceInput, PerformanceReport, PerformanceSizes, PerformanceStatus, measure,
    write_performance_report,
};
pub use power::GroupPower;
pub use project_files::{Interval, Release, ValidationResults, VersionFile};
pub use read::read_lines_if_present;
pub use report::{DriftReport, DriftSizes, DriftStatus, FeatureDrift, MovedDeck, write_drift_report};
pub use selection::{Counted, Selection};
pub use triggers::{Evidence, Request, decide};
pub use usable::{Known, Learnable, Usable, usable};
pub use vision::VisionDrift;
