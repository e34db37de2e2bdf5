//! Files and pages that became no slide: counted once, compared with those of collecting, and never a reason to retrain.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use drift::{DriftConfig, DriftInput, DriftStatus, Failures, compare, failures_of_collecting};
use fastrand::Rng;
use pq_testing::assert_close;
use simulation::experiments::fires;
use simulation::{World, at, failed, reference};
use slide_data::{FailedInput, FailureKind, InputRecord, Outcome, Prediction};

fn team(decks: usize) -> (Vec<Prediction>, Vec<Prediction>) {
    let (mut rng, world) = (Rng::with_seed(3), World::default());
    (reference(&world, 36, &mut rng), world.decks("new", decks, at(20.0), &mut rng))
}

#[test]
fn files_that_cannot_be_read_are_counted_once_and_named_and_are_no_reason_to_retrain() {
    let (reference, scored) = team(30);
    let broken = |count: usize, kind| {
        (0..count).map(move |deck| failed(&format!("{kind:?}-{deck}"), at(19.0), kind)).collect::<Vec<_>>()
    };
    let report = |failures: Failures<'_>| {
        compare(&DriftInput {
            reference: &reference,
            scored: &scored,
            counted: None,
            failures,
            broken_lines: 0,
            model_version: Some("v1"),
            config: &DriftConfig::default(),
            threshold: 0.30,
            now: at(21.0),
        })
    };
    let calm = report(Failures::default());
    let sizes = calm.sizes;
    // Each was sent three times, one lies ahead, one was for another version, one is too old.
    let mut many: Vec<FailedInput> = (0..3).flat_map(|_| broken(20, FailureKind::Error)).collect();
    many.extend(broken(2, FailureKind::Refusal));
    many.push(failed("ahead", at(30.0), FailureKind::Error));
    many.push(FailedInput {
        model_version: "v0".to_owned(),
        ..failed("other", at(19.0), FailureKind::Error)
    });
    many.push(failed("old", at(-60.0), FailureKind::Error));
    let found = report(Failures { collected: &[], scored: &many });
    assert_eq!((found.sizes.errors, found.sizes.refusals), (20, 2));
    assert_eq!((found.sizes.recent_decks, found.sizes.reference_decks), (30, sizes.reference_decks));
    let readable = found.features.iter().find(|feature| feature.name == "presence.readable").unwrap();
    assert_close(&[readable.recent_mean, readable.reference_mean, readable.ks], &[0.6, 1.0, 0.4], 1e-9);
    assert!(readable.drifted && found.status == DriftStatus::Drifted, "{:?}", found.reasons);
    let says = |text: &str| found.reasons.iter().any(|reason| reason.starts_with(text));
    assert!(says("60 % of what was handed in lately is readable, of what was collected 100 % was"));
    assert!(says("20 files or pages were handed in and could not be read or scored"), "{:?}", found.reasons);
    assert!(found.decks.is_empty(), "no deck that was scored differs: {:?}", found.decks);
    assert_eq!(fires(&found), [false, false], "a training mends none of it");

    // As many as in collecting is no change.
    let before = broken(14, FailureKind::Error);
    let usual = report(Failures { collected: &before, scored: &broken(9, FailureKind::Error) });
    assert!(!usual.features.iter().any(|feature| feature.drifted), "{:?}", usual.reasons);
}

#[test]
fn where_nothing_can_be_read_it_is_said_and_is_no_sign_of_health() {
    let (reference, _) = team(1);
    let all: Vec<FailedInput> =
        (0..50).map(|deck| failed(&format!("d{deck}"), at(20.0), FailureKind::Error)).collect();
    let input = DriftInput {
        reference: &reference,
        scored: &[],
        counted: None,
        failures: Failures { collected: &[], scored: &all },
        broken_lines: 0,
        model_version: Some("v1"),
        config: &DriftConfig::default(),
        threshold: 0.30,
        now: at(21.0),
    };
    let report = compare(&input);
    assert_eq!((report.status, report.drift_score), (DriftStatus::Insufficient, None));
    assert!(
        report.reasons.iter().any(|reason| reason.starts_with("50 files or pages")),
        "{:?}",
        report.reasons
    );
}

#[test]
fn of_what_collecting_could_not_read_the_last_record_of_a_file_holds() {
    let record = |place: &str, at: f64, outcome: Outcome, set_aside: &[(&str, &str)]| InputRecord {
        schema_version: 1,
        origin: "deck.pdf".to_owned(),
        place: Some(place.to_owned()),
        size_bytes: 1,
        modified_ns: 0,
        sha256: "0123456789abcdef".to_owned(),
        outcome,
        earlier: Vec::new(),
        set_aside: set_aside.iter().map(|(part, why)| ((*part).to_owned(), (*why).to_owned())).collect(),
        transient: false,
        drawn: None,
        at: simulation::at(at),
    };
    let aside = |reason: &str| Outcome::Quarantined { reason: reason.to_owned() };
    let records = [
        record("a", 1.0, aside("cannot be read: no end"), &[]),
        record("a", 2.0, Outcome::Collected { slides: 3 }, &[("page 2", "took longer than a second")]),
        record("b", 1.0, aside("is protected by a password"), &[]),
        record("c", 9.0, aside("is empty"), &[]),
    ];
    let failed = failures_of_collecting(&records, Some(at(5.0)));
    let told: Vec<_> = failed.iter().map(|failed| (failed.part.as_deref(), failed.kind)).collect();
    assert_eq!(told, [(Some("page 2"), FailureKind::Error), (None, FailureKind::Refusal)]);
    assert_eq!(failed[0].deck_id.as_deref(), Some("d0123456789ab"));
    assert_eq!(failures_of_collecting(&records, None).len(), 3);
}
