//! Files and pages that became no slide: counted once, compared with those of collecting, and never a reason to retrain.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use drift::{CollectedFile, DriftConfig, DriftInput, DriftStatus, Failures, collected_files, compare};
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
    let good: Vec<CollectedFile> = (0..36).map(|at| file(at, 10, &[])).collect();
    let found = report(Failures { collected: &good, scored: &many });
    assert_eq!((found.sizes.errors, found.sizes.refusals), (20, 2));
    assert_eq!((found.sizes.recent_decks, found.sizes.reference_decks), (30, sizes.reference_decks));
    let readable = found.features.iter().find(|feature| feature.name == "presence.readable").unwrap();
    assert_close(&[readable.recent_mean, readable.reference_mean, readable.ks], &[0.6, 1.0, 0.4], 1e-9);
    assert!(readable.drifted && found.status == DriftStatus::Drifted, "{:?}", found.reasons);
    let says = |text: &str| found.reasons.iter().any(|reason| reason.starts_with(text));
    assert!(says(
        "of a deck that is handed in 60 % are readable on average, of a file that was collected 100 %"
    ));
    assert!(says("20 files or pages were handed in and could not be read or scored"), "{:?}", found.reasons);
    assert!(found.decks.is_empty(), "no deck that was scored differs: {:?}", found.decks);
    assert_eq!(fires(&found), [false, false], "a training mends none of it");

    // As many as in collecting is no change, and fewer are none to be warned of.
    let bad = (36..60).map(|at| file(at, 0, &[FailureKind::Error]));
    let before: Vec<CollectedFile> = good.iter().cloned().chain(bad).collect();
    for errors in [20, 0] {
        let usual = report(Failures { collected: &before, scored: &broken(errors, FailureKind::Error) });
        assert!(!usual.features.iter().any(|feature| feature.drifted), "{errors}: {:?}", usual.reasons);
    }
    // What was collected is not known: they are counted, and compared with nothing.
    let alone = report(Failures { collected: &[], scored: &many });
    assert_eq!((alone.sizes.errors, alone.features.len()), (20, calm.features.len()));
}

/// A file of so many slides, and what failed of it.
fn file(at: usize, slides: usize, failed: &[FailureKind]) -> CollectedFile {
    CollectedFile { name: format!("file {at}"), slides, failed: failed.to_vec() }
}

/// Pages of a deck count beside its slides, and where only the latest decks are looked at, so do failures.
#[test]
fn a_deck_counts_once_and_failures_no_longer_than_slides() {
    let (reference, mut scored) = team(40);
    for (at, slide) in scored.iter_mut().enumerate() {
        slide.scored_at = simulation::at(5.0 + at as f64 / 100.0);
    }
    let good: Vec<CollectedFile> = (0..36).map(|at| file(at, 10, &[])).collect();
    let page = |deck: &str, page: usize, when: f64| FailedInput {
        part: Some(format!("page {page}")),
        ..failed(deck, at(when), FailureKind::Error)
    };
    // Of each deck one page more, which failed when it was scored.
    let decks: std::collections::BTreeMap<&str, f64> = scored
        .iter()
        .enumerate()
        .map(|(at, slide)| (slide.deck_id.as_str(), 5.0 + at as f64 / 100.0))
        .collect();
    let pages: Vec<FailedInput> = decks.iter().map(|(deck, when)| page(deck, 99, *when)).collect();
    let share = |config: &DriftConfig| {
        let report = compare(&DriftInput {
            reference: &reference,
            scored: &scored,
            counted: None,
            failures: Failures { collected: &good, scored: &pages },
            broken_lines: 0,
            model_version: Some("v1"),
            config,
            threshold: 0.30,
            now: at(21.0),
        });
        assert_eq!(report.sizes.errors, 40, "all are told");
        report.features.iter().find(|feature| feature.name == "presence.readable").unwrap().recent_mean
    };
    let all = share(&DriftConfig::default());
    assert!((0.85..0.95).contains(&all), "a page of about ten: {all}");
    let latest = share(&DriftConfig { max_decks: 20, ..DriftConfig::default() });
    assert!((0.85..0.95).contains(&latest), "also of the latest alone: {latest}");
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
    let files = collected_files(&records, Some(at(5.0)));
    let told: Vec<_> = files.iter().map(|file| (file.slides, file.failed.as_slice())).collect();
    assert_eq!(told, [(3, &[FailureKind::Error][..]), (0, &[FailureKind::Refusal])]);
    assert_eq!(collected_files(&records, None).len(), 3);
}
