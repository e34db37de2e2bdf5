//! The audit is a random sample with known chances; accuracy comes from it alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::collections::BTreeMap;

use drift::{PerformanceConfig, PerformanceReport, PerformanceStatus, ValidationResults};
use fastrand::Rng;
use project_files::{Contract as _, Layout, Storage};
use simulation::{World, accuracy, at, draw_new, validated};
use slide_data::{Audit, Label, Prediction};

struct Team {
    scored: Vec<Prediction>,
    labels: BTreeMap<String, Label>,
    validated: ValidationResults,
}

/// Two weeks of decks.
fn team(world: &World, seed: u64) -> Team {
    let mut rng = Rng::with_seed(seed);
    let validated = validated(&World::default(), 60, &mut rng);
    let mut team = Team { scored: Vec::new(), labels: BTreeMap::new(), validated };
    for deck in 0..60 {
        let size = rng.usize(6..=14);
        let deck = world.deck(&format!("d-{deck}"), size, at(f64::from(deck) * 0.22), &mut rng);
        team.labels.extend(deck.slides.iter().map(|slide| slide.slide_id.clone()).zip(deck.labels));
        team.scored.extend(deck.slides);
    }
    team
}

fn config() -> PerformanceConfig {
    PerformanceConfig::default()
}

fn report(team: &Team, audits: &[Audit]) -> PerformanceReport {
    accuracy(&team.scored, audits, &team.labels, &team.validated, &config(), at(14.0))
}

#[test]
fn a_draw_can_be_repeated_takes_days_that_are_over_and_gives_decks_alike() {
    let mut team = team(&World::default(), 1);
    team.scored.extend(World::default().deck("giant", 3000, at(6.0), &mut Rng::with_seed(2)).slides);
    let drawn = draw_new(&team.scored, &[], &config(), at(14.0));
    assert_eq!(drawn, draw_new(&team.scored, &[], &config(), at(14.0)));
    assert!((70..=130).contains(&drawn.len()), "100 are asked in two weeks: {}", drawn.len());
    let of_giant = drawn.iter().filter(|audit| audit.deck_id == "giant").count();
    assert!(of_giant <= 6, "{of_giant} of one deck");
    assert!(drawn.iter().all(|audit| audit.scored_at < at(13.5) && audit.check().is_ok()));
    assert!(draw_new(&team.scored, &drawn, &config(), at(14.0)).is_empty(), "a day is drawn from once");
    let none = PerformanceConfig { audits_per_week: 0.0, ..config() };
    assert!(draw_new(&team.scored, &[], &none, at(14.0)).is_empty());
    assert!(draw_new(&team.scored, &[], &config(), at(-1.0)).is_empty(), "slides dated ahead are not drawn");
}

#[test]
fn chances_are_what_they_say() {
    let team = team(&World::default(), 3);
    let mut often: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for seed in 0..400 {
        for audit in draw_new(&team.scored, &[], &PerformanceConfig { seed, ..config() }, at(14.0)) {
            let entry = often.entry(audit.slide_id).or_default();
            *entry = (entry.0 + 1.0, audit.probability);
        }
    }
    // A sum of independent draws: their number lies within four deviations of what is expected, slide by slide.
    for (slide, (count, chance)) in &often {
        let deviation = (400.0 * chance * (1.0 - chance)).sqrt();
        assert!(
            (count - 400.0 * chance).abs() <= 4.5 * deviation + 1.0,
            "{slide}: {count} of {}",
            400.0 * chance
        );
    }
    assert!(often.len() > 400, "{}", often.len());
}

#[test]
fn the_estimate_comes_from_the_sample_alone_and_covers_the_truth() {
    let mut covered = 0;
    for seed in 10..40 {
        let team = team(&World::default(), seed);
        let audits = draw_new(&team.scored, &[], &config(), at(14.0));
        let found = report(&team, &audits);
        assert_eq!(found.status, PerformanceStatus::Measured, "{:?}", found.reasons);
        // By construction 90 of 100 scores are within a point.
        let interval = found.intervals["current_accuracy"];
        covered += usize::from(interval.low <= 0.9 && 0.9 <= interval.high);
        assert_eq!(found.criteria.len(), 5);
        assert!(found.criteria.values().all(|criterion| criterion.interval.is_some()));
    }
    assert!(covered >= 26, "{covered} of 30 intervals of 95 %");
    let team = team(&World::default(), 50);
    let found = report(&team, &[]);
    assert_eq!(
        (found.status, found.current_accuracy, found.p_value),
        (PerformanceStatus::Insufficient, None, None)
    );
    assert!(found.reasons[0].starts_with("0 rated slides of the audit"), "{:?}", found.reasons);
}

#[test]
fn what_was_not_rated_is_no_health() {
    let mut team = team(&World::default(), 60);
    let audits = draw_new(&team.scored, &[], &config(), at(14.0));
    let kept: Vec<String> =
        audits.iter().take(audits.len() / 3).map(|audit| audit.slide_id.clone()).collect();
    team.labels.retain(|slide, _| kept.contains(slide));
    let found = report(&team, &audits);
    assert_eq!(found.status, PerformanceStatus::Insufficient);
    assert!(
        found.reasons.iter().any(|reason| reason.contains("drawn slides are rated")),
        "{:?}",
        found.reasons
    );
    team.validated.intervals.clear();
    let found = report(&team, &audits);
    assert!(found.reasons.iter().any(|reason| reason.contains("no interval")), "{:?}", found.reasons);
    assert!(!found.has_dropped(0.0));
}

#[test]
fn a_real_drop_is_one_and_a_report_survives_writing() {
    let team = team(&World { wrong: 0.3, ..World::default() }, 70);
    let audits = draw_new(&team.scored, &[], &config(), at(14.0));
    let found = report(&team, &audits);
    assert!(found.has_dropped(0.05), "{found:?}");
    assert!(found.p_value < Some(1e-4) && !found.has_dropped(0.9));
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage { monitoring_dir: dir.path().to_owned(), ..Storage::default() };
    let layout = Layout::new(&storage, std::path::Path::new("outputs"));
    drift::write_performance_report(&layout, &found).unwrap();
    let read = PerformanceReport::read(&layout.latest_performance()).unwrap();
    assert_eq!((read.status, read.sizes, &read.reasons), (found.status, found.sizes, &found.reasons));
    pq_testing::assert_close(&[read.accuracy_drop.unwrap()], &[found.accuracy_drop.unwrap()], 1e-12);
    Audit::append(&layout.audits(), &audits).unwrap();
    let read = Audit::read_log(&layout.audits()).unwrap().entries;
    let slides = |audits: &[Audit]| audits.iter().map(|audit| audit.slide_id.clone()).collect::<Vec<_>>();
    assert_eq!(slides(&read), slides(&audits));
}
