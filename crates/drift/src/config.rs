use serde::{Deserialize, Serialize};
use slide_data::KeptConfig;

use crate::budget::{LOOKS_A_YEAR, Share};
use crate::{Error, Result};

/// One over the share of the most re-labellings after which one that was never reached ends.
pub(crate) const EARLY: usize = 3;

/// `[drift]` of `monitoring.toml`: which slides are compared, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    /// Slides scored within so many days are recent.
    pub window_days: f64,
    /// At most so many recent decks are looked at, the latest; each counts alike, however many slides it has.
    pub max_decks: usize,
    /// Fewer slides than this, on either side, are too few.
    pub min_slides: usize,
    /// Fewer decks than this, on either side, are too few.
    pub min_decks: usize,
    /// Chance of flagging any feature where nothing has changed.
    pub alpha: f64,
    /// Random re-labellings of the decks behind each p-value, at least.
    pub permutations: usize,
    /// At most so many, where something changed by more than the threshold and the yearly error budget asks how rare that is; what none of
    /// the first third reaches needs no more.
    pub max_permutations: usize,
    /// Seed of the re-labellings.
    pub seed: u64,
    /// The change, in standard deviations of the reference, that must not go unseen.
    pub power_shift: f64,
    /// Least chance of seeing it; below, an unremarkable comparison counts as insufficient.
    pub min_power: f64,
    /// Where more than this share of the log's lines cannot be read, nothing is concluded from the rest.
    pub max_broken_share: f64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self {
            window_days: 30.0,
            max_decks: 2000,
            min_slides: 30,
            min_decks: 3,
            alpha: 0.05,
            permutations: 999,
            max_permutations: 599_999,
            seed: 0,
            power_shift: 1.0,
            min_power: 0.8,
            max_broken_share: 0.01,
        }
    }
}

/// `[performance]` of `monitoring.toml`: how production is audited, and when its accuracy is estimated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceConfig {
    /// Slides scored within so many days are what the estimate is about.
    pub window_days: f64,
    /// Slides to be drawn a week for people to rate, spread evenly over decks; 0 draws none.
    pub audits_per_week: f64,
    /// Fewer rated slides of the audit than this are too few.
    pub min_slides: usize,
    /// Fewer decks than this are too few.
    pub min_decks: usize,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self { window_days: 14.0, audits_per_week: 50.0, min_slides: 20, min_decks: 5, seed: 0 }
    }
}

/// `[triggers]` of `monitoring.toml`: when to retrain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerConfig {
    /// So many corrections that can be learned from, which the run in use did not read, are enough.
    pub min_corrections: usize,
    /// So many days since the run in use read its data are enough, if there is something new to learn from.
    pub max_days: f64,
    /// So many slides more to learn from (corrected or newly rated) are something new.
    pub min_new_slides: usize,
    /// A drift score above this is too much.
    pub max_drift_score: f64,
    /// Drift of images alone, with scores as they were, asks for a retraining once it has lasted so many days: seasons come back.
    pub image_drift_days: f64,
    /// A drop of accuracy above this is too much.
    pub max_accuracy_drop: f64,
    /// Reports older than so many days say nothing about today.
    pub max_report_age_days: f64,
    /// The chance that drift or accuracy asks for a retraining within a year in which nothing changed.
    pub yearly_alpha: f64,
    /// So many days after a release, and after a retraining that led to none, nothing but a person asks for the next.
    pub cooldown_days: f64,
    /// A retraining that was asked for counts as running for so many hours, unless it is reported as done or leads to a release.
    pub flight_hours: f64,
}

impl Default for TriggerConfig {
    fn default() -> Self {
        Self {
            min_corrections: 100,
            max_days: 7.0,
            min_new_slides: 20,
            max_drift_score: 0.30,
            image_drift_days: 56.0,
            max_accuracy_drop: 0.05,
            max_report_age_days: 8.0,
            yearly_alpha: 0.01,
            cooldown_days: 3.0,
            flight_hours: 24.0,
        }
    }
}

/// All of `monitoring.toml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitoringConfig {
    /// `[kept_slides]`.
    pub kept_slides: KeptConfig,
    /// `[drift]`.
    pub drift: DriftConfig,
    /// `[performance]`.
    pub performance: PerformanceConfig,
    /// `[triggers]`.
    pub triggers: TriggerConfig,
}

impl MonitoringConfig {
    /// Checks every value's domain.
    ///
    /// # Errors
    /// Names the first key outside its domain.
    pub fn validate(&self) -> Result<()> {
        let (drift, performance, triggers) = (&self.drift, &self.performance, &self.triggers);
        positive("kept_slides.max_days", self.kept_slides.max_days)?;
        positive("drift.window_days", drift.window_days)?;
        positive("drift.power_shift", drift.power_shift)?;
        positive("performance.window_days", performance.window_days)?;
        positive("triggers.max_days", triggers.max_days)?;
        positive("triggers.max_report_age_days", triggers.max_report_age_days)?;
        share("drift.alpha", drift.alpha)?;
        share("drift.min_power", drift.min_power)?;
        share("drift.max_broken_share", drift.max_broken_share)?;
        share("triggers.yearly_alpha", triggers.yearly_alpha)?;
        share("triggers.max_drift_score", triggers.max_drift_score)?;
        share("triggers.max_accuracy_drop", triggers.max_accuracy_drop)?;
        at_least("drift.max_decks", drift.max_decks, drift.min_decks, "at least `drift.min_decks`")?;
        at_least("drift.min_slides", drift.min_slides, 2, "at least 2")?;
        at_least("drift.min_decks", drift.min_decks, 2, "at least 2: decks are what is re-labelled")?;
        // With fewer re-labellings no p-value could fall below half of alpha, which features and vision features share.
        at_least(
            "drift.permutations",
            drift.permutations,
            (2.0 / drift.alpha).ceil() as usize,
            "at least 2 / `drift.alpha`",
        )?;
        at_least(
            "drift.max_permutations",
            drift.max_permutations,
            drift.permutations,
            "at least `drift.permutations`",
        )?;
        // The least p-value that re-labellings can give must not lie above what a look may spend. Features and vision features share that,
        // and of the latter two tests.
        let least_p_values = 2.0 * 2.0 * EARLY as f64;
        at_least(
            "drift.max_permutations",
            drift.max_permutations,
            (least_p_values * LOOKS_A_YEAR / (Share::DRIFT * triggers.yearly_alpha)).ceil() as usize,
            "at least 3180 / `triggers.yearly_alpha`: with fewer no drift could be told from chance",
        )?;
        at_least("performance.min_slides", performance.min_slides, 1, "at least 1")?;
        at_least("performance.min_decks", performance.min_decks, 2, "at least 2")?;
        not_negative("performance.audits_per_week", performance.audits_per_week)?;
        not_negative("triggers.image_drift_days", triggers.image_drift_days)?;
        not_negative("triggers.cooldown_days", triggers.cooldown_days)?;
        positive("triggers.flight_hours", triggers.flight_hours)?;
        at_least("triggers.min_corrections", triggers.min_corrections, 1, "at least 1")
    }
}

fn positive(key: &'static str, value: f64) -> Result<()> {
    let is_valid = value.is_finite() && value > 0.0;
    check(is_valid, key, "a positive number", value.to_string())
}

fn not_negative(key: &'static str, value: f64) -> Result<()> {
    check(value.is_finite() && value >= 0.0, key, "0 or more", value.to_string())
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
        let few = DriftConfig { max_permutations: 317_999, ..DriftConfig::default() };
        let config = MonitoringConfig { drift: few, ..MonitoringConfig::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "`drift.max_permutations` must be at least 3180 / `triggers.yearly_alpha`: with fewer no drift could be told from chance, got 317999"
        );
        let text = "[triggers]\nmax_days = -1.0\n";
        let error = toml::from_str::<MonitoringConfig>(text).unwrap().validate().unwrap_err().to_string();
        assert_eq!(error, "`triggers.max_days` must be a positive number, got -1");
    }
}
