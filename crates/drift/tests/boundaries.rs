//! Where the triggers and the statistics turn.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Side, now, slides};
use drift::{
    Bins, Decision, DriftConfig, DriftReport, Evidence, PerformanceConfig, PerformanceInput,
    PerformanceReport, Release, Trigger, TriggerConfig, TriggerName, TriggerState, VersionFile, decide,
    js_divergence, ks_statistic, measure, psi, wasserstein,
};
use jiff::{SignedDuration, Timestamp};
use pq_testing::assert_close;
use slide_data::Correction;

fn seconds_ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

const DAY: i64 = 86_400;

fn released(seconds: i64) -> VersionFile {
    let release =
        Release { version: "v4".to_owned(), released_at: seconds_ago(seconds), ..Release::default() };
    VersionFile { version: Some("v4".to_owned()), history: vec![release], ..VersionFile::default() }
}

fn correction(id: usize, seconds: i64) -> Correction {
    Correction { model_version: "v4".to_owned(), ..common::correction(id, seconds_ago(seconds), 3.0, 3) }
}

fn trigger(decision: &Decision, name: TriggerName) -> &Trigger {
    decision.triggers.iter().find(|trigger| trigger.name == name).expect("all four are there")
}

fn judge(evidence: &Evidence<'_>, name: TriggerName) -> (TriggerState, String) {
    let decision = decide(evidence, &TriggerConfig::default(), now());
    let trigger = trigger(&decision, name);
    (trigger.state, trigger.reason.clone())
}

fn nothing(releases: &VersionFile) -> Evidence<'_> {
    Evidence { corrections: &[], releases, drift: None, performance: None }
}

#[test]
fn a_correction_of_the_moment_of_the_release_is_not_since() {
    let config = TriggerConfig { min_corrections: 2, ..TriggerConfig::default() };
    let releases = released(100);
    let of = |corrections: &[Correction]| {
        let decision = decide(&Evidence { corrections, ..nothing(&releases) }, &config, now());
        let trigger = trigger(&decision, TriggerName::Corrections);
        (trigger.value, trigger.state)
    };
    assert_eq!(of(&[correction(1, 100), correction(2, 101)]), (Some(0.0), TriggerState::Quiet));
    assert_eq!(of(&[correction(1, 99), correction(2, 100)]), (Some(1.0), TriggerState::Quiet));
    assert_eq!(of(&[correction(1, 99), correction(2, 98)]), (Some(2.0), TriggerState::Fired));
    assert_eq!(of(&[correction(1, 9), correction(2, 8), correction(3, 7)]).1, TriggerState::Fired);
    let none = VersionFile::default();
    let all = [correction(1, 400 * DAY), correction(2, 0)];
    let decision = decide(&Evidence { corrections: &all, ..nothing(&none) }, &config, now());
    assert_eq!(decision.reason(), "2 corrections so far, 2 are asked");
    assert_eq!(decision.last_release, None);
}

#[test]
fn the_last_day_counts_to_the_second() {
    let of = |seconds| judge(&nothing(&released(seconds)), TriggerName::Time);
    assert_eq!(of(7 * DAY - 1).0, TriggerState::Quiet);
    assert_eq!(of(7 * DAY).0, TriggerState::Fired);
    assert_eq!(of(9 * DAY).0, TriggerState::Fired);
    assert_eq!(of(3 * DAY + DAY / 2).1, "v4 was released 3.5 days ago, 7 are allowed");
    let decision = decide(&nothing(&released(DAY)), &TriggerConfig::default(), now());
    let last = decision.last_release.expect("there was one");
    assert_eq!((last.version.as_str(), last.released_at), ("v4", seconds_ago(DAY)));
    assert_eq!((decision.schema_version, decision.decided_at), (1, now()));
}

fn drift_report(score: Option<f64>, status: &str, seconds: i64) -> DriftReport {
    let few = slides("few", Side::new(2, 2), &mut fastrand::Rng::with_seed(1));
    let report = drift::compare(&few, &few, None, &DriftConfig::default(), 0.30, seconds_ago(seconds));
    let status = serde_json::from_value(status.into()).expect("a status");
    DriftReport { drift_score: score, status, reasons: vec!["too little".to_owned()], ..report }
}

#[test]
fn a_report_is_fresh_from_the_release_on_and_until_its_age() {
    let of = |created: i64, released_at: i64| {
        let (report, releases) = (drift_report(Some(0.9), "drifted", created), released(released_at));
        judge(&Evidence { drift: Some(&report), ..nothing(&releases) }, TriggerName::Drift)
    };
    assert_eq!(of(100, 100).0, TriggerState::Fired);
    assert_eq!(of(101, 100).1, "the drift report is from before the release of v4");
    assert_eq!(of(99, 100).0, TriggerState::Fired);
    let age = (TriggerConfig::default().max_report_age_days * DAY as f64) as i64;
    assert_eq!(of(age, 90 * DAY).0, TriggerState::Fired);
    let (state, reason) = of(age + DAY / 2, 90 * DAY);
    assert_eq!(state, TriggerState::Insufficient);
    assert!(reason.starts_with("the drift report is ") && reason.ends_with(" days old"), "{reason}");
    assert_eq!(of(age - 1, 90 * DAY).0, TriggerState::Fired);
}

#[test]
fn drift_says_what_it_has_seen() {
    let releases = released(DAY);
    let of = |score, status| {
        let report = drift_report(score, status, 10);
        judge(&Evidence { drift: Some(&report), ..nothing(&releases) }, TriggerName::Drift)
    };
    let say = |state, reason: &str| (state, reason.to_owned());
    assert_eq!(
        of(Some(0.31), "insufficient"),
        say(TriggerState::Fired, "the drift score is 0.31, at most 0.30 is allowed")
    );
    assert_eq!(
        of(Some(0.30), "drifted"),
        say(TriggerState::Quiet, "the drift score is 0.30, up to 0.30 is allowed")
    );
    assert_eq!(
        of(Some(0.12), "stable"),
        say(TriggerState::Quiet, "the drift score is 0.12, up to 0.30 is allowed")
    );
    assert_eq!(of(Some(0.30), "insufficient"), say(TriggerState::Insufficient, "drift: too little"));
    assert_eq!(of(None, "stable"), say(TriggerState::Insufficient, "drift: too little"));
}

fn performance(drop: Option<f64>, low: Option<f64>) -> PerformanceReport {
    let report = measure(&PerformanceInput {
        scored: &[],
        corrections: &[],
        labels: &BTreeMap::new(),
        seen_in_training: &BTreeSet::new(),
        validated: None,
        model_version: None,
        config: &PerformanceConfig::default(),
        now: now(),
    });
    let interval = low.map(|low| drift::Interval { low, high: 1.0 });
    PerformanceReport {
        status: drift::PerformanceStatus::Measured,
        accuracy_drop: drop,
        intervals: interval.map(|interval| ("accuracy_drop".to_owned(), interval)).into_iter().collect(),
        ..report
    }
}

#[test]
fn a_drop_of_exactly_what_is_allowed_is_allowed() {
    let releases = released(DAY);
    let allowed = TriggerConfig::default().max_accuracy_drop;
    let of = |drop, low| {
        let report = performance(drop, low);
        judge(&Evidence { performance: Some(&report), ..nothing(&releases) }, TriggerName::Performance).0
    };
    assert_eq!(of(Some(allowed), Some(0.01)), TriggerState::Quiet);
    assert_eq!(of(Some(allowed / 2.0), Some(0.01)), TriggerState::Quiet);
    assert_eq!(of(Some(allowed + 0.1), Some(0.01)), TriggerState::Fired);
    assert_eq!(of(Some(allowed + 0.1), Some(-0.01)), TriggerState::Insufficient);
    assert_eq!(of(None, Some(0.01)), TriggerState::Insufficient);
    let report = performance(Some(allowed + 0.1), Some(0.01));
    let decision = decide(
        &Evidence { performance: Some(&report), ..nothing(&releases) },
        &TriggerConfig::default(),
        now(),
    );
    assert!(
        decision.should_retrain && decision.reason().starts_with("accuracy fell by"),
        "{}",
        decision.reason()
    );
}

#[test]
fn quantiles_cut_where_numpy_cuts() {
    // numpy.quantile([0, 1, 2, 10], [0.25, 0.5, 0.75]) is 0.75, 1.5, 4.
    let bins = Bins::quantiles(&[2.0, 0.0, 10.0, 1.0], 4);
    assert_eq!(bins.count(), 4);
    assert_eq!(bins.counts(&[0.75, 0.76, 1.5, 1.51, 4.0, 4.1, -1.0, 99.0]), [2.0, 2.0, 2.0, 2.0]);
    assert_eq!(bins.counts(&[0.74, 0.75]), [2.0, 0.0, 0.0, 0.0]);
    assert_eq!(Bins::quantiles(&[1.0, 1.0, 1.0, 5.0], 2).counts(&[0.5, 1.0, 1.5]), [1.0, 1.0, 1.0]);
    assert_eq!(Bins::quantiles(&[1.0, 2.0, 3.0], 1).count(), 1);
}

#[test]
fn the_statistics_by_hand() {
    let ln = f64::ln;
    // Half a count more in each bin: 1.5, 3.5 of 5 and 3.5, 1.5 of 5.
    assert_close(&[psi(&[1.0, 3.0], &[3.0, 1.0])], &[2.0 * 0.4 * ln(3.5 / 1.5)], 1e-12);
    assert_close(&[js_divergence(&[1.0, 0.0], &[0.0, 4.0])], &[1.0], 1e-12);
    // Shares 1, 0 and 1/2, 1/2 with the middle 3/4, 1/4.
    let expected = (ln(4.0 / 3.0) + 0.5 * ln(2.0 / 3.0) + 0.5 * ln(2.0)) / ln(2.0) / 2.0;
    assert_close(&[js_divergence(&[3.0, 0.0], &[2.0, 2.0])], &[expected], 1e-12);
    assert_close(&[js_divergence(&[3.0], &[0.0]), js_divergence(&[0.0], &[3.0])], &[0.0, 0.0], 0.0);
    let (a, b) = ([1.0, 2.0, 2.0, 4.0], [2.0, 3.0]);
    // Distances: 1/4 at 1, 3/4 - 1/2 at 2, 3/4 - 1 at 3, 0 at 4.
    assert_close(&[ks_statistic(&a, &b), wasserstein(&a, &b)], &[0.25, 0.75], 1e-12);
    assert_close(
        &[ks_statistic(&[1.0, 2.0], &[5.0, 6.0]), wasserstein(&[1.0, 2.0], &[5.0, 6.0])],
        &[1.0, 4.0],
        1e-12,
    );
    assert_close(&[wasserstein(&[1.0, 2.0], &[]), wasserstein(&[], &[1.0, 2.0])], &[0.0, 0.0], 0.0);
    assert_close(&[ks_statistic(&[1.0, 2.0], &[]), ks_statistic(&[], &[1.0, 2.0])], &[0.0, 0.0], 0.0);
}
