//! The statistics equal scipy's; what drift promises about what is missing, old, foreign or too little.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use drift::{Bins, DriftConfig, DriftInput, DriftReport, DriftStatus, MmdInput, Weighted, compare, mmd};
use fastrand::Rng;
use pq_testing::assert_close;
use proptest::prelude::*;
use serde::Deserialize;
use simulation::{World, at, reference};
use slide_data::Prediction;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
    weighted: Vec<WeightedCase>,
    mmd: Vec<MmdCase>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    reference: Vec<f64>,
    recent: Vec<f64>,
    reference_counts: Vec<f64>,
    recent_counts: Vec<f64>,
    psi: f64,
    js_divergence: f64,
    ks: f64,
    wasserstein: f64,
}

#[derive(Deserialize)]
struct WeightedCase {
    reference: Vec<(f64, f64)>,
    recent: Vec<(f64, f64)>,
    ks: f64,
    wasserstein: f64,
    quantiles: [f64; 4],
    mean: f64,
    deviation: f64,
    effective_size: f64,
}

#[derive(Deserialize)]
struct MmdCase {
    name: String,
    width: usize,
    features: Vec<f32>,
    deck: Vec<usize>,
    recent_decks: usize,
    bandwidth: f64,
    squared: f64,
}

fn values() -> Reference {
    serde_json::from_str(include_str!("reference/statistics.json")).expect("the fixture is whole")
}

#[test]
fn the_statistics_equal_scipys() {
    for case in values().cases {
        let bins = Bins::quantiles(&case.reference, 10);
        let (a, b) = (bins.counts(&case.reference), bins.counts(&case.recent));
        assert_eq!((&a, &b), (&case.reference_counts, &case.recent_counts), "{}", case.name);
        let found = [
            drift::psi(&a, &b),
            drift::js_divergence(&a, &b),
            drift::ks_statistic(&case.reference, &case.recent),
            drift::wasserstein(&case.reference, &case.recent),
        ];
        assert_close(&found, &[case.psi, case.js_divergence, case.ks, case.wasserstein], 1e-12);
    }
}

#[test]
fn weighted_statistics_equal_scipys_and_numpys() {
    for case in values().weighted {
        let (a, b) = (Weighted::new(case.reference), Weighted::new(case.recent));
        let quantiles = [0.05, 0.3, 0.5, 0.9].map(|q| a.quantile(q).unwrap());
        assert_close(&quantiles, &case.quantiles, 1e-12);
        let found =
            [a.ks(&b), a.wasserstein(&b), a.mean().unwrap(), a.deviation().unwrap(), a.effective_size()];
        let expected = [case.ks, case.wasserstein, case.mean, case.deviation, case.effective_size];
        assert_close(&found, &expected, 1e-9);
    }
}

/// Its matrix is in f32, that of the script in f64.
#[test]
fn the_discrepancy_equals_numpys() {
    for case in values().mmd {
        let decks = case.deck.iter().max().unwrap() + 1;
        let is_recent: Vec<bool> = (0..decks).map(|deck| deck < case.recent_decks).collect();
        let input =
            MmdInput { features: &case.features, width: case.width, deck: &case.deck, is_recent: &is_recent };
        let found = mmd(&input, 999, 1).unwrap();
        assert_close(&[found.squared, found.bandwidth], &[case.squared, case.bandwidth], 1e-5);
        let is_small = found.p_value < 0.05;
        assert_eq!(is_small, case.name == "shifted", "{}: {}", case.name, found.p_value);
    }
}

#[test]
fn vectors_that_do_not_fit_together_are_refused() {
    let (features, deck, is_recent) = (vec![0.5f32; 24], vec![0, 1, 2, 3], [true, true, false, false]);
    let good = MmdInput { features: &features, width: 6, deck: &deck, is_recent: &is_recent };
    let same = mmd(&good, 99, 0).unwrap();
    assert_close(&[same.squared, same.p_value], &[0.0, 1.0], 1e-12);
    let nan = vec![f32::NAN; 24];
    for bad in [
        MmdInput { width: 5, ..good },
        MmdInput { features: &nan, ..good },
        MmdInput { deck: &[0, 1, 2, 4], ..good },
        MmdInput { deck: &[0, 1, 2, 2], ..good },
        MmdInput { is_recent: &[true, false, false, false], ..good },
    ] {
        assert!(mmd(&bad, 99, 0).is_err(), "{bad:?}");
    }
}

const CONFIG: fn() -> DriftConfig =
    || DriftConfig { permutations: 199, max_permutations: 199, ..DriftConfig::default() };

fn report(reference: &[Prediction], scored: &[Prediction]) -> DriftReport {
    simulation::drift(reference, scored, &CONFIG(), at(21.0))
}

fn team(seed: u64, now: &World, decks: usize) -> (Vec<Prediction>, Vec<Prediction>) {
    let mut rng = Rng::with_seed(seed);
    let before = reference(&World::default(), 36, &mut rng);
    (before, now.decks("new", decks, at(20.0), &mut rng))
}

fn drifted(report: &DriftReport) -> Vec<&str> {
    report.features.iter().filter(|feature| feature.drifted).map(|feature| feature.name.as_str()).collect()
}

#[test]
fn a_criterion_that_vanishes_is_drift_and_named() {
    let (before, mut now) = team(1, &World::default(), 30);
    for slide in &mut now {
        slide.distributions.remove("readability");
    }
    let report = report(&before, &now);
    assert_eq!(
        (report.status, report.drift_score),
        (DriftStatus::Drifted, Some(1.0)),
        "{:?}",
        report.reasons
    );
    let expected = "missing: readability is on 0 % of recent slides, of training on 100 %";
    assert!(report.reasons.iter().any(|reason| reason == expected), "{:?}", report.reasons);
    assert_eq!(drifted(&report), ["presence.readability"]);
    let alike = "no deck differs more than others; one of them is new-";
    assert!(report.reasons.iter().any(|reason| reason.starts_with(alike)), "{:?}", report.reasons);
}

#[test]
fn what_is_no_number_and_no_distribution_is_missing() {
    for spoil in [
        |slide: &mut Prediction| slide.distributions.values_mut().for_each(|shares| *shares = [0.0; 5]),
        |slide: &mut Prediction| slide.distributions.clear(),
        |slide: &mut Prediction| slide.features.values_mut().for_each(|value| *value = f64::NAN),
        |slide: &mut Prediction| slide.features.clear(),
    ] {
        let (before, mut now) = team(2, &World::default(), 30);
        now.iter_mut().for_each(spoil);
        let report = report(&before, &now);
        assert_eq!((report.status, report.drift_score), (DriftStatus::Drifted, Some(1.0)));
        assert!(report.reasons[1].starts_with("missing: "), "{:?}", report.reasons);
    }
}

#[test]
fn a_property_that_the_program_of_training_did_not_know_is_no_drift() {
    let (mut before, mut now) = team(5, &World::default(), 30);
    let count = |slide: &mut Prediction| slide.features.extend([("words".to_owned(), 7.0)]);
    let without = report(&before, &now);
    now.iter_mut().for_each(count);
    let unknown = report(&before, &now);
    assert_eq!((unknown.drift_score, unknown.features), (without.drift_score, without.features));
    assert_eq!(unknown.left_out, ["picture.words"]);
    before.iter_mut().for_each(count);
    let lacking = team(5, &World::default(), 30).1;
    assert_eq!(drifted(&report(&before, &lacking)), ["presence.picture.words"]);
}

#[test]
fn without_scores_to_compare_with_nothing_is_stable() {
    let (mut before, now) = team(3, &World::default(), 30);
    for slide in &mut before {
        slide.distributions.clear();
    }
    let report = report(&before, &now);
    assert_eq!(report.status, DriftStatus::Insufficient, "{:?}", report.reasons);
    assert!(
        report.reasons.iter().any(|reason| reason.starts_with("scores: not compared")),
        "{:?}",
        report.reasons
    );
}

/// A point on all criteria passes the threshold, whatever the deviation of scores up to 1.2 points.
#[test]
fn a_point_on_all_criteria_passes_the_threshold() {
    let (mut before, mut now) = team(4, &World::default(), 30);
    for scale in [0.5, 1.0, 1.5] {
        let mut rng = Rng::with_seed(4);
        let mut spread = |slides: &mut [Prediction], shift: f64| {
            for slide in slides {
                let of_slide = simulation::normal(&mut rng);
                for shares in slide.distributions.values_mut() {
                    let own = 0.5f64.sqrt() * (of_slide + simulation::normal(&mut rng));
                    *shares = simulation::distribution((3.0 + 0.8 * scale * own + shift).clamp(1.0, 5.0));
                }
            }
        };
        spread(&mut before, 0.0);
        spread(&mut now, -1.0);
        let report = report(&before, &now);
        assert!(report.drift_score.is_some_and(|score| score > 0.30), "{scale}: {:?}", report.reasons);
    }
}

#[test]
fn one_giant_deck_neither_alarms_nor_blinds() {
    let changed = World { season: 1.3, ..World::default() };
    let (before, mut now) = team(5, &changed, 29);
    now.extend(World::default().deck("giant", 5000, at(20.5), &mut Rng::with_seed(9)).slides);
    let found = report(&before, &now);
    assert_eq!(found.status, DriftStatus::Drifted, "{:?}", found.reasons);
    assert_eq!(found.decks.len(), 5);
    assert!(
        found.decks.iter().all(|deck| deck.deck_id.starts_with("new-") && !deck.example_slide.is_empty())
    );
    let (before, mut now) = team(5, &World::default(), 29);
    now.extend(changed.deck("giant", 5000, at(20.5), &mut Rng::with_seed(9)).slides);
    let quiet = report(&before, &now);
    assert!(quiet.drift_score < Some(0.3), "{:?}", quiet.reasons);
}

#[test]
fn other_versions_old_repeated_and_future_slides_do_not_count() {
    let (before, now) = team(6, &World::default(), 30);
    let mut log = now.clone();
    let strange =
        World { season: 9.0, ..World::default() }.decks("odd", 12, at(20.0), &mut Rng::with_seed(1));
    for (index, mut slide) in strange.into_iter().enumerate() {
        match index % 3 {
            0 => slide.model_version = "run-b".to_owned(),
            1 => slide.scored_at = at(-60.0),
            _ => slide.scored_at = at(21.5),
        }
        log.push(slide);
    }
    log.extend(now.iter().take(30).cloned());
    let (found, plain) = (report(&before, &log), report(&before, &now));
    assert_eq!((&found.features, found.status), (&plain.features, plain.status));
    assert!(found.sizes.other_versions > 20 && found.sizes.dated_ahead > 20, "{:?}", found.sizes);
    assert!(found.reasons.iter().any(|reason| reason.ends_with("dated ahead of now and do not count")));
}

#[test]
fn too_little_says_how_much_more_and_too_many_broken_lines_conclude_nothing() {
    let (before, now) = team(7, &World::default(), 30);
    let few = report(&before, &now[..20]);
    assert_eq!((few.status, few.drift_score), (DriftStatus::Insufficient, None));
    assert!(few.reasons[0].starts_with("20 recently scored slides; at least 30"), "{:?}", few.reasons);
    let decks = World::default().decks("some", 6, at(20.0), &mut Rng::with_seed(3));
    let weak = report(&before, &decks);
    assert_eq!(weak.status, DriftStatus::Insufficient, "{:?}", weak.reasons);
    let lacks = weak.groups.iter().find(|group| group.more_decks.is_some()).expect("something is lacking");
    assert!(lacks.more_slides > lacks.more_decks, "{lacks:?}");
    assert!(
        weak.reasons.iter().any(|reason| reason.contains("more decks would be enough")),
        "{:?}",
        weak.reasons
    );
    let config = CONFIG();
    let input = DriftInput {
        reference: &before,
        scored: &now,
        counted: None,
        failures: drift::Failures::default(),
        broken_lines: 20,
        model_version: None,
        config: &config,
        threshold: 0.3,
        now: at(21.0),
    };
    let broken = compare(&input);
    assert_eq!((broken.status, broken.drift_score), (DriftStatus::Insufficient, None));
    assert!(broken.reasons[0].starts_with("20 of "), "{:?}", broken.reasons);
    assert_ne!(compare(&DriftInput { broken_lines: 1, ..input }).drift_score, None);
}

#[test]
fn the_same_seed_gives_the_same_report_in_any_order_and_it_survives_writing() {
    let (mut before, mut now) = team(8, &World { season: 0.7, ..World::default() }, 30);
    let first = report(&before, &now);
    let mut rng = Rng::with_seed(9);
    rng.shuffle(&mut before);
    rng.shuffle(&mut now);
    assert_eq!(report(&before, &now), first);
    let dir = tempfile::tempdir().unwrap();
    let storage = project_files::Storage { monitoring_dir: dir.path().to_owned(), ..Default::default() };
    let layout = project_files::Layout::new(&storage, std::path::Path::new("outputs"));
    drift::write_drift_report(&layout, &first).unwrap();
    let read = <DriftReport as project_files::Contract>::read(&layout.latest_drift()).unwrap();
    assert_eq!(
        (read.status, &read.reasons, &read.decks.len()),
        (first.status, &first.reasons, &first.decks.len())
    );
    let scores = |report: &DriftReport| report.features.iter().map(|feature| feature.ks).collect::<Vec<_>>();
    assert_close(&scores(&read), &scores(&first), 1e-12);
}

/// The budget's levels need p-values below one in ten thousand: a certain change is asked about until it is known to be so rare.
#[test]
fn small_chances_are_told_exactly() {
    let blind = World { has_vision: false, ..World::default() };
    let config = DriftConfig { permutations: 99, max_permutations: 1999, ..DriftConfig::default() };
    let (before, now) = team(10, &World { season: 2.0, ..blind }, 30);
    let certain = simulation::drift(&before, &now, &config, at(21.0));
    assert_eq!((certain.permutations, certain.p_value), (665, Some(1.0 / 666.0)));
    // Vision features share alpha with the others, and are two tests: no labelling reaches the discrepancy.
    let (before, now) = team(10, &World { season: 2.0, ..World::default() }, 30);
    let both = simulation::drift(&before, &now, &config, at(21.0));
    assert_eq!((both.permutations, both.p_value), (665, Some(2.0 / 666.0)));
    let vision = both.vision.unwrap();
    assert_eq!((vision.permutations, vision.mmd_p_value), (665, 1.0 / 666.0));
    assert_close(&[vision.adjusted_p_value], &[4.0 / 666.0], 1e-12);
    let (before, now) = team(10, &World::default(), 30);
    let none = simulation::drift(&before, &now, &config, at(21.0));
    assert!(none.permutations < 1999, "{}", none.permutations);
    // What is certain and too small to be acted on is not asked about.
    let (before, now) = team(10, &World { season: 0.4, ..blind }, 300);
    let small = simulation::drift(&before, &now, &config, at(21.0));
    assert_eq!(small.permutations, 99);
    assert!(small.drift_score.is_some_and(|score| 0.0 < score && score <= 0.3), "{:?}", small.drift_score);
}

/// Only sketches of the base that training saw are compared, and what is missing is said.
#[test]
fn vision_features_of_another_base_or_none_are_not_compared() {
    let (before, mut now) = team(12, &World { unnamed: 1, ..World::default() }, 30);
    let seen = report(&before, &now).vision.unwrap();
    assert!(seen.drifted && seen.auc > 0.8 && seen.strength > 0.2, "{seen:?}");
    assert!(seen.mmd_squared > 0.0 && seen.most_unlike.len() == 5, "{seen:?}");

    // Half of the slides were scored on another base: they are counted, and the others compared.
    let half = now.len() / 2;
    now.iter_mut().skip(half).for_each(|slide| {
        slide.vision =
            slide.vision.take().map(|sketch| slide_data::VisionSketch { base: "other".to_owned(), ..sketch });
    });
    let part = report(&before, &now);
    assert_eq!(part.vision.as_ref().unwrap().recent_slides, half);
    let other = now.len() - half;
    let said =
        format!("vision features: {other} recent slides have none of the same base and are not compared");
    assert!(part.reasons.contains(&said), "{:?}", part.reasons);

    for slide in &mut now {
        slide.vision = None;
    }
    let none = report(&before, &now);
    let mut old = before.clone();
    for slide in &mut old {
        slide.vision = None;
    }
    let unknown = report(&old, &now);
    for report in [none, unknown] {
        assert_eq!(report.vision, None);
        let says_so = |reason: &String| reason.starts_with("vision features: not compared, as ");
        assert_eq!(report.reasons.iter().filter(|reason| says_so(reason)).count(), 1, "{:?}", report.reasons);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn statistics_keep_their_bounds(
        a in prop::collection::vec(-1e3..1e3f64, 1..60),
        b in prop::collection::vec(-1e3..1e3f64, 1..60),
    ) {
        let bins = Bins::quantiles(&a, 10);
        let (p, q) = (bins.counts(&a), bins.counts(&b));
        prop_assert_eq!(p.iter().sum::<f64>() as usize, a.len());
        prop_assert!(drift::psi(&p, &q) >= 0.0);
        prop_assert!((0.0..=1.0).contains(&drift::js_divergence(&p, &q)));
        prop_assert!((0.0..=1.0).contains(&drift::ks_statistic(&a, &b)));
        prop_assert!((drift::ks_statistic(&a, &b) - drift::ks_statistic(&b, &a)).abs() < 1e-12);
        prop_assert!(drift::wasserstein(&a, &b) >= 0.0);
        prop_assert!((drift::wasserstein(&a, &b) - drift::wasserstein(&b, &a)).abs() < 1e-6);
    }
}
