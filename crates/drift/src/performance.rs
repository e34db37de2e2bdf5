use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use project_files::{Contract, Interval, Layout, ValidationResults};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slide_data::{Audit, Label, Score};

use crate::days::{day, days_before};
use crate::estimate::{Estimate, Rated, estimate, foretold};
use crate::features::is_distribution;
use crate::foretold::{Foretold, read_score};
use crate::{PerformanceConfig, Result, words};

/// Whether accuracy could be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerformanceStatus {
    /// There were enough rated slides of the audit, and a validated accuracy to compare with.
    Measured,
    /// There were not.
    Insufficient,
}

/// Everything that a measurement looks at.
#[derive(Debug, Clone, Copy)]
pub struct PerformanceInput<'a> {
    /// What the model foretold of the scored slides that the estimate is about.
    pub scored: &'a Foretold,
    /// Parts of the log that cannot be read, with the reason; where there is one nothing is concluded from the others.
    pub unreadable: &'a [String],
    /// The random sample of the scored slides.
    pub audits: &'a [Audit],
    /// People's ratings by slide; those of the sample count.
    pub labels: &'a BTreeMap<String, Label>,
    /// What validation found.
    pub validated: Option<&'a ValidationResults>,
    /// The version in use.
    pub model_version: Option<&'a str>,
    /// How much data is needed.
    pub config: &'a PerformanceConfig,
    /// The time of the measurement.
    pub now: Timestamp,
}

/// Accuracy of one criterion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CriterionAccuracy {
    /// In production.
    pub current_accuracy: f64,
    /// Its interval, clustered by deck; absent below two decks.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// As validated.
    pub baseline_accuracy: Option<f64>,
    /// Rated slides.
    pub ratings: usize,
}

/// How much was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PerformanceSizes {
    /// Slides that the estimate is about.
    pub scored: usize,
    /// Slides of them that were drawn.
    pub drawn: usize,
    /// Drawn slides that people rated.
    pub slides: usize,
    /// Their decks.
    pub decks: usize,
    /// Their rated criteria.
    pub ratings: usize,
}

/// `latest_metrics.json`: accuracy (share of scores at most one point from the people's) in production, of the newest days, and as
/// validated.
///
/// It comes from slides that were drawn at random and then rated (`monitoring/audits.jsonl`), and from what the model said of all.
/// Corrections are no part of it: users correct what they disagree with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceReport {
    /// Version of this contract, now 2.
    pub schema_version: u32,
    /// When it was measured.
    pub created_at: Timestamp,
    /// The version that was measured: the one in use.
    pub model_version: Option<String>,
    /// Whether there was enough to measure.
    pub status: PerformanceStatus,
    /// In production, each deck of a day counting alike; absent where too few decks were rated.
    pub current_accuracy: Option<f64>,
    /// As validated; absent where there are no validation results.
    pub baseline_accuracy: Option<f64>,
    /// The validated accuracy minus the current one.
    pub accuracy_drop: Option<f64>,
    /// Chance of a drop as large where there is none; absent where it cannot be told.
    #[serde(default)]
    pub p_value: Option<f64>,
    /// Intervals of `current_accuracy` (clustered by deck), `baseline_accuracy` and `accuracy_drop`.
    pub intervals: BTreeMap<String, Interval>,
    /// By criterion.
    pub criteria: BTreeMap<String, CriterionAccuracy>,
    /// How much was measured.
    pub sizes: PerformanceSizes,
    /// What was found, in words.
    pub reasons: Vec<String>,
    /// SHA-256 of each input by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

impl Contract for PerformanceReport {
    const NAME: &'static str = "performance report";
    const VERSION: u32 = 2;

    /// In version 1 the accuracy came from corrections too, which are no sample: nothing is concluded from it.
    fn migrate(_version: u32, mut value: Value) -> std::result::Result<Value, String> {
        let report = value.as_object_mut().ok_or("it is not an object")?;
        report.insert("schema_version".to_owned(), json!(Self::VERSION));
        report.insert("status".to_owned(), json!(PerformanceStatus::Insufficient));
        for key in ["current_accuracy", "accuracy_drop"] {
            report.insert(key.to_owned(), Value::Null);
        }
        report.insert("criteria".to_owned(), json!({}));
        let reason = "an earlier program made the report, from corrections: run pq-monitor";
        report.insert("reasons".to_owned(), json!([reason]));
        Ok(value)
    }
}

/// The chance below which a report calls a drop one.
const ALPHA: f64 = 0.05;
/// Quantile of the standard normal distribution at 0.975.
const Z: f64 = 1.959_963_984_540_054;

impl PerformanceReport {
    /// Whether accuracy fell by more than `allowed`, and not so little or on so few ratings that it may be chance.
    pub fn has_dropped(&self, allowed: f64) -> bool {
        self.status == PerformanceStatus::Measured
            && self.p_value.is_some_and(|p| p <= ALPHA)
            && self.accuracy_drop.is_some_and(|drop| drop > allowed)
    }
}

/// Estimates the accuracy of the newest days from the audit.
pub fn measure(input: &PerformanceInput<'_>) -> PerformanceReport {
    let looked_at = LookedAt::new(input, input.model_version.unwrap_or_default());
    let sizes = looked_at.sizes();
    let current = looked_at.estimate(None);
    let baseline = input.validated.map(|validated| validated.human_agreement);
    let interval = input.validated.and_then(|validated| validated.intervals.get("overall_within_1").copied());
    let drop = current.zip(baseline).map(|(current, baseline)| baseline - current.value);
    let sure = current
        .zip(baseline)
        .zip(interval)
        .map(|((current, validated), interval)| Drop::new(current, validated, interval));
    let mut reasons = lacks(&sizes, input, interval);
    let status =
        if reasons.is_empty() { PerformanceStatus::Measured } else { PerformanceStatus::Insufficient };
    reasons.extend(in_words(&sizes, current, baseline));
    let intervals = [
        ("current_accuracy", current.map(|current| current.interval())),
        ("baseline_accuracy", interval),
        ("accuracy_drop", sure.as_ref().map(|drop| drop.interval)),
    ];
    PerformanceReport {
        schema_version: PerformanceReport::VERSION,
        created_at: input.now,
        model_version: input.model_version.map(str::to_owned),
        status,
        current_accuracy: current.map(|current| current.value),
        baseline_accuracy: baseline,
        accuracy_drop: drop,
        p_value: sure.map(|drop| drop.p_value),
        intervals: intervals.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it?))).collect(),
        criteria: looked_at.criteria(input.validated),
        sizes,
        reasons,
        inputs: BTreeMap::new(),
    }
}

/// A drop with its interval and how surprising it is.
struct Drop {
    interval: Interval,
    p_value: f64,
}

impl Drop {
    /// Both accuracies are measured on different slides: their variances add.
    ///
    /// The chance is that of a score test: what the accuracy would vary by if it were the validated one, which is less than what it
    /// varies by where more is wrong, with the design effect of the sample (Rao and Scott 1987).
    fn new(current: Estimate, validated: f64, interval: Interval) -> Self {
        let (drop, of_validation) = (validated - current.value, (interval.high - interval.low) / (2.0 * Z));
        let wide = current.wide() * current.error.hypot(of_validation);
        let spread = |share: f64| (share * (1.0 - share)).max(1e-3);
        let scale = (spread(validated) / spread(current.value)).sqrt().min(1.0);
        let error = (scale * current.error).hypot(of_validation);
        let tail = || statistics::student_tail(drop / error, current.degrees as f64);
        let p_value = if error > 0.0 { tail().unwrap_or(1.0) } else { 1.0 };
        Self { interval: Interval { low: drop - wide, high: drop + wide }, p_value }
    }
}

/// One criterion of a slide: whether the score is right, and how likely the model thought so.
struct Judged {
    key: String,
    right: f64,
    foretold: f64,
}

/// What of production is looked at.
struct LookedAt<'a> {
    scored: &'a Foretold,
    /// The rated ones of the sample.
    rated: Vec<(&'a Audit, Vec<Judged>)>,
    drawn: usize,
}

impl<'a> LookedAt<'a> {
    fn new(input: &PerformanceInput<'a>, version: &str) -> Self {
        let first = day(days_before(input.now, input.config.window_days));
        let is_looked_at = |audit: &&Audit| {
            audit.model_version == version && (first..day(input.now)).contains(&day(audit.scored_at))
        };
        let mut drawn: BTreeMap<(&str, i64), &Audit> = BTreeMap::new();
        for audit in input.audits.iter().filter(is_looked_at) {
            drawn.entry((audit.slide_id.as_str(), day(audit.scored_at))).or_insert(audit);
        }
        let rate = |audit: &&'a Audit| {
            let judged = judge(audit, input.labels.get(&audit.slide_id)?);
            (!judged.is_empty()).then_some((*audit, judged))
        };
        let rated = drawn.values().filter_map(rate).collect();
        Self { scored: input.scored, rated, drawn: drawn.len() }
    }

    fn sizes(&self) -> PerformanceSizes {
        let decks: BTreeSet<&str> = self.rated.iter().map(|(audit, _)| audit.deck_id.as_str()).collect();
        PerformanceSizes {
            scored: self.scored.slides(),
            drawn: self.drawn,
            slides: self.rated.len(),
            decks: decks.len(),
            ratings: self.rated.iter().map(|(_, judged)| judged.len()).sum(),
        }
    }

    /// The estimate over all criteria, or of one.
    fn estimate(&self, criterion: Option<&str>) -> Option<Estimate> {
        estimate(&self.rated(criterion), &self.scored.of(criterion))
    }

    fn rated(&self, criterion: Option<&str>) -> Vec<Rated> {
        let of = |(audit, judged): &(&Audit, Vec<Judged>)| {
            let own: Vec<&Judged> =
                judged.iter().filter(|judged| criterion.is_none_or(|key| judged.key == key)).collect();
            let mean = |value: fn(&Judged) -> f64| {
                statistics::mean(&own.iter().map(|judged| value(judged)).collect::<Vec<_>>())
            };
            Some(Rated {
                deck: audit.deck_id.clone(),
                weight: audit.weight(),
                right: mean(|judged| judged.right)?,
                foretold: mean(|judged| judged.foretold)?,
                ratings: own.len(),
            })
        };
        self.rated.iter().filter_map(of).collect()
    }

    fn criteria(&self, validated: Option<&ValidationResults>) -> BTreeMap<String, CriterionAccuracy> {
        let keys: BTreeSet<&str> = self
            .rated
            .iter()
            .flat_map(|(_, judged)| judged.iter().map(|judged| judged.key.as_str()))
            .collect();
        let accuracy = |key: &str| {
            let found = self.estimate(Some(key))?;
            Some(CriterionAccuracy {
                current_accuracy: found.value,
                interval: Some(found.interval()),
                baseline_accuracy: validated.and_then(|v| v.metrics.get(&format!("{key}_within_1")).copied()),
                ratings: self.rated(Some(key)).iter().map(|rated| rated.ratings).sum(),
            })
        };
        keys.into_iter().filter_map(|key| Some((key.to_owned(), accuracy(key)?))).collect()
    }
}

fn judge(audit: &Audit, label: &Label) -> Vec<Judged> {
    let of = |(key, actual): (&str, Score)| {
        let distribution = audit.distributions.get(key).filter(|shares| is_distribution(shares))?;
        let score = read_score(audit.chosen.get(key), distribution);
        let is_right = (f64::from(actual.get()) - score).abs() <= 1.0;
        Some(Judged {
            key: key.to_owned(),
            right: f64::from(u8::from(is_right)),
            foretold: foretold(distribution, score),
        })
    };
    label.scored().filter_map(of).collect()
}

fn lacks(sizes: &PerformanceSizes, input: &PerformanceInput<'_>, baseline: Option<Interval>) -> Vec<String> {
    let lack = |have: usize, need: usize, what: &str| {
        (have < need).then(|| format!("{have} rated {what} of the audit; at least {need} are needed"))
    };
    let unanswered = sizes.slides * 2 < sizes.drawn;
    let no_validation = input.validated.is_none();
    let unread = input.unreadable.iter().map(|why| words::unread(why));
    let others = [
        lack(sizes.slides, input.config.min_slides, "slides"),
        lack(sizes.decks, input.config.min_decks, "decks"),
        unanswered.then(|| {
            format!("{} of {} drawn slides are rated: rate those of audits.jsonl", sizes.slides, sizes.drawn)
        }),
        no_validation.then(|| "there are no validation results to compare with".to_owned()),
        (!no_validation && baseline.is_none())
            .then(|| "the validation results have no interval of the accuracy: validate again".to_owned()),
    ];
    unread.chain(others.into_iter().flatten()).collect()
}

fn in_words(sizes: &PerformanceSizes, current: Option<Estimate>, baseline: Option<f64>) -> Option<String> {
    let (current, baseline) = current.zip(baseline)?;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let interval = current.interval();
    Some(format!(
        "{} of scores ({} to {}) are within one point of people's, by {} slides of {} decks drawn at random and rated; {} were in validation",
        percent(current.value),
        percent(interval.low),
        percent(interval.high),
        sizes.slides,
        sizes.decks,
        percent(baseline)
    ))
}

/// Writes the newest performance report of a project, and a copy under its date beside it.
///
/// # Errors
/// When a file cannot be written; each file is old or new, never half.
pub fn write_performance_report(layout: &Layout, report: &PerformanceReport) -> Result<()> {
    let dated = report.created_at.strftime("metrics-%Y-%m-%dT%H%M%SZ.json").to_string();
    report.write(&layout.performance_reports().join(dated))?;
    Ok(report.write(&layout.latest_performance())?)
}
