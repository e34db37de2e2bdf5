//! What the four triggers and the measurement of accuracy promise.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{CRITERIA, Side, correction, distribution, now, slides};
use drift::{
    Decision, DriftConfig, DriftReport, Evidence, PerformanceConfig, PerformanceInput, PerformanceReport,
    PerformanceStatus, Release, Trigger, TriggerConfig, TriggerName, TriggerState, ValidationResults,
    VersionFile, decide, measure,
};
use jiff::{SignedDuration, Timestamp};
use project_files::{Contract as _, Layout, Storage};
use slide_data::{Correction, Label, Prediction, Score};

fn ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn releases(days: i64) -> VersionFile {
    let release = |version: &str, days| Release {
        version: version.to_owned(),
        released_at: ago(days),
        ..Release::default()
    };
    VersionFile {
        version: Some("v1".to_owned()),
        history: vec![release("v1", days), release("v0", days + 30)],
        ..VersionFile::default()
    }
}

fn validated(accuracy: f64) -> ValidationResults {
    ValidationResults { human_agreement: accuracy, ..ValidationResults::default() }
}

fn accuracy(corrections: &[Correction], validated: Option<&ValidationResults>) -> PerformanceReport {
    measure(&PerformanceInput {
        scored: &[],
        corrections,
        labels: &BTreeMap::new(),
        seen_in_training: &BTreeSet::new(),
        validated,
        model_version: None,
        config: &PerformanceConfig::default(),
        now: now(),
    })
}

/// `right` of `total` corrections that changed the score by at most a point.
fn corrections(total: usize, right: usize) -> Vec<Correction> {
    (0..total).map(|id| correction(id, ago(1), 3.2, if id < right { 4 } else { 5 })).collect()
}

fn decision(evidence: &Evidence<'_>) -> Decision {
    decide(evidence, &TriggerConfig::default(), now())
}

fn state(decision: &Decision, name: TriggerName) -> TriggerState {
    trigger(decision, name).state
}

fn trigger(decision: &Decision, name: TriggerName) -> &Trigger {
    decision.triggers.iter().find(|trigger| trigger.name == name).expect("all four are there")
}

fn nothing(releases: &VersionFile) -> Evidence<'_> {
    Evidence { corrections: &[], releases, drift: None, performance: None }
}

#[test]
fn without_evidence_nothing_fires_and_the_gaps_are_named() {
    let decision = decision(&nothing(&releases(2)));
    assert!(!decision.should_retrain);
    assert_eq!(state(&decision, TriggerName::Drift), TriggerState::Insufficient);
    assert_eq!(
        decision.reason(),
        "no trigger fired; not judged: there is no drift report; there is no performance report"
    );
}

#[test]
fn a_hundred_corrections_since_the_release_fire_each_counted_once() {
    let releases = releases(3);
    let mut all: Vec<Correction> = (0..99).map(|id| correction(id, ago(1), 3.0, 2)).collect();
    all.extend((0..99).map(|id| correction(id, ago(1), 3.0, 2)));
    all.extend((200..400).map(|id| correction(id, ago(4), 3.0, 2)));
    let before = decision(&Evidence { corrections: &all, ..nothing(&releases) });
    assert_eq!(trigger(&before, TriggerName::Corrections).value, Some(99.0));
    assert!(!before.should_retrain);
    all.push(correction(99, ago(2), 3.0, 2));
    let after = decision(&Evidence { corrections: &all, ..nothing(&releases) });
    assert!(after.should_retrain);
    assert_eq!(after.reason(), "100 corrections since v1, 100 are asked");
}

#[test]
fn seven_days_fire_and_no_release_is_not_judged() {
    assert_eq!(state(&decision(&nothing(&releases(6))), TriggerName::Time), TriggerState::Quiet);
    assert_eq!(state(&decision(&nothing(&releases(7))), TriggerName::Time), TriggerState::Fired);
    assert_eq!(
        state(&decision(&nothing(&VersionFile::default())), TriggerName::Time),
        TriggerState::Insufficient
    );
}

fn drift_report(score: Option<f64>, status: &str, days: i64) -> DriftReport {
    let mut rng = fastrand::Rng::with_seed(1);
    let few = slides("few", Side::new(2, 2), &mut rng);
    let report = drift::compare(&few, &few, None, &DriftConfig::default(), 0.30, ago(days));
    let status = serde_json::from_value(status.into()).expect("a status");
    DriftReport { drift_score: score, status, ..report }
}

#[test]
fn drift_fires_above_its_threshold_only_on_enough_and_fresh_data() {
    let releases = releases(5);
    let of = |score, status, days| {
        let report = drift_report(score, status, days);
        state(&decision(&Evidence { drift: Some(&report), ..nothing(&releases) }), TriggerName::Drift)
    };
    assert_eq!(of(Some(0.31), "drifted", 1), TriggerState::Fired);
    assert_eq!(of(Some(0.30), "stable", 1), TriggerState::Quiet);
    assert_eq!(of(Some(0.0), "insufficient", 1), TriggerState::Insufficient);
    assert_eq!(of(None, "insufficient", 1), TriggerState::Insufficient);
    assert_eq!(of(Some(0.9), "drifted", 6), TriggerState::Insufficient, "it speaks of the version before");
    let old = drift_report(Some(0.9), "drifted", 9);
    let v1 = Release { version: "v1".to_owned(), released_at: ago(50), ..Release::default() };
    let long_ago = VersionFile { history: vec![v1], ..VersionFile::default() };
    let stale = decision(&Evidence { drift: Some(&old), ..nothing(&long_ago) });
    assert_eq!(trigger(&stale, TriggerName::Drift).reason, "the drift report is 9.0 days old");
}

#[test]
fn a_drop_fires_when_it_is_larger_than_allowed_and_than_chance() {
    let releases = releases(5);
    let of = |total, right, baseline: Option<&ValidationResults>| {
        let report = accuracy(&corrections(total, right), baseline);
        state(
            &decision(&Evidence { performance: Some(&report), ..nothing(&releases) }),
            TriggerName::Performance,
        )
    };
    let good = validated(0.92);
    assert_eq!(of(200, 160, Some(&good)), TriggerState::Fired);
    assert_eq!(of(200, 180, Some(&good)), TriggerState::Quiet);
    assert_eq!(of(30, 25, Some(&good)), TriggerState::Insufficient, "83 % of 30 can be chance");
    assert_eq!(of(19, 0, Some(&good)), TriggerState::Insufficient);
    assert_eq!(of(200, 160, None), TriggerState::Insufficient);
}

#[test]
fn accuracy_counts_the_latest_correction_of_each_slide_and_says_what_it_left_out() {
    let mut all = corrections(40, 30);
    all.push(Correction { slide_id: "slide-39".to_owned(), ..correction(1000, now(), 3.2, 3) });
    all.push(Correction { model_version: "v0".to_owned(), ..correction(1001, ago(3), 1.0, 5) });
    all.push(correction(1002, ago(100), 1.0, 5));
    let report = accuracy(&all, Some(&validated(0.9)));
    assert_eq!(report.current_accuracy, Some(31.0 / 40.0));
    assert_eq!((report.sizes.slides, report.sizes.corrections_left_out), (40, 2));
    assert_eq!(report.status, PerformanceStatus::Measured);
    assert_eq!(report.criteria["clarity"].ratings, 40);
    let interval = report.intervals["current_accuracy"];
    assert!(interval.low < 0.775 && 0.775 < interval.high && interval.high - interval.low < 0.3);
}

#[test]
fn new_labels_of_scored_slides_count_and_win_over_corrections() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut scored: Vec<Prediction> = slides("deck", Side::new(6, 5), &mut rng);
    for slide in &mut scored {
        slide.distributions = CRITERIA.iter().map(|key| ((*key).to_owned(), distribution(3.0))).collect();
    }
    let label = |score: u8| Label {
        scores: CRITERIA.iter().map(|key| ((*key).to_owned(), Score::new(score))).collect(),
        ..Label::default()
    };
    let labels: BTreeMap<String, Label> = scored
        .iter()
        .enumerate()
        .map(|(i, slide)| (slide.slide_id.clone(), label(if i < 20 { 4 } else { 5 })))
        .collect();
    let corrected = Correction { slide_id: scored[0].slide_id.clone(), ..correction(1, ago(0), 3.0, 1) };
    let seen: BTreeSet<String> = scored[25..].iter().map(|slide| slide.slide_id.clone()).collect();
    let report = measure(&PerformanceInput {
        scored: &scored,
        corrections: &[corrected],
        labels: &labels,
        seen_in_training: &seen,
        validated: Some(&validated(0.9)),
        model_version: None,
        config: &PerformanceConfig::default(),
        now: now(),
    });
    assert_eq!((report.sizes.slides, report.sizes.decks, report.sizes.ratings), (25, 5, 125));
    assert_eq!(report.current_accuracy, Some(0.8));
    assert!(!report.sources.contains_key("corrected"), "{:?}", report.sources);
    assert!((report.accuracy_drop.unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn decisions_and_reports_survive_writing_and_reading() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage { monitoring_dir: dir.path().to_owned(), ..Storage::default() };
    let layout = Layout::new(&storage, Path::new("outputs"));
    let first = decision(&nothing(&releases(7)));
    Decision::append(&layout.decisions(), std::slice::from_ref(&first)).unwrap();
    Decision::append(&layout.decisions(), &[decision(&nothing(&releases(1)))]).unwrap();
    let read = Decision::read_log(&layout.decisions()).unwrap();
    assert!(read.defects.is_empty() && read.entries.len() == 2 && read.entries[0] == first);
    let report = accuracy(&corrections(40, 30), Some(&validated(0.9)));
    drift::write_performance_report(&layout, &report).unwrap();
    let path = layout.latest_performance();
    assert_eq!(PerformanceReport::read(&path).unwrap().sizes, report.sizes);
    for garbage in ["", "{", "[]", "{\"schema_version\": 1}"] {
        std::fs::write(&path, garbage).unwrap();
        let error = PerformanceReport::read(&path).unwrap_err().to_string();
        assert!(error.contains("latest_metrics.json") && error.contains("performance report"), "{error}");
    }
}
