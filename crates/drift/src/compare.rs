use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use project_files::Contract;
use serde::{Deserialize, Serialize};
use slide_data::Prediction;
use statistics::{mean, median, quantile};

use crate::DriftConfig;
use crate::columns::{Column, FeatureGroup, Table};
use crate::distances::{Bins, js_divergence, ks_of_sorted, psi, wasserstein};
use crate::permutation::{Significance, power, significance};

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftStatus {
    /// The score is not above the threshold, and a change that matters would have been seen.
    Stable,
    /// The score is above the threshold.
    Drifted,
    /// Too little data to say either.
    Insufficient,
}

/// How one feature changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    /// `picture.<property>`, `score.<criterion>` or `entropy.<criterion>`.
    pub name: String,
    /// Which half of the score it belongs to.
    pub group: FeatureGroup,
    /// Slides of the reference that have it.
    pub reference_slides: usize,
    /// Recent slides that have it.
    pub recent_slides: usize,
    /// Mean over the reference.
    pub reference_mean: f64,
    /// Mean over recent slides.
    pub recent_mean: f64,
    /// Population stability index over the reference's deciles.
    pub psi: f64,
    /// Jensen–Shannon divergence in bits over the same bins, 0 to 1.
    pub js_divergence: f64,
    /// Kolmogorov–Smirnov statistic, 0 to 1.
    pub ks: f64,
    /// First Wasserstein distance in the feature's unit.
    pub wasserstein: f64,
    /// Chance of a `ks` as large where nothing changed, decks re-labelled at random.
    pub p_value: f64,
    /// The same for any of the features: corrected for looking at many.
    pub adjusted_p_value: f64,
    /// Chance that a shift of `power_shift` standard deviations would have been flagged; absent for a constant feature.
    pub power: Option<f64>,
    /// Whether `adjusted_p_value` is at most `alpha`.
    pub drifted: bool,
    /// Its part in the score, 0 to 1: 0 where not drifted, else the excess of `psi` over what chance makes, 1 from 0.25 on.
    pub strength: f64,
    /// 21 quantiles (0, 5, … 100 %) of the reference and of recent slides, for plots.
    pub quantiles: [Vec<f64>; 2],
}

/// How many slides were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DriftSizes {
    /// Slides of training.
    pub reference_slides: usize,
    /// Their decks.
    pub reference_decks: usize,
    /// Recent slides, each once.
    pub recent_slides: usize,
    /// Their decks.
    pub recent_decks: usize,
}

/// `latest_drift.json`.
///
/// `drift_score` is the mean over the two groups (images, model) of the mean `strength` of their features; a group without
/// features is left out. As a feature counts only where its p-value, corrected for their number, is at most `alpha`, the
/// score is 0 in at least `1 - alpha` of all comparisons in which nothing changed, whatever the sample sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version whose scores were looked at.
    pub model_version: Option<String>,
    /// What was found.
    pub status: DriftStatus,
    /// 0 (nothing changed) to 1; absent where there were too few slides or decks to compute it.
    pub drift_score: Option<f64>,
    /// A score above this counts as drift.
    pub threshold: f64,
    /// The finding in words.
    pub reasons: Vec<String>,
    /// How much was compared.
    pub sizes: DriftSizes,
    /// Chance of flagging any feature where nothing changed.
    pub alpha: f64,
    /// Median over the features of the chance to see a shift of `power_shift`.
    pub power: Option<f64>,
    /// In standard deviations of the reference.
    pub power_shift: f64,
    /// The features, the strongest first.
    pub features: Vec<FeatureDrift>,
    /// Features that either side has on fewer than `min_slides` slides or `min_decks` decks, or that are the same on all; they are not compared.
    pub left_out: Vec<String>,
    /// SHA-256 of each input by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
}

/// A PSI from which on a change counts fully; the customary limit of a major change.
const MAJOR_PSI: f64 = 0.25;
const BINS: usize = 10;

/// Compares recently scored slides with those of training.
///
/// Of `scored` those of one model version count: the given one, or the one that scored last. A slide scored repeatedly counts
/// once, as scored last.
pub fn compare(
    reference: &[Prediction],
    scored: &[Prediction],
    model_version: Option<&str>,
    config: &DriftConfig,
    threshold: f64,
    now: Timestamp,
) -> DriftReport {
    let version = model_version.map(str::to_owned).or_else(|| latest_version(scored, now));
    let recent = recent(scored, version.as_deref(), config, now);
    let reference = once_each(reference.iter());
    let columns = Table::new(&reference, &recent, config);
    let sizes = DriftSizes {
        reference_slides: reference.len(),
        reference_decks: columns.reference_decks,
        recent_slides: recent.len(),
        recent_decks: columns.recent_decks,
    };
    let empty = DriftReport {
        schema_version: DriftReport::VERSION,
        created_at: now,
        model_version: version,
        status: DriftStatus::Insufficient,
        drift_score: None,
        threshold,
        reasons: too_few(&sizes, config),
        sizes,
        alpha: config.alpha,
        power: None,
        power_shift: config.power_shift,
        features: Vec::new(),
        left_out: columns.left_out.clone(),
        inputs: BTreeMap::new(),
    };
    if !empty.reasons.is_empty() {
        return empty;
    }
    if columns.columns.is_empty() {
        let reasons = vec!["no feature is on enough slides and decks of both sides".to_owned()];
        return DriftReport { reasons, ..empty };
    }
    judge(empty, &columns, config)
}

pub(crate) fn latest_version(scored: &[Prediction], now: Timestamp) -> Option<String> {
    let past = scored.iter().filter(|prediction| prediction.scored_at <= now);
    past.max_by_key(|prediction| prediction.scored_at).map(|prediction| prediction.model_version.clone())
}

pub(crate) fn days_before(now: Timestamp, days: f64) -> Timestamp {
    let seconds = SignedDuration::from_secs_f64((days * 86_400.0).min(1e11));
    now.checked_sub(seconds).unwrap_or(Timestamp::MIN)
}

fn recent<'a>(
    scored: &'a [Prediction],
    version: Option<&str>,
    config: &DriftConfig,
    now: Timestamp,
) -> Vec<&'a Prediction> {
    let from = days_before(now, config.window_days);
    let fits = |prediction: &&Prediction| {
        Some(prediction.model_version.as_str()) == version && (from..=now).contains(&prediction.scored_at)
    };
    let mut recent = once_each(scored.iter().filter(fits));
    recent.sort_by_key(|prediction| prediction.scored_at);
    recent.split_off(recent.len().saturating_sub(config.max_slides))
}

/// Each slide (by its pixels) once, as scored last.
fn once_each<'a>(predictions: impl Iterator<Item = &'a Prediction>) -> Vec<&'a Prediction> {
    let mut last: BTreeMap<&str, &Prediction> = BTreeMap::new();
    for prediction in predictions {
        let pixels = if prediction.sha256.is_empty() { &prediction.slide_id } else { &prediction.sha256 };
        let kept = last.entry(pixels).or_insert(prediction);
        if prediction.scored_at >= kept.scored_at {
            *kept = prediction;
        }
    }
    last.into_values().collect()
}

fn too_few(sizes: &DriftSizes, config: &DriftConfig) -> Vec<String> {
    let lack = |have: usize, need: usize, what: &str| {
        (have < need).then(|| format!("{have} {what}; at least {need} are needed"))
    };
    [
        lack(sizes.reference_slides, config.min_slides, "slides of training"),
        lack(sizes.reference_decks, config.min_decks, "decks of training"),
        lack(sizes.recent_slides, config.min_slides, "recently scored slides"),
        lack(sizes.recent_decks, config.min_decks, "recently scored decks"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn judge(report: DriftReport, columns: &Table, config: &DriftConfig) -> DriftReport {
    let significance = significance(columns, config.permutations, config.alpha, config.seed);
    let powers = power(columns, &significance, config.power_shift, config.seed);
    let mut features: Vec<FeatureDrift> = (0..columns.columns.len())
        .map(|index| feature(columns, index, &significance, powers[index], config.alpha))
        .collect();
    let score = drift_score(&features);
    let power = median(powers.into_iter().flatten().collect());
    let status = if score > report.threshold {
        DriftStatus::Drifted
    } else if power.is_some_and(|power| power < config.min_power) {
        DriftStatus::Insufficient
    } else {
        DriftStatus::Stable
    };
    features.sort_by(|a, b| {
        (b.strength.total_cmp(&a.strength)).then(b.ks.total_cmp(&a.ks)).then(a.name.cmp(&b.name))
    });
    let reasons = reasons(status, score, power, &features, &report);
    DriftReport { status, drift_score: Some(score), power, reasons, features, ..report }
}

fn feature(
    columns: &Table,
    index: usize,
    significance: &Significance,
    power: Option<f64>,
    alpha: f64,
) -> FeatureDrift {
    let column: &Column = &columns.columns[index];
    let (reference, recent) = column.sides(&columns.labels());
    let bins = Bins::quantiles(&reference, BINS);
    let counts = (bins.counts(&reference), bins.counts(&recent));
    let psi = psi(&counts.0, &counts.1);
    let drifted = significance.adjusted[index] <= alpha;
    // Two samples of one distribution have about this PSI (Yurdakul 2018).
    let by_chance = (bins.count() - 1) as f64 * (1.0 / reference.len() as f64 + 1.0 / recent.len() as f64);
    let strength = if drifted { ((psi - by_chance) / MAJOR_PSI).clamp(0.0, 1.0) } else { 0.0 };
    let mean = |values: &[f64]| mean(values).unwrap_or(f64::NAN);
    let quantiles = |values: &[f64]| (0..=20).filter_map(|i| quantile(values, f64::from(i) / 20.0)).collect();
    FeatureDrift {
        name: column.name.clone(),
        group: column.group,
        reference_slides: reference.len(),
        recent_slides: recent.len(),
        reference_mean: mean(&reference),
        recent_mean: mean(&recent),
        psi,
        js_divergence: js_divergence(&counts.0, &counts.1),
        ks: ks_of_sorted(&reference, &recent, 0.0),
        wasserstein: wasserstein(&reference, &recent),
        p_value: significance.p_values[index],
        adjusted_p_value: significance.adjusted[index],
        power,
        drifted,
        strength,
        quantiles: [quantiles(&reference), quantiles(&recent)],
    }
}

fn drift_score(features: &[FeatureDrift]) -> f64 {
    let groups: BTreeSet<FeatureGroup> = features.iter().map(|feature| feature.group).collect();
    let of_group = |group: FeatureGroup| {
        let own = features.iter().filter(|feature| feature.group == group);
        mean(&own.map(|feature| feature.strength).collect::<Vec<_>>())
    };
    mean(&groups.into_iter().filter_map(of_group).collect::<Vec<_>>()).unwrap_or(0.0)
}

impl DriftReport {
    /// The shift that `power` is about, as in "one standard deviation".
    pub fn power_shift_in_words(&self) -> String {
        let is_one = (self.power_shift - 1.0).abs() < 1e-9;
        if is_one {
            "one standard deviation".to_owned()
        } else {
            format!("{} standard deviations", self.power_shift)
        }
    }
}

fn reasons(
    status: DriftStatus,
    score: f64,
    power: Option<f64>,
    features: &[FeatureDrift],
    report: &DriftReport,
) -> Vec<String> {
    let drifted: Vec<&str> =
        features.iter().filter(|feature| feature.drifted).map(|feature| feature.name.as_str()).collect();
    let threshold = report.threshold;
    let seen = power.map_or_else(String::new, |power| {
        let (percent, shift) = (100.0 * power, report.power_shift_in_words());
        format!("a shift of {shift} would be seen with a chance of {percent:.0} %")
    });
    let mut reasons = vec![match status {
        DriftStatus::Drifted => format!("the drift score {score:.2} is above {threshold:.2}"),
        DriftStatus::Stable => format!("the drift score {score:.2} is not above {threshold:.2}, and {seen}"),
        DriftStatus::Insufficient => {
            format!(
                "the drift score {score:.2} is not above {threshold:.2}, but only {seen}: too little data"
            )
        }
    }];
    if !drifted.is_empty() {
        reasons.push(format!("changed: {}", drifted.join(", ")));
    }
    if !report.left_out.is_empty() {
        reasons.push(format!(
            "not compared, as too few slides or decks have them or all have the same: {}",
            report.left_out.join(", ")
        ));
    }
    reasons
}

impl Contract for DriftReport {
    const NAME: &'static str = "drift report";
    const VERSION: u32 = 1;
}
