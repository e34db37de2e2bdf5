use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use project_files::{Contract, Layout};
use serde::{Deserialize, Serialize};
use slide_data::{Correction, Label, Prediction, Score, expected_score};
use statistics::Tails;

use crate::compare::{days_before, latest_version};
use crate::{Interval, PerformanceConfig, Result, ValidationResults};

/// Whether accuracy could be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerformanceStatus {
    /// There were enough rated slides, and a validated accuracy to compare with.
    Measured,
    /// There were not.
    Insufficient,
}

/// Everything that a measurement looks at.
#[derive(Debug, Clone, Copy)]
pub struct PerformanceInput<'a> {
    /// The log of scored slides.
    pub scored: &'a [Prediction],
    /// What users corrected; a repeated id is the same correction sent again.
    pub corrections: &'a [Correction],
    /// People's ratings by slide; those of scored slides count as re-rated.
    pub labels: &'a BTreeMap<String, Label>,
    /// Slides that the model was trained or chosen on; their labels say nothing about production.
    pub seen_in_training: &'a BTreeSet<String>,
    /// What validation found.
    pub validated: Option<&'a ValidationResults>,
    /// The version to measure; else the one that scored last.
    pub model_version: Option<&'a str>,
    /// How much data is needed, and how intervals are made.
    pub config: &'a PerformanceConfig,
    /// The time of the measurement.
    pub now: Timestamp,
}

/// Accuracy of one criterion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CriterionAccuracy {
    /// In production.
    pub current_accuracy: f64,
    /// As validated.
    pub baseline_accuracy: Option<f64>,
    /// Rated slides.
    pub ratings: usize,
}

/// Accuracy on one source of ratings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SourceAccuracy {
    /// Share of scores at most one point from the people's.
    pub accuracy: f64,
    /// Rated criteria of slides.
    pub ratings: usize,
}

/// How much was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerformanceSizes {
    /// Rated slides.
    pub slides: usize,
    /// Their decks.
    pub decks: usize,
    /// Rated criteria of slides.
    pub ratings: usize,
    /// Corrections of other versions' scores or outside the window, left out.
    pub corrections_left_out: usize,
}

/// `latest_metrics.json`: accuracy (share of scores at most one point from the people's) in production and as validated.
///
/// Users correct what they disagree with, so the accuracy on corrected slides is a lower bound of the accuracy on all;
/// re-rated slides have no such bias, and where a slide was both corrected and re-rated the new label counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceReport {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// When it was measured.
    pub created_at: Timestamp,
    /// The version that was measured.
    pub model_version: Option<String>,
    /// Whether there was enough to measure.
    pub status: PerformanceStatus,
    /// In production; absent where no slide was rated.
    pub current_accuracy: Option<f64>,
    /// As validated; absent where there are no validation results.
    pub baseline_accuracy: Option<f64>,
    /// The validated accuracy minus the current one.
    pub accuracy_drop: Option<f64>,
    /// Intervals of `current_accuracy` (clustered by deck), `baseline_accuracy` and `accuracy_drop`.
    pub intervals: BTreeMap<String, Interval>,
    /// By criterion.
    pub criteria: BTreeMap<String, CriterionAccuracy>,
    /// By source: `corrected` and `rerated`.
    pub sources: BTreeMap<String, SourceAccuracy>,
    /// How much was measured.
    pub sizes: PerformanceSizes,
    /// What was found, in words.
    pub reasons: Vec<String>,
    /// SHA-256 of each input by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

/// One rated criterion of one slide.
struct Rated {
    source: &'static str,
    deck: String,
    is_within_1: bool,
}

type Ratings = BTreeMap<(String, String), Rated>;

/// Compares scores with what people said afterwards.
pub fn measure(input: &PerformanceInput<'_>) -> PerformanceReport {
    let latest_corrected = || {
        let latest = input.corrections.iter().max_by_key(|correction| correction.corrected_at);
        latest.map(|correction| correction.model_version.clone())
    };
    let version = input.model_version.map(str::to_owned);
    let version = version.or_else(|| latest_version(input.scored, input.now)).or_else(latest_corrected);
    let (ratings, corrections_left_out) = collect(input, version.as_deref().unwrap_or_default());
    let slides: BTreeSet<&str> = ratings.keys().map(|(slide, _)| slide.as_str()).collect();
    let decks: BTreeSet<&str> = ratings.values().map(|rated| rated.deck.as_str()).collect();
    let sizes = PerformanceSizes {
        slides: slides.len(),
        decks: decks.len(),
        ratings: ratings.len(),
        corrections_left_out,
    };
    let current_accuracy = share(ratings.values());
    let baseline_accuracy = input.validated.map(|validated| validated.human_agreement);
    let reasons = lacks(&sizes, input);
    let status =
        if reasons.is_empty() { PerformanceStatus::Measured } else { PerformanceStatus::Insufficient };
    let mut report = PerformanceReport {
        schema_version: PerformanceReport::VERSION,
        created_at: input.now,
        model_version: version,
        status,
        current_accuracy,
        baseline_accuracy,
        accuracy_drop: current_accuracy.zip(baseline_accuracy).map(|(current, baseline)| baseline - current),
        intervals: intervals(&ratings, input),
        criteria: criteria(&ratings, input.validated),
        sources: sources(&ratings),
        sizes,
        reasons,
        inputs: BTreeMap::new(),
    };
    let words = in_words(&report);
    report.reasons.extend(words);
    report
}

/// The scores as people read them, beside what they said: the latest correction of each slide and criterion, then labels.
fn collect(input: &PerformanceInput<'_>, version: &str) -> (Ratings, usize) {
    let from = days_before(input.now, input.config.window_days);
    let window = from..=input.now;
    let mut scored: Vec<&Prediction> =
        input.scored.iter().filter(|p| p.model_version == version && p.scored_at <= input.now).collect();
    scored.sort_by_key(|prediction| prediction.scored_at);
    let scored: BTreeMap<&str, &Prediction> = scored.into_iter().map(|p| (p.slide_id.as_str(), p)).collect();
    let deck = |slide: &str| scored.get(slide).map_or_else(|| slide.to_owned(), |p| p.deck_id.clone());
    let mut ratings = Ratings::new();
    let mut add = |source, slide: &str, key: &str, actual: Score, expected: f64| {
        // Rounding as everywhere: halves up, so that both accuracies mean the same.
        let off = (f64::from(actual.get()) - (expected + 0.5).floor().clamp(1.0, 5.0)).abs();
        let rated = Rated { source, deck: deck(slide), is_within_1: off <= 1.0 };
        ratings.insert((slide.to_owned(), key.to_owned()), rated);
    };
    let mut by_id: BTreeMap<&str, &Correction> = BTreeMap::new();
    for correction in input.corrections {
        by_id.insert(&correction.id, correction);
    }
    let total = by_id.len();
    let fits = |c: &&Correction| c.model_version == version && window.contains(&c.corrected_at);
    let mut corrections: Vec<&Correction> = by_id.into_values().filter(fits).collect();
    corrections.sort_by_key(|correction| correction.corrected_at);
    for correction in &corrections {
        for (key, score) in &correction.scores {
            if let (Some(actual), Some(expected)) = (*score, correction.predicted.get(key)) {
                add("corrected", &correction.slide_id, key, actual, *expected);
            }
        }
    }
    for (slide, label) in input.labels {
        let Some(prediction) = scored.get(slide.as_str()) else { continue };
        if input.seen_in_training.contains(slide) || !window.contains(&prediction.scored_at) {
            continue;
        }
        for (key, actual) in label.scored() {
            if let Some(distribution) = prediction.distributions.get(key) {
                add("rerated", slide, key, actual, expected_score(distribution));
            }
        }
    }
    (ratings, total - corrections.len())
}

fn share<'a>(ratings: impl Iterator<Item = &'a Rated>) -> Option<f64> {
    let (right, total) =
        ratings.fold((0usize, 0usize), |(right, n), rated| (right + usize::from(rated.is_within_1), n + 1));
    (total > 0).then(|| right as f64 / total as f64)
}

fn lacks(sizes: &PerformanceSizes, input: &PerformanceInput<'_>) -> Vec<String> {
    let lack = |have: usize, need: usize, what: &str| {
        (have < need).then(|| format!("{have} corrected or re-rated {what}; at least {need} are needed"))
    };
    let baseline = "there are no validation results to compare with".to_owned();
    [
        lack(sizes.slides, input.config.min_slides, "slides"),
        lack(sizes.decks, input.config.min_decks, "decks"),
        input.validated.is_none().then_some(baseline),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Quantile of the standard normal distribution at 0.975.
const Z: f64 = 1.959_963_984_540_054;

fn intervals(ratings: &Ratings, input: &PerformanceInput<'_>) -> BTreeMap<String, Interval> {
    let current = clustered_interval(ratings, input.config);
    let baseline = input.validated.and_then(|validated| validated.intervals.get("overall_within_1").copied());
    let center = share(ratings.values()).zip(input.validated).map(|(now, then)| then.human_agreement - now);
    // The two are measured on different slides: their variances add.
    let deviation = |interval: Interval| (interval.high - interval.low) / (2.0 * Z);
    let drop = center.zip(current).map(|(center, current)| {
        let wide = Z * deviation(current).hypot(baseline.map_or(0.0, deviation));
        Interval { low: center - wide, high: center + wide }
    });
    [("current_accuracy", current), ("baseline_accuracy", baseline), ("accuracy_drop", drop)]
        .into_iter()
        .filter_map(|(name, interval)| Some((name.to_owned(), interval?)))
        .collect()
}

/// Percentile interval of the bootstrap that draws whole decks; nothing below two decks.
fn clustered_interval(ratings: &Ratings, config: &PerformanceConfig) -> Option<Interval> {
    let mut decks: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for rated in ratings.values() {
        let (right, total) = decks.entry(&rated.deck).or_default();
        *right += f64::from(u8::from(rated.is_within_1));
        *total += 1.0;
    }
    let decks: Vec<(f64, f64)> = decks.into_values().collect();
    let accuracy = |weights: &[f64]| {
        let drawn = decks.iter().zip(weights);
        let (right, total) = drawn.fold((0.0, 0.0), |(right, total), (deck, weight)| {
            (right + weight * deck.0, total + weight * deck.1)
        });
        vec![Some(right / total)]
    };
    let samples = config.bootstrap_samples.max(1);
    let intervals = statistics::intervals(decks.len(), samples, config.seed, Tails::CENTRAL_95, accuracy);
    intervals.into_iter().flatten().next().map(|(low, high)| Interval { low, high })
}

fn criteria(ratings: &Ratings, validated: Option<&ValidationResults>) -> BTreeMap<String, CriterionAccuracy> {
    let keys: BTreeSet<&str> = ratings.keys().map(|(_, key)| key.as_str()).collect();
    let accuracy = |key: &str| {
        let own = || ratings.iter().filter(|((_, other), _)| other == key).map(|(_, rated)| rated);
        let baseline = validated.and_then(|v| v.metrics.get(&format!("{key}_within_1")).copied());
        let current_accuracy = share(own())?;
        Some(CriterionAccuracy { current_accuracy, baseline_accuracy: baseline, ratings: own().count() })
    };
    keys.into_iter().filter_map(|key| Some((key.to_owned(), accuracy(key)?))).collect()
}

fn sources(ratings: &Ratings) -> BTreeMap<String, SourceAccuracy> {
    let accuracy = |source: &str| {
        let own = || ratings.values().filter(|rated| rated.source == source);
        Some(SourceAccuracy { accuracy: share(own())?, ratings: own().count() })
    };
    ["corrected", "rerated"]
        .into_iter()
        .filter_map(|source| Some((source.to_owned(), accuracy(source)?)))
        .collect()
}

fn in_words(report: &PerformanceReport) -> Vec<String> {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut words = Vec::new();
    if let (Some(current), Some(baseline)) = (report.current_accuracy, report.baseline_accuracy) {
        let sizes = &report.sizes;
        words.push(format!(
            "{} of {} ratings on {} slides are within one point, {} were in validation",
            percent(current),
            sizes.ratings,
            sizes.slides,
            percent(baseline)
        ));
    }
    if report.sources.contains_key("corrected") {
        words.push(
            "users correct what they disagree with: accuracy on corrected slides is a lower bound".to_owned(),
        );
    }
    words
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

impl Contract for PerformanceReport {
    const NAME: &'static str = "performance report";
    const VERSION: u32 = 1;
}

impl PerformanceReport {
    /// Whether accuracy fell by more than `allowed`, and not so little or on so few ratings that it may be chance.
    pub fn has_dropped(&self, allowed: f64) -> bool {
        let is_sure = self.intervals.get("accuracy_drop").is_none_or(|interval| interval.low > 0.0);
        self.status == PerformanceStatus::Measured
            && is_sure
            && self.accuracy_drop.is_some_and(|drop| drop > allowed)
    }
}
