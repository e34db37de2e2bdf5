//! A production of any size, from a seed: each slide follows from its number alone.
#![allow(dead_code, reason = "the test and the bench need different parts")]

use std::collections::BTreeMap;

use drift::{
    DriftInput, DriftReport, Found, Interval, LookThrough, MonitoringConfig, PerformanceInput,
    PerformanceReport, ValidationResults, compare, look_through, measure,
};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use project_files::{Layout, Storage};
use slide_data::prediction_log::PredictionLog;
use slide_data::{Label, Prediction, Score, VisionSketch};

const CRITERIA: [&str; 5] = ["clarity", "content_quality", "data_visualization", "design", "readability"];
const PROPERTIES: [&str; 8] = [
    "background_brightness",
    "brightness",
    "colourfulness",
    "contrast",
    "edge_density",
    "entropy",
    "ink_share",
    "whitespace_share",
];

/// The end of the last day.
pub(crate) fn now() -> Timestamp {
    "2025-06-01T00:00:00Z".parse().expect("a timestamp")
}

/// So many slides over the days before [`now`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Production {
    pub(crate) slides: usize,
    pub(crate) days: usize,
}

pub(crate) fn layout(dir: &std::path::Path) -> Layout {
    let storage = Storage { monitoring_dir: dir.join("monitoring"), ..Storage::default() };
    Layout::new(&storage, &dir.join("outputs"))
}

impl Production {
    pub(crate) fn per_day(&self) -> usize {
        self.slides / self.days
    }

    /// The slides of a day, in the order in which they were scored: decks of ten, one in a hundred slides by an experiment, one in fifty
    /// seen before.
    pub(crate) fn day(&self, day: usize) -> impl Iterator<Item = Prediction> + Clone + use<> {
        let (per_day, days) = (self.per_day(), self.days);
        let start = now() - SignedDuration::from_hours(24 * (days - day) as i64);
        (0..per_day).map(move |at| {
            let number = day * per_day + at;
            let mut slide = slide(if number.is_multiple_of(50) { number / 2 } else { number });
            slide.id = Some(format!("{number:032x}"));
            slide.deck_id = format!("deck-{}", number / 10);
            slide.scored_at = start + SignedDuration::from_millis(86_400_000 * at as i64 / per_day as i64);
            if number % 100 == 7 {
                "experiment".clone_into(&mut slide.model_version);
            }
            slide
        })
    }

    pub(crate) fn all(self) -> impl Iterator<Item = Prediction> {
        (0..self.days).flat_map(move |day| self.day(day))
    }
}

/// A slide that follows from its number, decks differing as little as their slides.
pub(crate) fn slide(number: usize) -> Prediction {
    let mut rng = Rng::with_seed(number as u64 ^ 0x51ed);
    let mut slide = Prediction {
        deck_id: format!("train-{}", number / 10),
        sha256: format!("{:032x}{:032x}", rng.u128(..), rng.u128(..)),
        scored_at: now() - SignedDuration::from_hours(24 * 60),
        latency_ms: 100.0 * rng.f64(),
        ..Prediction::sample(&format!("slide-{:016x}", rng.u64(..)))
    };
    for key in CRITERIA {
        if key == "data_visualization" && rng.f64() < 0.5 {
            continue;
        }
        let shares: [f64; Score::LEVELS] = std::array::from_fn(|_| 0.01 + rng.f64());
        let total: f64 = shares.iter().sum();
        slide.distributions.insert(key.to_owned(), shares.map(|share| share / total));
    }
    slide.decide(None);
    slide.features = PROPERTIES.iter().map(|key| ((*key).to_owned(), rng.f64())).collect();
    let projected = std::array::from_fn(|_| rng.f32() - 0.5);
    slide.vision = VisionSketch::new("base", &projected);
    slide
}

/// What a look finds, as `pq-monitor` does it.
pub(crate) fn look(
    layout: &Layout,
    config: &MonitoringConfig,
) -> drift::Result<(Found, DriftReport, PerformanceReport)> {
    let mut log = PredictionLog::open(layout)?;
    let seen = std::collections::BTreeSet::new();
    let through = LookThrough {
        model_version: Some("v1"),
        seen_in_training: &seen,
        drawn: Some(&[]),
        config,
        now: now(),
    };
    let found = look_through(&mut log, &through)?;
    let reference: Vec<Prediction> = (1 << 40..(1 << 40) + 600).map(slide).collect();
    let drift = compare(&DriftInput {
        reference: &reference,
        scored: &found.scored,
        counted: Some(&found.counted),
        failures: drift::Failures::default(),
        broken_lines: log.defects().broken_lines,
        model_version: Some("v1"),
        config: &config.drift,
        threshold: config.triggers.max_drift_score,
        now: now(),
    });
    let labels: BTreeMap<String, Label> =
        found.audits.iter().map(|audit| (audit.slide_id.clone(), label())).collect();
    let interval = Interval { low: 0.5, high: 0.9 };
    let validated = ValidationResults {
        human_agreement: 0.7,
        intervals: [("overall_within_1".to_owned(), interval)].into(),
        ..ValidationResults::default()
    };
    let accuracy = measure(&PerformanceInput {
        scored: &found.foretold,
        unreadable: &found.counted.unreadable,
        audits: &found.audits,
        labels: &labels,
        validated: Some(&validated),
        model_version: Some("v1"),
        config: &config.performance,
        now: now(),
    });
    Ok((found, drift, accuracy))
}

/// Everybody says 3.
fn label() -> Label {
    Label { scores: CRITERIA.map(|key| (key.to_owned(), Score::new(3))).into(), ..Label::default() }
}
