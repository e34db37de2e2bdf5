//! Drift of images alone: what lasts asks for a retraining, what comes back does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use drift::{
    Decision, DriftReport, DriftStatus, Evidence, FeatureGroup, Known, Look, MonitoringConfig, Release,
    Request, TriggerName, TriggerState, Usable, VersionFile, decide,
};
use jiff::{SignedDuration, Timestamp};
use project_files::Contract as _;

/// What a week's report says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Week {
    /// Images drifted, surely.
    Drift,
    /// No drift, and data enough to say so.
    Stable,
    /// No drift was seen, and too little data to be sure of it.
    TooLittle,
    /// Too little data to compare at all.
    NoScore,
    /// Nobody looked.
    Away,
    /// The report is of an earlier week, in which images had drifted.
    Old,
}

fn at(week: usize) -> Timestamp {
    let start: Timestamp = "2025-01-06T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_hours(7 * 24 * week as i64)
}

fn report(week: Week, now: Timestamp) -> DriftReport {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples/v2/latest_drift.json");
    let mut report = DriftReport::read(&sample).unwrap();
    let score = if matches!(week, Week::Drift | Week::Old) { 0.5 } else { 0.0 };
    report.features.truncate(1);
    report.features[0].group = FeatureGroup::Image;
    report.features[0].strength = score;
    report.features[0].adjusted_p_value = 1e-9;
    let status = match week {
        Week::Drift | Week::Old => DriftStatus::Drifted,
        Week::Stable => DriftStatus::Stable,
        _ => DriftStatus::Insufficient,
    };
    DriftReport {
        created_at: if week == Week::Old { now - SignedDuration::from_hours(24 * 10) } else { now },
        model_version: Some("v1".to_owned()),
        drift_score: (week != Week::NoScore).then_some(score),
        p_value: (week != Week::NoScore).then_some(1e-9),
        status,
        ..report
    }
}

/// In which weeks drift asked for a retraining.
fn fired(weeks: &[Week]) -> Vec<usize> {
    let release = Release { version: "v1".to_owned(), released_at: at(0), ..Release::default() };
    let mut releases = VersionFile { history: vec![release], ..VersionFile::default() };
    releases.promote("v1");
    let (mut past, mut fired) = (Vec::<Decision>::new(), Vec::new());
    for (number, week) in (1..).zip(weeks) {
        if *week == Week::Away {
            continue;
        }
        let now = at(number);
        let usable = Usable { is_new: Some(true), key: number.to_string(), ..Usable::default() };
        let evidence = Evidence {
            usable: &usable,
            known: &Known::default(),
            releases: &releases,
            drift: Some(&report(*week, now)),
            performance: None,
            look: Look { past: &past, ..Look::default() },
            inputs: &BTreeMap::new(),
        };
        let decision =
            decide(&evidence, &MonitoringConfig::default(), &Request { now, by: "cron", manual: None });
        let drift = decision.triggers.iter().find(|trigger| trigger.name == TriggerName::Drift).unwrap();
        if drift.state == TriggerState::Fired {
            fired.push(number);
        }
        past.push(decision);
    }
    fired
}

/// The week of a change that lasts at which it is acted upon.
fn lasting() -> usize {
    (MonitoringConfig::default().triggers.image_drift_days / 7.0) as usize + 1
}

#[test]
fn what_lasts_asks_and_not_a_week_earlier() {
    let weeks = [vec![Week::Stable; 3], vec![Week::Drift; lasting()]].concat();
    assert_eq!(fired(&weeks), [3 + lasting()]);
    // A missed look, and one without a comparison, neither end it nor hold it up.
    let mut weeks = vec![Week::Drift; lasting()];
    (weeks[2], weeks[5]) = (Week::Away, Week::NoScore);
    assert_eq!(fired(&weeks), [lasting()]);
}

#[test]
fn what_comes_back_never_asks_whatever_lies_between() {
    for between in [Week::Stable, Week::TooLittle, Week::NoScore, Week::Away, Week::Old] {
        for season in [1, 4, lasting() - 1] {
            let year = [vec![Week::Drift; season], vec![between; 5]].concat();
            let years: Vec<Week> = year.iter().copied().cycle().take(104).collect();
            let found = fired(&years);
            assert!(found.is_empty(), "{season} weeks of a season, {between:?} between: {found:?}");
        }
    }
}
