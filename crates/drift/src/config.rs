use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// `[drift]` of `monitoring.toml`: which slides are compared, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    /// Slides scored within so many days are recent.
    pub window_days: f64,
    /// At most so many recent slides are looked at, the latest.
    pub max_slides: usize,
    /// Fewer slides than this, on either side, are too few.
    pub min_slides: usize,
    /// Fewer decks than this, on either side, are too few.
    pub min_decks: usize,
    /// Chance of flagging any feature where nothing has changed.
    pub alpha: f64,
    /// Random re-labellings of the decks behind each p-value.
    pub permutations: usize,
    /// Seed of the re-labellings.
    pub seed: u64,
    /// The change, in standard deviations of the reference, that must not go unseen.
    pub power_shift: f64,
    /// Least chance of seeing it; below, an unremarkable comparison counts as insufficient.
    pub min_power: f64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self {
            window_days: 30.0,
            max_slides: 5000,
            min_slides: 30,
            min_decks: 5,
            alpha: 0.05,
            permutations: 999,
            seed: 0,
            power_shift: 1.0,
            min_power: 0.8,
        }
    }
}

/// `[performance]` of `monitoring.toml`: when accuracy in production is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceConfig {
    /// Slides corrected or re-rated within so many days count.
    pub window_days: f64,
    /// Fewer slides than this are too few.
    pub min_slides: usize,
    /// Fewer decks than this are too few.
    pub min_decks: usize,
    /// Resamples behind each interval, decks drawn with replacement.
    pub bootstrap_samples: usize,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self { window_days: 90.0, min_slides: 20, min_decks: 3, bootstrap_samples: 2000, seed: 0 }
    }
}

/// `[triggers]` of `monitoring.toml`: when to retrain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerConfig {
    /// So many corrections since the last release are enough.
    pub min_corrections: usize,
    /// So many days since the last release are enough.
    pub max_days: f64,
    /// A drift score above this is too much.
    pub max_drift_score: f64,
    /// A drop of accuracy above this is too much.
    pub max_accuracy_drop: f64,
    /// Reports older than so many days say nothing about today.
    pub max_report_age_days: f64,
}

impl Default for TriggerConfig {
    fn default() -> Self {
        Self {
            min_corrections: 100,
            max_days: 7.0,
            max_drift_score: 0.30,
            max_accuracy_drop: 0.05,
            max_report_age_days: 8.0,
        }
    }
}

/// All of `monitoring.toml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitoringConfig {
    /// `[drift]`.
    pub drift: DriftConfig,
    /// `[performance]`.
    pub performance: PerformanceConfig,
    /// `[triggers]`.
    pub triggers: TriggerConfig,
}

impl MonitoringConfig {
    /// The tables of the file.
    pub const TABLES: [&'static str; 3] = ["drift", "performance", "triggers"];

    /// Checks every value's domain.
    ///
    /// # Errors
    /// Names the first key outside its domain.
    pub fn validate(&self) -> Result<()> {
        let (drift, performance, triggers) = (&self.drift, &self.performance, &self.triggers);
        positive("drift.window_days", drift.window_days)?;
        positive("drift.power_shift", drift.power_shift)?;
        positive("performance.window_days", performance.window_days)?;
        positive("triggers.max_days", triggers.max_days)?;
        positive("triggers.max_report_age_days", triggers.max_report_age_days)?;
        share("drift.alpha", drift.alpha)?;
        share("drift.min_power", drift.min_power)?;
        share("triggers.max_drift_score", triggers.max_drift_score)?;
        share("triggers.max_accuracy_drop", triggers.max_accuracy_drop)?;
        at_least(
            "drift.max_slides",
            drift.max_slides,
            drift.min_slides.max(1),
            "at least `drift.min_slides`",
        )?;
        at_least("drift.min_slides", drift.min_slides, 2, "at least 2")?;
        at_least("drift.min_decks", drift.min_decks, 2, "at least 2: decks are what is re-labelled")?;
        // With fewer re-labellings no p-value could fall below alpha.
        at_least(
            "drift.permutations",
            drift.permutations,
            (1.0 / drift.alpha).ceil() as usize,
            "at least 1 / `drift.alpha`",
        )?;
        at_least("performance.min_slides", performance.min_slides, 1, "at least 1")?;
        at_least("performance.min_decks", performance.min_decks, 2, "at least 2")?;
        at_least("performance.bootstrap_samples", performance.bootstrap_samples, 100, "at least 100")?;
        at_least("triggers.min_corrections", triggers.min_corrections, 1, "at least 1")
    }
}

fn positive(key: &'static str, value: f64) -> Result<()> {
    let is_valid = value.is_finite() && value > 0.0;
    check(is_valid, key, "a positive number", value.to_string())
}

fn share(key: &'static str, value: f64) -> Result<()> {
    check(value > 0.0 && value < 1.0, key, "between 0 and 1", value.to_string())
}

fn at_least(key: &'static str, value: usize, least: usize, expected: &'static str) -> Result<()> {
    check(value >= least, key, expected, value.to_string())
}

fn check(is_valid: bool, key: &'static str, expected: &'static str, actual: String) -> Result<()> {
    if is_valid { Ok(()) } else { Err(Error::Config { key, expected, actual }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_equal_the_file() {
        let file: MonitoringConfig = toml::from_str(include_str!("../../../config/monitoring.toml")).unwrap();
        assert_eq!(file, MonitoringConfig::default());
        file.validate().unwrap();
    }

    #[test]
    fn a_value_outside_its_domain_is_named() {
        let config = MonitoringConfig {
            drift: DriftConfig { permutations: 10, ..DriftConfig::default() },
            ..MonitoringConfig::default()
        };
        assert!(config.validate().unwrap_err().to_string().contains("`drift.permutations`"));
        let text = "[triggers]\nmax_days = -1.0\n";
        let error = toml::from_str::<MonitoringConfig>(text).unwrap().validate().unwrap_err().to_string();
        assert_eq!(error, "`triggers.max_days` must be a positive number, got -1");
    }
}
