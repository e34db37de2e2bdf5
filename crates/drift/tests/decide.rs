//! What the four triggers promise, and what holds a retraining back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use drift::{
    Decision, DriftReport, DriftStatus, Evidence, FeatureGroup, Flight, Interval, Known, LOOKS_A_YEAR, Look,
    MonitoringConfig, PerformanceReport, PerformanceStatus, Release, Request, Share, Trigger, TriggerName,
    TriggerState, Usable, VersionFile, decide,
};
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    "2025-06-04T12:00:00Z".parse().expect("a timestamp") // a Wednesday
}

fn ago(days: f64) -> Timestamp {
    now() - SignedDuration::from_secs_f64(days * 86_400.0)
}

/// `v4` is in use.
fn released(days: f64) -> VersionFile {
    let release = Release { version: "v4".to_owned(), released_at: ago(days), ..Release::default() };
    let mut releases = VersionFile { history: vec![release], ..VersionFile::default() };
    releases.promote("v4");
    releases
}

fn learned(corrections: usize) -> Usable {
    Usable { corrections, is_new: Some(true), key: format!("key {corrections}"), ..Usable::default() }
}

/// What a test changes of the evidence.
struct Case {
    usable: Usable,
    known: Known,
    releases: VersionFile,
    drift: Option<DriftReport>,
    performance: Option<PerformanceReport>,
    past: Vec<Decision>,
    broken: usize,
    flight: Option<Flight>,
    manual: Option<&'static str>,
}

impl Case {
    fn new() -> Self {
        Self {
            usable: learned(3),
            known: Known::default(),
            releases: released(5.0),
            drift: None,
            performance: None,
            past: Vec::new(),
            broken: 0,
            flight: None,
            manual: None,
        }
    }

    fn at(&self, now: Timestamp) -> Decision {
        let evidence = Evidence {
            usable: &self.usable,
            known: &self.known,
            releases: &self.releases,
            drift: self.drift.as_ref(),
            performance: self.performance.as_ref(),
            look: Look { past: &self.past, broken: self.broken, flight: self.flight.as_ref() },
            inputs: &BTreeMap::new(),
        };
        decide(&evidence, &MonitoringConfig::default(), &Request { now, by: "anna", manual: self.manual })
    }

    fn decide(&self) -> Decision {
        self.at(now())
    }
}

fn trigger(decision: &Decision, name: TriggerName) -> &Trigger {
    decision.triggers.iter().find(|trigger| trigger.name == name).expect("it is there")
}

fn state(decision: &Decision, name: TriggerName) -> TriggerState {
    trigger(decision, name).state
}

fn sample<T: project_files::Contract>(name: &str) -> T {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project-files/samples");
    T::read(&samples.join(name)).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "as the case holds it")]
fn drift(score: f64, p_value: f64, days: f64) -> Option<DriftReport> {
    let status = if score > 0.3 { DriftStatus::Drifted } else { DriftStatus::Stable };
    let mut report: DriftReport = sample("v2/latest_drift.json");
    report.features[0].group = FeatureGroup::Model;
    report.features[0].strength = score;
    report.features[0].adjusted_p_value = p_value;
    Some(DriftReport {
        created_at: ago(days),
        model_version: Some("v4".to_owned()),
        drift_score: Some(score),
        p_value: Some(p_value),
        status,
        ..report
    })
}

#[expect(clippy::unnecessary_wraps, reason = "as the case holds it")]
fn performance(drop: f64, p_value: f64) -> Option<PerformanceReport> {
    Some(PerformanceReport {
        created_at: ago(0.1),
        model_version: Some("v4".to_owned()),
        status: PerformanceStatus::Measured,
        accuracy_drop: Some(drop),
        p_value: Some(p_value),
        intervals: [("accuracy_drop".to_owned(), Interval { low: drop, high: drop })].into(),
        ..sample("v2/latest_metrics.json")
    })
}

const SURE: f64 = 1e-6;

#[test]
fn without_evidence_nothing_fires_and_the_gaps_are_named() {
    let decision = Case::new().decide();
    assert!(!decision.should_retrain && decision.held.is_empty(), "{:?}", decision.held);
    assert_eq!(
        decision.reason(),
        "no trigger fired; not judged: there is no drift report; there is no performance report"
    );
    assert_eq!((decision.asked_by.as_str(), decision.configuration.len()), ("anna", 64));
    let none = Case { releases: VersionFile::default(), ..Case::new() }.decide();
    assert_eq!(trigger(&none, TriggerName::Time).reason, "nothing was released yet");
}

#[test]
fn a_hundred_corrections_to_learn_from_fire() {
    let of = |count| Case { usable: learned(count), ..Case::new() }.decide();
    assert!(!of(99).should_retrain);
    let fired = of(100);
    assert!(fired.should_retrain);
    assert_eq!(
        fired.reason(),
        "100 corrections to learn from since the run of v4 read its data, 100 are asked"
    );
    let unusable = [("of slides that were neither collected nor kept".to_owned(), 120)].into();
    let case = Case { usable: Usable { unusable, ..learned(0) }, ..Case::new() }.decide();
    assert!(!case.should_retrain);
    let reason = &trigger(&case, TriggerName::Corrections).reason;
    assert!(
        reason
            .ends_with("120 more cannot be learned from: 120 of slides that were neither collected nor kept"),
        "{reason}"
    );
}

#[test]
fn days_count_from_when_the_data_was_read_and_only_with_something_new() {
    let of = |days: f64, more_slides| {
        let known = Known { read_at: Some(ago(days)), ..Known::default() };
        let usable = Usable { more_slides, ..learned(0) };
        state(&Case { usable, known, ..Case::new() }.decide(), TriggerName::Time)
    };
    assert_eq!(
        (of(7.0, 20), of(7.0, 19), of(6.5, 400)),
        (TriggerState::Fired, TriggerState::Quiet, TriggerState::Quiet)
    );
    assert_eq!(
        of(6.98, 20),
        TriggerState::Fired,
        "a weekly look meets a run that began a little after the last"
    );
    assert_eq!(of(-2.0, 400), TriggerState::Insufficient, "dated ahead");
    assert_eq!(of(400.0, 0), TriggerState::Quiet);
}

#[test]
fn drift_fires_above_its_threshold_if_the_budget_allows_its_chance() {
    let of = |report| state(&Case { drift: report, ..Case::new() }.decide(), TriggerName::Drift);
    let level = 0.01 * Share::DRIFT / LOOKS_A_YEAR;
    assert_eq!(of(drift(0.31, level, 1.0)), TriggerState::Fired);
    assert_eq!(of(drift(0.31, level * 1.01, 1.0)), TriggerState::Insufficient, "it may be chance");
    assert_eq!(of(drift(0.30, SURE, 1.0)), TriggerState::Quiet);
    assert_eq!(of(drift(0.9, SURE, 5.5)), TriggerState::Insufficient, "from before the release");
    assert_eq!(of(drift(0.9, SURE, -0.1)), TriggerState::Insufficient, "dated ahead");
    let about = |version: &str| {
        drift(0.9, SURE, 1.0).map(|report| DriftReport { model_version: Some(version.to_owned()), ..report })
    };
    assert_eq!(of(about("v3")), TriggerState::Insufficient);
    let case = Case { drift: about("run-b"), ..Case::new() }.decide();
    assert_eq!(
        trigger(&case, TriggerName::Drift).reason,
        "the drift report is about run-b, and v4 is in use"
    );
    let case = Case { drift: drift(0.9, SURE, 9.0), releases: released(50.0), ..Case::new() }.decide();
    assert_eq!(trigger(&case, TriggerName::Drift).reason, "the drift report is 9.0 days old");
}

#[test]
fn drift_of_images_alone_must_last() {
    let mut case = Case { drift: drift(0.5, SURE, 0.1), ..Case::new() };
    case.drift.as_mut().unwrap().features[0].group = FeatureGroup::Image;
    let first = case.decide();
    let reason = &trigger(&first, TriggerName::Drift).reason;
    assert!(!first.should_retrain && reason.contains("only images changed"), "{reason}");
    let looks = |weeks: i32| {
        (1..=weeks).map(|week| Decision { decided_at: ago(7.0 * f64::from(week)), ..first.clone() })
    };
    case.past = looks(7).collect();
    assert_eq!(state(&case.decide(), TriggerName::Drift), TriggerState::Insufficient);
    case.past = looks(8).collect();
    assert_eq!(state(&case.decide(), TriggerName::Drift), TriggerState::Fired);
    case.past[3].triggers[2].value = Some(0.1);
    assert_eq!(state(&case.decide(), TriggerName::Drift), TriggerState::Insufficient, "it had gone");
}

#[test]
fn a_drop_fires_above_what_is_allowed_if_the_budget_allows_its_chance() {
    let of = |report| state(&Case { performance: report, ..Case::new() }.decide(), TriggerName::Performance);
    let level = 0.01 * Share::PERFORMANCE / LOOKS_A_YEAR;
    assert_eq!(of(performance(0.06, level)), TriggerState::Fired);
    assert_eq!(of(performance(0.05, level)), TriggerState::Quiet);
    assert_eq!(of(performance(0.2, 0.01)), TriggerState::Insufficient);
    let insufficient = performance(0.2, SURE)
        .map(|report| PerformanceReport { status: PerformanceStatus::Insufficient, ..report });
    assert_eq!(of(insufficient), TriggerState::Insufficient);
}

#[test]
fn a_week_is_judged_once_and_a_year_within_its_budget() {
    let mut case = Case { drift: drift(0.1, 0.5, 0.1), ..Case::new() };
    case.past.push(case.decide());
    case.drift = drift(0.9, SURE, 0.05);
    let again = case.decide();
    assert_eq!(
        (state(&again, TriggerName::Drift), trigger(&again, TriggerName::Drift).spent),
        (TriggerState::Insufficient, None)
    );
    assert!(trigger(&again, TriggerName::Drift).reason.contains("was judged this week, on 2025-06-04"));
    let monday = now() + SignedDuration::from_hours(24 * 5);
    assert_eq!(state(&case.at(monday), TriggerName::Drift), TriggerState::Fired, "a new week");
    // 54 looks in a year cannot be, but a changed clock could write them.
    let look = case.past.remove(0);
    case.past = (0..53)
        .map(|week| Decision { decided_at: ago(8.0 + f64::from(week) * 6.0), ..look.clone() })
        .collect();
    assert!(trigger(&case.decide(), TriggerName::Drift).reason.contains("budget of the year is spent"));
    case.past.truncate(50);
    assert_eq!(state(&case.decide(), TriggerName::Drift), TriggerState::Fired);
    case.broken = 3;
    assert!(
        trigger(&case.decide(), TriggerName::Drift)
            .reason
            .contains("3 lines of the decisions cannot be read")
    );
}

#[test]
fn rest_follows_a_release_and_a_retraining_that_led_to_none() {
    let of = |case: &Case| case.decide().held;
    let mut case = Case { usable: learned(150), releases: released(2.0), ..Case::new() };
    assert_eq!(of(&case), ["v4 was released 2.0 days ago, and 3 are for rest"]);
    case.releases = released(10.0);
    let mut asked = Case { usable: learned(120), ..Case::new() }.decide();
    asked.decided_at = ago(1.0);
    case.past.push(asked);
    assert!(of(&case)[0].starts_with("a retraining was asked for 1.0 days ago and led to no release"));
    // One that a wrong clock dated ahead does not hide it.
    case.past.insert(0, Decision { decided_at: ago(-200.0), ..case.past[0].clone() });
    assert!(of(&case)[0].starts_with("a retraining was asked for 1.0 days ago and led to no release"));
    case.past.remove(0);
    case.past[0].decided_at = ago(4.0);
    assert!(case.decide().should_retrain);
    case.usable = learned(120);
    assert!(of(&case)[0].starts_with("a retraining on the same labels and corrections was asked for on"));
    case.usable = Usable { is_new: Some(false), ..learned(150) };
    let held = case.decide();
    assert!(held.held[0].starts_with("nothing is new to learn from") && !held.should_retrain);
    assert!(held.reason().starts_with("held back: nothing is new"), "{}", held.reason());
    case.manual = Some("a new rubric");
    let wanted = case.decide();
    assert!(
        wanted.should_retrain && wanted.reason().ends_with("anna asked: a new rubric"),
        "{}",
        wanted.reason()
    );
}

#[test]
fn one_retraining_runs_at_a_time_until_it_is_done_released_or_expired() {
    let mut case = Case { usable: learned(150), ..Case::new() };
    let flight = Flight::of(&case.decide(), &MonitoringConfig::default().triggers);
    case.usable = learned(170);
    case.flight = Some(flight);
    let hours = |hours| now() + SignedDuration::from_hours(hours);
    let held = case.at(hours(23));
    assert!(
        !held.should_retrain && held.held[0].starts_with("a retraining that anna asked for"),
        "{:?}",
        held.held
    );
    case.manual = Some("now");
    assert!(!case.at(hours(23)).should_retrain, "a person's wish waits as well");
    assert!(case.at(hours(24)).should_retrain);
    let release = Release { version: "v5".to_owned(), released_at: hours(3), ..Release::default() };
    case.releases.history.push(release);
    assert!(case.at(hours(23)).should_retrain);
}

#[test]
fn where_dates_are_ahead_nothing_is_concluded() {
    let case = Case { usable: learned(150), releases: released(-30.0), ..Case::new() };
    let decision = case.decide();
    assert!(!decision.should_retrain);
    assert!(decision.held[0].starts_with("v4 is dated 30.0 days ahead"), "{:?}", decision.held);
    let mut case = Case { usable: learned(150), ..Case::new() };
    case.past.push(Decision { decided_at: ago(-2.0), should_retrain: false, ..case.decide() });
    assert!(case.decide().held[0].starts_with("a decision is dated 2.0 days ahead"));
}

#[test]
fn what_is_counted_without_a_file_that_was_there_fires_nothing() {
    let known = Known { read_at: Some(ago(40.0)), ..Known::default() };
    let usable = learned(150).without(vec!["manifest.jsonl".to_owned()]);
    assert_eq!(usable.is_new, None);
    let case = Case { usable, known, drift: drift(0.9, SURE, 0.1), ..Case::new() };
    let decision = case.decide();
    for name in [TriggerName::Corrections, TriggerName::Time] {
        let reason = &trigger(&decision, name).reason;
        assert_eq!(state(&decision, name), TriggerState::Insufficient);
        assert_eq!(reason, "not counted: `manifest.jsonl` was there and is missing");
    }
    assert_eq!(state(&decision, TriggerName::Drift), TriggerState::Fired);
    assert_eq!(decision.held, ["`manifest.jsonl` was there and is missing: bring it back from a copy"]);
    assert!(Case { manual: Some("now"), ..case }.decide().should_retrain, "a person knows what is gone");
}

#[test]
fn a_further_look_of_a_week_repeats_what_was_found() {
    let mut case = Case { performance: performance(0.9, SURE), releases: released(2.0), ..Case::new() };
    let first = case.decide();
    assert_eq!(state(&first, TriggerName::Performance), TriggerState::Fired);
    assert!(!first.should_retrain, "it rests after the release");
    case.past.push(first);
    let friday = now() + SignedDuration::from_hours(48);
    let again = case.at(friday);
    let repeated = trigger(&again, TriggerName::Performance);
    assert_eq!(
        repeated.reason,
        "accuracy fell by 90.0 points, up to 5.0 are allowed, as was found on 2025-06-04"
    );
    assert_eq!((repeated.state, repeated.spent), (TriggerState::Fired, None));
    assert!(again.should_retrain, "{:?}", again.held);
    // It is over, or was found of another version.
    case.performance = performance(0.01, 0.5);
    assert_eq!(state(&case.at(friday), TriggerName::Performance), TriggerState::Quiet);
    case.performance = performance(0.9, SURE);
    case.past[0].champion = Some("v3".to_owned());
    assert_eq!(state(&case.at(friday), TriggerName::Performance), TriggerState::Insufficient);
}
