//! Short forms of what `benches/loop.rs` counts over many more made-up teams. Seeded: each comes out the same every time.

mod simulation;

use drift::DriftConfig;
use simulation::World;
use simulation::experiments::{false_alarms, few, fires, found, names_lost_charts, weeks_to_find_a_drop};
use simulation::year::year;

#[test]
fn without_a_change_one_comparison_in_twenty_flags_something() {
    let usual = World::default();
    for (training, slides, giant) in
        [(36, 30, 0), (36, 300, 0), (100, 300, 500), (36, 100, 5000), (400, 100, 0)]
    {
        let count = false_alarms([&usual; 2], training, slides, giant, 120, 5).any;
        // 6 expected of 120; 13 or more, or none, would come by chance in about 1 of 100 such tests, whose seed is fixed.
        assert!((1..13).contains(&count.found), "{training} decks, {slides} slides: {count:?}");
    }
}

#[test]
fn sides_whose_decks_differ_in_size_are_not_taken_for_different() {
    let usual = World::default();
    for (recent, slides) in [((1, 1), 40), ((1, 3), 100), ((20, 20), 300)] {
        let world = World { slides: recent, has_vision: false, ..usual };
        let before = World { has_vision: false, ..usual };
        let count = false_alarms([&before, &world], 100, slides, 0, 120, 5).any;
        assert!(count.found < 13, "decks of {recent:?} slides: {count:?}");
    }
}

#[test]
fn a_point_less_a_new_template_and_lost_charts_are_found() {
    let usual = World::default();
    let of = |world: &World, slides| found(world, 36, slides, 20, 7, &few());
    let (scores, _) = of(&World { score_shift: -1.0, ..usual }, 300);
    let (template, _) = of(&World { template: 2, ..usual }, 200);
    let (charts, reports) = of(&World { charts: 0.02, ..usual }, 300);
    assert!(
        scores.found >= 18 && template.found >= 18 && charts.found >= 18,
        "{scores:?} {template:?} {charts:?}"
    );
    assert!(reports.iter().filter(|report| names_lost_charts(report)).count() >= 18);
}

#[test]
fn a_look_that_no_property_names_is_found_by_the_vision_features() {
    let new_look = World { unnamed: 2, ..World::default() };
    let (_, reports) = found(&new_look, 36, 300, 20, 9, &few());
    let seen = reports.iter().filter_map(|report| report.vision.as_ref()).filter(|vision| vision.drifted);
    let seen: Vec<f64> = seen.map(|vision| vision.auc).collect();
    assert!(seen.len() >= 18 && seen.iter().all(|auc| *auc > 0.6), "{seen:?}");
    let blind = World { has_vision: false, ..new_look };
    let (_, reports) = found(&blind, 36, 300, 3, 9, &few());
    for report in reports {
        assert_eq!(report.vision, None);
        let says_so = |reason: &String| reason.starts_with("vision features: not compared");
        assert!(report.reasons.iter().any(says_so), "{:?}", report.reasons);
    }
}

/// By the chances that the yearly budget asks for, which far more re-labellings tell.
#[test]
fn what_is_plainly_there_asks_for_a_retraining() {
    let usual = World::default();
    let budget = DriftConfig { permutations: 199, ..DriftConfig::default() };
    let of = |world: &World, slides, when: usize| {
        let (_, reports) = found(world, 36, slides, 5, 13, &budget);
        reports.iter().filter(|report| fires(report)[when]).count()
    };
    assert_eq!(of(&World { score_shift: -1.0, ..usual }, 300, 0), 5, "scores at once");
    let template = World { template: 2, ..usual };
    assert_eq!((of(&template, 600, 0), of(&template, 600, 1)), (0, 5), "images once they have lasted");
    assert_eq!((of(&usual, 300, 0), of(&usual, 300, 1)), (0, 0));
}

#[test]
fn ten_points_of_accuracy_are_missed_within_two_weeks() {
    let level = 0.01 * drift::Share::PERFORMANCE / drift::LOOKS_A_YEAR;
    let weeks: Vec<Option<usize>> =
        (100..120).map(|seed| weeks_to_find_a_drop(0.10, 2, level, seed)).collect();
    let found = weeks.iter().flatten().filter(|week| **week > 0).count();
    assert!(found >= 16, "{weeks:?}");
    assert!(!weeks.contains(&Some(0)), "before it fell: {weeks:?}");
}

#[test]
fn a_year_without_a_change_asks_for_nothing() {
    for seed in 5000..5004 {
        let year = year(seed, false);
        assert_eq!((year.retrained, year.drift, year.performance), (0, 0, 0), "{year:?}");
        assert!(year.corrections > 200, "users did correct: {year:?}");
    }
}
