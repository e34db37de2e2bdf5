use std::collections::BTreeSet;

use jiff::Timestamp;
use project_files::{Contract, Release, VersionFile};
use serde::{Deserialize, Serialize};
use slide_data::Correction;

use crate::{DriftReport, DriftStatus, PerformanceReport, PerformanceStatus, TriggerConfig};

/// What can cause retraining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerName {
    /// Enough corrections since the last release.
    Corrections,
    /// Enough days since the last release.
    Time,
    /// Slides or scores changed.
    Drift,
    /// Accuracy in production fell.
    Performance,
}

/// What a trigger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerState {
    /// Retrain.
    Fired,
    /// No reason to.
    Quiet,
    /// Too little data to say; no reason to retrain, and no sign of health either.
    Insufficient,
}

/// One trigger with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Which one.
    pub name: TriggerName,
    /// What it says.
    pub state: TriggerState,
    /// What was measured, where it could be.
    pub value: Option<f64>,
    /// What it was compared with.
    pub threshold: f64,
    /// The evidence in words.
    pub reason: String,
}

/// The release that a decision was made after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRelease {
    /// As in `v3`.
    pub version: String,
    /// When.
    pub released_at: Timestamp,
    /// The run it came from.
    #[serde(default)]
    pub run_id: String,
}

impl LastRelease {
    fn of(release: &Release) -> Self {
        let Release { version, released_at, run_id, .. } = release;
        Self { version: version.clone(), released_at: *released_at, run_id: run_id.clone() }
    }
}

impl Contract for Decision {
    const NAME: &'static str = "decision";
    const VERSION: u32 = 1;
}

/// A line of `decisions.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// When it was made.
    pub decided_at: Timestamp,
    /// Whether any trigger fired.
    pub should_retrain: bool,
    /// The last release before, if there was one.
    pub last_release: Option<LastRelease>,
    /// All four triggers.
    pub triggers: Vec<Trigger>,
}

/// What a decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// All corrections; a repeated id is the same correction sent again.
    pub corrections: &'a [Correction],
    /// The releases so far.
    pub releases: &'a VersionFile,
    /// The latest drift report.
    pub drift: Option<&'a DriftReport>,
    /// The latest performance report.
    pub performance: Option<&'a PerformanceReport>,
}

/// Decides whether to retrain: if any of the four triggers fires.
pub fn decide(evidence: &Evidence<'_>, config: &TriggerConfig, now: Timestamp) -> Decision {
    let last_release = evidence.releases.last();
    let triggers = vec![
        corrections(evidence.corrections, last_release, config),
        time(last_release, config, now),
        drift(evidence.drift, last_release, config, now),
        performance(evidence.performance, last_release, config, now),
    ];
    Decision {
        schema_version: Decision::VERSION,
        decided_at: now,
        should_retrain: triggers.iter().any(|trigger| trigger.state == TriggerState::Fired),
        last_release: last_release.map(LastRelease::of),
        triggers,
    }
}

impl Decision {
    /// Why, in one line: the reasons of the triggers that fired, or that none did and which could not be judged.
    pub fn reason(&self) -> String {
        let of = |state: TriggerState| -> Vec<&str> {
            self.triggers.iter().filter(|t| t.state == state).map(|t| t.reason.as_str()).collect()
        };
        let (fired, unknown) = (of(TriggerState::Fired), of(TriggerState::Insufficient));
        match (fired.is_empty(), unknown.is_empty()) {
            (false, _) => fired.join("; "),
            (true, true) => "no trigger fired".to_owned(),
            (true, false) => format!("no trigger fired; not judged: {}", unknown.join("; ")),
        }
    }
}

fn fired_if(fired: bool) -> TriggerState {
    if fired { TriggerState::Fired } else { TriggerState::Quiet }
}

fn corrections(all: &[Correction], last: Option<&Release>, config: &TriggerConfig) -> Trigger {
    let since = last.map_or(Timestamp::MIN, |release| release.released_at);
    let new: BTreeSet<&str> =
        all.iter().filter(|c| c.corrected_at > since).map(|correction| correction.id.as_str()).collect();
    let (count, need) = (new.len(), config.min_corrections);
    let after = last.map_or_else(|| "so far".to_owned(), |release| format!("since {}", release.version));
    Trigger {
        name: TriggerName::Corrections,
        state: fired_if(count >= need),
        value: Some(count as f64),
        threshold: need as f64,
        reason: format!("{count} corrections {after}, {need} are asked"),
    }
}

fn time(last: Option<&Release>, config: &TriggerConfig, now: Timestamp) -> Trigger {
    let threshold = config.max_days;
    let Some(release) = last else {
        let reason = "nothing was released yet".to_owned();
        return insufficient(TriggerName::Time, None, threshold, reason);
    };
    let days = now.duration_since(release.released_at).as_secs_f64() / 86_400.0;
    Trigger {
        name: TriggerName::Time,
        state: fired_if(days >= threshold),
        value: Some(days),
        threshold,
        reason: format!("{} was released {days:.1} days ago, {threshold} are allowed", release.version),
    }
}

fn insufficient(name: TriggerName, value: Option<f64>, threshold: f64, reason: String) -> Trigger {
    Trigger { name, state: TriggerState::Insufficient, value, threshold, reason }
}

/// Why a report says nothing about the model in use today.
fn stale(
    created_at: Timestamp,
    last: Option<&Release>,
    config: &TriggerConfig,
    now: Timestamp,
) -> Option<String> {
    let days = now.duration_since(created_at).as_secs_f64() / 86_400.0;
    if let Some(release) = last.filter(|release| release.released_at > created_at) {
        return Some(format!("is from before the release of {}", release.version));
    }
    (days > config.max_report_age_days).then(|| format!("is {days:.1} days old"))
}

fn drift(
    report: Option<&DriftReport>,
    last: Option<&Release>,
    config: &TriggerConfig,
    now: Timestamp,
) -> Trigger {
    let (name, threshold) = (TriggerName::Drift, config.max_drift_score);
    let Some(report) = report else {
        return insufficient(name, None, threshold, "there is no drift report".to_owned());
    };
    let value = report.drift_score;
    if let Some(age) = stale(report.created_at, last, config, now) {
        return insufficient(name, value, threshold, format!("the drift report {age}"));
    }
    match value {
        Some(score) if score > threshold => Trigger {
            name,
            state: TriggerState::Fired,
            value,
            threshold,
            reason: format!("the drift score is {score:.2}, at most {threshold:.2} is allowed"),
        },
        Some(score) if report.status != DriftStatus::Insufficient => Trigger {
            name,
            state: TriggerState::Quiet,
            value,
            threshold,
            reason: format!("the drift score is {score:.2}, up to {threshold:.2} is allowed"),
        },
        _ => insufficient(name, value, threshold, format!("drift: {}", report.reasons.join("; "))),
    }
}

fn performance(
    report: Option<&PerformanceReport>,
    last: Option<&Release>,
    config: &TriggerConfig,
    now: Timestamp,
) -> Trigger {
    let (name, threshold) = (TriggerName::Performance, config.max_accuracy_drop);
    let Some(report) = report else {
        return insufficient(name, None, threshold, "there is no performance report".to_owned());
    };
    let value = report.accuracy_drop;
    if let Some(age) = stale(report.created_at, last, config, now) {
        return insufficient(name, value, threshold, format!("the performance report {age}"));
    }
    let (PerformanceStatus::Measured, Some(drop)) = (report.status, value) else {
        return insufficient(name, value, threshold, format!("performance: {}", report.reasons.join("; ")));
    };
    let points = format!("accuracy fell by {:.1} points", 100.0 * drop);
    let allowed = format!("up to {:.1} are allowed", 100.0 * threshold);
    let has_dropped = report.has_dropped(threshold);
    if drop > threshold && !has_dropped {
        let reason = format!("{points}, {allowed}, but so few ratings could show that by chance");
        return insufficient(name, value, threshold, reason);
    }
    let state = fired_if(has_dropped);
    Trigger { name, state, value, threshold, reason: format!("{points}, {allowed}") }
}
