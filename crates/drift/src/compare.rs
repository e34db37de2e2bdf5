use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use project_files::Contract as _;
use slide_data::Prediction;

use crate::DriftConfig;
use crate::decks::{Decks, Significance};
use crate::distances::{Bins, Weighted, js_divergence, psi};
use crate::failures::{Failures, Parts, is_of_failures};
use crate::features::{FeatureGroup, Table};
use crate::moved::moved_decks;
use crate::power::{GroupPower, groups, powers};
use crate::recent::{Recent, latest_version, once_each};
use crate::report::{DriftReport, DriftSizes, DriftStatus, FeatureDrift, least_p_value};
use crate::selection::Counted;
use crate::vision::{Vision, VisionDrift};
use crate::words;

/// Everything that a comparison looks at.
#[derive(Debug, Clone, Copy)]
pub struct DriftInput<'a> {
    /// What the version in use made of slides of training (images only) and of validation.
    pub reference: &'a [Prediction],
    /// The log of scored slides, or of it what a [`Selection`](crate::Selection) chose.
    pub scored: &'a [Prediction],
    /// What was counted of the log, where `scored` is not all of it.
    pub counted: Option<&'a Counted>,
    /// What became no slide.
    pub failures: Failures<'a>,
    /// Lines of the log that cannot be read.
    pub broken_lines: usize,
    /// The version in use; else the one that scored last.
    pub model_version: Option<&'a str>,
    /// How they are compared.
    pub config: &'a DriftConfig,
    /// A score above this counts as drift.
    pub threshold: f64,
    /// The time of the comparison.
    pub now: Timestamp,
}

/// Compares recently scored slides with those of training.
///
/// Of the log the slides of one version count: the given one, whichever scored last. A slide scored repeatedly counts once, as
/// scored last; a deck counts once, however many slides it has.
pub fn compare(input: &DriftInput<'_>) -> DriftReport {
    let config = input.config;
    let version = input.model_version.map(str::to_owned).or_else(|| latest_version(input.scored, input.now));
    let recent = Recent::new(input.scored, version.as_deref(), config, input.now);
    let reference = once_each(input.reference.iter());
    let parts = Parts::new(&input.failures, &recent.slides, version.as_deref(), config, input.now);
    let table = Table::new(&reference, &recent.slides, &parts, config);
    let sizes = DriftSizes {
        reference_slides: reference.len(),
        reference_decks: decks_of(&reference),
        recent_slides: recent.slides.len(),
        recent_decks: decks_of(&recent.slides),
        errors: parts.errors,
        refusals: parts.refusals,
        other_versions: input.counted.map_or(recent.other_versions, |counted| counted.other_versions),
        seen_in_training: input.counted.map_or(0, |counted| counted.seen_in_training),
        dated_ahead: input.counted.map_or(recent.dated_ahead, |counted| counted.dated_ahead),
        broken_lines: input.broken_lines,
    };
    let empty = DriftReport {
        schema_version: DriftReport::VERSION,
        created_at: input.now,
        model_version: version,
        status: DriftStatus::Insufficient,
        drift_score: None,
        threshold: input.threshold,
        p_value: None,
        reasons: Vec::new(),
        sizes,
        alpha: config.alpha,
        permutations: 0,
        power: None,
        power_shift: config.power_shift,
        groups: Vec::new(),
        features: Vec::new(),
        vision: None,
        decks: Vec::new(),
        left_out: table.left_out.clone(),
        inputs: BTreeMap::new(),
    };
    let lines = input.counted.map_or(input.scored.len(), |counted| counted.slides);
    let unread = input.counted.iter().flat_map(|counted| &counted.unreadable);
    let mut reasons: Vec<String> = unread.map(|why| words::unread(why)).collect();
    reasons.extend(words::too_few(&sizes, lines, config));
    if reasons.is_empty() && table.columns.is_empty() {
        reasons.push("no feature is on enough slides and decks of both sides, or none varies".to_owned());
    }
    let vision = Vision::new(&reference, &recent.slides, config);
    let mut report = if reasons.is_empty() {
        judge(empty, &table, &recent, vision, config)
    } else {
        DriftReport { reasons, ..empty }
    };
    report.reasons.extend(words::set_aside(&report.sizes));
    report
}

fn decks_of(slides: &[&Prediction]) -> usize {
    slides.iter().map(|slide| slide.deck_id.as_str()).collect::<BTreeSet<_>>().len()
}

fn judge(
    report: DriftReport,
    table: &Table,
    recent: &Recent<'_>,
    vision: Result<Vision, String>,
    config: &DriftConfig,
) -> DriftReport {
    let decks = Decks::new(table);
    let families = if vision.is_ok() { 2.0 } else { 1.0 };
    let sides: Vec<[Weighted; 2]> =
        table.columns.iter().map(|column| column.sides(table.reference_decks)).collect();
    let distances: Vec<f64> = sides.iter().map(|[reference, recent]| reference.ks(recent)).collect();
    let is_asked: Vec<bool> = distances.iter().map(|ks| *ks > report.threshold).collect();
    let found = decks.significance(config, families, &is_asked);
    let seen = vision
        .and_then(|vision| Ok((vision.compare(config, families, report.threshold)?, vision.set_aside())));
    let not_seen = words::of_vision(&seen);
    let vision = seen.ok().map(|(vision, _)| vision);
    let powers = powers(table, &found, config, report.threshold);
    let mut features: Vec<FeatureDrift> = (0..table.columns.len())
        .map(|index| FeatureDrift {
            power: Some(powers[index]),
            ..feature(table, index, &sides[index], &found, config.alpha)
        })
        .collect();
    let moved = moved_decks(table, &decks, &features, &recent.slides);
    let slides_per_deck = report.sizes.recent_slides as f64 / report.sizes.recent_decks.max(1) as f64;
    let groups = groups(table, &found, config, report.threshold, slides_per_deck);
    let power = least_power(&groups);
    let strengths = features.iter().map(|feature| feature.strength);
    let score = strengths.chain(vision.as_ref().map(|vision| vision.strength)).fold(0.0, f64::max);
    let status = match power {
        _ if score > report.threshold => DriftStatus::Drifted,
        Some(power) if power >= config.min_power => DriftStatus::Stable,
        _ => DriftStatus::Insufficient,
    };
    let p_value = p_value(&features, vision.as_ref(), report.threshold);
    features.sort_by(|a, b| {
        (b.strength.total_cmp(&a.strength)).then(b.ks.total_cmp(&a.ks)).then(a.name.cmp(&b.name))
    });
    let report = DriftReport {
        status,
        drift_score: Some(score),
        p_value,
        permutations: found.permutations,
        power,
        groups,
        features,
        vision,
        decks: moved,
        ..report
    };
    let mut reasons = words::reasons(&report, score, config);
    reasons.extend(not_seen);
    DriftReport { reasons, ..report }
}

/// The least power of images and scores, where both were compared.
fn least_power(groups: &[GroupPower]) -> Option<f64> {
    let of_group = |group| groups.iter().find(|power| power.group == group).and_then(|power| power.power);
    let (images, scores) = (of_group(FeatureGroup::Image), of_group(FeatureGroup::Model));
    images.zip(scores).map(|(images, scores)| images.min(scores))
}

/// The least adjusted p-value of what passes the threshold, or of all.
fn p_value(features: &[FeatureDrift], vision: Option<&VisionDrift>, threshold: f64) -> Option<f64> {
    let of_features = features.iter().map(|feature| (feature.strength, feature.adjusted_p_value));
    let all: Vec<(f64, f64)> =
        of_features.chain(vision.map(|vision| (vision.strength, vision.adjusted_p_value))).collect();
    least_p_value(&all, threshold)
}

fn feature(
    table: &Table,
    index: usize,
    [reference, recent]: &[Weighted; 2],
    found: &Significance,
    alpha: f64,
) -> FeatureDrift {
    let column = &table.columns[index];
    let [reference_slides, recent_slides] = column.slides(table.reference_decks);
    let bins = Bins::deciles(reference);
    let (before, now) = (reference.counts(&bins), recent.counts(&bins));
    let means = [reference, recent].map(|side| side.mean().unwrap_or(f64::NAN));
    // Fewer failures than in collecting are no change to be warned of.
    let is_better = is_of_failures(&column.name) && means[1] > means[0];
    let (ks, drifted) = (reference.ks(recent), found.adjusted[index] <= alpha && !is_better);
    FeatureDrift {
        name: column.name.clone(),
        group: column.group,
        reference_slides,
        recent_slides,
        reference_mean: means[0],
        recent_mean: means[1],
        psi: psi(&before, &now),
        js_divergence: js_divergence(&before, &now),
        ks,
        wasserstein: reference.wasserstein(recent),
        p_value: found.p_values[index],
        adjusted_p_value: found.adjusted[index],
        power: None,
        drifted,
        strength: if drifted { ks } else { 0.0 },
        quantiles: [reference, recent]
            .map(|side| (0..=20).filter_map(|i| side.quantile(f64::from(i) / 20.0)).collect()),
    }
}
