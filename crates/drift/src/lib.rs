//! What changed in production: drift, performance, corrections, the retraining decision.
//!
//! Three pure steps, each given the time by its caller: [`compare`] sets the properties and scores of recently scored slides
//! against those of training; [`measure`] compares scores with what people said afterwards; [`decide`] looks at both, at the
//! corrections and at the time since the last release, and says with evidence whether to retrain. Each says so where there is
//! too little data, and counts that neither as healthy nor as a reason to retrain.
//!
//! ```
//! let reference = [1.0, 2.0, 3.0, 4.0];
//! let recent = [3.0, 4.0, 5.0, 6.0];
//! assert_eq!(drift::ks_statistic(&reference, &recent), 0.5);
//! assert_eq!(drift::wasserstein(&reference, &recent), 2.0);
//! ```
#![forbid(unsafe_code)]

mod columns;
mod compare;
mod config;
mod distances;
mod error;
mod files;
mod performance;
mod permutation;
mod trigger;

pub use columns::FeatureGroup;
pub use compare::{DriftReport, DriftSizes, DriftStatus, FeatureDrift, compare};
pub use config::{DriftConfig, MonitoringConfig, PerformanceConfig, TriggerConfig};
pub use distances::{Bins, js_divergence, ks_statistic, psi, wasserstein};
pub use error::{Error, Result};
pub use files::write_drift_report;
pub use performance::{
    CriterionAccuracy, PerformanceInput, PerformanceReport, PerformanceSizes, PerformanceStatus,
    SourceAccuracy, measure, write_performance_report,
};
pub use project_files::{Interval, Release, ValidationResults, VersionFile};
pub use trigger::{Decision, Evidence, LastRelease, Trigger, TriggerName, TriggerState, decide};
