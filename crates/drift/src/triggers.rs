use std::collections::BTreeMap;

use jiff::Timestamp;
use project_files::{Contract, Release, VersionFile, sha256_hex};

use crate::budget::{Ledger, Share};
use crate::decision::{Decision, LastRelease, Trigger, TriggerName, TriggerState};
use crate::features::FeatureGroup;
use crate::held::{Holds, days_between, held};
use crate::look::Look;
use crate::performance::{PerformanceReport, PerformanceStatus};
use crate::report::{DriftReport, DriftStatus, FeatureDrift};
use crate::usable::{Known, Usable};
use crate::{MonitoringConfig, TriggerConfig};

/// Who asks, when, and whether it is a person's wish to retrain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// Who asks.
    pub by: &'a str,
    /// Why a person wants a retraining, whatever the other triggers say.
    pub manual: Option<&'a str>,
}

/// What a decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What there is to learn from.
    pub usable: &'a Usable,
    /// What the run of the version in use read.
    pub known: &'a Known,
    /// The releases so far.
    pub releases: &'a VersionFile,
    /// The latest drift report.
    pub drift: Option<&'a DriftReport>,
    /// The latest performance report.
    pub performance: Option<&'a PerformanceReport>,
    /// The decisions so far.
    pub look: Look<'a>,
    /// SHA-256 of the files that all this came from.
    pub inputs: &'a BTreeMap<String, String>,
}

/// Decides whether to retrain: if any of the four triggers fires, or a person asks, and nothing holds it back.
pub fn decide(evidence: &Evidence<'_>, config: &MonitoringConfig, request: &Request<'_>) -> Decision {
    let engine = Engine { evidence, config: &config.triggers, now: request.now };
    let mut triggers = vec![engine.corrections(), engine.time(), engine.drift(), engine.performance()];
    let wants_it = triggers.iter().any(|trigger| trigger.state == TriggerState::Fired);
    triggers.extend(request.manual.map(|reason| manual(request.by, reason)));
    let fired = wants_it || request.manual.is_some();
    let Evidence { usable, known, releases, look, .. } = *evidence;
    let holds = Holds { usable, known, releases, look };
    let held = held(&holds, &config.triggers, request.now, request.manual.is_some());
    Decision {
        schema_version: Decision::VERSION,
        decided_at: request.now,
        asked_by: request.by.to_owned(),
        should_retrain: fired && held.is_empty(),
        last_release: evidence.releases.last().map(LastRelease::of),
        champion: evidence.releases.champion().map(|release| release.version.clone()),
        triggers,
        held,
        unusable_corrections: evidence.usable.unusable.clone(),
        training_key: evidence.usable.key.clone(),
        inputs: evidence.inputs.clone(),
        configuration: serde_json::to_vec(config).map_or_else(|_| String::new(), |json| sha256_hex(&json)),
        takes_back: None,
    }
}

fn manual(by: &str, reason: &str) -> Trigger {
    Trigger {
        name: TriggerName::Manual,
        state: TriggerState::Fired,
        value: None,
        threshold: 0.0,
        p_value: None,
        spent: None,
        reason: format!("{by} asked: {reason}"),
    }
}

fn plain(
    name: TriggerName,
    state: TriggerState,
    value: Option<f64>,
    threshold: f64,
    reason: String,
) -> Trigger {
    Trigger { name, state, value, threshold, p_value: None, spent: None, reason }
}

fn fired_if(fired: bool) -> TriggerState {
    if fired { TriggerState::Fired } else { TriggerState::Quiet }
}

/// A report as a trigger reads it.
struct Reading<'a> {
    what: &'static str,
    name: TriggerName,
    share: f64,
    created_at: Timestamp,
    model_version: Option<&'a str>,
    value: Option<f64>,
    p_value: Option<f64>,
    threshold: f64,
    /// Why what was found may pass by itself.
    passing: Option<String>,
    /// Why the report judges nothing.
    unjudged: Option<String>,
    /// The value in words, and what is allowed.
    found: String,
}

struct Engine<'a> {
    evidence: &'a Evidence<'a>,
    config: &'a TriggerConfig,
    now: Timestamp,
}

/// A weekly schedule meets seven days although the run began a little after the last look.
const SCHEDULE_SLACK: f64 = 0.25;
/// Between two looks of one change lie at most so many times the days that a report is good for: one look may be missed.
const LOOKS_MISSED: f64 = 2.0;

impl Engine<'_> {
    fn champion(&self) -> Option<&Release> {
        self.evidence.releases.champion().or_else(|| self.evidence.releases.last())
    }

    /// Why nothing there is to learn from can be counted.
    fn uncounted(&self) -> Option<String> {
        let missing = &self.evidence.usable.missing;
        let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| format!("not counted: {} was there and is missing", names.join(", ")))
    }

    fn corrections(&self) -> Trigger {
        let (count, need) = (self.evidence.usable.corrections, self.config.min_corrections);
        if let Some(reason) = self.uncounted() {
            let state = TriggerState::Insufficient;
            return plain(TriggerName::Corrections, state, None, need as f64, reason);
        }
        let since = self.champion().map_or_else(
            || "so far".to_owned(),
            |release| match self.evidence.known.tried.len() {
                0 => format!("since the run of {} read its data", release.version),
                tried => {
                    format!("since the run of {} and {tried} tried after it read their data", release.version)
                }
            },
        );
        let unusable: usize = self.evidence.usable.unusable.values().sum();
        let aside = if unusable > 0 {
            let each = self.evidence.usable.unusable.iter().map(|(why, count)| format!("{count} {why}"));
            format!("; {unusable} more cannot be learned from: {}", each.collect::<Vec<_>>().join(", "))
        } else {
            String::new()
        };
        let reason = format!("{count} corrections to learn from {since}, {need} are asked{aside}");
        plain(TriggerName::Corrections, fired_if(count >= need), Some(count as f64), need as f64, reason)
    }

    fn time(&self) -> Trigger {
        let (name, threshold) = (TriggerName::Time, self.config.max_days);
        let Some(release) = self.champion() else {
            let reason = "nothing was released yet".to_owned();
            return plain(name, TriggerState::Insufficient, None, threshold, reason);
        };
        let read_at = self.evidence.known.read_at.unwrap_or(release.released_at);
        let days = days_between(read_at, self.now);
        let version = &release.version;
        if days < 0.0 {
            let reason = format!("the run of {version} is dated {:.1} days ahead", -days);
            return plain(name, TriggerState::Insufficient, Some(days), threshold, reason);
        }
        if let Some(reason) = self.uncounted() {
            return plain(name, TriggerState::Insufficient, Some(days), threshold, reason);
        }
        let new = self.evidence.usable.corrections + self.evidence.usable.more_slides;
        let need = self.config.min_new_slides;
        let is_due = days >= threshold - SCHEDULE_SLACK;
        let reason = format!(
            "{days:.1} days since the run of {version} read its data, {threshold} are allowed; {new} more slides and corrections to learn from, {need} are asked"
        );
        plain(name, fired_if(is_due && new >= need), Some(days), threshold, reason)
    }

    fn drift(&self) -> Trigger {
        let (name, threshold) = (TriggerName::Drift, self.config.max_drift_score);
        let Some(report) = self.evidence.drift else {
            return plain(
                name,
                TriggerState::Insufficient,
                None,
                threshold,
                "there is no drift report".to_owned(),
            );
        };
        // What a trained model sees of a season is in its images; a change that matters shows in scores, or is missing data.
        let matters = |feature: &&FeatureDrift| {
            let may_pass = feature.group == FeatureGroup::Image || feature.is_of_failures();
            !may_pass && feature.strength > threshold
        };
        let beyond_images = report.features.iter().filter(matters).map(|feature| feature.adjusted_p_value);
        let beyond_images = beyond_images.min_by(f64::total_cmp);
        let (score, p_value) = report.to_learn_from();
        let is_drift = score > Some(threshold);
        let is_passing = is_drift && beyond_images.is_none() && !self.has_lasted(threshold);
        let is_unjudged = report.drift_score.is_none()
            || report.status == DriftStatus::Insufficient && score <= Some(threshold);
        self.judge(&Reading {
            what: "the drift report",
            name,
            share: Share::DRIFT,
            created_at: report.created_at,
            model_version: report.model_version.as_deref(),
            value: score,
            p_value: beyond_images.or(p_value),
            threshold,
            passing: is_passing.then(|| {
                let days = self.config.image_drift_days;
                format!(", but only images changed: seasons come back, so it must last {days} days, or show in scores")
            }),
            unjudged: is_unjudged.then(|| format!("drift: {}", report.reasons.join("; "))),
            found: score.map_or_else(String::new, |score| {
                let aside = match report.drift_score {
                    Some(all) if all > score => format!("; with files that cannot be read, which no training mends, it is {all:.2}"),
                    _ => String::new(),
                };
                format!("the drift score is {score:.2}, up to {threshold:.2} is allowed{aside}")
            }),
        })
    }

    /// Whether drift was seen at every look for as many days as images alone need.
    ///
    /// A look at which the drift score lay below the threshold ends that time, also where too little data made it no sign of health: else
    /// two seasons that come back would count as one that lasted. So does a gap in which nobody looked.
    fn has_lasted(&self, threshold: f64) -> bool {
        let days = self.config.image_drift_days;
        let look = |past: &Decision| {
            let drift = past.triggers.iter().find(|trigger| trigger.name == TriggerName::Drift)?;
            let is_drift = drift.value? > threshold;
            // What was not judged may be an old report, which is no sign that drift goes on.
            let counts = !is_drift || drift.spent.is_some();
            counts.then(|| (days_between(past.decided_at, self.now), is_drift))
        };
        let mut looks: Vec<(f64, bool)> = self.evidence.look.past.iter().filter_map(look).collect();
        looks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let gap = LOOKS_MISSED * self.config.max_report_age_days;
        let mut lasted = 0.0;
        for (ago, is_drift) in looks {
            if !is_drift || ago - lasted > gap {
                break;
            }
            lasted = ago;
        }
        lasted >= days - SCHEDULE_SLACK
    }

    fn performance(&self) -> Trigger {
        let (name, threshold) = (TriggerName::Performance, self.config.max_accuracy_drop);
        let Some(report) = self.evidence.performance else {
            let reason = "there is no performance report".to_owned();
            return plain(name, TriggerState::Insufficient, None, threshold, reason);
        };
        let is_measured = report.status == PerformanceStatus::Measured && report.accuracy_drop.is_some();
        self.judge(&Reading {
            what: "the performance report",
            name,
            share: Share::PERFORMANCE,
            created_at: report.created_at,
            model_version: report.model_version.as_deref(),
            value: report.accuracy_drop,
            p_value: report.p_value,
            threshold,
            passing: None,
            unjudged: (!is_measured).then(|| format!("performance: {}", report.reasons.join("; "))),
            found: report.accuracy_drop.map_or_else(String::new, |drop| {
                format!(
                    "accuracy fell by {:.1} points, up to {:.1} are allowed",
                    100.0 * drop,
                    100.0 * threshold
                )
            }),
        })
    }

    fn judge(&self, reading: &Reading<'_>) -> Trigger {
        let insufficient = |reason: String| {
            plain(reading.name, TriggerState::Insufficient, reading.value, reading.threshold, reason)
        };
        if let Some(why) = self.unfit(reading) {
            return insufficient(format!("{} {why}", reading.what));
        }
        if let Some(why) = &reading.unjudged {
            return insufficient(why.clone());
        }
        let (Some(value), Some(p)) = (reading.value, reading.p_value) else {
            return insufficient(format!("{} has no p-value", reading.what));
        };
        let look = self.evidence.look;
        let ledger = Ledger {
            past: look.past,
            broken: look.broken,
            yearly_alpha: self.config.yearly_alpha,
            now: self.now,
        };
        let level = match ledger.level(reading.name, reading.share) {
            Ok(level) => level,
            Err(why) => {
                let repeated = ledger.judged(reading.name).and_then(|look| self.repeated(reading, look));
                return repeated.unwrap_or_else(|| insufficient(format!("{} {why}", reading.what)));
            }
        };
        let state = match (value > reading.threshold, p <= level && reading.passing.is_none()) {
            (true, true) => TriggerState::Fired,
            (true, false) => TriggerState::Insufficient,
            (false, _) => TriggerState::Quiet,
        };
        let chance = match state {
            TriggerState::Quiet => String::new(),
            TriggerState::Fired => format!(" (p = {p:.1e}, at most {level:.1e})"),
            TriggerState::Insufficient if reading.passing.is_some() => {
                reading.passing.clone().unwrap_or_default()
            }
            TriggerState::Insufficient => {
                format!(
                    ", but that may be chance: p = {p:.1e}, and a look of this year may spend {level:.1e}"
                )
            }
        };
        Trigger {
            name: reading.name,
            state,
            value: reading.value,
            threshold: reading.threshold,
            p_value: Some(p),
            spent: Some(level),
            reason: format!("{}{chance}", reading.found),
        }
    }

    /// What a further look of a week says: that a change which the week's first look found is still there, or that there is none. Neither can
    /// be a further false alarm; a change that was not found then waits for the next week.
    fn repeated(&self, reading: &Reading<'_>, look: &Decision) -> Option<Trigger> {
        let (name, threshold, value) = (reading.name, reading.threshold, reading.value?);
        if value <= threshold {
            return Some(plain(name, TriggerState::Quiet, Some(value), threshold, reading.found.clone()));
        }
        let found = look.triggers.iter().find(|trigger| trigger.name == name)?;
        let in_use = self.evidence.releases.champion().map(|release| &release.version);
        let is_same = look.champion.as_ref() == in_use;
        (is_same && found.state == TriggerState::Fired && reading.passing.is_none()).then(|| {
            let reason = format!("{}, as was found on {}", reading.found, look.decided_at.strftime("%F"));
            let fired = plain(name, TriggerState::Fired, Some(value), threshold, reason);
            Trigger { p_value: found.p_value, ..fired }
        })
    }

    /// Why a report says nothing about the model in use today.
    fn unfit(&self, reading: &Reading<'_>) -> Option<String> {
        let champion = self.champion();
        let days = days_between(reading.created_at, self.now);
        if days < 0.0 {
            return Some(format!("is dated {:.1} days ahead", -days));
        }
        let Some(champion) = champion else {
            return Some("speaks of no release: there is none yet".to_owned());
        };
        let version = champion.version.as_str();
        if reading.model_version != Some(version) {
            let about = reading.model_version.unwrap_or("no version");
            return Some(format!("is about {about}, and {version} is in use"));
        }
        if champion.released_at > reading.created_at {
            return Some(format!("is from before the release of {version}"));
        }
        (days > self.config.max_report_age_days).then(|| format!("is {days:.1} days old"))
    }
}
